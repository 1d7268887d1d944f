"""Tables and figures of scores say what the files say."""

import json

import pytest

from kontrast.artifacts.card import card_hash, parent, read_card, write_card
from kontrast.artifacts.wording import MORE, SHOWN
from kontrast.pages.results import MOST, evaluation_section, unlike_macros
from kontrast.pages.sections import Found, with_interval
from pages.conftest import add_encoder, add_evaluation, found

LOOK = ("#0072B2", "o")


def test_tables_are_those_of_the_files(pack, tmp_path):
    one = found(add_evaluation(tmp_path / "one", pack, thresholds={"Disc": {"value": 0.5}}))
    section = evaluation_section([one], [], {}, {"one": LOOK})
    scores = json.loads((tmp_path / "one" / "scores.json").read_text())
    (table,) = section["tables"]
    assert table["scores"] == scores and table["overlap"] == "0 patients shared" and table["note"] is None
    assert [(row["name"], row["total"]) for row in table["rows"]] == [
        ("Disc", False), ("Bar", False), ("macro of 2", True), ("micro", True),
    ]  # fmt: skip
    assert table["rows"][2]["of"] == 2
    for row in table["rows"]:
        entry = scores["findings"].get(row["name"], scores["micro" if row["name"] == "micro" else "macro"])
        for name in (*SHOWN, *MORE):
            assert row[name] == with_interval(entry[name]) | {"mark": ""}
    assert table["rows"][1]["f1"]["text"] == "–" and table["thresholds"]
    assert any(text.startswith("Bar: ") and "F1" in text for text in table["remarks"])
    assert len(section["forest"]) == 1


def test_many_evaluations_are_drawn_in_parts(pack, tmp_path):
    all_of_them = [found(add_evaluation(tmp_path / f"e{i}", pack, seed=i)) for i in range(MOST + 1)]
    section = evaluation_section(all_of_them, all_of_them[:3], {}, {one.name: LOOK for one in all_of_them})
    assert len(section["tables"]) == MOST + 1 and len(section["forest"]) == 2
    assert [table["name"] for table in section["brief"]] == ["e0", "e1", "e2"]


def test_figures_that_training_has_met_are_marked_wherever_they_stand_beside_others(pack, tmp_path):
    ones = [found(add_evaluation(tmp_path / name, pack)) for name in ("clean", "met", "unknown")]
    for one, patients in zip(ones, (0, 2, "unknown"), strict=True):
        scores = json.loads((one.path / "scores.json").read_text())
        scores["overlap"] |= {"patients": patients}
        (one.path / "scores.json").write_text(json.dumps(scores))
        write_card(one.path, "evaluation", config={}, content=one.card.content, files=list(one.card.files))
    ones = [found(one.path) for one in ones]
    section = evaluation_section(ones, [], {}, {one.name: LOOK for one in ones})
    assert [table["shown"] for table in section["tables"]] == ["clean", "met (met in training)", "unknown"]
    assert "met (met in training)" in section["forest"][0]


def with_macro(name, findings, absent=()):
    scores = {"macro": {"auroc": {"findings": list(findings)}}, "not_learnt": dict.fromkeys(absent, "all negative")}
    return {"name": name, "scores": scores}


def test_macros_over_different_findings_are_told_apart():
    same = [with_macro("a", "XY"), with_macro("b", "YX")]
    assert unlike_macros(same) == []
    other = [*same, with_macro("c", "X", absent="Y"), with_macro("d", "X", absent="Y"), with_macro("e", "Y")]
    assert unlike_macros(other) == ["c, d: without Y (not learnt: all negative)", "e: without X"]


def test_a_mean_that_many_replicates_lack_a_finding_of_is_marked(pack, tmp_path):
    folder = add_evaluation(tmp_path / "one", pack)
    card = read_card(folder)
    scores = json.loads((folder / "scores.json").read_text())
    scores["macro"]["auroc"]["incomplete"] = 6  # of 50
    scores["macro"]["ap"]["incomplete"] = 5
    (folder / "scores.json").write_text(json.dumps(scores))
    write_card(folder, "evaluation", config={}, content=card.content, files=list(card.files))
    (table,) = evaluation_section([found(folder)], [], {}, {"one": LOOK})["tables"]
    assert table["rows"][2]["auroc"]["mark"] == "*" and table["rows"][2]["ap"]["mark"] == ""
    assert any(text.startswith("* In 6 of 50 replicates") for text in table["remarks"])


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("random", "; began with random weights"), ("imagenet", "; began with ImageNet weights"),
        ("artifact", "; began with simclr weights (chest)"), ("weights 0123", "; began with a file of weights"),
        (None, " patients"),
    ],
)  # fmt: skip
def test_the_overview_tells_starting_weights_apart(pack, tmp_path, start, words):
    encoder = add_encoder(tmp_path / "chest", pack, method="simclr")
    (tmp_path / "tuned").mkdir()
    summary = {"label_fraction": 0.1, "train_images": 9, "train_patients": 5}
    write_card(
        tmp_path / "tuned", "classifier", config={"start": start} if start else {},
        parents=[parent("encoder", encoder)] if start == "artifact" else [],
        content={"protocol": "finetune", "summary": summary},
    )  # fmt: skip
    one = found(add_evaluation(tmp_path / "one", pack, parents=[parent("classifier", tmp_path / "tuned")]))
    made, tuned = (Found(path.name, path, read_card(path), card_hash(path)) for path in (encoder, tmp_path / "tuned"))
    for encoders in ([made], []):
        (table,) = evaluation_section([one], [], {tuned.sha: tuned}, {"one": LOOK}, encoders=encoders)["tables"]
        absent = start == "artifact" and not encoders
        assert table["trained"].endswith("an Encoder that is not on this page" if absent else words)
        assert table["trained"].startswith("fine-tuning of all weights, 10 % of labels: 9 images of 5 patients")
