import numpy as np
import pandas as pd
import pytest

from kontrast.engine import auditing


def table(n: int = 90) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "view": np.resize(["PA", "AP", ""], n),
            "sex": np.resize(["F", "M"], n),
            "age": np.where(np.arange(n) % 9 == 0, np.nan, np.arange(n, dtype=float)),
            "patient_id": [f"p{i}" for i in range(n)],
        }
    )


def test_design_learns_its_scale_and_words_from_training_rows_alone() -> None:
    rows, train = table(), np.arange(30)
    x = auditing.design(rows, ("view", "sex", "age"), train)
    assert x.shape == (90, 3 + 2 + 3) and np.isfinite(x).all()
    changed = rows.copy()
    changed.loc[60:, "age"], changed.loc[60:, "view"] = 500.0, "new"
    assert np.array_equal(auditing.design(changed, ("view", "sex", "age"), train)[:60], x[:60])
    known = x[:30, -1] == 0
    assert x[:30][known, -3].mean() == pytest.approx(0, abs=1e-12)


def test_subgroups_of_a_kind_part_the_rows() -> None:
    groups = auditing.subgroups(table())
    for kind in ("sex", "view", "age", "sex and age"):
        assert np.stack(list(groups[kind].values())).sum(axis=0).tolist() == [1] * 90, kind
    assert "unknown" in groups["view"] and "unknown" in groups["age"]


def test_subgroup_scores_are_those_of_its_rows_and_small_ones_are_null() -> None:
    rng, rows = np.random.default_rng(0), table(150)
    y, p = (rng.random((150, 1)) < 0.5).astype(float), rng.random((150, 1))
    found = auditing.score_subgroups(
        rows, y, p, ["A"], patients_known=True, thresholds={}, label_policy={}, replicates=5
    )
    women = (rows["sex"] == "F").to_numpy()
    from kontrast.metrics.scores import auroc

    assert found["sex"]["F"]["findings"]["A"]["auroc"]["value"] == auroc(y[women, 0], p[women, 0])
    assert found["age"]["unknown"] == {"rows": 17, "reason": "fewer than 50 images: not scored"}
