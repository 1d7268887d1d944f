import numpy as np
import pytest

from helpers import make_pack
from kontrast.artifacts.card import claim
from kontrast.artifacts.evaluation import write_evaluation
from kontrast.artifacts.pack import Pack
from kontrast.engine.comparison import compare, crossvalidate, gather, out_of_fold
from kontrast.metrics.evaluation import score_table


def evaluation(folder, pack: Pack, probabilities: np.ndarray, findings: tuple[str, ...] | None = None):
    """A finished evaluation of a Pack's test split, for its first findings."""
    findings = findings or pack.findings
    rows = pack.rows("test")
    truth = pack.table.iloc[rows]
    y = np.nan_to_num(np.where(pack.labels(rows) == 1, 1.0, 0.0))[:, : len(findings)]
    policy = {"uncertain": "zeros", "blank": "negative"}
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


def test_every_image_is_scored_by_a_probe_that_never_met_its_patient() -> None:
    # Features are one-hot of the patient: a probe that met the patient would know the label; one that did not cannot.
    patients = np.repeat([f"p{i}" for i in range(20)], 3)
    x = np.repeat(np.eye(20), 3, axis=0)
    y = np.repeat(np.arange(20) % 2, 3)[:, None].astype(float)
    fold = np.repeat(np.arange(20) // 2 % 5, 3)
    p = out_of_fold(x, y, np.ones_like(y), patients, fold, 0)
    assert np.abs(p - 0.5).max() < 0.2


def test_folds_use_no_image_that_an_encoder_has_met(tmp_path) -> None:
    import kontrast

    path = make_pack(tmp_path / "pack", n=120)
    pack = Pack.open(path)
    met = kontrast.probe("random", path, out=tmp_path / "c", encoder="resnet18")
    encoders = {"random": "random", "met": str(met.out)}
    named = {"random": "resnet18", "met": "resnet18"}
    found = crossvalidate(pack, encoders, named, baseline="random", folds=3, replicates=20)
    # the probe met train and val: only test is left
    assert found["images"] == len(pack.rows("test"))
    assert set(found["differences"]) == {"met"}
    # both arms are the same random encoder (seed 0), so the difference is none
    assert found["differences"]["met"]["value"] == pytest.approx(0, abs=1e-9)
