"""`kontrast phantom`: claims, resumes, refuses."""

import pytest

import kontrast
from kontrast.artifacts.card import read_card
from kontrast.data.phantom import write
from kontrast.errors import OutputError, UsageError


def _bytes(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_writes_a_cohort_and_knows_when_it_is_done(tmp_path, capsys):
    outcome = kontrast.phantom(tmp_path / "a", patients=4, size=16, seed=3)
    assert outcome.status == "done"
    assert outcome.summary["patients"] == 4
    assert read_card(outcome, "phantom").content == outcome.summary
    again = kontrast.phantom(tmp_path / "a", patients=4, size=16, seed=3)
    assert again.status == "already done"
    assert again.summary == outcome.summary
    kontrast.phantom(str(tmp_path / "b"), patients=4, size=16, seed=3)
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")


def test_a_larger_cohort_holds_the_same_patients(tmp_path):
    kontrast.phantom(tmp_path / "a", patients=3, size=16)
    kontrast.phantom(tmp_path / "b", patients=5, size=16)
    small, large = _bytes(tmp_path / "a"), _bytes(tmp_path / "b")
    pictures = [name for name in small if name.endswith((".jpg", ".png"))]
    assert pictures
    assert all(small[name] == large[name] for name in pictures)


def test_interrupted_it_resumes(tmp_path, monkeypatch):
    kontrast.phantom(tmp_path / "whole", patients=4, size=16)
    real, calls = write.write_patient, []

    def interrupted(*args, **keywords):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **keywords)

    monkeypatch.setattr(write, "write_patient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kontrast.phantom(tmp_path / "cut", patients=4, size=16)
    assert not (tmp_path / "cut" / "card.json").exists()
    kontrast.phantom(tmp_path / "cut", patients=4, size=16)
    assert _bytes(tmp_path / "cut") == _bytes(tmp_path / "whole")


def test_other_settings_and_foreign_folders_are_refused(tmp_path):
    kontrast.phantom(tmp_path / "a", patients=2, size=16)
    with pytest.raises(OutputError, match="size was 16, is 32"):
        kontrast.phantom(tmp_path / "a", patients=2, size=32)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not touch")
    with pytest.raises(OutputError, match="not empty"):
        kontrast.phantom(tmp_path / "mine", patients=2)


def test_dry_run_writes_nothing(tmp_path):
    outcome = kontrast.phantom(tmp_path / "a", patients=10, dry_run=True)
    assert outcome.status == "planned"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [({"patients": 1}, "--patients 1"), ({"size": 8}, "--size 8"), ({"seed": -1}, "--seed -1"),
     ({"format": "tiff"}, "format")],
)  # fmt: skip
def test_bad_values_are_named_as_typed(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        kontrast.phantom(tmp_path / "a", **options)


@pytest.mark.parametrize(("image_format", "suffix"), [("png", ".png"), ("dicom", ".dcm")])
def test_formats(tmp_path, image_format, suffix):
    kontrast.phantom(tmp_path / "a", patients=2, size=16, format=image_format)
    root = tmp_path / "a" / "CheXpert-v1.0-small"
    assert (root / "train" / "patient00001" / "study1" / f"view1_frontal{suffix}").is_file()
    assert f"view1_frontal{suffix}" in (root / "train.csv").read_text()
