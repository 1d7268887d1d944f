"""Sources behind an address, on fsspec's own memory and local file systems."""

import sys
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

import kontrast
from kontrast.data import remote
from kontrast.data.remote import address, copy, fetched, shown
from kontrast.errors import DataError, MissingExtra, OutputError, UsageError
from stages.sources import PATIENT, files, make_source


@pytest.fixture
def key(tmp_path, monkeypatch):
    (tmp_path / "key").write_text("5a" * 32)
    monkeypatch.setenv("KONTRAST_KEY", str(tmp_path / "key"))


@pytest.fixture
def bucket(tmp_path):
    """A source in fsspec's memory, and the same one in a folder."""
    src = make_source(tmp_path / "src", 12)
    (src / "a" / "Ünï çødé.png").write_bytes((src / "a" / "image000.png").read_bytes())
    memory = fsspec.filesystem("memory")
    memory.put(str(src), "/bucket/xrays", recursive=True)
    yield src
    memory.rm("/bucket", recursive=True)


def test_addresses_are_told_from_paths(tmp_path, monkeypatch):
    assert address("s3://b/x") == address(Path("s3://b/x")) == "s3://b/x"
    assert address(Path("file:///data/x")) == "file:///data/x"
    assert [address(path) for path in ("/data/s3", Path("a:b"), "c:/x", "xrays", "../up")] == [None] * 5
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd:").mkdir()
    (tmp_path / "odd:" / "x").mkdir()
    assert address(Path("odd:/x")) is None  # a folder that is there


def test_messages_hold_no_password():
    assert shown("ftp://anna:secret@host/x@y") == "ftp://host/x@y"


def test_a_pack_from_an_address_is_the_pack_from_a_folder(bucket, tmp_path, key, capsys):
    here = kontrast.prepare(bucket, out=tmp_path / "here", size=32, workers=1)
    there = kontrast.prepare(Path("memory://bucket/xrays"), out=tmp_path / "there", size=32, workers=1)
    assert files(here.out) == files(there.out)
    assert not (tmp_path / ".there.source").exists() and "is copied to" in capsys.readouterr().out
    again = kontrast.prepare("memory://bucket/xrays", out=tmp_path / "there", size=32, workers=1)
    assert again.status == "already done"


def test_tables_too_may_lie_there(bucket, tmp_path, key):
    here = kontrast.prepare(bucket, labels=bucket / "labels.csv", out=tmp_path / "here", size=32, workers=1)
    there = kontrast.prepare(
        bucket, labels="memory://bucket/xrays/labels.csv", out=tmp_path / "there", size=32, workers=1
    )
    assert files(here.out) == files(there.out)


def test_only_what_is_new_is_fetched_and_what_is_gone_goes(bucket, tmp_path, monkeypatch):
    copied = fetched("memory://bucket/xrays", tmp_path / "copy")
    assert files(copied) == files(bucket)
    memory = fsspec.filesystem("memory")
    memory.rm("/bucket/xrays/a/image000.png")
    memory.pipe("/bucket/xrays/b/new.png", b"new")
    taken = []
    real = remote._fetch
    monkeypatch.setattr(remote, "_fetch", lambda *job: taken.append(job[1]) or real(*job))
    fetched("memory://bucket/xrays", copied)
    assert taken == ["/bucket/xrays/b/new.png"] and not (copied / "a" / "image000.png").exists()
    assert (copied / "b" / "new.png").read_bytes() == b"new"


def test_a_local_file_system_is_copied_alike_and_its_addresses_are_read_in_place(bucket, tmp_path):
    assert fetched(f"file://{bucket}", tmp_path / "copy") == bucket and not (tmp_path / "copy").exists()
    local = LocalFileSystem()
    listing = {name: {"name": str(bucket / name), "size": (bucket / name).stat().st_size} for name in files(bucket)}
    copy(local, listing, tmp_path / "copy", "there")
    assert files(tmp_path / "copy") == files(bucket)


def test_names_that_climb_out_and_hidden_ones_stay_there():
    assert [remote._fits(name) for name in ("a/b.png", "../x", "a/../../x", "/etc/x", ".key", "a/.b/c", "")] == [
        True, *[False] * 6
    ]  # fmt: skip


def test_a_file_that_fails_ends_the_run_and_the_others_are_kept(bucket, tmp_path, monkeypatch):
    memory = type(fsspec.filesystem("memory"))
    real = memory.get_file

    def get_file(self, name, to, **more):
        if name.endswith("image003.png"):
            raise PermissionError(f"{PATIENT} may not")
        if name.endswith("image004.png"):
            raise FileNotFoundError
        real(self, name, to, **more)

    monkeypatch.setattr(memory, "get_file", get_file)
    with pytest.raises(DataError, match=r"1 file of memory://bucket/xrays cannot be fetched \(PermissionError\)") as e:
        fetched("memory://bucket/xrays", tmp_path / "copy")
    assert PATIENT not in str(e.value) and len(files(tmp_path / "copy")) == len(files(bucket)) - 2
    assert not list((tmp_path / "copy").rglob("*.partial"))


def test_what_cannot_be_is_said(bucket, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="no known kind") as error:
        fetched("memry://bucket", tmp_path / "copy")
    assert "memory://" in error.value.fix
    with pytest.raises(DataError, match=r"holds no file|cannot be listed"):
        fetched("memory://bucket/nothing", tmp_path / "copy")
    with pytest.raises(DataError, match="cannot be read"):
        remote.fetched_table("memory://bucket/none.csv", tmp_path / "copy")
    with pytest.raises(UsageError, match="no folder here"):
        kontrast.prepare(bucket, out="memory://bucket/pack")
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(OutputError, match="needs 0 MiB here"):
        fetched("memory://bucket/xrays", tmp_path / "copy")


def test_without_s3fs_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingExtra) as error:
        fetched("s3://bucket/x", tmp_path / "copy")
    assert "kontrast[s3]" in error.value.fix


def test_a_scan_of_an_address_is_the_scan_of_a_folder_and_leaves_no_copy(bucket, tmp_path, monkeypatch, capsys):
    places = tmp_path / "temporary"
    places.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(places))
    here = kontrast.scan(bucket).summary
    there = kontrast.scan(Path("memory://bucket/xrays"), html=tmp_path / "scan.html").summary
    assert there.pop("command") == "kontrast prepare memory://bucket/xrays --out packs/xrays"
    assert here.pop("command") and there == here and not list(places.iterdir())
    assert "xrays" in (tmp_path / "scan.html").read_text() and str(places) not in (tmp_path / "scan.html").read_text()
    tables = kontrast.scan(bucket, labels="memory://u:secret@bucket/xrays/labels.csv", dry_run=True)
    assert tables.status == "planned" and "secret" not in capsys.readouterr().out and not list(places.iterdir())
    monkeypatch.setattr("kontrast.data.survey.look", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        kontrast.scan("memory://bucket/xrays")
    assert not list(places.iterdir())
