import pytest

import kontrast


@pytest.mark.slow
def test_the_whole_flow_ends_with_a_page(tmp_path) -> None:
    made = kontrast.demo(out=tmp_path / "demo", patients=40)
    page = made.out.read_text(encoding="utf-8")
    assert made.out.name == "report.html"
    for heading in ("Scores", "Data", "Pretraining", "Where it looks", "Audit", "Provenance"):
        assert f">{heading}</h2>" in page
    assert kontrast.demo(out=tmp_path / "demo", patients=40).status in ("done", "already done")
