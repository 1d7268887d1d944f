import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

import kontrast
from helpers import make_pack
from kontrast.artifacts.card import parent, write_card
from kontrast.artifacts.claims import claim
from kontrast.artifacts.classifier import Classifier, load_classifier, save_classifier
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.data.identity import Key
from kontrast.engine.features import predict
from kontrast.errors import ArtifactError, DataError, LeakageError, OutputError, UsageError
from kontrast.metrics.thresholds import choose
from kontrast.nn.encoders import EncoderSpec, build_encoder

QUICK = {"replicates": 40, "device": "cpu"}


def make_classifier(path: Path, pack: Path, *, findings: tuple[str, ...] = (), met: tuple = ("train", "val")) -> Path:
    """A classifier with random weights that says it has met these splits of the Pack."""
    data = Pack.open(pack)
    spec = EncoderSpec(name="resnet18", size=data.size, stem="small", mean=data.mean, std=data.std)
    torch.manual_seed(0)
    model = Classifier(build_encoder(spec), spec, findings or data.findings)
    seen = Seen.nothing()
    for split in met:
        seen = seen + Seen.of(data, data.rows(split), "val" if split == "val" else "train")
    claim(path, "classifier", config={})
    limits = {f: {"value": 0.5, "rule": "f1", "reason": None} for f in model.findings}
    save_classifier(path, model, thresholds=limits, config={}, parents=[parent("pack", pack)], seen=seen)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("evaluate")
    pack = make_pack(folder / "pack", n=80, unclear=0.3)
    return make_classifier(folder / "classifier", pack), pack


def read(out) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    folder = Path(out)
    return (
        pd.read_csv(folder / "predictions.csv"),
        pd.read_csv(folder / "truth.csv"),
        json.loads((folder / "scores.json").read_text()),
    )


def test_the_three_files_agree_and_the_scores_follow_from_them(made, tmp_path) -> None:
    classifier, pack = made
    out = kontrast.evaluate(classifier, pack, out=tmp_path / "e", **QUICK)
    predictions, truth, scores = read(out)
    data = Pack.open(pack)
    assert truth["image_id"].tolist() == data.table["image_id"].iloc[data.rows("test")].tolist()
    assert predictions["image_id"].tolist() == truth["image_id"].tolist() and set(truth["split"]) == {"test"}
    for finding in data.findings:
        assert predictions[finding].between(0, 1).all()
        value = roc_auc_score(truth[finding] == 1, predictions[finding])
        assert scores["findings"][finding]["auroc"]["value"] == pytest.approx(value, abs=1e-12)
        assert scores["findings"][finding]["threshold"] == 0.5
    labels = truth[list(data.findings)].to_numpy(float)
    assert np.array_equal(labels, data.labels(data.rows("test")), equal_nan=True)  # -1 and blank are kept apart
    assert (labels == -1).any() and np.isnan(labels).any()
    assert scores["overlap"]["patients"] == 0 and "note" not in scores
    assert scores["interval"]["resampled"] == "patients"


def test_score_gives_the_same_figures_from_the_files(made, tmp_path) -> None:
    classifier, pack = made
    out = Path(kontrast.evaluate(classifier, pack, out=tmp_path / "e", **QUICK))
    again = kontrast.score(
        out / "predictions.csv", out / "truth.csv", out=tmp_path / "s", thresholds=classifier, replicates=40
    )
    ours, theirs = read(out)[2], read(again)[2]
    for key in ("split", "findings", "macro", "interval", "label_policy", "patients", "rows"):
        assert ours[key] == theirs[key], key


def test_again_it_is_done_and_other_settings_are_refused(made, tmp_path) -> None:
    classifier, pack = made
    first = kontrast.evaluate(classifier, pack, out=tmp_path / "e", **QUICK)
    again = kontrast.evaluate(classifier, pack, out=tmp_path / "e", **QUICK)
    assert again.status == "already done" and again.summary == first.summary
    with pytest.raises(OutputError, match="seed was 0, is 1"):
        kontrast.evaluate(classifier, pack, out=tmp_path / "e", seed=1, **QUICK)


def test_dry_run_writes_nothing(made, tmp_path) -> None:
    planned = kontrast.evaluate(*made, out=tmp_path / "e", dry_run=True)
    assert planned.status == "planned" and planned.summary["rows"] == 16 and not (tmp_path / "e").exists()


def test_the_split_that_chose_the_thresholds_is_marked(made, tmp_path, capsys) -> None:
    _, _, scores = read(kontrast.evaluate(*made, out=tmp_path / "e", split="val", **QUICK))
    assert "val chose the thresholds" in scores["note"] and scores["overlap"]["patients"] > 0
    assert "these figures flatter" in capsys.readouterr().err


def test_met_patients_are_refused_and_marked_when_allowed(made, tmp_path, capsys) -> None:
    _, pack = made
    leaky = make_classifier(tmp_path / "c", pack, met=("train", "val", "test"))
    with pytest.raises(LeakageError, match="8 patients and 16 images") as error:
        kontrast.evaluate(leaky, pack, out=tmp_path / "e", **QUICK)
    assert "--allow-overlap" in error.value.fix and not (tmp_path / "e").exists()
    _, _, scores = read(kontrast.evaluate(leaky, pack, out=tmp_path / "e", allow_overlap=True, **QUICK))
    assert scores["overlap"]["patients"] == 8 and "not independent" in scores["note"]
    assert "not independent" in capsys.readouterr().err


def test_validation_of_another_pack_is_no_excuse(made, tmp_path) -> None:
    classifier, _ = made
    same_images = make_pack(tmp_path / "other", n=80, masks=True)
    with pytest.raises(LeakageError):
        kontrast.evaluate(classifier, same_images, out=tmp_path / "e", split="val", **QUICK)


def test_validation_of_other_patients_chose_nothing(made, tmp_path) -> None:
    classifier, _ = made
    others = make_pack(tmp_path / "other", n=80, seed=5, masks=True)
    _, _, scores = read(kontrast.evaluate(classifier, others, out=tmp_path / "e", split="val", **QUICK))
    assert scores["overlap"]["images"] == 0 and "val chose" not in scores.get("note", "")


def test_overlap_under_another_key_is_unknown_never_none(made, tmp_path, capsys) -> None:
    classifier, _ = made
    other = make_pack(tmp_path / "other", n=40, seed=7, key=Key(b"another key, also 32 bytes long.."))
    _, _, scores = read(kontrast.evaluate(classifier, other, out=tmp_path / "e", **QUICK))
    assert scores["overlap"]["patients"] == "unknown" and "unknown" in scores["overlap"]["text"]
    assert "unknown" in capsys.readouterr().err


def test_without_patients_rows_are_resampled_and_that_is_said(made, tmp_path) -> None:
    classifier, _ = made
    pack = make_pack(tmp_path / "pack", n=40, seed=5, patients_known=False)
    _, _, scores = read(kontrast.evaluate(classifier, pack, out=tmp_path / "e", **QUICK))
    assert scores["interval"]["resampled"] == "rows" and "names no patients" in scores["note"]


def test_what_does_not_fit_is_refused_in_words(made, tmp_path) -> None:
    classifier, pack = made
    lacking = make_pack(tmp_path / "lacking", n=20, findings=("Disc",))
    with pytest.raises(UsageError, match="knows Bar, of which this Pack has no labels"):
        kontrast.evaluate(classifier, lacking, out=tmp_path / "e", **QUICK)
    empty = make_pack(tmp_path / "empty", n=20, splits=(0.5, 0.5))
    with pytest.raises(DataError, match="split 'test' of this Pack is empty"):
        kontrast.evaluate(classifier, empty, out=tmp_path / "e", **QUICK)
    with pytest.raises(UsageError):
        kontrast.evaluate(classifier, pack, out=tmp_path / "e", uncertain="soft", **QUICK)
    with pytest.raises(UsageError, match="split"):
        kontrast.evaluate(classifier, pack, out=tmp_path / "e", split="tset", **QUICK)
    with pytest.raises(ArtifactError, match="Expected a classifier"):
        kontrast.evaluate(pack, pack, out=tmp_path / "e", **QUICK)
    assert not (tmp_path / "e").exists()


def test_findings_are_matched_by_name(made, tmp_path) -> None:
    _, pack = made
    swapped = make_classifier(tmp_path / "c", pack, findings=("Bar",))
    predictions, truth, scores = read(kontrast.evaluate(swapped, pack, out=tmp_path / "e", **QUICK))
    assert list(scores["findings"]) == ["Bar"] and list(truth)[-1] == "Bar" and list(predictions) == ["image_id", "Bar"]
    data = Pack.open(pack)
    bar = data.labels(data.rows("test"))[:, data.findings.index("Bar")]
    assert np.array_equal(truth["Bar"], bar, equal_nan=True)


def test_a_finding_with_one_class_is_null_and_not_in_the_mean(made, tmp_path) -> None:
    classifier, _ = made
    pack = make_pack(tmp_path / "pack", n=6, seed=9, splits=(0.34, 0.33))
    _, _, scores = read(kontrast.evaluate(classifier, pack, out=tmp_path / "e", **QUICK))
    for entry in scores["findings"].values():
        if entry["positives"] in (0, entry["n"]):
            assert entry["auroc"]["value"] is None and entry["auroc"]["reason"]


def test_weights_that_give_no_numbers_are_refused(made, tmp_path) -> None:
    _, pack = made
    broken = make_classifier(tmp_path / "c", pack)
    from kontrast.artifacts.classifier import load_classifier

    model, _, seen = load_classifier(broken)
    model.head.bias.data[:] = float("nan")
    claim(tmp_path / "d", "classifier", config={})
    limits = {f: {"value": None, "rule": "f1", "reason": "none"} for f in model.findings}
    save_classifier(tmp_path / "d", model, thresholds=limits, config={}, seen=seen)
    with pytest.raises(ArtifactError, match="no finite probability for 16 of 16"):
        kontrast.evaluate(tmp_path / "d", pack, out=tmp_path / "e", **QUICK)


def test_labels_that_a_policy_ignores_are_not_scored(made, tmp_path) -> None:
    out = kontrast.evaluate(*made, out=tmp_path / "e", uncertain="ones,Bar=ignore", blank="ignore", **QUICK)
    predictions, truth, scores = read(out)
    for finding, known in (("Disc", truth["Disc"].notna()), ("Bar", truth["Bar"].isin([0, 1]))):
        entry = scores["findings"][finding]
        assert entry["n"] == known.sum() < len(truth)
        value = roc_auc_score(truth[finding][known] != 0, predictions[finding][known])
        assert entry["auroc"]["value"] == pytest.approx(value, abs=1e-12)
    assert scores["label_policy"] == {"uncertain": "ones,Bar=ignore", "blank": "ignore"}


def test_findings_that_could_not_be_learnt_are_named(tmp_path, capsys) -> None:
    pack = make_pack(tmp_path / "pack", n=40)
    table = pd.read_csv(pack / "table.csv", dtype=str, keep_default_na=False)
    table.loc[table["split"] == "train", "Bar"] = "0"
    table.to_csv(pack / "table.csv", index=False)
    card = json.loads((pack / "card.json").read_text())
    write_card(pack, "pack", config=card["config"], content=card["content"], files=list(card["files"]))
    made = kontrast.probe("random", pack, out=tmp_path / "c", encoder="resnet18", device="cpu")
    out = kontrast.evaluate(made, pack, out=tmp_path / "e", **QUICK)
    assert read(out)[2]["not_learnt"] == {"Bar": "all 24 training labels are negative"} == out.summary["not_learnt"]
    assert "Not learnt by this classifier" in capsys.readouterr().out


@pytest.mark.usefixtures("toys")
def test_probabilities_are_calibrated_as_validation_said_and_calls_stay(tmp_path, capsys) -> None:
    pack = make_pack(tmp_path / "pack", n=200)
    made = {
        how: kontrast.probe("random", pack, out=tmp_path / how, encoder="toy", calibrate=how, device="cpu")
        for how in ("none", "platt")
    }
    found = {how: read(kontrast.evaluate(one, pack, out=tmp_path / f"{how}-e", **QUICK)) for how, one in made.items()}
    raw, after = (found[how][0].set_index("image_id") for how in ("none", "platt"))
    fits = json.loads((tmp_path / "platt" / "card.json").read_text())["content"]["calibration"]
    assert fits["method"] == "platt" and found["platt"][2]["calibration"] == fits
    for name in raw:
        one = fits["findings"][name]
        assert one["reason"] is None
        expected = 1 / (1 + np.exp(-(one["slope"] * np.log(raw[name] / (1 - raw[name])) + one["intercept"])))
        assert after[name].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-9)
        none, platt = (found[how][2]["findings"][name] for how in ("none", "platt"))
        assert none["auroc"] == platt["auroc"] and none["brier"] != platt["brier"]
        before = found["platt"][2]["before_calibration"]["findings"][name]
        assert before["brier"]["value"] == pytest.approx(none["brier"]["value"], abs=1e-12)
    model, card, _ = load_classifier(tmp_path / "platt")  # thresholds are on the corrected scale
    data = Pack.open(pack)
    val = data.rows("val")
    labels = np.nan_to_num(data.labels(val)) == 1
    for f, name in enumerate(model.findings):
        chosen = choose(labels[:, data.findings.index(name)], predict(model, data, val)[:, f])["value"]
        assert card.content["thresholds"][name]["value"] == pytest.approx(chosen, abs=1e-6)
    assert "calibration" not in found["none"][2] and found["none"][2]["reliability"]
    assert found["none"][2]["reliability"] == found["platt"][2]["before_calibration"]["reliability"]
    assert "Probabilities are calibrated on validation (platt)" in capsys.readouterr().out
    page = Path(kontrast.report(tmp_path / "platt-e", out=tmp_path / "page.html")).read_text()
    assert "before calibration" in page and "Calibration: cells of all findings" in page
