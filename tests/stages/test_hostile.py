"""Bad files among good ones: a row of rejects each, every label with its image, and the same Pack as without them."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pandas as pd
import pytest

import kontrast
from hostile import bad_files, mutated, picture, seeds
from kontrast import apart
from kontrast.artifacts.pack import Pack, damages
from stages.sources import files

pytestmark = pytest.mark.usefixtures("key")


def good_files(src, count):
    """`count` small images of two a patient, named by number; their table's rows."""
    rows = []
    for i in range(count):
        name = f"{i % 7}/good{i:04d}.png"
        (src / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(src / name), picture(i))
        rows.append(row(name, i))
    return rows


def row(name, i):
    return {"path": name, "patient": f"p{i // 2}", "age": 1 + i % 100, "Edema": i % 3 % 2, "Pneumonia": i // 3 % 2}


def write_table(src, rows):
    pd.DataFrame(rows).to_csv(src / "labels.csv", index=False)


def with_bad(src, good, bad):
    """A source whose bad files stand between its good ones, and what is expected of each."""
    rows, words = good_files(src, good), {}
    slow = ("bomb.dcm", "wide.png", "short.dcm") if good < 100 else ()
    kinds = [(name, file) for name, file in bad_files(bomb=not slow).items() if name not in slow]
    for i in range(bad):
        name, (data, reason) = kinds[i % len(kinds)]
        name = f"{i % 7}/bad{i}_{name}"
        (src / name).write_bytes(data)
        rows.insert(i * len(rows) // bad, row(name, good + i))
        words[name] = reason
    write_table(src, rows)
    return words


def check(outcome, rows):
    """Every row is in the table or in the rejects, and each label is that of its own file."""
    pack = Pack.open(outcome)
    rejects = pd.read_csv(outcome.out / "rejects.csv", keep_default_na=False).set_index("file")["reason"]
    given = pd.DataFrame(rows).set_index("path")
    assert sorted([*pack.table["source"], *rejects.index]) == sorted(given.index)
    table = pack.table.set_index("source")
    for name in ("age", "Edema", "Pneumonia"):
        assert (table[name] == given.loc[table.index, name]).all()
    return pack, rejects


def compare_with_good_ones_alone(src, pack, tmp_path):
    """The images and labels are those of a source without the bad files."""
    alone = tmp_path / "alone"
    for source in pack.table["source"]:
        (alone / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(src / source, alone / source)
    rows = pd.read_csv(src / "labels.csv")
    rows[rows["path"].isin(pack.table["source"])].to_csv(alone / "labels.csv", index=False)
    other = Pack.open(kontrast.prepare(alone, out=tmp_path / "q", size=24))
    pd.testing.assert_frame_equal(pack.table, other.table)
    assert (pack.images(pack.rows()) == other.images(other.rows())).all()


@pytest.mark.parametrize(
    ("good", "bad"), [(40, 21), pytest.param(950, 50, marks=[pytest.mark.slow, pytest.mark.timeout(3000)])]
)
def test_files_bad_in_twenty_ways_cost_a_row_each(tmp_path, good, bad):
    src = tmp_path / "src"
    words = with_bad(src, good, bad)
    pack, rejects = check(kontrast.prepare(src, out=tmp_path / "p", size=24), pd.read_csv(src / "labels.csv"))
    assert set(rejects.index) == set(words) and len(set(rejects)) >= 12
    for name, reason in words.items():
        assert reason in rejects[name], (name, rejects[name])
    compare_with_good_ones_alone(src, pack, tmp_path)
    problems = kontrast.scan(src, limit=good + bad).summary["problems"]
    assert sum(p["count"] for p in problems if p["reason"] in set(rejects)) == bad


@pytest.mark.parametrize(
    "count", [30, pytest.param(3000, marks=[pytest.mark.slow, pytest.mark.timeout(6000)])], ids=["some", "3000"]
)
def test_mutated_files_lose_no_row_and_no_memory(tmp_path, count):
    """As many good images lie between them, lest `prepare` stop because most files are bad."""
    src, rng, originals = tmp_path / "src", np.random.default_rng(count), seeds()
    rows = good_files(src, count)
    for i in range(count):
        name = f"{i % 7}/mutated{i:04d}.dcm"
        (src / name).write_bytes(mutated(originals[i % len(originals)], rng))
        rows.append(row(name, count + i))
    write_table(src, rows)
    pack, rejects = check(kontrast.prepare(src, out=tmp_path / "p", size=24), rows)
    assert len(pack) >= count and len(rejects) >= count // 10
    assert not any("unexpected" in reason for reason in rejects), set(rejects)
    apart._close_idle()
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 3 * 2**20, "KiB of the largest process"
    if count < 100:
        assert kontrast.scan(src, limit=2 * count).summary["looked_at"] == 2 * count


def test_a_file_that_vanishes_while_others_are_read(tmp_path, monkeypatch):
    from kontrast.artifacts import making

    rows = good_files(tmp_path / "src", 12)
    write_table(tmp_path / "src", rows)
    fill = making.fill

    def vanish(plan, writer, **more):
        (tmp_path / "src" / rows[5]["path"]).unlink()
        fill(plan, writer, **more)

    monkeypatch.setattr(making, "fill", vanish)
    pack, rejects = check(kontrast.prepare(tmp_path / "src", out=tmp_path / "p", size=24), rows)
    monkeypatch.setattr(making, "fill", fill)
    assert dict(rejects) == {rows[5]["path"]: "file not found"} and damages(tmp_path / "p") == []
    compare_with_good_ones_alone(tmp_path / "src", pack, tmp_path)


def test_links_in_circles_and_to_nothing_change_nothing(tmp_path):
    src = tmp_path / "src"
    write_table(src, good_files(src, 8))
    whole = files(kontrast.prepare(src, out=tmp_path / "p", size=24))
    (src / "0" / "up").symlink_to(src)
    (src / "1" / "self").symlink_to(src / "1" / "self")
    (src / "2" / "gone.png").symlink_to(src / "nowhere.png")
    os.mkfifo(src / "3" / "pipe.png")  # would be waited for without end
    assert files(kontrast.prepare(src, out=tmp_path / "q", size=24)) == whole
    assert kontrast.prepare(src, out=tmp_path / "p", size=24).status == "already done"


NAMES = [
    b"\xc3\xa4\xe6\xbc\xa2.png", b"bad\xff\xfe.png", b"new\nline.png", b'quo"te\'s.png', b"com,ma;semi.png",
    b" sp ace .png", b"-dash.png", b"=formula().png", b"%41.png", b"[x].png",
]  # fmt: skip


@pytest.mark.parametrize("broken", [False, True])
def test_names_of_any_bytes(tmp_path, broken):
    src = tmp_path / "src"
    src.mkdir()
    for i, name in enumerate(NAMES):
        data = b"" if broken and i < 4 else cv2.imencode(".png", picture(i))[1].tobytes()
        (src / os.fsdecode(name)).write_bytes(data)
    names = {os.fsdecode(name) for name in NAMES}
    pack = Pack.open(kontrast.prepare(src, out=tmp_path / "p", size=24, layout="plain"))
    rejects = pd.read_csv(tmp_path / "p" / "rejects.csv", encoding_errors="surrogateescape")
    assert {*pack.table["source"], *rejects["file"]} == names and len(rejects) == 4 * broken
    for source, image in zip(pack.table["source"], pack.images(pack.rows()), strict=True):
        i = [os.fsdecode(name) for name in NAMES].index(source)
        assert np.array_equal(image[:, 2:22], picture(i))
    assert kontrast.prepare(src, out=tmp_path / "p", size=24, layout="plain").status == "already done"
    page = tmp_path / "page.html"
    assert kontrast.scan(src, limit=99, html=page, show_names=True).summary["looked_at"] == len(NAMES)
    assert "=formula().png" in page.read_text("utf-8")


def test_a_table_with_double_missing_and_contradictory_rows(tmp_path):
    src = tmp_path / "src"
    rows = good_files(src, 12)
    write_table(src, rows)
    clean = Pack.open(kontrast.prepare(src, out=tmp_path / "clean", size=24))
    other = {**rows[3], "Edema": 1 - rows[3]["Edema"]}
    write_table(src, [*rows, rows[2], other, row("0/nowhere.png", 40)])
    pack = Pack.open(kontrast.prepare(src, out=tmp_path / "p", size=24))
    expected = clean.table.copy()
    expected.loc[expected["source"] == rows[3]["path"], "Edema"] = -1
    pd.testing.assert_frame_equal(pack.table, expected)
    rejects = pd.read_csv(tmp_path / "p" / "rejects.csv")
    assert sorted(zip(rejects["file"], rejects["reason"], strict=True)) == sorted(
        [
            (rows[2]["path"], "listed again"),
            (rows[3]["path"], "listed with contradicting labels: uncertain"),
            ("0/nowhere.png", "no such file"),
        ]
    )


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_killed_at_twenty_moments_the_same_command_ends_in_the_same_bytes(tmp_path, monkeypatch):
    """The whole process group, as a power cut would; the moments spread over what a whole run takes."""
    src = tmp_path / "src"
    with_bad(src, 380, 20)
    monkeypatch.setattr("kontrast.artifacts.pack_writer.SHARD_IMAGES", 32)
    code = (
        "import sys, kontrast.cli\nfrom kontrast.artifacts import pack_writer\npack_writer.SHARD_IMAGES = 32\n"
        "kontrast.cli.main(sys.argv[1:])"
    )
    words = [sys.executable, "-c", code, "prepare", str(src), "--size", "24", "--workers", "2", "--out"]
    began = time.monotonic()
    assert subprocess.run([*words, str(tmp_path / "whole")], capture_output=True, check=False).returncode == 0
    lasts = time.monotonic() - began
    whole, rng, kills = files(tmp_path / "whole"), random.Random(0), 0
    for attempt in range(20):
        out = tmp_path / f"p{attempt}"
        for part in (attempt + rng.random(), None):
            process = subprocess.Popen(
                [*words, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            began = time.monotonic()
            try:
                process.wait(timeout=None if part is None else lasts * part / 20)
                lasts = min(lasts, time.monotonic() - began) if part else lasts  # the machine was less busy than before
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
        assert process.returncode == 0 and files(out) == whole, attempt
        shutil.rmtree(out)
    assert kills >= 10
