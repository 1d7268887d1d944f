import numpy as np

from engine.tiny import table
from kontrast.engine import subgroups
from kontrast.metrics.scores import auroc


def test_subgroup_scores_are_those_of_its_rows_and_small_ones_are_null() -> None:
    rng, rows = np.random.default_rng(0), table(150)
    y, p = (rng.random((150, 1)) < 0.5).astype(float), rng.random((150, 1))
    found = subgroups.score_subgroups(
        rows, y, p, ["A"], patients_known=True, thresholds={}, label_policy={}, replicates=5
    )
    women = (rows["sex"] == "F").to_numpy()
    assert found["sex"]["F"]["findings"]["A"]["auroc"]["value"] == auroc(y[women, 0], p[women, 0])
    assert found["age"]["unknown"] == {"rows": 17, "reason": "fewer than 50 images: not scored"}


def test_rates_leave_out_small_groups_and_those_of_whom_nothing_is_known() -> None:
    rng, rows = np.random.default_rng(0), table(150)
    y, p = (rng.random((150, 1)) < 0.5).astype(float), rng.random((150, 1))
    limits = {"A": {"value": 0.5}}
    found = subgroups.rates_by_group(rows, y, p, ["A"], patients_known=True, thresholds=limits, replicates=5)
    assert set(found["sex"]["tpr"]["A"]["groups"]) == {"F", "M"}
    assert set(found["view"]["fpr"]["A"]["groups"]) == {"PA", "AP"}, "of the others the view is unknown"
    assert found["age and view"] == {"reason": "fewer than two groups of 50 images"}
    women = (rows["sex"] == "F").to_numpy() & (y[:, 0] == 1)
    assert found["sex"]["tpr"]["A"]["groups"]["F"]["value"] == (p[women, 0] >= 0.5).mean()
