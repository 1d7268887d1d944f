"""docs/lungs.md is held to the results that it shows."""

import json
from pathlib import Path

from kontrast.data.lungs import crop

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lungs.md").read_text(encoding="utf-8")
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "lungs.json").read_text())


def test_figures_are_the_measured_ones():
    real = RESULTS["hannover_320"]
    names = {"classical": "threshold and components", "network": "network |", "network with heart": "network, heart"}
    for name, label in names.items():
        (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| {label}"))
        assert [float(cell) for cell in line.split("|")[2:5]] == [
            round(real["dice"][name][key], 3) for key in ("mean", "median", "min")
        ]
    cut = real["crop"]
    for label, value in (
        ("lose more than 1 %", str(cut["above_1_percent"])),
        ("lose any", f"{len(cut['lost'])} ({100 * max(cut['lost']):.2f} %)"),
        ("cut out", str(59 - cut["fill_the_image"] - cut["not_found"])),
        ("stay whole: the lungs fill", str(cut["fill_the_image"])),
        ("stay whole: not found", str(cut["not_found"])),
    ):
        (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| {label}"))
        assert line.split("|")[2].strip() == value
    assert f"nothing found on {real['classical_finds_nothing']}" in PAGE
    assert f"{real['ms_per_image']['median']:.0f} ms of one core" in PAGE
    assert f"the Dice is {RESULTS['generated']['dice']['mean']:.3f}" in PAGE
    assert f"{100 * cut['area_of_the_drawn_box_with_margin']['mean']:.0f} % of them" in PAGE


def test_rules_are_the_code_s():
    assert (RESULTS["agreement"], RESULTS["margin"]) == (crop.AGREEMENT, crop.MARGIN)
    assert f"margin of {100 * crop.MARGIN:.0f} %" in PAGE and f"above {100 * crop.FULL:.0f} % of the image" in PAGE
