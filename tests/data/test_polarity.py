"""Polarity by content: on real radiographs, on their negatives, and through `prepare`."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import kontrast
from kontrast.artifacts.pack import Pack, damages
from kontrast.data.polarity import INVERTED_BELOW, likeness

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SETS = {"nih_256": 1, "hannover_320": 1, "kermany_224": 8, "mednist_64/CXR": 25}


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_real_radiographs_are_told_from_their_negatives():
    files = [
        file
        for name, step in SETS.items()
        for file in sorted(f for f in (SHARED / name).rglob("*") if f.suffix in (".png", ".jpeg", ".jpg"))[::step][:300]
        if "masks" not in str(file)
    ]
    images = [cv2.resize(cv2.imread(str(f), 0), (64, 64), interpolation=cv2.INTER_AREA) for f in files]
    found = likeness(np.stack(images))
    assert len(found) > 900
    assert (found < INVERTED_BELOW).mean() <= 0.003 and (found > -INVERTED_BELOW).mean() >= 0.985
    np.testing.assert_allclose(likeness(255 - np.stack(images)), -found, atol=0.02)


def test_generated_ones_and_what_is_no_image():
    rng = np.random.default_rng(0)
    assert np.abs(likeness(rng.integers(0, 256, (50, 64, 64), dtype=np.uint8))).max() < -INVERTED_BELOW
    assert list(likeness(np.full((2, 30, 30), 7, np.uint16))) == [0.0, 0.0]


def test_prepare_warns_of_inverted_images(tmp_path, capsys, monkeypatch):
    (tmp_path / "key").write_text("5a" * 32)
    monkeypatch.setenv("KONTRAST_KEY", str(tmp_path / "key"))
    kontrast.phantom(tmp_path / "src", patients=8, size=64, seed=3)
    kontrast.prepare(tmp_path / "src", out=tmp_path / "p", size=64, views="frontal")
    assert "seem inverted" not in capsys.readouterr().err
    files = sorted((tmp_path / "src").rglob("*frontal*.jpg"))[::2]
    for file in files:
        cv2.imwrite(str(file), 255 - cv2.imread(str(file), 0))
    turned = {file.relative_to(tmp_path / "src").as_posix() for file in files}
    pack = Pack.open(kontrast.prepare(tmp_path / "src", out=tmp_path / "q", size=64, views="frontal"))
    assert f"{len(turned)} of {len(pack)} images looked at seem inverted (bone dark)" in " ".join(
        capsys.readouterr().err.split()
    )
    listed = pd.read_csv(tmp_path / "q" / "polarity-doubts.csv")
    assert set(listed["source"]) == turned and (listed["likeness"] < INVERTED_BELOW).all()
    ids = dict(zip(pack.table["source"], pack.table["image_id"], strict=True))
    assert listed["image_id"].tolist() == [ids[source] for source in listed["source"]]
    assert not (tmp_path / "p" / "polarity-doubts.csv").exists() and damages(pack.path) == []
