import numpy as np
import pytest

from engine.tiny import table
from helpers import make_pack
from kontrast.artifacts.pack import Pack
from kontrast.engine import floors
from kontrast.metrics.scores import auroc


def test_design_learns_its_scale_and_words_from_training_rows_alone() -> None:
    rows, train = table(), np.arange(30)
    x = floors.design(rows, ("view", "sex", "age"), train)
    assert x.shape == (90, 3 + 2 + 3) and np.isfinite(x).all()
    changed = rows.copy()
    changed.loc[60:, "age"], changed.loc[60:, "view"] = 500.0, "new"
    assert np.array_equal(floors.design(changed, ("view", "sex", "age"), train)[:60], x[:60])
    known = x[:30, -1] == 0
    assert x[:30][known, -3].mean() == pytest.approx(0, abs=1e-12)


def test_the_floor_is_the_auroc_of_metadata_and_finds_what_they_give_away(tmp_path) -> None:
    pack = Pack.open(make_pack(tmp_path / "pack", n=160, unclear=0.0))
    sick = (pack.table["sex"] == "F").astype(float)
    pack.table["Disc"] = sick  # told by sex alone
    rows = pack.rows("test")
    truth = pack.labels(rows)
    policy = {"uncertain": "zeros", "blank": "negative"}
    found = floors.floor(pack, rows, truth, pack.findings, policy, replicates=20)
    assert found["findings"]["Disc"]["value"] == 1.0 and found["columns"] == ["view", "sex", "age", "height", "width"]
    p = floors.metadata_probabilities(pack, found["columns"], rows, **policy)
    assert found["findings"]["Bar"]["value"] == pytest.approx(auroc(truth[:, 1], p[:, 1]), abs=1e-12)
    assert found["macro"]["value"] == pytest.approx((1 + found["findings"]["Bar"]["value"]) / 2, abs=1e-12)
    studies = floors.floor(pack, rows, truth, pack.findings, policy, over_views="max", replicates=0)
    assert studies["findings"]["Disc"]["value"] == 1.0


def test_devices_are_read_where_the_table_has_them_and_tell_nothing_of_themselves(tmp_path) -> None:
    names = ("Disc", "Support Devices")
    pack = Pack.open(make_pack(tmp_path / "pack", n=160, unclear=0.0, findings=names))
    pack.table["device"] = np.where(pack.table["Disc"] == 1, "maker A", "maker B")
    columns = floors.baselines(pack)["with all that is known"]
    assert columns == ("view", "sex", "age", "height", "width", "device", "Support Devices")
    rows = pack.rows("test")
    p = floors.metadata_probabilities(pack, columns, rows, "zeros", "negative")
    assert auroc(pack.labels(rows)[:, 0], p[:, 0]) == 1.0
    without = floors.metadata_probabilities(pack, columns[:-1], rows, "zeros", "negative")
    np.testing.assert_allclose(p[:, 1], without[:, 1], atol=1e-4)  # as near as L-BFGS ends
    plain = Pack.open(make_pack(tmp_path / "plain", n=20))
    assert list(floors.baselines(plain)) == ["view, age, sex", "with image size"]
