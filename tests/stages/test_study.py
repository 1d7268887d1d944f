import csv
import json
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest
import yaml

import kontrast
from helpers import make_pack
from kontrast.config import from_dict
from kontrast.engine import features
from kontrast.engine.grid import Study, cells_of, say_table
from kontrast.errors import DataError, KontrastError, LeakageError, OutputError, UsageError
from stages.sources import make_source

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    return make_pack(tmp_path_factory.mktemp("study") / "pack", n=120)


def write(folder: Path, pack: Path, /, **more) -> Path:
    plan = {
        "pack": str(pack),
        "encoder": "toy",
        "arms": {"random": {}, "moco": {"method": "moco"}},
        "pretrain": {"epochs": 1, "batch_size": 16},
        "protocols": ["probe"],
        "fractions": [0.5, 1.0],
        "seeds": [0],
        "replicates": 50,
    }
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(plan | more))
    return file


def test_the_grid_runs_and_its_tables_are_the_evaluations(pack, tmp_path) -> None:
    file = write(tmp_path, pack, folds=3)
    made = kontrast.study(file, out=tmp_path / "s")
    rows = list(csv.DictReader((tmp_path / "s/cells.csv").open()))
    assert {(r["arm"], r["protocol"], r["fraction"]) for r in rows} == {
        (arm, "probe", fraction) for arm in ("random", "moco") for fraction in ("0.5", "1.0")
    }
    for row in rows:
        name = f"{row['arm']}/probe-{100 * float(row['fraction']):g}pc-seed0"
        scores = json.loads((tmp_path / "s/evaluations" / name / "scores.json").read_text())
        assert float(row["auroc"]) == scores["macro"]["auroc"]["value"]
    differences = list(csv.DictReader((tmp_path / "s/differences.csv").open()))
    assert {d["arm"] for d in differences} == {"moco"}
    by_cell = {(r["arm"], r["fraction"]): float(r["auroc"]) for r in rows}
    for d in differences:
        gain = by_cell["moco", d["fraction"]] - by_cell["random", d["fraction"]]
        assert float(d["value"]) == pytest.approx(gain, abs=1e-12)
    folds = json.loads((tmp_path / "s/folds.json").read_text())
    # what moco's pretraining saw (train) is in no fold
    assert folds["images"] == sum(1 for r in csv.DictReader((pack / "table.csv").open()) if r["split"] != "train")
    assert made.summary["cells"] == 4
    card = json.loads((tmp_path / "s/card.json").read_text())
    assert card["content"]["means"] == {"findings": ["Disc", "Bar"], "left_out": {}}
    # the maps are of the first arm that is not the baseline, with all labels
    maps = json.loads((tmp_path / "s/explanations/moco/probe-100pc-seed0/card.json").read_text())
    classifier = (tmp_path / "s/classifiers/moco/probe-100pc-seed0/card.json").read_bytes()
    assert {p["sha256"] for p in maps["parents"] if p["role"] == "classifier"} == {sha256(classifier).hexdigest()}
    audited = json.loads((tmp_path / "s/audit/audit.json").read_text())
    assert set(audited["classifier"]["pack"]["overlap"]) == {"train", "val", "test"} and audited["metadata"]["pack"]
    page = kontrast.report(tmp_path / "s", out=tmp_path / "s.html").out.read_text()
    for part in ("By finding", "How far labels go", "beside its heat map", "patient-grouped folds", "Classifier moco/",
                 "What splits share", "altered images are of the Classifier moco/"):  # fmt: skip
        assert part in page, part
    assert kontrast.study(file, out=tmp_path / "s").status == "already done"


def test_cell_by_cell_it_resumes_and_cells_side_by_side_are_the_same(pack, tmp_path) -> None:
    # processes of their own know no toys
    plan = {"encoder": "resnet18", "arms": {"random": {}}, "fractions": [0.5], "seeds": [0, 1]}
    one = kontrast.study(write(tmp_path, pack, **plan), out=tmp_path / "one")
    # an interrupted study: some cells are there, the card is not
    kontrast.study(write(tmp_path, pack, **plan), out=tmp_path / "two", jobs=2)
    (tmp_path / "two/card.json").unlink()
    claim = {"kind": "study", "config": json.loads((one.out / "card.json").read_text())["config"], "parents": []}
    (tmp_path / "two/run.json").write_text(json.dumps(claim))
    before = (tmp_path / "two/classifiers/random/probe-50pc-seed0/card.json").stat().st_mtime_ns
    kontrast.study(write(tmp_path, pack, **plan), out=tmp_path / "two")
    assert (tmp_path / "two/classifiers/random/probe-50pc-seed0/card.json").stat().st_mtime_ns == before
    assert (tmp_path / "two/cells.csv").read_bytes() == (tmp_path / "one/cells.csv").read_bytes()


def test_cells_share_the_features_of_an_encoder_and_score_as_the_commands_do(pack, tmp_path, monkeypatch) -> None:
    runs, run = [], features._run
    monkeypatch.setattr(features, "_run", lambda *a: runs.append((a[8], len(a[3]))) or run(*a))
    plan = {"protocols": ["probe", "knn"], "folds": 3}
    made = kontrast.study(write(tmp_path, pack, **plan), out=tmp_path / "s")
    # The folds need two initialisations more, of the 48 images alone that no encoder has met; the audit predicts one
    # cell's images, and altered ones.
    assert sorted(runs) == [("features", 48)] * 2 + [("features", 120)] * 2 + [("predictions", 24)] * 2
    assert not list(made.out.glob(".*"))
    alone = kontrast.probe(made.out / "encoders/moco", pack, out=tmp_path / "probe", label_fraction=0.5, stratify=True)
    scored = kontrast.evaluate(alone.out, pack, out=tmp_path / "scores", replicates=50)
    mine, theirs = (
        pd.read_csv(folder / "predictions.csv").set_index("image_id")
        for folder in (scored.out, made.out / "evaluations/moco/probe-50pc-seed0")
    )
    pd.testing.assert_frame_equal(mine, theirs, rtol=1e-3)


def test_what_is_added_to_a_finished_study_is_all_that_is_trained(pack, tmp_path, capsys, monkeypatch) -> None:
    small = {"arms": {"random": {}}, "fractions": [0.5], "seeds": [0]}
    large = small | {"arms": {"random": {}, "twin": {}}, "fractions": [0.5, 1.0]}
    out = kontrast.study(write(tmp_path, pack, **small), out=tmp_path / "s").out
    card, folder = (out / "card.json").read_bytes(), "random/probe-50pc-seed0"
    kept = {place: place.stat().st_mtime_ns for place in out.rglob("card.json") if place.parent != out}
    capsys.readouterr()
    kontrast.study(write(tmp_path, pack, **large), out=out, dry_run=True)
    assert "arms twin; fractions 1.0; 3 trainings more." in " ".join(capsys.readouterr().out.split())

    def killed(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kontrast.stages.study._audit", killed)
        with pytest.raises(KeyboardInterrupt):
            kontrast.study(write(tmp_path, pack, **large), out=out)
    assert (out / "card.json").read_bytes() == card, "the smaller one stands until the larger one takes its place"
    kontrast.study(write(tmp_path, pack, **large), out=out)
    assert {place: place.stat().st_mtime_ns for place in kept} == kept
    fresh = kontrast.study(write(tmp_path, pack, **large), out=tmp_path / "fresh").out
    for name in ("cells.csv", "differences.csv", "findings.csv"):
        assert (out / name).read_bytes() == (fresh / name).read_bytes()
    assert [p.parent.name for p in (out / "explanations").rglob("card.json")] == [Path(folder).name]
    content = json.loads((out / "card.json").read_text())["content"]
    asked = {"arms": ["random"], "protocols": ["probe"], "fractions": [0.5], "seeds": [0], "draws": 5}
    assert content["earlier"] == [asked | {"finished": True}]
    assert "earlier" not in json.loads((fresh / "card.json").read_text())["content"]
    assert kontrast.study(write(tmp_path, pack, **large), out=out).status == "already done"
    with pytest.raises(OutputError, match="other settings"):
        kontrast.study(write(tmp_path, pack, **small), out=out)


def test_the_grid_is_arms_by_protocols_by_fractions_by_seeds() -> None:

    plan = from_dict(
        Study,
        {
            "pack": "p",
            "arms": {"random": {}, "sup": {"protocols": ["finetune"]}},
            "fractions": [0.1, 1],
            "seeds": [0, 1, 2],
        },
    )
    cells = cells_of(plan)
    assert len(cells) == 3 * (5 + 1) * (2 + 1)  # a tenth of the patients is drawn five times
    assert len({cell.name for cell in cells}) == len(cells)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"arm": {}}, "arms"),
        ({"baseline": "randon"}, "random"),
        ({"protocols": ["prob"]}, "probe"),
        ({"fractions": [1.5]}, "fractions"),
        ({"folds": 1}, "folds"),
        ({"arms": {"random": {"methd": "moco"}}}, "methd is no option here.\nDid you mean 'method'"),
        ({"pack": "$NO_SUCH_VARIABLE/pack"}, "NO_SUCH_VARIABLE"),
    ],
)
def test_wrong_words_are_named(pack, tmp_path, change, says) -> None:
    with pytest.raises(UsageError, match=says):
        kontrast.study(write(tmp_path, pack, **change), out=tmp_path / "s")


def test_an_optional_arm_without_weights_is_left_out_and_said(pack, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("KONTRAST_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    arms = {"random": {}, "imagenet": {"start": "imagenet", "optional": True}}
    plan = write(tmp_path, pack, encoder="resnet18", arms=arms, fractions=[1.0])
    made = kontrast.study(plan, out=tmp_path / "s")
    assert made.summary["left_out"] == ["imagenet"]
    assert "imagenet is left out" in capsys.readouterr().err


def test_the_table_has_the_sample_sd_and_does_without_an_interval(capsys) -> None:
    place = {"protocol": "probe", "fraction": 1.0, "common": 2}
    cells = [place | {"arm": arm, "auroc": value} for arm, value in (("a", 0.6), ("a", 0.7), ("a", 0.8), ("b", 0.5))]
    gaps = [place | {"arm": "a", "value": 0.2, "low": None, "high": None, "p": None}]
    plan = from_dict(Study, {"pack": "p", "arms": {"random": {}}})
    say_table(pd.DataFrame(cells), pd.DataFrame(gaps), plan)
    shown = capsys.readouterr()
    lines = (shown.out + shown.err).splitlines()
    assert any("0.700 ± 0.100" in line and "+0.200" in line and "[" not in line for line in lines)
    assert any("0.500" in line and "±" not in line for line in lines)
    assert "over the 2 findings that all share" in lines[0]
    assert "*" not in shown.out + shown.err


@pytest.mark.parametrize(("incomplete", "mark"), [(20, ""), (21, "*")])
def test_a_difference_of_which_many_replicates_lack_a_finding_is_marked(capsys, incomplete, mark) -> None:
    """By the rule of every mean: more than a tenth of them."""
    place = {"protocol": "probe", "fraction": 1.0, "arm": "a", "common": 2}
    gap = place | {"value": -0.2, "low": -0.4, "high": 0.1, "incomplete": incomplete, "replicates": 200}
    plan = from_dict(Study, {"pack": "p", "arms": {"random": {}}})
    say_table(pd.DataFrame([place | {"auroc": 0.6}]), pd.DataFrame([gap]), plan)
    shown = capsys.readouterr()
    assert f"-0.200 [-0.400, +0.100]{mark}\n" in "".join(f"{line.rstrip()}\n" for line in shown.out.splitlines())
    assert ("* Many replicates lack a finding" in shown.out) == bool(mark)


def test_a_study_refused_before_it_made_anything_leaves_its_folder_free(pack, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    broken = write(tmp_path, pack, prepare={"raw": {"source": str(tmp_path / "empty")}}, pack="raw")
    with pytest.raises(DataError):
        kontrast.study(broken, out=tmp_path / "s")
    made = kontrast.study(write(tmp_path, pack, arms={"random": {}}, fractions=[1.0]), out=tmp_path / "s")
    assert made.status == "done"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"finetune": {"epohcs": 3}}, "epohcs"),
        ({"arms": {"random": {}, "m": {"method": "mocco"}}}, "mocco"),
        ({"arms": {"random": {}, "m": {"method": "moco"}, "p": {"method": "mae"}}}, "Vision Transformer"),
        ({"arms": {"random": {"start": "nowhere"}}}, "nowhere"),
        ({"arms": {"random": {}, "m": {"method": "moco", "optional": True, "pretrain": {"epochs": 0}}}}, "epochs"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_trained(pack, tmp_path, change, says) -> None:
    with pytest.raises(UsageError, match=says):
        kontrast.study(write(tmp_path, pack, **change), out=tmp_path / "s")
    assert not list((tmp_path / "s").rglob("*.safetensors"))


def test_a_seed_reaches_pretraining_whatever_the_file_says(pack, tmp_path, monkeypatch) -> None:
    arms = {"random": {}, "moco": {"method": "moco", "pretrain": {"seed": 3}}, "byol": {"method": "byol"}}
    file = write(tmp_path, pack, arms=arms, pretrain={"epochs": 1, "seed": 4}, seeds=[0, 1])
    asked = []

    def pretrain(*packs, out, **options):
        asked.append(options)
        return tmp_path

    class Stop(Exception):
        pass

    def stop(*_, **__):
        raise Stop

    monkeypatch.setattr(kontrast, "pretrain", pretrain)
    monkeypatch.setattr("kontrast.stages.study.run_cell", stop)
    for seed, seeds in ((7, [7, 7]), (None, [3, 4])):
        with pytest.raises(Stop):
            kontrast.study(file, out=tmp_path / f"s{seed}", seed=seed)
        assert sorted(options["seed"] for options in asked) == seeds
        asked.clear()
    planned = kontrast.study(file, out=tmp_path / "p", seed=7, dry_run=True).summary["cells"]
    assert planned and all(name.endswith("seed7") for name in planned)


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_test_split_that_repairing_empties_is_refused_before_anything_is_made(tmp_path, dry_run) -> None:
    split = ["train", "test"] * 15  # two images a patient, so every patient stands on both sides
    make_source(tmp_path / "src", split=split)
    prepare = {"raw": {"source": str(tmp_path / "src"), "size": 16}}
    file = write(tmp_path, tmp_path, prepare=prepare, pack="raw")
    with pytest.raises(LeakageError, match="share patients"):
        kontrast.study(file, out=tmp_path / "s", dry_run=dry_run)
    prepare["raw"]["repair_splits"] = True
    with pytest.raises(UsageError, match=r"raw has no test images after repair_splits has moved"):
        kontrast.study(write(tmp_path, tmp_path, prepare=prepare, pack="raw"), out=tmp_path / "s", dry_run=dry_run)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [({"findings": ["Disk"]}, "Did you mean 'Disc'"), ({"pack": "nowhere"}, "no such folder")],
)
def test_a_pack_that_does_not_fit_is_refused_before_anything_is_made(pack, tmp_path, change, says) -> None:
    for dry_run in (True, False):
        with pytest.raises(KontrastError, match=says):
            kontrast.study(write(tmp_path, pack, **change), out=tmp_path / "s", dry_run=dry_run)
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_few_labels_with_draws_a_search_and_every_use_of_labels(tmp_path) -> None:
    pack = make_pack(tmp_path / "pack", n=80, size=16)
    plan = {
        "replicates": 20,
        "arms": {"random": {}, "other": {"start": "random"}},
        "protocols": ["knn"], "fractions": [0.1, 1.0], "draws": 2, "stratify": True,
        "search": {"probe": {"threshold_rule": ["f1", "youden"]}},
    }  # fmt: skip
    out = Path(kontrast.study(write(tmp_path, pack, **plan), out=tmp_path / "s"))
    cells = pd.read_csv(out / "cells.csv")
    assert len(cells) == 2 * (2 + 1) and set(cells["draw"].dropna()) == {0, 1}
    searched = pd.read_csv(out / "search.csv")
    assert searched.groupby(["arm", "protocol", "fraction"])["threshold_rule"].agg(set).map(len).eq(2).all()
    assert searched.groupby(["arm", "protocol", "fraction"])["chosen"].sum().eq(1).all()
    taught = pd.read_csv(out / "findings.csv")
    assert (taught["trainings"] == taught["fraction"].map({0.1: 4, 1.0: 2})).all()
    assert set(pd.read_csv(out / "labels_saved.csv")["arm"]) == {"other"}
    assert len(pd.read_csv(out / "curves.csv")) == 4
    draws = [json.loads((out / f"classifiers/random/knn-10pc-draw{i}-seed0/card.json").read_text()) for i in (0, 1)]
    assert [card["config"]["draw"] for card in draws] == [0, 1] and draws[0]["content"]["protocol"] == "knn"
    assert draws[0]["files"] != draws[1]["files"] and draws[0]["config"]["stratify"]
    page = kontrast.report(out, out=tmp_path / "s.html").out.read_text()
    for part in ("Labels saved", "kNN on frozen features", "draws and seeds", "Settings that validation chose"):
        assert part in page, part
