import hashlib
import hmac
import multiprocessing
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontrast.data.identity import Key, key_path, load_key
from kontrast.errors import OutputError, UsageError


@pytest.fixture
def default_file(tmp_path, monkeypatch):
    monkeypatch.delenv("KONTRAST_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".config" / "kontrast" / "patient.key"


def test_hash_is_hmac_sha256():
    # RFC 4231, test case 2
    key = Key(b"Jefe")
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert key.hash("what do ya want for nothing?", 64) == expected
    assert key.hash("what do ya want for nothing?") == expected[:16]


@given(st.text(), st.binary(min_size=32, max_size=32))
def test_hash_agrees_with_the_library(text, secret):
    if any("\ud800" <= c <= "\udfff" for c in text):
        return
    assert Key(secret).hash(text, 64) == hmac.digest(secret, text.encode(), "sha256").hex()


def test_odd_file_names_hash_too():
    assert Key(b"k").hash("caf\udce9.png") != Key(b"k").hash("cafe.png")


def test_the_key_never_shows():
    key = Key(b"\x07" * 32)
    assert "\\x07" not in repr(key) and (b"\x07" * 32).hex() not in repr(key)
    assert key.id == hashlib.sha256(b"\x07" * 32).hexdigest()[:8]


def test_first_use_makes_a_private_key_and_keeps_it(default_file, capsys):
    key = load_key()
    assert stat.S_IMODE(default_file.stat().st_mode) == 0o600
    assert len(key.secret) == 32 and load_key() == key
    said = capsys.readouterr().out
    assert str(default_file) in said and said.count("\n") == 1
    assert key.secret.hex() not in said
    assert [p.name for p in default_file.parent.iterdir()] == ["patient.key"]


def test_without_a_variable_it_lies_in_the_home(tmp_path, monkeypatch):
    monkeypatch.delenv("KONTRAST_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert key_path() == tmp_path / ".config" / "kontrast" / "patient.key"


def _load(queue):
    queue.put(load_key().secret)


def test_processes_that_start_at_once_get_one_key(default_file):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    many = [context.Process(target=_load, args=(queue,)) for _ in range(8)]
    for process in many:
        process.start()
    secrets = {queue.get(timeout=30) for _ in many}
    for process in many:
        process.join()
    assert len(secrets) == 1


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load_key(tmp_path / "typo.key")
    assert not (tmp_path / "typo.key").exists()


@pytest.mark.parametrize("make", [True, False])
def test_so_must_one_that_the_variable_names(tmp_path, monkeypatch, make):
    monkeypatch.setenv("KONTRAST_KEY", str(tmp_path / "typo" / "site.key"))
    with pytest.raises(UsageError, match=r"\$KONTRAST_KEY names .*site\.key: there is no such file") as error:
        load_key(make=make)
    assert "openssl rand" in error.value.fix and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("mode", "others"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_others_who_can_read_it_are_warned_of(tmp_path, capsys, mode, others):
    (tmp_path / "k").write_text("ab" * 32)
    (tmp_path / "k").chmod(mode)
    load_key(tmp_path / "k")
    assert (f"mode {mode:o}" in capsys.readouterr().err) == others


@pytest.mark.parametrize("content", [b"", b"short", b"zz" * 32, b"ab" * 31, b"\xff\xfe\x00", b"ab" * 33])
def test_a_file_that_is_no_key_is_refused(tmp_path, content):
    (tmp_path / "k").write_bytes(content)
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        load_key(tmp_path / "k")


def test_a_named_key_is_read(tmp_path):
    (tmp_path / "k").write_text("AB" * 32 + "\r\n")
    assert load_key(tmp_path / "k").secret == b"\xab" * 32


def test_a_place_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / ".config").write_text("")
    monkeypatch.delenv("KONTRAST_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(OutputError, match="cannot be used"):
        load_key()
