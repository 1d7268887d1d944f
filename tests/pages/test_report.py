"""The page: whole, safe to open, readable without its figures, and the same each time."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from helpers import make_pack
from kontrast.artifacts.card import card_hash, parent, read_card, write_card
from kontrast.artifacts.pack import Pack
from kontrast.errors import ArtifactError, UsageError
from kontrast.pages import report
from pages.conftest import add_encoder, add_evaluation, add_study

CANARY = "<script>alert('x')</script>"
CELLS = [(arm, "probe", 0.1, seed, 0.6 + seed / 10) for arm in ("random", "moco") for seed in (0, 1)]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, the words, the headings; raises where elements are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One artifact of each kind that has a section, with a canary for a name wherever a name may be chosen."""
    folder = tmp_path_factory.mktemp("a secret place") / "john_doe"
    pack = make_pack(folder / "chest", n=60, size=16, findings=(CANARY, "Bar"))
    encoder = add_encoder(folder / "encoders" / "moco", pack)
    add_encoder(folder / "encoders" / "swav", pack, CANARY)
    (folder / "c").mkdir()
    content = {
        "protocol": "probe",
        "summary": {"label_fraction": 0.5, "train_images": 1111, "train_patients": 222, "val_images": 3},
    }
    write_card(
        folder / "c", "classifier", config={"start": "artifact"}, parents=[parent("encoder", encoder)], content=content
    )
    add_evaluation(
        folder / "scores" / "half", pack, parents=[parent("classifier", folder / "c")], note="flatters " + CANARY
    )
    add_evaluation(folder / "scores" / "other", pack, seed=1)
    add_study(folder / "study", CELLS, arms=("random", "moco", CANARY))
    found = {
        "hit": {"value": 0.5, "low": 0.4, "high": 0.6},
        "iou": {"value": None, "low": None, "high": None, "reason": CANARY},
    }
    content = {
        "method": CANARY, "encoder": "resnet18", "map": [4, 4], "split": "test", "threshold": 0.5, "order": "drawn",
        "overlap": "none", "findings": {CANARY: {"n": 3, "pictures": [], **found}},
    }  # fmt: skip
    (folder / "explanation").mkdir()
    write_card(folder / "explanation", "explanation", config={}, content=content)
    return folder


@pytest.fixture(scope="module")
def page(world):
    return report.render(report.find_artifacts([world]), "A title " + CANARY)


def test_every_section_is_there_and_every_link_leads_to_one(page):
    parsed = Page(page)
    ids = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"] for a in parsed.all("a")} == {
        f"#{i}" for i in ("study", "scores", "data", "pretraining", "where", "limits", "provenance")
    }
    assert {"study", "scores", "data", "pretraining", "where", "limits", "provenance"} <= set(ids)


def test_a_name_is_never_more_than_words(page):
    parsed = Page(page)
    assert not parsed.all("script") and "<script" not in page
    assert CANARY in "".join(parsed.words)
    assert not any(name.startswith("on") for _, attrs in parsed.elements for name in attrs)
    assert not any(tag in ("iframe", "object", "embed", "form", "base", "link") for tag, _ in parsed.elements)


def test_the_page_asks_nobody_for_anything(page):
    parsed = Page(page)
    (policy,) = (m["content"] for m in parsed.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script" not in policy and "*" not in policy
    assert all(img["src"].startswith("data:image/") for img in parsed.all("img"))
    assert "http:" not in page and "https:" not in page and "//" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"url\((?!#f)|@import", page)


def test_nobody_and_no_place_is_named(page, world):
    data = Pack.open(world / "chest")
    for secret in (
        "secret",
        "john_doe",
        str(world),
        "of images/",
        *data.table["source"],
        *data.table["patient_id"],
        *data.table["image_id"],
    ):
        assert secret not in page, secret
    assert "…/of images" in page and "…/before" in page


def test_headings_come_in_order_and_pictures_have_words(page):
    parsed = Page(page)
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(len(img["alt"]) > 8 for img in parsed.all("img")) and parsed.all("img")
    assert all(svg["role"] == "img" and len(svg["aria-label"]) > 10 for svg in parsed.all("svg")) and parsed.all("svg")
    assert parsed.all("html") == [{"lang": "en"}]
    assert all(th["scope"] in ("col", "row") for th in parsed.all("th"))


def test_what_stands_behind_a_score_is_said(page):
    words = " ".join("".join(Page(page).words).split())
    assert "linear probe on frozen features, 50 % of labels: 1,111 images of 222 patients" in words
    assert "half: flatters" in words and "0 patients shared" in words
    assert "Left out, because their weights were not at hand: imagenet." in words


def test_the_same_artifacts_give_the_same_page(page, world):
    assert report.render(report.find_artifacts([world]), "A title " + CANARY) == page


def test_undefined_is_a_dash_with_its_reason(tmp_path):
    pack = make_pack(tmp_path / "p", n=12, size=16, unclear=0, splits=(0.6, 0.3))  # one test patient: one class
    add_evaluation(tmp_path / "e", pack)
    parsed = Page(report.render(report.find_artifacts([tmp_path / "e"]), "t"))
    words = " ".join(" ".join(parsed.words).split())
    assert "–" in words and re.search(r"no (positive|negative) among \d+ labelled images", words)
    assert not re.search(r"\bnan\b|\bNone\b|\bnull\b", words, flags=re.IGNORECASE)


def test_artifacts_are_found_once_and_named_apart(world):
    found = report.find_artifacts([world, world / "chest", world / "scores"])
    assert len({one.path for one in found}) == len(found) == 8
    named = {(one.card.kind, one.name) for one in found}
    assert len(named) == 8 and {("encoder", "moco"), ("evaluation", "half"), ("pack", "chest")} <= named
    assert [one.card.kind for one in found][:2] == ["study", "evaluation"]
    assert all(one.sha == card_hash(one.path) for one in found)
    paths = [world / "a" / "x", world / "b" / "x", world / "y"]
    assert report._names(paths) == ["a/x", "b/x", "y"]


def test_arms_keep_their_colour_from_encoder_to_scores(world):
    found = report.find_artifacts([world])
    of = {kind: [one for one in found if one.card.kind == kind] for kind in report.KINDS}
    arms = report._arms(of)
    by_name = {(one.card.kind, one.name): arms.get(one.sha) for one in found}
    assert by_name["encoder", "moco"] == by_name["classifier", "c"] == by_name["evaluation", "half"] == "moco"
    assert by_name["evaluation", "other"] == "other"


def test_a_study_hides_its_evaluations_but_no_others(world, tmp_path):
    pack = world / "chest"
    add_study(tmp_path / "s", CELLS)
    for i in range(report.MANY + 1):
        add_evaluation(tmp_path / "s" / "evaluations" / str(i), pack, seed=i)
    add_evaluation(tmp_path / "alone", pack, seed=99)
    found = report.find_artifacts([tmp_path])
    shown, brief = report._shown_evaluations(
        [one for one in found if one.card.kind == "evaluation"], [one for one in found if one.card.kind == "study"]
    )
    assert [one.name for one in shown] == ["alone"] and {one.name for one in brief} == set("012345678")
    parsed = Page(report.render(found, "t"))
    assert f"Each of the study's {report.MANY + 1} evaluations" in "".join(parsed.words)
    rows = [i for i, word in enumerate(parsed.words) if word.strip() in set("012345678") and parsed.words[i + 1] == "–"]
    assert len(rows) >= len(brief)  # a line each


def add_demo(folder, **more):
    row = {"fraction": 0.1, "value": 0.1, "low": -0.1, "high": 0.3, "p": 0.5, "first": 0.7, "second": 0.6}
    content = {"arm": "moco", "baseline": "random", "findings": ["A"], "patients": 7, "differences": [row]}
    folder.mkdir(parents=True)
    write_card(folder, "demo", config={}, content=content | more)


def test_the_page_says_first_what_to_conclude(tmp_path):
    add_demo(tmp_path / "demo")
    parsed = Page(report.render(report.find_artifacts([tmp_path]), "t"))
    words = "".join(parsed.words)
    assert "What to conclude" in words and "do not tell which of the two is better" in words
    assert {"href": "#conclusion"} in parsed.all("a")
    assert "pictures" not in words  # there are none


def generated_pack(folder, **options):
    path = make_pack(folder, n=12, size=16, **options)
    card = read_card(path)
    write_card(path, "pack", config=card.config, content=card.content | {"generated": True}, files=list(card.files))
    return path


def said_of_pictures(*folders):
    text = " ".join("".join(Page(report.render(report.find_artifacts(list(folders)), "t")).words).split())
    return "The pictures are generated" in text, "The pictures are of patients" in text


def test_only_what_is_generated_throughout_is_not_called_patients(tmp_path):
    drawn, real = generated_pack(tmp_path / "drawn"), make_pack(tmp_path / "real", n=12, size=16)
    encoder, other = add_encoder(tmp_path / "e", drawn), add_encoder(tmp_path / "f", real)
    assert said_of_pictures(drawn, encoder) == (True, False)
    assert said_of_pictures(real) == said_of_pictures(drawn, real) == (False, True)
    assert said_of_pictures(drawn, other) == (False, True)  # its views are of the other Pack
    assert said_of_pictures(encoder) == (False, True)  # of a Pack that is not here to say so


def test_a_pack_that_is_missed_is_named(world, tmp_path):
    folder = add_study(tmp_path / "s", CELLS)
    card = read_card(folder)
    used = {"inputs": [{"role": "pack", "kind": "pack", "sha256": card_hash(world / "chest")}]}
    write_card(folder, "study", config=card.config, content=card.content | used, files=list(card.files))
    hint = "The Pack of s is not on this page"
    assert hint in report.render(report.find_artifacts([folder]), "t")
    assert hint not in report.render(report.find_artifacts([folder, world / "chest"]), "t")


def explanation(folder, **findings):
    score = {"value": 0.5, "low": None, "high": None}
    each = dict.fromkeys(("hit", "centre_hit", "iou", "centre_iou"), score) | {"pictures": []}
    about = dict.fromkeys(("method", "encoder", "split", "threshold", "order", "overlap"), "x") | {"map": [2, 2]}
    folder.mkdir()
    content = about | {"findings": {name: each | {"n": n} for name, n in findings.items()}}
    write_card(folder, "explanation", config={}, content=content)
    return "".join(Page(report.render(report.find_artifacts([folder]), "t")).words)


def test_findings_without_a_known_place_take_one_line(tmp_path):
    some = explanation(tmp_path / "some", Edema=3, Fracture=0, Pneumonia=0)
    assert "No true place is known of Fracture, Pneumonia." in some and "points at it" in some
    assert "So few places cannot point" in some
    none = explanation(tmp_path / "none", Fracture=0)
    assert "No true place is known of any of these findings" in none and "points at it" not in none


def test_a_study_says_what_its_means_are_of(tmp_path):
    folder = add_study(tmp_path / "s", CELLS, [("probe", 0.1, "moco", 0.1, 0.05, 0.15, 0.002)])
    card = read_card(folder)
    means = {"findings": ["A", "B"], "left_out": {"C": "not learnt in 1 of 4 trainings"}}
    write_card(folder, "study", config=card.config, content=card.content | {"means": means}, files=list(card.files))
    words = " ".join("".join(Page(report.render(report.find_artifacts([folder]), "t")).words).split())
    assert "over the 2 findings that all trainings learnt and could be scored on: A, B." in words
    assert "Not in them: C (not learnt in 1 of 4 trainings)." in words and "* In more than" not in words


def test_unknown_patients_are_a_warning(tmp_path):
    make_pack(tmp_path / "p", n=12, size=16, patients_known=False)
    page = report.render(report.find_artifacts([tmp_path]), "t")
    assert "names no patients" in page and "unknown, not none" in page


def test_nothing_and_unfinished_things_are_refused(tmp_path):
    with pytest.raises(UsageError, match="is no artifact and holds none"):
        report.find_artifacts([tmp_path])
    with pytest.raises(UsageError, match="is no artifact and holds none"):
        report.find_artifacts([tmp_path / "nowhere"])
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ArtifactError, match="unfinished"):
        report.find_artifacts([tmp_path])
