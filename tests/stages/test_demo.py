import html
import json

import numpy as np
import pytest

import kontrast
from kontrast.artifacts.card import read_card
from kontrast.pages.conclusion import conclusion

HEADINGS = (
    "What to conclude", "Scores", "Data", "Pretraining", "Fine-tuning", "Where it looks", "Audit", "Limits",
    "Provenance",
)  # fmt: skip


@pytest.mark.slow
def test_the_whole_flow_ends_with_a_page(tmp_path) -> None:
    made = kontrast.demo(out=tmp_path / "demo", patients=40)
    page = made.out.read_text(encoding="utf-8")
    assert made.out.name == "report.html"
    for heading in HEADINGS:
        assert f">{heading}</h2>" in page
    assert "The pictures are generated: they are of no patient." in page and "pictures are of patients" not in page
    card = read_card(tmp_path / "demo/conclusion", "demo")
    for row in card.content["differences"]:
        for arm, value in (("moco", row["first"]), ("random", row["second"])):
            scores = json.loads((tmp_path / f"demo/scores/{arm}-{100 * row['fraction']:g}pc/scores.json").read_text())
            values = [scores["findings"][name]["auroc"]["value"] for name in card.content["findings"]]
            assert value == pytest.approx(np.mean(values))
        assert row["value"] == pytest.approx(row["first"] - row["second"])
    assert "How far labels go" in page
    assert (tmp_path / "demo/cards/model-card.md").read_text().startswith("# Model card: moco-finetuned")
    assert conclusion(card.content) in " ".join(html.unescape(page).split())
    assert kontrast.demo(out=tmp_path / "demo", patients=40).status in ("done", "already done")
