"""The tables of docs/reading-scores.md are those of the committed results."""

import json
from pathlib import Path

from kontrast.metrics.finding import SIMULATED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reading-scores.md").read_text(encoding="utf-8")


def results(name: str) -> list[dict]:
    return json.loads((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8"))["results"]


def test_coverage_of_intervals() -> None:
    for one in results("interval_coverage.json"):
        setting = f"{one['patients']:,} × {one['images_each']}{', mixed' if one['mixed'] else ''}"
        covered = " | ".join(f"{one[way]['coverage']:.3f}" for way in ("percentile", "bca", "delong", "delong_logit"))
        assert f"| {setting} | {one['positive_patients']} | {one['auroc']:.3f} | {covered} |" in PAGE


def test_calibration_on_other_cases() -> None:
    for one in results("calibration.json"):
        cells = [f"{one['none']['log_loss']:.3f}, {one['none']['ece']:.3f}"]
        for method, digits in (("temperature", 0), ("platt", 1)):
            found = one[method]
            cells.append(f"{found['log_loss']:.3f}, {found['ece']:.3f} ({100 * found['worse']:.{digits}f} %)")
        assert f"| {one['positives']} | {' | '.join(cells)} |" in PAGE


def test_means_over_rare_findings() -> None:
    for one in results("macro_coverage.json"):
        ways = [one[way] for way in ("defined", "complete", "held", "steady")]
        covered = " | ".join(f"{way['coverage']:.3f} ({way['width']:.3f})".replace("0.", ".") for way in ways)
        assert f" | {100 * one['incomplete']:.0f} % | {covered} |" in PAGE


def test_bca_covers_as_the_page_says() -> None:
    for one in results("interval_coverage.json"):
        fewest = min(one["positive_patients"], one["patients"] - one["positive_patients"])
        if fewest >= 60 or (fewest >= 30 and one["auroc"] <= 0.93):
            assert 0.93 <= one["bca"]["coverage"] <= 0.97


def test_no_coverage_is_told_of_fewer_patients_than_were_simulated() -> None:
    assert min(one["positive_patients"] for one in results("interval_coverage.json")) == SIMULATED
