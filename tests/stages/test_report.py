"""`kontrast report` on what the other commands really write."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import cv2
import numpy as np
import pandas as pd
import pytest

import kontrast
from kontrast.artifacts.wording import decimal
from kontrast.errors import ArtifactError, OutputError, UsageError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Tables(HTMLParser):
    """Rows of cells of each table, by the heading above it."""

    def __init__(self, text):
        super().__init__()
        self.tables, self._heading, self._cell, self._in = {}, "", None, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag in ("h2", "h3"):
            self._in, self._heading = tag, ""
        elif tag == "table":
            self.tables.setdefault(self._heading, []).append([])
        elif tag == "tr":
            self.tables[self._heading][-1].append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag):
        if tag in ("h2", "h3"):
            self._in = ""
        elif tag in ("td", "th"):
            self.tables[self._heading][-1][-1].append("|".join(self._cell))
            self._cell = None

    def handle_data(self, data):
        if self._in:
            self._heading += data
        elif self._cell is not None:
            self._cell.append(data)


def make_source(folder, people=24):
    """Two pictures a person, by name, with two findings that can be seen."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(2 * people):
        name = f"DOE^JOHN{i // 2:02d}"
        image = rng.integers(60, 120, (40, 30)).astype(np.uint8)
        bright, low = i // 2 % 2, i // 4 % 2
        seen = bright if i // 2 % 5 else 1 - bright  # not always what it seems: scores that differ from each other
        image[:12, :12] += np.uint8(120 * seen)
        image[-8:] += np.uint8(120 * low)
        path = folder / name / f"scan{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
        split = ("train", "train", "val", "test")[i // 2 % 8 // 2]
        rows.append(
            {
                "path": f"{name}/scan{i}.png", "patient_id": name, "split": split, "sex": "FM"[i // 2 % 2],
                "age": 40 + i % 30, "Edema": bright, "Fracture <b>": low,
            }
        )  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hidden place")
    pack = kontrast.prepare(make_source(folder / "src"), out=folder / "chest", size=32, workers=1)
    classifier = kontrast.probe("random", pack, out=folder / "classifier", encoder="resnet18")
    kontrast.evaluate(classifier, pack, out=folder / "scores", replicates=50)
    kontrast.explain(classifier, pack, out=folder / "maps", images=2, replicates=20)
    kontrast.audit(pack, out=folder / "audit", classifier=classifier, replicates=20)
    return folder


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    names = ("chest", "classifier", "scores", "maps", "audit")
    outcome = kontrast.report(*(made / name for name in names), out=out, title="Two findings")
    assert outcome.status == "done" and outcome.summary["bytes"] == out.stat().st_size
    assert outcome.summary["artifacts"] == dict.fromkeys(
        ["evaluation", "pack", "classifier", "explanation", "audit"], 1
    )
    return out.read_text(encoding="utf-8")


def test_every_number_is_that_of_scores_json(made, page):
    scores = json.loads((made / "scores" / "scores.json").read_text())
    header, *rows = Tables(page).tables["scores"][0]
    keys = ["auroc", "floor", "ap", "f1", "kappa", "sensitivity", "specificity"]
    words = ["AUROC", "metadata alone", "average precision", "F1", "kappa", "sensitivity", "specificity"]
    assert header[4:-1] == words
    floors = scores["floor"]["findings"] | {"macro of 1": scores["floor"]["macro"]}
    assert [row[0] for row in rows] == ["Edema", "Fracture <b>", "macro of 1", "micro"]
    for row in rows:
        entry = scores["micro"] if row[0] == "micro" else scores["findings"].get(row[0], scores["macro"])
        if row[0] in scores["findings"]:
            assert row[1:4] == [str(entry["n"]), str(entry["positives"]), decimal(entry["prevalence"])]
            assert row[-1] == decimal(entry["threshold"])
        for column, key in enumerate(keys, start=4):
            if key == "floor" and row[0] not in floors:
                assert row[column] == "–"
                continue
            shown, one = row[column], floors[row[0]] if key == "floor" else entry[key]
            interval = "" if one["low"] is None else f"|[{decimal(one['low'])}, {decimal(one['high'])}]"
            interval = "|[–]" if one["low"] is not None and one["low"] == one["high"] else interval
            assert shown == decimal(one["value"]) + interval, (row[0], header[column])
    values = [scores["findings"]["Edema"][key]["value"] for key in keys if key != "floor"]
    assert None not in values and len(set(values[:4])) == 4, "the columns could be mixed up unseen"


def test_maps_and_audit_are_what_was_written(made, page):
    tables = Tables(page).tables
    found = json.loads((made / "maps" / "card.json").read_text())["content"]["findings"]
    assert "Where it looks" not in tables and all(one["n"] == 0 for one in found.values())
    assert "No true place is known of any of these findings" in page
    assert page.count("beside its heat map") == sum(len(one["pictures"]) for one in found.values()) == 4
    audit = json.loads((made / "audit" / "audit.json").read_text())
    shared = {row[0]: row[1:] for row in tables["What splits share"][0][1:]}
    assert shared == {
        f"chest: {' / '.join(row['splits'])}": [
            str(row[unit]) for unit in ("patients", "studies", "images", "near_copies")
        ]
        for row in audit["packs"]["chest"]["between_splits"]
    }
    floors = tables["What metadata alone would score on test"][0][1:]
    values = [one["scores"]["macro"]["auroc"]["value"] for one in audit["metadata"]["chest"].values()]
    assert [row[3].split("|")[0] for row in floors] == [decimal(value) for value in values]
    scored = [one["scores"]["macro"]["auroc"]["findings"] for one in audit["metadata"]["chest"].values()]
    assert [row[2] for row in floors] == [str(len(names)) for names in scored]


def test_before_and_after_preparation_are_shown(page):
    assert "before preparation, and below them the same after it" in page


def test_no_patient_and_no_place_is_on_the_page(made, page):
    page = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)  # pictures, in which any three letters may come up
    table = pd.read_csv(made / "chest" / "table.csv", dtype=str)
    for secret in (
        "DOE",
        "JOHN",
        "hidden place",
        str(made),
        *table["image_id"],
        *table["patient_id"],
        *table["sha256"],
    ):
        assert secret not in page


def test_again_it_is_done_and_another_page_is_not_overwritten(made, tmp_path):
    out = tmp_path / "new folder" / "report.html"
    assert kontrast.report(made / "scores", out=out).status == "done"
    before = out.read_bytes()
    assert kontrast.report(made / "scores", out=out).status == "already done"
    with pytest.raises(OutputError, match="exists with another content"):
        kontrast.report(made / "scores", made / "chest", out=out)
    assert out.read_bytes() == before
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(OutputError, match="exists"):
        kontrast.report(made / "scores", out=tmp_path / "folder.html")


def test_cards_are_written_beside_and_what_was_filled_in_is_kept(made, tmp_path):
    names = ("chest", "classifier", "scores", "maps", "audit")
    options = {"out": tmp_path / "r.html", "cards": tmp_path / "cards"}
    assert kontrast.report(*(made / name for name in names), **options).status == "done"
    files = sorted(path.name for path in (tmp_path / "cards").iterdir())
    assert files == ["claim-2024.md", "model-card.json", "model-card.md", "tripod-ai.md"]
    assert kontrast.report(*(made / name for name in names), **options).status == "already done"
    checklist = tmp_path / "cards" / "claim-2024.md"
    checklist.write_text(checklist.read_text().replace("*(to be filled in)*", "Nobody paid for it.", 1))
    (tmp_path / "cards" / "model-card.md").unlink()
    with pytest.raises(OutputError, match=r"--cards .*claim-2024.md exists"):
        kontrast.report(*(made / name for name in names), **options)
    assert "Nobody paid for it." in checklist.read_text()
    assert not (tmp_path / "cards" / "model-card.md").exists()  # nothing is written where anything is refused
    card = json.loads((tmp_path / "cards" / "model-card.json").read_text())
    scores = json.loads((made / "scores" / "scores.json").read_text())
    assert decimal(scores["findings"]["Edema"]["auroc"]["value"]) in card["Model"]["Model performance"]["Comments"]
    assert "DOE" not in "".join(path.read_text() for path in (tmp_path / "cards").iterdir())
    with pytest.raises(UsageError, match="--classifier says whom"):
        kontrast.report(made / "scores", out=tmp_path / "s.html", classifier="x")
    with pytest.raises(UsageError, match="there is none here"):
        kontrast.report(made / "scores", out=tmp_path / "s.html", cards=tmp_path / "c")
    assert not (tmp_path / "s.html").exists()


def test_a_plan_writes_nothing(made, tmp_path):
    outcome = kontrast.report(made / "scores", made / "chest", out=tmp_path / "r.html", dry_run=True)
    assert outcome.status == "planned" and outcome.summary["artifacts"] == {"evaluation": 1, "pack": 1}
    assert not list(tmp_path.iterdir())


def test_mistakes_in_words(made, tmp_path):
    with pytest.raises(UsageError, match="Nothing to report on"):
        kontrast.report(out=tmp_path / "r.html")
    with pytest.raises(UsageError, match="should be a page"):
        kontrast.report(made / "scores", out=tmp_path / "r.pdf")
    with pytest.raises(UsageError, match="is no artifact"):
        kontrast.report(tmp_path, out=tmp_path / "r.html")
    shutil.copytree(made / "scores", tmp_path / "scores")
    path = tmp_path / "scores" / "scores.json"
    path.write_text(path.read_text().replace("0.", "0.9", 1))
    with pytest.raises(ArtifactError, match=r"scores\.json"):
        kontrast.report(tmp_path / "scores", out=tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_phantoms_are_not_called_patients(made, tmp_path):
    kontrast.phantom(tmp_path / "drawn", patients=3, size=32)
    for source in (tmp_path / "drawn", tmp_path / "drawn" / "CheXpert-v1.0-small"):
        pack = kontrast.prepare(source, out=tmp_path / f"pack of {source.name}", size=16, workers=1)
        page = kontrast.report(pack, out=tmp_path / f"{source.name}.html").out.read_text()
        assert "The pictures are generated" in page and "of patients: keep" not in page
    (made / "src" / "card.json").write_text("somebody else's")
    pack = kontrast.prepare(made / "src", out=tmp_path / "real", size=16, workers=1)
    assert "of patients: keep" in kontrast.report(pack, out=tmp_path / "real.html").out.read_text()


QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def browse(folder, *options):
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={folder / 'profile'}", *options, (folder / "r.html").as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=240)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to look at the page with")
@pytest.mark.parametrize(("width", "height", "margin"), [(1200, 6000, 40), (390, 9000, 12)])
def test_a_browser_shows_it_on_a_laptop_and_on_a_phone(tmp_path, page, width, height, margin):
    (tmp_path / "r.html").write_text(page, encoding="utf-8")
    browse(tmp_path, f"--screenshot={tmp_path / 'r.png'}", f"--window-size={width},{height}")
    picture = cv2.imread(str(tmp_path / "r.png"))
    assert picture.shape == (height, width, 3)
    for part in np.array_split(picture, 4):  # words, figures and films all the way down
        assert part.std() > 10
    margins = np.concatenate([picture[:, :margin], picture[:, -margin:]], axis=1)
    assert (margins == 255).all(), "something hangs over the page's edge"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to print the page with")
def test_it_prints_on_a4_with_nothing_cut_off(tmp_path, page):
    (tmp_path / "r.html").write_text(page, encoding="utf-8")
    browse(tmp_path, f"--print-to-pdf={tmp_path / 'r.pdf'}", "--no-pdf-header-footer")
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", (tmp_path / "r.pdf").read_bytes())
    assert {tuple(round(float(v)) for v in box) for box in boxes} <= {(595, 842), (596, 842), (595, 841)}
    assert 1 <= len(boxes) < 16
    if shutil.which("pdftoppm") is None:
        pytest.skip("no pdftoppm on this machine to look at the printed pages with")
    subprocess.run(["pdftoppm", "-r", "50", "-png", tmp_path / "r.pdf", tmp_path / "p"], check=True, timeout=120)
    sheets = [cv2.imread(str(path)) for path in sorted(tmp_path.glob("p-*.png"))]
    assert len(sheets) == len(boxes)
    edge = round(10 / 25.4 * 50)  # of the 13 mm that the page leaves at its sides
    for sheet in sheets:
        assert (sheet[:, :edge] == 255).all() and (sheet[:, -edge:] == 255).all(), "something is cut off at the side"
