import numpy as np
import pytest

from helpers import make_pack
from kontrast.artifacts.claims import claim
from kontrast.artifacts.evaluation import write_evaluation
from kontrast.artifacts.pack import Pack
from kontrast.data.labels import targets
from kontrast.engine.comparison import compare, gather, left_out
from kontrast.metrics.evaluation import score_table

ZEROS = {"uncertain": "zeros", "blank": "negative"}


def evaluation(folder, pack: Pack, probabilities, findings: tuple[str, ...] | None = None, policy=ZEROS):
    """A finished evaluation of a Pack's test split, for its first findings."""
    findings = findings or pack.findings
    rows = pack.rows("test")
    truth = pack.table.iloc[rows]
    y, w = targets(pack.labels(rows), pack.findings, policy["uncertain"], policy["blank"])
    y = np.where(w > 0, y, np.nan)[:, : len(findings)]
    scores = score_table(
        y, probabilities, findings, patients=list(truth["patient_id"]), label_policy=policy, split="test",
        replicates=50,
    )  # fmt: skip
    taken = claim(folder, "evaluation", config={})
    write_evaluation(taken.folder, truth=truth, predictions=probabilities, findings=findings, scores=scores, config={})
    return folder, y


def test_differences_are_of_the_means_over_seeds_and_favour_the_better(tmp_path) -> None:
    pack = Pack.open(make_pack(tmp_path / "pack", n=160, splits=(0.4, 0.1)))
    rng = np.random.default_rng(0)
    folders, means = {}, {}
    for arm, skill in (("good", 1.5), ("base", 0.0)):
        for seed in (0, 1):
            y = (pack.labels(pack.rows("test")) == 1).astype(float)
            p = 1 / (1 + np.exp(-(skill * y + rng.normal(size=y.shape))))
            key = (arm, "probe", 0.5, seed)
            folders[key], _ = evaluation(tmp_path / f"{arm}{seed}", pack, p)
    table = gather(folders)
    for arm in ("good", "base"):
        means[arm] = table.loc[table["arm"] == arm, "auroc"].mean()
    found = compare(folders, "base", replicates=200).iloc[0]
    assert found["value"] == pytest.approx(means["good"] - means["base"], abs=1e-12)
    assert found["low"] > 0 and found["p"] < 0.05
    assert found["seeds"] == 2
    each = [table.set_index(["arm", "seed"])["auroc"][arm] for arm in ("good", "base")]
    assert found["sd_over_seeds"] == pytest.approx((each[0] - each[1]).std(ddof=1), abs=1e-12)
    # the same comparison at two more fractions: Holm multiplies the smallest of three p-values by three
    thrice = folders | {(a, p, f, seed): folder for (a, p, _, seed), folder in folders.items() for f in (0.7, 1.0)}
    assert compare(thrice, "base", replicates=200)["p_holm"].tolist() == pytest.approx([min(1, 3 * found["p"])] * 3)
    one = compare({key: folder for key, folder in folders.items() if key[3] == 0}, "base", replicates=50).iloc[0]
    assert np.isnan(one["sd_over_seeds"])


def test_a_seed_that_could_learn_fewer_findings_weighs_as_much(tmp_path) -> None:
    pack = Pack.open(make_pack(tmp_path / "pack", n=160, splits=(0.4, 0.1)))
    rng = np.random.default_rng(0)
    folders = {}
    for arm in ("good", "base"):
        for seed, names in ((0, pack.findings), (1, pack.findings[:1])):
            y = (pack.labels(pack.rows("test")) == 1).astype(float)[:, : len(names)]
            p = 1 / (1 + np.exp(-((arm == "good") * y + rng.normal(size=y.shape))))
            folders[arm, "probe", 0.5, seed], _ = evaluation(tmp_path / f"{arm}{seed}", pack, p, names)
    means = gather(folders).groupby("arm")["auroc"].mean()
    found = compare(folders, "base", replicates=50).iloc[0]
    assert found["value"] == pytest.approx(means["good"] - means["base"], abs=1e-12)


def test_what_the_means_leave_out_is_named_with_the_reason(tmp_path) -> None:
    pack = Pack.open(make_pack(tmp_path / "pack", n=160, splits=(0.4, 0.1), findings=("Disc", "Bar", "Row")))
    rng = np.random.default_rng(0)
    folders = {}
    for arm, names in (("a", ("Disc", "Bar", "Row")), ("b", ("Disc", "Bar"))):
        p = rng.random((len(pack.rows("test")), len(names)))
        folders[arm, "probe", 1.0, 0], _ = evaluation(tmp_path / arm, pack, p, names)
    assert left_out(folders) == {"Row": "not learnt in 1 of 2 trainings"}
    only = {key: folder for key, folder in folders.items() if key[0] == "b"}
    assert left_out(only) == {}
    assert compare(folders, "b", replicates=20).iloc[0]["findings"] == 2


def test_labels_that_a_policy_ignores_are_not_compared(tmp_path) -> None:
    pack = Pack.open(make_pack(tmp_path / "pack", n=160, splits=(0.4, 0.1), unclear=0.2))
    rng = np.random.default_rng(0)
    ignoring = {"uncertain": "ignore", "blank": "ignore"}
    shape = (len(pack.rows("test")), len(pack.findings))
    folders = {
        (arm, "probe", 1.0, 0): evaluation(tmp_path / arm, pack, rng.random(shape), policy=ignoring)[0]
        for arm in ("a", "b")
    }
    means = gather(folders).set_index("arm")["auroc"]
    found = compare(folders, "b", replicates=20).iloc[0]
    assert found["value"] == pytest.approx(means["a"] - means["b"], abs=1e-12)
