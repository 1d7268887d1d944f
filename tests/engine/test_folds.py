import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from helpers import make_pack
from kontrast.artifacts.encoder import load_encoder
from kontrast.artifacts.pack import Pack
from kontrast.data.labels import targets
from kontrast.data.splits import folds as make_folds
from kontrast.engine.features import embed
from kontrast.engine.folds import _difference, crossvalidate, out_of_fold
from kontrast.metrics.evaluation import repeated_auroc


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

    path = make_pack(tmp_path / "pack", n=80, size=16)
    pack = Pack.open(path)
    met = kontrast.probe("random", path, out=tmp_path / "c", encoder="resnet18")
    encoders = {"random": "random", "met": str(met.out)}
    named = {"random": "resnet18", "met": "resnet18"}
    found = crossvalidate(pack, encoders, named, baseline="random", folds=2, replicates=20)
    # the probe met train and val: only test is left
    assert found["images"] == len(pack.rows("test"))
    assert set(found["differences"]) == {"met"} and found["auroc"] == "within folds"
    assert found["arms"]["random"]["initialisations"] == 3 and found["arms"]["met"]["initialisations"] == 1


def test_random_weights_are_the_mean_over_three_initialisations(tmp_path) -> None:
    path = make_pack(tmp_path / "pack", n=32, size=16, findings=("Disc",))
    pack = Pack.open(path)
    found = crossvalidate(pack, {"random": "random"}, {"random": "resnet18"}, baseline="random", folds=2, replicates=20)
    rows = np.arange(len(pack))
    y, w = targets(pack.labels(rows), pack.findings, "zeros", "negative")
    patients = pack.table["patient_id"].to_numpy()
    fold, areas = make_folds(patients, 2, 0), []
    for seed in range(3):
        network, spec, _ = load_encoder("random", encoder="resnet18", seed=seed, pack=pack)
        p = out_of_fold(embed(network, spec, pack, rows), y, w, patients, fold, 0)
        inside = [roc_auc_score(y[fold == f, 0], p[fold == f, 0]) for f in (0, 1)]
        pairs = [(y[fold == f, 0] == 1).sum() * (y[fold == f, 0] == 0).sum() for f in (0, 1)]
        areas.append(np.average(inside, weights=pairs))
    assert np.ptp(areas) > 0.001
    macro = found["arms"]["random"]["macro"]
    assert macro["value"] == pytest.approx(np.mean(areas), abs=1e-9)
    assert found["arms"]["random"]["findings"]["Disc"]["value"] == macro["value"]
    assert macro["low"] < macro["value"] < macro["high"]


def test_differences_are_of_the_means_over_initialisations() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (60, 2)).astype(float)
    one, three = [rng.random((60, 2))], [rng.random((60, 2)) for _ in range(3)]
    fold = np.repeat([0, 1, 2], 20)
    found = _difference(y, one, three, np.arange(60) // 2, fold, 20)

    def within(t, s):
        parts = [(t[fold == k], s[fold == k]) for k in range(3)]
        return np.average([roc_auc_score(a, b) for a, b in parts], weights=[a.sum() * (1 - a).sum() for a, _ in parts])

    def macro(p):
        return np.mean([within(y[:, f], p[:, f]) for f in (0, 1)])

    assert found["value"] == pytest.approx(macro(one[0]) - np.mean([macro(p) for p in three]), abs=1e-12)


def test_features_that_say_nothing_score_as_guessing_does() -> None:
    # Pooled over folds these scores lie far below .5: each probe's intercept falls as its fold holds more positives.
    patients = np.array([f"p{i}" for i in range(200)])
    y = np.zeros((200, 1))
    fold = np.arange(200) % 5
    for number, positives in enumerate((1, 2, 4, 6, 7)):
        y[np.flatnonzero(fold == number)[:positives]] = 1
    scores = out_of_fold(np.zeros((200, 2)), y, np.ones_like(y), patients, fold, 0)
    assert roc_auc_score(y[:, 0], scores[:, 0]) < 0.35
    found = repeated_auroc(y, [scores], ["A"], patients=patients, strata=fold, replicates=50)
    assert found["macro"]["value"] == 0.5 and found["macro"]["low"] == found["macro"]["high"] == 0.5
    better = scores + 1e-6 * y
    gain = _difference(y, [better], [scores], patients, fold, 50)
    assert gain["value"] == 0.5 and gain["low"] == 0.5
