import numpy as np
import pandas as pd

from kontrast.data.groups import groups


def test_groups_of_a_kind_part_the_rows() -> None:
    words = {"sex": ["F", "M", ""], "view": ["PA", "AP", "lateral"]}
    table = pd.DataFrame({name: [of[i % 3] for i in range(90)] for name, of in words.items()})
    table["age"] = [float(i) if i % 7 else np.nan for i in range(90)]
    found = groups(table)
    for kind in ("sex", "view", "age", "sex and age", "sex and view", "age and view"):
        assert np.stack(list(found[kind].values())).sum(axis=0).tolist() == [1] * 90, kind
    assert "unknown" in found["sex"] and "unknown" in found["age"]
    old = (table["age"] >= 80).to_numpy()
    assert (found["age"]["80+"] == old).all() and (found["age"]["20 to 39"] & (table["age"] == 40)).sum() == 0
