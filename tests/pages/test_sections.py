"""The sections say what the artifacts' files say, and nothing about where they lie."""

import json
import shutil

import numpy as np
import pytest

import kontrast
from helpers import make_pack
from kontrast.artifacts.card import write_card
from kontrast.errors import ArtifactError
from kontrast.pages import audit as audit_page
from kontrast.pages import sections
from pages.conftest import add_encoder, add_evaluation, found

SEEN = {"moco": ("#0072B2", "o"), "swav": ("#D55E00", "o")}


def test_only_files_of_the_card_are_shown(pack, tmp_path):
    encoder = add_encoder(tmp_path / "moco", pack)
    assert sections.picture(found(encoder), "views.png").startswith("data:image/png;base64,")
    shutil.copy(encoder / "views.png", encoder / "other.png")
    assert sections.picture(found(encoder), "other.png") is None
    assert sections.picture(found(encoder), "../moco/views.png") is None
    (encoder / "views.png").write_bytes(b"no picture")
    assert sections.picture(found(encoder), "views.png") is None


def test_pretraining_says_what_the_card_says(pack, tmp_path):
    encoder = found(add_encoder(tmp_path / "moco", pack))
    section = sections.training_section([encoder], SEEN)
    (row,) = section["rows"]
    assert not section["several"] and row["views"]
    assert {k: v for k, v in row.items() if k != "views"} == {
        "name": "moco", "method": "moco", "network": "resnet18", "size": 32, "images": 1234, "patients": 56,
        "epochs": "2.5", "steps": 10, "batch": 77, "images_seen": 98765, "loss": "3.1", "chance": "0.75",
        "spread": "0.32", "rank": "14.2", "watched": None,
    }  # fmt: skip
    (drawing,) = section["curves"]
    assert "effective rank" in drawing and "loss of" not in drawing


def test_scores_by_labels_are_drawn_and_what_they_chose_is_said(pack, tmp_path):
    folder = add_encoder(tmp_path / "moco", pack)
    lines = [{"step": i, "loss": 1.0, "effective_rank": 9.0} for i in range(1, 1001)]
    for line in lines[49::100]:
        line |= {"probe_auroc": 0.7, "knn_auroc": None}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [line["step"] for line in sections.history(folder) if "probe_auroc" in line] == list(range(50, 1001, 100))
    watch = {
        "label_policy": {"uncertain": "zeros", "blank": "negative"}, "train_images": 2000, "val_images": 300,
        "overlap": "0 patients and 0 images shared with the training data",
    }  # fmt: skip
    encoder = found(folder)
    encoder.card.content["summary"]["watch"] = watch
    section = sections.training_section([encoder], SEEN)
    assert len(section["curves"]) == 2 and "linear probe" in section["curves"][1] and "kNN" not in section["curves"][1]
    assert "2,000 labelled images" in section["rows"][0]["watched"] and "no label had" in section["rows"][0]["watched"]
    encoder.card.content["summary"]["chosen"] = "step 50 of 1,000, the best by a probe on labels"
    said = sections.training_section([encoder], SEEN)["rows"][0]["watched"]
    assert "chosen by labels, step 50 of 1,000" in said and "blank = negative" in said


def test_losses_of_methods_do_not_share_a_scale(pack, tmp_path):
    both = [found(add_encoder(tmp_path / name, pack, name)) for name in ("moco", "swav")]
    section = sections.training_section(both, SEEN)
    assert section["several"] and "loss of moco" in section["curves"][0] and "loss of swav" in section["curves"][0]
    assert "loss" not in section["curves"][1]


def test_an_encoder_that_says_nothing(tmp_path):
    (tmp_path / "e").mkdir()
    write_card(tmp_path / "e", "encoder", config={}, content={"encoder": {"name": "resnet50", "size": 224}})
    section = sections.training_section([found(tmp_path / "e")], {"e": SEEN["moco"]})
    (row,) = section["rows"]
    assert row["network"] == "resnet50" and row["steps"] is None and row["loss"] is None and row["method"] == "unknown"
    assert not any(section["curves"])


def test_history_is_thinned_and_ends_at_the_end(tmp_path):
    assert sections.history(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text("".join(f'{{"step": {i}, "loss": 1}}\n' for i in range(1, 1002)))
    steps = [line["step"] for line in sections.history(tmp_path)]
    assert len(steps) <= 400 and steps[-1] == 1001 and len(set(np.diff(steps))) == 1


def test_numbers_in_words():
    assert [sections._number(v, 3) for v in (None, 12345.6, 0.012345, 3.14159, 0.0)] == [
        None,
        "12,346",
        "0.0123",
        "3.14",
        "0",
    ]
    assert sections.with_interval({"value": None, "low": None, "high": None}) == {"text": "–", "range": ""}
    assert sections.with_interval({"value": 0.8741, "low": 0.81249, "high": 1.0}) == {
        "text": ".874",
        "range": "[.812, 1.00]",
    }
    assert sections.with_interval(None)["text"] == "–"
    assert sections.with_interval({"value": 0.0, "low": 0.0, "high": 0.0}) == {"text": ".000", "range": "[–]"}


def test_changed_files_are_not_quoted(pack, tmp_path):
    folder = add_evaluation(tmp_path / "e", pack)
    scores = json.loads((folder / "scores.json").read_text())
    assert sections.read_json(folder, "scores.json") == scores
    scores["macro"]["auroc"]["value"] = 0.999
    (folder / "scores.json").write_text(json.dumps(scores))
    with pytest.raises(ArtifactError, match=r"scores\.json"):
        sections.read_json(folder, "scores.json")


def test_an_audit_says_what_is_shared_and_what_is_unknown(tmp_path):
    same = make_pack(tmp_path / "a", n=60, size=16)
    other = make_pack(tmp_path / "b", n=60, size=16, seed=1, patients_known=False)
    kontrast.audit(same, other, out=tmp_path / "audit", replicates=20)
    section = audit_page.audit_section(found(tmp_path / "audit"), {})
    audit = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert len(section["shared"]) == 6 + 9
    within = {row["where"]: row for row in section["shared"]}
    assert within["a: train / val"]["patients"] == 0 and within["a train / b test"]["patients"] is None
    assert [row["where"] for row in section["shared"] if row["allowed"]] == ["a train / b train"]
    floor = audit["metadata"]["a"]["view, age, sex"]["scores"]["macro"]["auroc"]
    row = {"pack": "a", "from": "view, age, sex", "of": 2, "auroc": sections.with_interval(floor) | {"mark": ""}}
    assert section["floors"][0] == row
    assert section["groups"] == []


def test_means_of_altered_images_are_marked_as_other_means_are():
    mean = {"value": 0.7, "low": 0.6, "high": 0.8, "incomplete": 20}
    one = {"n": 40, "intact": mean, "altered": mean | {"incomplete": 21}, "difference": {"value": None, "low": None}}
    (row,) = audit_page._altered("", {"borders cropped": one}, 200)
    assert [row[key]["mark"] for key in ("intact", "altered", "difference")] == ["", "*", ""]
    (row,) = audit_page._altered("", {"lungs masked out": {"reason": "none"}}, 200)
    assert row["reason"] == "none" and row["intact"]["text"] == "–"


def test_subgroups_and_those_too_small():
    scored = {"rows": 80, "macro": {"auroc": {"value": 0.7, "low": 0.6, "high": 0.8}}}
    small = {"rows": 3, "reason": "fewer than 50 images: not scored"}
    rows, left_out = audit_page._subgroups("", {"sex": {"F": scored, "M": small}, "view": {"AP": small}})
    auroc = {"text": ".700", "range": "[.600, .800]", "mark": ""}
    assert rows == [{"group": "sex F", "n": 80, "of": 0, "auroc": auroc}]
    assert left_out == {"fewer than 50 images: not scored": ["sex M (3)", "view AP (3)"]}


def add_finetuning(folder, fraction=1.0, seed=0, lines=2):
    folder.mkdir(parents=True)
    logged = [{"step": i, "loss": 1 / i, "val_auroc": 0.5 + i / 10} for i in range(1, lines + 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in logged))
    write_card(folder, "classifier", config={"label_fraction": fraction, "seed": seed}, content={})
    return found(folder, f"{fraction:g}-{seed}")


def test_fine_tunings_are_drawn_and_of_many_those_with_most_labels_of_one_seed(tmp_path):
    cells = [(f, seed) for f in (0.1, 1.0) for seed in (0, 1, 2)]
    runs = [add_finetuning(tmp_path / f"{f}-{seed}", f, seed) for f, seed in cells]
    (tmp_path / "probe").mkdir()
    write_card(tmp_path / "probe", "classifier", config={})
    every = [*runs, found(tmp_path / "probe")]
    assert sections.finetunings(every) == (runs, "")
    more = [add_finetuning(tmp_path / f"other{seed}", 1.0, seed) for seed in (3, 4, 5)]
    shown, which = sections.finetunings(every + more)
    assert [one.name for one in shown] == [f"1-{seed}" for seed in range(6)]
    assert which == "Of 9 fine-tunings 6 with the most labels"
    more.append(add_finetuning(tmp_path / "other6", 1.0, 6))
    shown, which = sections.finetunings(every + more)
    assert [one.name for one in shown] == ["1-0"] and which.endswith("1 with the most labels, of one seed")
    section = sections.finetuning_section(runs[:2], which, dict.fromkeys(["0.1-0", "0.1-1"], SEEN["moco"]))
    assert "macro AUROC on validation" in section["curves"] and "0.1-1" in section["curves"]
    assert sections.finetuning_section([], "", {})["curves"] == ""
