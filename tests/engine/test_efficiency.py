"""Curves of a study and the labels that an arm saves, from its evaluations."""

import numpy as np
import pytest

from engine.test_comparison import evaluation
from helpers import make_pack
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.wording import labels_needed
from kontrast.engine.comparison import gather
from kontrast.engine.efficiency import best_of_search, curves
from kontrast.engine.grid import Arm, Cell, Study, candidates, cells_of

SKILL = {("base", 0.1): 0.2, ("base", 1.0): 1.0, ("good", 0.1): 0.7, ("good", 1.0): 3.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("efficiency")
    pack = Pack.open(make_pack(root / "pack", n=240, size=8, splits=(0.2, 0.1)))
    rng = np.random.default_rng(0)
    made = {}
    for (arm, fraction), skill in SKILL.items():
        for run in ((0, 0), (1, 0)) if fraction < 1 else (0,):
            y = (pack.labels(pack.rows("test")) == 1).astype(float)
            p = 1 / (1 + np.exp(-(skill * y + rng.normal(size=y.shape))))
            made[arm, "probe", fraction, run], _ = evaluation(root / f"{arm}{fraction}{run}", pack, p)
    return made


def test_points_are_means_over_runs_and_what_is_saved_follows_from_them(folders) -> None:
    drawn, saved = curves(folders, "base", replicates=300)
    means = gather(folders).groupby(["arm", "fraction"])["auroc"].mean()
    for row in drawn.to_dict("records"):
        assert row["auroc"] == pytest.approx(means[row["arm"], row["fraction"]], abs=1e-12)
        assert row["low"] < row["auroc"] < row["high"] and row["runs"] == (2 if row["fraction"] < 1 else 1)
    (one,) = saved.to_dict("records")
    few, most, goal = means["good", 0.1], means["good", 1.0], means["base", 1.0]
    share = (goal - few) / (most - few)
    assert few < goal < most
    assert one["fraction"] == pytest.approx(0.1 ** (1 - share), rel=1e-9)
    assert one["saved"] == pytest.approx(1 - one["fraction"])
    assert (
        one["low"] is None and one["high"] is None and one["reason"].startswith("no interval: 1 run at some fraction")
    )
    assert "[" not in labels_needed(one)[0]


def test_with_several_runs_the_interval_is_over_runs_too(folders) -> None:
    # Five runs of two kinds: patients alone move the curve less than another mixture of runs does.
    (few, _), (most,), (goal,) = (
        [path for (a, _, f, _), path in folders.items() if (a, f) == place]
        for place in (("good", 0.1), ("good", 1.0), ("base", 1.0))
    )
    base = {("base", "probe", f, run): goal for f in (0.1, 1.0) for run in range(5)}
    alike = base | {("good", "probe", f, run): few if f < 1 else most for f in (0.1, 1.0) for run in range(5)}
    worse = folders["base", "probe", 0.1, (0, 0)]
    mixed = alike | {("good", "probe", 0.1, run): worse for run in (0, 1)}
    narrow, wide = (curves(cells, "base", replicates=200)[1].iloc[0] for cells in (alike, mixed))
    assert narrow["low"] <= narrow["fraction"] <= narrow["high"] and narrow["reason"] == ""
    assert wide["low"] < wide["fraction"] < wide["high"] and "[" in labels_needed(wide)[0]


def test_draws_and_seeds_stand_in_the_table(folders) -> None:
    table = gather(folders)
    assert table.loc[table["fraction"] == 0.1, "draw"].tolist() == [0, 1] * 2
    assert set(table.loc[table["fraction"] == 1.0, "draw"]) == {""}


def test_few_labels_are_drawn_several_times_and_many_once() -> None:
    plan = Study(pack="p", arms={"random": Arm()}, protocols=("knn",), fractions=(0.01, 0.1, 1.0), seeds=(0, 1))
    names = [cell.name for cell in cells_of(plan)]
    assert len(names) == 2 * (5 + 5 + 1) == len(set(names))
    assert "random/knn-10pc-draw4-seed1" in names and "random/knn-100pc-seed0" in names
    plain = Study(pack="p", arms={"random": Arm()}, protocols=("probe",), fractions=(0.1,), seeds=(3,), draws=None)
    assert [cell.name for cell in cells_of(plain)] == ["random/probe-10pc-seed3"], "the names of before"


def test_every_arm_searches_the_same_and_the_first_of_the_best_is_chosen() -> None:
    search = {"finetune": {"lr": [1e-4, 1e-3], "start_head": ["probe", "random"]}}
    plan = Study(pack="p", arms={"random": Arm()}, search=search)
    assert (
        candidates(plan, "finetune")[1] == {"lr": 1e-4, "start_head": "random"}
        and len(candidates(plan, "finetune")) == 4
    )
    assert candidates(plan, "full") == [{"lr": 1e-4}, {"lr": 1e-3}], "what the protocol fixes is not searched"
    assert candidates(plan, "probe") == [{}]
    one, two = Cell("a", "full", 1.0, 0), Cell("b", "full", 1.0, 0)
    scored = [(one, {"lr": 1}, None), (one, {"lr": 2}, 0.7), (one, {"lr": 3}, 0.7), (two, {"lr": 1}, None)]
    table, chosen = best_of_search(scored)
    assert chosen == {("a", "full", 1.0): {"lr": 2}, ("b", "full", 1.0): {"lr": 1}}
    assert table["chosen"].tolist() == [0, 1, 0, 1]
