"""`--hash-paths`: no file name in a Pack, and everything that goes by names still works."""

import pandas as pd
import pytest

import kontrast
from kontrast.artifacts.pack import Pack
from kontrast.data.identity import load_key
from stages.sources import files, make_source

pytestmark = pytest.mark.usefixtures("key", "small_shards")


def renamed(tmp_path, split=None):
    """A source whose file names are canaries, with one file bad and one missing."""
    src = make_source(tmp_path / "src", n=12, split=split)
    table = pd.read_csv(src / "labels.csv", dtype=str, keep_default_na=False)
    for i, path in enumerate(table["path"]):
        table.loc[i, "path"] = path.replace("image", "CANARY-Mueller")
        (src / path).rename(src / table.loc[i, "path"])
    (src / table.loc[2, "path"]).write_bytes(b"")
    (src / table.loc[5, "path"]).unlink()
    table.to_csv(src / "labels.csv", index=False)
    return src, table


def test_no_name_is_written_and_hashes_stand_for_them(tmp_path, capfd):
    src, table = renamed(tmp_path, split=["train"] * 7 + ["test"] * 5)
    made = kontrast.prepare(src, out=tmp_path / "p", size=32, hash_paths=True, repair_splits=True)
    pack = Pack.open(made)
    for name, content in files(made).items():
        assert b"CANARY" not in content, name
    said = capfd.readouterr()
    assert "CANARY" not in said.out + said.err
    hashed = [load_key().hash(path) for path in table["path"]]
    assert list(pack.table["source"]) == list(pack.table["image_id"]) and set(pack.table["source"]) < set(hashed)
    rejects = pd.read_csv(made.out / "rejects.csv")
    assert set(rejects["file"]) == {hashed[2], hashed[5]}
    assert list(pd.read_csv(made.out / "moved.csv")["source"]) == [hashed[7]]
    open_ = Pack.open(kontrast.prepare(src, out=tmp_path / "q", size=32, repair_splits=True))
    pd.testing.assert_frame_equal(pack.table.drop(columns="source"), open_.table.drop(columns="source"))
    assert (pack.images(pack.rows()) == open_.images(open_.rows())).all()
    assert (tmp_path / "p" / "preview.png").read_bytes() == (tmp_path / "q" / "preview.png").read_bytes()
    assert (
        kontrast.prepare(src, out=tmp_path / "p", size=32, hash_paths=True, repair_splits=True).status == "already done"
    )


def test_such_a_pack_grows(tmp_path):
    src = make_source(tmp_path / "src", n=12)
    whole = pd.read_csv(src / "labels.csv", dtype=str, keep_default_na=False)
    whole.iloc[:8].to_csv(src / "labels.csv", index=False)
    first = Pack.open(kontrast.prepare(src, out=tmp_path / "p", size=32, hash_paths=True))
    whole.to_csv(src / "labels.csv", index=False)
    grown = Pack.open(kontrast.prepare(src, out=tmp_path / "p", size=32, hash_paths=True))
    assert len(first) == 8 and len(grown) == 12
    pd.testing.assert_frame_equal(grown.table.iloc[:8], first.table)
    assert set(grown.table["source"]) == {load_key().hash(path) for path in whole["path"]}
