import dataclasses
import json
from pathlib import Path

import pytest

import kontrast
from helpers import make_pack
from kontrast.artifacts.card import parent
from kontrast.artifacts.claims import claim
from kontrast.artifacts.classifier import Classifier, save_classifier
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.data.identity import Key
from kontrast.engine.auditing import Audited, between
from kontrast.errors import UsageError
from kontrast.nn.encoders import EncoderSpec, build_encoder

UNITS = ("patients", "studies", "images", "near_copies")
QUICK = {"replicates": 20, "device": "cpu"}


def read(out) -> dict:
    return json.loads((Path(out) / "audit.json").read_text())


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    return make_pack(tmp_path_factory.mktemp("audit") / "p", n=80)


def test_a_clean_pack_shares_nothing_and_has_a_floor(pack, tmp_path, capsys) -> None:
    out = kontrast.audit(pack, out=tmp_path / "a", **QUICK)
    found = read(out)["packs"]["p"]
    assert [row["splits"] for row in found["between_splits"]] == [["train", "val"], ["train", "test"], ["val", "test"]]
    assert all(row[unit] == 0 for row in found["between_splits"] for unit in UNITS)
    assert out.summary["shared"] == dict.fromkeys(UNITS, 0) and not out.summary["unknown"]
    assert 0 <= out.summary["metadata_auroc"]["p"]["view, age, sex"] <= 1
    assert "uncertain = zeros" in capsys.readouterr().out


def test_packs_that_share_are_found(pack, tmp_path, capsys) -> None:
    twin = make_pack(tmp_path / "twin", n=80, splits=(0.2, 0.2))
    out = kontrast.audit(pack, twin, out=tmp_path / "a", **QUICK)
    rows = {tuple(row["splits"]): row for row in read(out)["between_packs"]}
    # p: 24 train, 8 val, 8 test patients in order; twin: 8, 8, 24.
    assert rows["train", "test"]["patients"] == 8 and rows["train", "test"]["images"] == 16
    assert rows["test", "test"]["patients"] == 8 and rows["test", "train"]["patients"] == 0
    assert out.summary["shared"]["patients"] > 0
    assert "too easy" in capsys.readouterr().err


def test_copies_under_other_checksums_are_found_between_splits(tmp_path) -> None:
    data = Pack.open(make_pack(tmp_path / "p", n=40))
    other = dataclasses.replace(data, table=data.table.assign(sha256=[f"{i:064d}" for i in range(len(data))]))
    rows = {tuple(row["splits"]): row for row in between(Audited(data), Audited(other))}
    assert rows["train", "train"]["images"] == 0
    assert (
        rows["train", "train"]["near_copies"] == len(data.rows("train")) and rows["train", "test"]["near_copies"] == 0
    )
    assert all(row["near_copies"] == 0 for row in between(Audited(data), Audited(data))), "the same files are no copies"


def test_other_keys_and_missing_patients_are_unknown(pack, tmp_path, capsys) -> None:
    other = make_pack(tmp_path / "other", n=20, seed=3, key=Key(b"another key, also 32 bytes long.."))
    nameless = make_pack(tmp_path / "nameless", n=20, seed=4, patients_known=False)
    out = kontrast.audit(pack, other, nameless, out=tmp_path / "a", **QUICK)
    found = read(out)
    assert all(row["patients"] is None and row["images"] == 0 for row in found["between_packs"])
    assert found["packs"]["nameless"]["between_splits"][0]["patients"] is None and out.summary["unknown"]
    assert "?" in capsys.readouterr().out


def test_a_classifier_s_past_and_subgroups(pack, tmp_path) -> None:
    big = make_pack(tmp_path / "big", n=320, seed=2)
    data = Pack.open(pack)
    spec = EncoderSpec(name="resnet18", size=data.size, stem="small", mean=data.mean, std=data.std)
    claim(tmp_path / "c", "classifier", config={})
    limits = {f: {"value": 0.5, "rule": "f1", "reason": None} for f in data.findings}
    save_classifier(
        tmp_path / "c", Classifier(build_encoder(spec), spec, data.findings), thresholds=limits, config={},
        parents=[parent("pack", pack)], seen=Seen.of(data, data.rows("train"), "train"),
    )  # fmt: skip
    found = read(kontrast.audit(big, pack, out=tmp_path / "a", classifier=tmp_path / "c", **QUICK))["classifier"]
    assert found["p"]["overlap"]["train"]["patients"] == 24 and found["p"]["overlap"]["test"]["patients"] == 0
    views = found["big"]["subgroups"]["view"]
    assert set(views) <= {"AP", "PA"}
    assert {"sex and age", "sex and view", "age and view"} <= set(found["big"]["subgroups"])
    assert set(found["big"]["rates"]) == set(found["big"]["subgroups"])
    assert found["big"]["alterations"]["borders cropped"]["n"] == len(Pack.open(big).rows("test"))
    assert "no masks of lungs" in found["big"]["alterations"]["lungs masked out"]["reason"]
    small = [entry for groups in found["p"]["subgroups"].values() for entry in groups.values()]
    assert all("fewer than 50" in entry["reason"] for entry in small if entry["rows"] < 50)


def test_packs_without_labels_or_test_have_no_floor(tmp_path, capsys) -> None:
    plain = make_pack(tmp_path / "plain", n=20, findings=(), splits=(1.0, 0.0))
    found = read(kontrast.audit(plain, out=tmp_path / "a", **QUICK))
    assert "reason" in found["metadata"]["plain"] and found["packs"]["plain"]["between_splits"] == []
    assert "no metadata baseline" in capsys.readouterr().out


def test_a_policy_of_a_finding_holds_in_the_packs_that_have_it(pack, tmp_path) -> None:
    other = make_pack(tmp_path / "other", n=40, findings=("Edema",), seed=5)
    policy = "zeros,Edema=ones"
    found = read(kontrast.audit(pack, other, out=tmp_path / "a", uncertain=policy, **QUICK))["metadata"]
    used = {name: next(iter(one.values()))["scores"]["label_policy"]["uncertain"] for name, one in found.items()}
    assert used == {"p": "zeros", "other": policy}
    with pytest.raises(UsageError, match="Did you mean 'Edema'"):
        kontrast.audit(pack, other, out=tmp_path / "b", uncertain="zeros,Edma=ones", **QUICK)


def test_done_dry_and_refused(pack, tmp_path) -> None:
    assert kontrast.audit(pack, out=tmp_path / "a", dry_run=True).status == "planned"
    with pytest.raises(UsageError, match="No Pack was named"):
        kontrast.audit(out=tmp_path / "a")
    with pytest.raises(UsageError, match="soft is for training"):
        kontrast.audit(pack, out=tmp_path / "a", uncertain="soft")
    assert not (tmp_path / "a").exists()
    first = kontrast.audit(pack, out=tmp_path / "a", **QUICK)
    again = kontrast.audit(pack, out=tmp_path / "a", **QUICK)
    assert again.status == "already done" and again.summary == first.summary
