"""Model card and checklists: every number is the artifacts', every blank is one, and the JSON fits the schema."""

import base64
import json
import re

import jsonschema
import pytest

from helpers import make_pack
from kontrast.artifacts.card import card_hash, parent, read_card, write_card
from kontrast.artifacts.wording import decimal
from kontrast.errors import UsageError
from kontrast.pages.cards import atlas, cards, checklists
from kontrast.pages.cards.subject import subject
from kontrast.pages.report import find_artifacts
from pages.conftest import add_encoder, add_evaluation

TEXT = {"type": "string"}


def closed(properties, *required):
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def texts(*names):
    return dict.fromkeys(names, TEXT)


def several(items, least=0):
    return {"type": "array", "minItems": least, "uniqueItems": True, "items": items}


METRICS = [
    "area under the receiver operating characteristic curve", "average precision", "F1 score", "Cohen's kappa",
    "Matthews correlation coefficient", "balanced accuracy", "sensitivity", "specificity", "positive predictive value",
    "negative predictive value", "Brier score", "expected calibration error", "calibration slope",
    "calibration intercept", "calibration-in-the-large", "point inside mask/box/approximation",
    "mean intersection over union",
]  # fmt: skip
USE = several(TEXT | {"minLength": 4, "maxLength": 64})
PROPERTIES = texts(
    "Architecture", "Availability", "Clinical benefit", "Clinical workflow phase", "Decision threshold",
    "Degree of automation", "Indications for use", "Input", "Instructions for use", "Limitations", "Recommendation",
    "Reproducibility", "Sustainability",
) | {
    "Output": closed(texts("Description")),
    "Regulatory information": closed(texts("Authorization status", "File number", "Comment")),
    "Use": closed({"Intended": USE, "Out-of-scope": USE, "Excluded": USE}),
}  # fmt: skip
MODEL = {
    "Name": TEXT,
    "Link": TEXT,
    "Indexing": closed({"Content": several({"enum": ["AI", "CH", "CT"]}, 1), "Keywords": several(TEXT, 1)}),
    "Descriptors": closed(texts("Comments", "Contact", "Ethical review", "Funding", "Version")),
    "Model properties": closed(PROPERTIES),
    "Model performance": closed({"Metrics": several({"enum": METRICS}), "Comments": TEXT}),
}
# The parts of RSNA's ATLAS model schema, version 2025-11, that a card of ours can have: names and types as published at
# github.com/cekahn/ROADMAP (ATLAS.2025-11.json), put together anew; it allows no other names.
ADDRESS = "https://atlas.rsna.org/schemas/2025-11/model.json"
SCHEMA = closed({"$schema": {"const": ADDRESS}, "Model": closed(MODEL, "Name", "Link")}, "$schema", "Model")


def add_classifier(folder, pack, encoder, **config):
    folder.mkdir(parents=True)
    thresholds = {"Disc": {"value": 0.375, "rule": "f1"}, "Bar": {"value": None, "rule": "f1", "reason": "x"}}
    fits = {"Disc": {"slope": 2.0, "reason": None}, "Bar": {"slope": 1.0, "reason": "3 positive images: too few"}}
    content = {
        "encoder": {"name": "resnet18", "size": 32, "stem": "small", "mean": 0.5, "std": 0.2}, "feature_dim": 8,
        "findings": ["Disc", "Bar"], "thresholds": thresholds, "calibration": {"method": "platt", "findings": fits},
        "protocol": "finetune", "label_policy": {"uncertain": "ones", "blank": "ignore"},
        "summary": {"label_fraction": 0.1, "train_images": 1111, "train_patients": 222, "dropped": {"Rare": "too few"}},
    }  # fmt: skip
    parents = [parent("encoder", encoder), parent("pack", pack)]
    write_card(folder, "classifier", config={"lr": 0.0123, **config}, parents=parents, content=content)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cards")
    pack = make_pack(folder / "chest", n=60, size=16)
    encoder = add_encoder(folder / "moco", pack)
    mine = add_classifier(folder / "mine", pack, encoder)
    other = add_classifier(folder / "other", pack, encoder, seed=1)
    behind = [parent("classifier", mine), parent("pack", pack)]
    add_evaluation(folder / "scores", pack, parents=behind)
    add_evaluation(folder / "others", pack, seed=1, parents=[parent("classifier", other), parent("pack", pack)])
    score = {"value": 0.625, "low": 0.5, "high": 0.75}
    one = {"n": 9, "pictures": [], **dict.fromkeys(("hit", "iou", "centre_hit", "centre_iou"), score)}
    about = {"method": "Grad-CAM", "encoder": "resnet18", "map": [4, 4], "split": "test", "order": "x", "overlap": "x"}
    (folder / "maps").mkdir()
    content = about | {"findings": {"Disc": one | {"threshold": {"value": 0.35, "chosen": "on val"}}}}
    write_card(folder / "maps", "explanation", config={}, parents=behind, content=content)
    return folder


@pytest.fixture(scope="module")
def written(world):
    return cards(find_artifacts([world]))


def test_the_card_is_about_the_classifier_that_was_explained(world, written):
    assert written["model-card.md"].startswith("# Model card: mine")
    found = find_artifacts([world])
    about = subject(found, None)
    assert [one.name for one in about.evaluations] == ["scores"] and about.encoder.name == "moco"
    assert [one.name for one in about.packs] == ["chest"] and not about.generated
    assert subject(found, "other").explanations == ()
    with pytest.raises(UsageError, match="Did you mean 'mine'"):
        subject(found, "min")
    without = [one for one in found if one.card.kind != "explanation"]
    with pytest.raises(UsageError, match="there are 2 here") as caught:
        subject(without, None)
    assert "mine, other" in caught.value.fix
    with pytest.raises(UsageError, match="there is none here"):
        subject([one for one in found if one.card.kind == "pack"], None)


def test_every_number_is_the_artifacts(world, written):
    text = written["model-card.md"]
    scores = json.loads((world / "scores" / "scores.json").read_text())
    for name, entry in scores["findings"].items():
        auroc = entry["auroc"]
        line = f"{name}: AUROC {decimal(auroc['value'])} [{decimal(auroc['low'])}, {decimal(auroc['high'])}]"
        assert line in text and line in written["claim-2024.md"] and line in written["tripod-ai.md"]
    assert "1,111 images of 222 patients" in text and "10 % of the labels" in text and "lr = 0.0123" in text
    assert "Disc .375" in text and "Bar .375" not in text and "Not learnt: Rare" in text
    corrected = (
        "Probabilities of Disc are corrected by platt scaling fitted on validation; of the 2 findings 1 could not be."
    )
    assert corrected in text and corrected in written["claim-2024.md"]
    assert "Uncertain labels (-1) count as ones, blank ones as ignore" in text
    assert "1,234 images of 56 patients" in text  # of the encoder
    assert "Disc, 9 images with a known place: pointing game .62 (.50–.75)" in text.replace(".63", ".62")
    splits = read_card(world / "chest").content["splits"]
    assert f"internal testing: {splits['test']['images']} images of {splits['test']['patients']} patients." in text
    other = cards(find_artifacts([world]), "other")["model-card.md"]
    assert "others: split test" in other and "scores: split test" not in other


def test_nothing_is_claimed_that_was_not_tested(written):
    for name, text in written.items():
        said = re.sub(r"\*\*\d+[a-g]?\*\* .*|^#+ .*|initial testing", "", text, flags=re.MULTILINE)
        assert "validated" not in said and "cleared" not in said.lower(), name
    card = written["model-card.md"]
    assert re.search(r"### External testing\n\n\*\(to be filled in\)\*", card)
    assert re.search(r"### Intended use and users\n\n\*\(to be filled in\)\*", card)
    assert "Testing on another Pack" not in card and "It is no medical device" in card
    assert re.search(r"\*\*33\*\* testing on external data\n\n\*\(to be", written["claim-2024.md"])


@pytest.mark.parametrize(("name", "count"), [("CLAIM", 44), ("TRIPOD", 52)])
def test_checklists_have_every_item_once_and_say_how_many_are_blank(written, name, count):
    checklist = getattr(checklists, name)
    numbers = [item.number for section in checklist.sections.values() for item in section]
    assert len(numbers) == len(set(numbers)) == count
    plain = [int(re.match(r"\d+", number)[0]) for number in numbers]
    assert plain == sorted(plain) and set(plain) == set(range(1, 45 if name == "CLAIM" else 28))
    text = written["claim-2024.md" if name == "CLAIM" else "tripod-ai.md"]
    assert re.findall(r"^\*\*(\w+)\*\*", text, flags=re.MULTILINE) == numbers
    blanks = text.count(f"\n{checklists.BLANK}\n")
    assert f"{blanks} of {count} items are blank" in text and 10 < blanks < count - 10


def test_topics_are_ones_that_facts_can_know(world):
    from kontrast.pages.cards import model
    from kontrast.pages.cards.facts import facts
    from kontrast.pages.report import by_kind

    found = find_artifacts([world])
    known = facts(subject(found, None), by_kind(found))
    used = {t for c in (checklists.CLAIM, checklists.TRIPOD) for s in c.sections.values() for i in s for t in i.topics}
    used |= {t for headings in model.PARTS.values() for topics in headings.values() for t in topics}
    assert used - set(known) <= {"missing", "subgroups", "floors", "other", "explanation_checks", "calibration"}
    assert set(known) <= used


def test_the_json_fits_the_schema_of_atlas(world, written):
    card = json.loads(written["model-card.json"])
    jsonschema.validate(card, SCHEMA)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    model = card["Model"]
    assert model["Indexing"] == {"Content": ["AI"], "Keywords": ["Disc", "Bar"]}
    digest = model["Link"].removeprefix("ni:///sha-256;")
    assert base64.urlsafe_b64decode(digest + "=").hex() == card_hash(world / "mine")
    metrics = model["Model performance"]["Metrics"]
    assert metrics[0].startswith("area under") and "mean intersection over union" in metrics
    scores = json.loads((world / "scores" / "scores.json").read_text())
    assert ("F1 score" in metrics) == any(e["f1"]["value"] is not None for e in scores["findings"].values())
    assert decimal(scores["macro"]["auroc"]["value"]) in model["Model performance"]["Comments"]
    spoilt = json.loads(written["model-card.json"])
    spoilt["Model"]["Model properties"]["Validation"] = "external"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, SCHEMA)
    assert atlas._content(["Edema", "Pneumonia"]) == ["AI", "CH"]


def test_nobody_is_named(world, written):
    from kontrast.artifacts.pack import Pack

    table = Pack.open(world / "chest").table
    for text in written.values():
        assert not any(secret in text for secret in (str(world), *table["patient_id"], *table["image_id"]))


def test_a_generated_pack_is_said_first(world, tmp_path):
    pack = make_pack(tmp_path / "drawn", n=12, size=16)
    card = read_card(pack)
    write_card(pack, "pack", config=card.config, content=card.content | {"generated": True}, files=list(card.files))
    add_classifier(tmp_path / "c", pack, add_encoder(tmp_path / "e", pack))
    made = cards(find_artifacts([tmp_path]))
    assert "Every image behind it is drawn by a program" in made["model-card.md"][:600]
    assert made["model-card.json"].count("Every image behind this model is drawn by a program") == 1
    assert "No evaluation was among the files" in made["model-card.json"]


def test_a_card_of_knn_does_not_speak_of_a_linear_output(world, tmp_path):
    folder = add_classifier(tmp_path / "near", world / "chest", world / "moco")
    card = read_card(folder)
    content = card.content | {"protocol": "knn", "neighbours": {"k": 20, "images": 1111}}
    write_card(folder, "classifier", config=card.config, parents=card.parents, content=content)
    written = cards(find_artifacts([folder, world / "chest", world / "moco"]))
    assert "Nothing was chosen on the validation split but" in written["model-card.md"]
    for name in ("model-card.md", "model-card.json", "claim-2024.md"):
        assert "20 nearest of 1,111 training images" in written[name] and "linear" not in written[name], name
    assert "- knn, on" not in written["model-card.md"] and "L2 penalty" not in written["model-card.md"]


def test_a_card_does_not_say_that_validation_chose_where_it_could_not(world, written, tmp_path):
    assert "The epoch with the highest macro AUROC on the validation split was kept" in written["model-card.md"]
    folder = add_classifier(tmp_path / "blind", world / "chest", world / "moco")
    card = read_card(folder)
    summary = card.content["summary"] | {"val": {"macro_auroc": None}}
    content = card.content | {"summary": summary}
    write_card(folder, "classifier", config=card.config, parents=card.parents, content=content)
    text = cards(find_artifacts([folder, world / "chest", world / "moco"]))["model-card.md"]
    assert "Validation could choose nothing" in text and "The epoch with the highest" not in text
