"""Whom a Pack holds, and how its images came to be there, against counts made by hand."""

import csv

import numpy as np
import pandas as pd
import pytest

from helpers import make_pack
from kontrast.artifacts.card import read_card, write_card
from kontrast.artifacts.pack import Pack
from kontrast.data.selection import choose_rows
from kontrast.pages import cohort
from pages.conftest import found


def test_a_pack_is_counted(pack):
    section = cohort.pack_section(found(pack))
    data = Pack.open(pack)
    assert (
        section["rows"] == 60
        and {one["split"]: one["images"] for one in section["flow"]["splits"]}
        == {name: n["images"] for name, n in data.card.content["splits"].items()}
        and section["masks"] == ["Disc", "Bar"]
    )
    for name in data.findings:
        values = data.table[name]
        counts = section["counts"][name]
        assert counts == {
            "1": (values == 1).sum(), "0": (values == 0).sum(), "-1": (values == -1).sum(),
            "blank": values.isna().sum(),
        }  # fmt: skip
        assert sum(counts.values()) == 60
    assert len(section["images"]) == cohort.SAMPLES and section["preview"] is None


@pytest.mark.parametrize("options", [{"dtype": "uint16"}, {"findings": ()}, {"splits": (0.0, 0.5)}, {"n": 3}])
def test_unusual_packs(tmp_path, options):
    section = cohort.pack_section(found(make_pack(tmp_path / "p", **{"n": 12, "size": 16} | options)))
    assert (section["prevalence"] is None) == (options.get("findings") == ())
    assert len(section["images"]) == min(cohort.SAMPLES, len(Pack.open(tmp_path / "p").rows("train")))


def with_flow(folder, steps, rejects):
    """A Pack whose source listed more than it holds."""
    path = make_pack(folder, n=12, size=16)
    with (path / "rejects.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "reason"), *rejects])
    card = read_card(path)
    content = card.content | {"flow": steps, "source_rows": 14}
    write_card(path, "pack", config=card.config, content=content, files=list(card.files))
    return found(path)


def test_what_was_left_out_adds_up(tmp_path):
    steps = [
        {"step": "listed", "images": 30, "patients": 15}, {"step": "views", "images": 20, "patients": 14},
        {"step": "limit", "images": 14, "patients": 7},
    ]  # fmt: skip
    rejects = [("a.png", "no such file"), ("b.png", "cut short: 12 bytes"), ("c.png", "cut short: 3 bytes")]
    one = with_flow(tmp_path / "p", steps, rejects)
    flow = cohort.flow(one, Pack.open(one.path))
    listed, whole = flow["steps"]
    assert listed["images"] == 33 and whole["images"] == 12
    assert listed["out"] == [
        (10, cohort.STEPS["views"]), (6, cohort.STEPS["limit"]), (2, "cut short"), (1, "no such file"),
    ]  # fmt: skip
    assert sum(part["images"] for part in flow["splits"]) == whole["images"]
    data = Pack.open(one.path)
    for part in flow["splits"]:
        rows = data.table[data.table["split"] == part["split"]]
        assert (part["images"], part["patients"]) == (len(rows), len(set(rows["patient_id"])))
    assert [part["words"] for part in flow["splits"]][-1] == "internal testing"


def test_packs_of_before_are_shown_with_what_they_know(tmp_path):
    one = found(make_pack(tmp_path / "p", n=12, size=16, patients_known=False))
    flow = cohort.flow(one, Pack.open(one.path))
    assert flow["steps"][0]["images"] == flow["steps"][1]["images"] == 12 and not flow["steps"][0]["out"]
    assert flow["steps"][1]["patients"] is None and not flow["known"]


def test_choices_of_rows_are_counted():
    table = pd.DataFrame(
        {"source": [f"{'ab'[i % 2]}/{i}" for i in range(12)], "patient": [f"p{i // 3}" for i in range(12)]}
    )
    table["view"] = ["PA", "lateral", ""] * 4
    left, flow = choose_rows(table, only=("a/*",), views="frontal", limit=1, seed=0, patients_known=True)
    assert flow == [
        {"step": "listed", "images": 12, "patients": 4}, {"step": "only", "images": 6, "patients": 4},
        {"step": "views", "images": 2, "patients": 2}, {"step": "limit", "images": 1, "patients": 1},
    ]  # fmt: skip
    assert len(left) == 1
    assert choose_rows(table, only=(), views="all", limit=None, seed=0, patients_known=False)[1] == [
        {"step": "listed", "images": 12, "patients": None}
    ]


def test_table_one_counts_people_once_and_images_each(pack):
    data = Pack.open(pack)
    table = cohort.table_one(data)
    cells = {(row["words"]): row["cells"] for row in table["rows"] if not row["head"]}
    for column, name in enumerate(("train", "val", "test")):
        part = data.table[data.table["split"] == name]
        ages, sexes = {}, {}
        for row in part.itertuples():  # a naive loop: the first image of each patient
            ages.setdefault(row.patient_id, row.age)
            sexes.setdefault(row.patient_id, row.sex)
        known = [age for age in ages.values() if age == age]
        assert cells["Patients"][column] == str(len(ages)) and cells["Images"][column] == str(len(part))
        assert cells["mean (standard deviation)"][column] == f"{np.mean(known):.1f} ({np.std(known, ddof=1):.1f})"
        women = sum(sex == "F" for sex in sexes.values())
        assert cells["female"][column] == f"{women} ({100 * women / len(sexes):.1f} %)"
        positive = int((part["Disc"] == 1).sum())
        assert cells["Disc"][column] == f"{positive} ({100 * positive / len(part):.1f} %)"
    heads = [row["words"] for row in table["rows"] if row["head"]]
    assert heads == ["Age in years, of patients", "Sex, of patients", "View, of images", "Findings, of images"]


def test_images_without_a_study_are_not_one_study(pack):
    data = Pack.open(pack)
    rows = data.rows("test")
    for blank, said in (
        (len(rows), "unknown"),
        (1, f"{data.table.iloc[rows[1:]]['study_id'].nunique()}, and 1 image without"),
    ):
        data.table.loc[data.table.index[rows[:blank]], "study_id"] = ""
        cells = {row["words"]: row["cells"] for row in cohort.table_one(data)["rows"]}
        assert cells["Studies"][-1] == said
        data = Pack.open(pack)


def test_without_patients_table_one_says_unknown(tmp_path):
    table = cohort.table_one(Pack.open(make_pack(tmp_path / "p", n=12, size=16, patients_known=False, findings=())))
    cells = {row["words"]: row["cells"] for row in table["rows"]}
    assert set(cells["Patients"]) == {"unknown"} and "Age in years, of images" in cells
    assert "Findings, of images" not in cells
