from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

import kontrast
from helpers import make_pack
from kontrast.artifacts.card import read_card, verify_files, write_card
from kontrast.artifacts.classifier import load_classifier
from kontrast.artifacts.pack import Pack
from kontrast.engine.explaining import sample
from kontrast.engine.sanity import Compared
from kontrast.errors import DataError, OutputError, UsageError
from kontrast.metrics.localisation import mean_interval
from kontrast.metrics.similarity import rank_correlation


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    make_pack(folder / "pack", size=32, n=80, masks=True)
    make_pack(folder / "bare", size=32, n=80, seed=5)
    kontrast.probe("random", folder / "pack", out=folder / "classifier", encoder="resnet18")
    return folder


def test_pictures_table_and_card(made, tmp_path):
    outcome = kontrast.explain(made / "classifier", made / "pack", out=tmp_path / "e", images=2, replicates=50, seed=1)
    card = read_card(outcome, "explanation")
    verify_files(outcome)
    table = pd.read_csv(tmp_path / "e" / "localisation.csv")
    assert list(table.columns) == ["finding", "image_id", "prob", "hit", "iou"]
    assert table["prob"].between(0, 1).all() and table[["hit", "iou"]].notna().all().all()
    assert card.content["split"] == "test" and card.content["map"] == [4, 4]
    for name, found in card.content["findings"].items():
        part = table[table["finding"] == name]
        assert found["n"] == found["positives"] == len(part) > 2
        assert found["hit"]["value"] == pytest.approx(part["hit"].mean())
        patients = Pack.open(made / "pack").table.set_index("image_id")["patient_id"][part["image_id"]].to_numpy()
        assert found["iou"] == pytest.approx(mean_interval(part["iou"], patients, replicates=50, seed=1))
        assert outcome.summary["findings"][name] == {
            "n": len(part), "hit": found["hit"]["value"], "iou": found["iou"]["value"],
        }  # fmt: skip
        slug, ids = name.lower(), part["image_id"].iloc[:2]
        assert found["pictures"] == [f"overlays/{slug}-{image_id}.png" for image_id in ids]
        for picture in found["pictures"]:
            assert cv2.imread(str(tmp_path / "e" / picture)).shape == (224, 448, 3)
    assert len(list((tmp_path / "e" / "overlays").iterdir())) == 4
    assert "patients" in card.content["overlap"]


def test_again_it_is_done_and_with_other_settings_refused(made, tmp_path):
    options = {"out": tmp_path / "e", "images": 1, "replicates": 0, "finding": ("Bar",)}
    first = kontrast.explain(made / "classifier", made / "pack", **options)
    assert set(read_card(first).content["findings"]) == {"Bar"}
    again = kontrast.explain(made / "classifier", made / "pack", **options)
    assert again.status == "already done" and again.summary == first.summary
    with pytest.raises(OutputError, match="images was 1, is 2"):
        kontrast.explain(made / "classifier", made / "pack", **options | {"images": 2})


def test_interrupted_it_is_made_again_to_the_same_bytes(made, tmp_path, monkeypatch):
    import kontrast.engine.gallery as drawing

    options = {"images": 2, "replicates": 20}
    kontrast.explain(made / "classifier", made / "pack", out=tmp_path / "whole", **options)
    with monkeypatch.context() as patched:
        drawn = []

        def stop(picture, real=drawing.png):
            drawn.append(1)
            if len(drawn) == 3:
                raise KeyboardInterrupt
            return real(picture)

        patched.setattr(drawing, "png", stop)
        with pytest.raises(KeyboardInterrupt):
            kontrast.explain(made / "classifier", made / "pack", out=tmp_path / "cut", **options)
    kontrast.explain(made / "classifier", made / "pack", out=tmp_path / "cut", **options)
    assert read_card(tmp_path / "cut") == read_card(tmp_path / "whole")


def test_without_masks_there_are_pictures_and_a_reason(made, tmp_path, capsys):
    outcome = kontrast.explain(made / "classifier", made / "bare", out=tmp_path / "e", images=2, replicates=20)
    for found in read_card(outcome).content["findings"].values():
        assert found["n"] == 0 and found["hit"]["value"] is None and "no mask" in found["hit"]["reason"]
        assert len(found["pictures"]) == 2
    table = pd.read_csv(tmp_path / "e" / "localisation.csv")
    assert len(table) == 4 and table["hit"].isna().all()
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if "true place" in line]
    assert said.count("--device") == 1
    assert line.startswith("4 pictures; no true place is known of any finding") and "centre" not in said


def test_findings_without_a_place_have_one_line_and_no_row(made, tmp_path, capsys):
    make_pack(tmp_path / "pack", size=32, n=40, masks=True)
    card = read_card(tmp_path / "pack")
    content = card.content | {"masks": ["Disc"]}
    write_card(tmp_path / "pack", "pack", config=card.config, content=content, files=list(card.files))
    kontrast.explain(made / "classifier", tmp_path / "pack", out=tmp_path / "e", images=1, replicates=20)
    lines = capsys.readouterr().out.splitlines()
    assert any("No true place is known of Bar: pictures only." in line for line in lines)
    assert any("Disc" in line for line in lines) and sum("Bar" in line for line in lines) == 1


def test_checks_are_said_and_kept(made, tmp_path, capsys):
    kontrast.probe("random", made / "pack", out=tmp_path / "other", encoder="resnet18", seed=1)
    options = {"images": 1, "replicates": 20, "limit": 6, "finding": ("Disc",), "sanity": True}
    outcome = kontrast.explain(
        made / "classifier", made / "pack", out=tmp_path / "e", repeat=(tmp_path / "other",), **options
    )
    card = read_card(outcome)
    found = card.content["findings"]["Disc"]
    assert [step["layer"] for step in found["sanity"]["weights"]][:2] == ["head", "layer4"]
    assert found["repeat"]["classifiers"] == 2 and found["sanity"]["labels"]["rank"]["value"] < 1
    assert [p.role for p in card.parents] == ["classifier", "pack", "repeat"] and card.config["repeat"] == 1
    said = capsys.readouterr().out
    assert all(
        words in said for words in ("How alike are the maps?", "Random weights: ", "Permuted labels: ", "Other seeds: ")
    )
    assert found["threshold"]["chosen"] == "on val" and "IoU at a share of the map's maximum, on val" in said


def test_a_network_of_permuted_labels_is_what_the_check_of_labels_takes(tmp_path, capsys):
    pack = make_pack(tmp_path / "pack", n=40, size=16, masks=True)
    options = {"encoder": "resnet18", "epochs": 1, "lr": 1e-6, "recipe": "none"}
    tuned = kontrast.finetune("random", pack, out=tmp_path / "tuned", **options)
    permuted = kontrast.finetune("random", pack, out=tmp_path / "permuted", permute_labels=True, **options).out
    asked = {"images": 1, "replicates": 20, "limit": 4, "finding": ("Disc",)}
    with pytest.raises(UsageError, match="Add --sanity"):
        kontrast.explain(tuned, pack, out=tmp_path / "e", permuted=permuted, **asked)
    with pytest.raises(UsageError, match="trained on its own labels"):
        kontrast.explain(tuned, pack, out=tmp_path / "e", permuted=tuned.out, sanity=True, **asked)
    capsys.readouterr()
    outcome = kontrast.explain(tuned, pack, out=tmp_path / "e", permuted=permuted, sanity=True, **asked)
    card = read_card(outcome)
    assert [p.role for p in card.parents] == ["classifier", "pack", "permuted"] and card.config["permuted"] is True
    fit = read_card(permuted).content["summary"]["fit"]
    assert card.content["permuted"] == {"trained": "network", "fit": fit}
    assert "that fits them with a macro AUROC of" in capsys.readouterr().out
    # the maps that were compared are those of the two networks
    chosen = sample(Pack.open(pack), "Disc", Pack.open(pack).rows("test"), images=1, limit=4, seed=0)
    cpu = torch.device("cpu")
    compared = Compared(Pack.open(pack), chosen, kind="gradcam", device=cpu, replicates=20, seed=0)
    maps = [compared.maps(load_classifier(path, permuted=True)[0]) for path in (tuned, permuted)]
    expected = np.nanmean(rank_correlation(*maps))
    assert card.content["findings"]["Disc"]["sanity"]["labels"]["rank"]["value"] == pytest.approx(expected, abs=1e-6)
    page = Path(kontrast.report(outcome.out, out=tmp_path / "page.html")).read_text()
    assert "a network trained as this one on permuted labels" in page
    kontrast.explain(tuned, pack, out=tmp_path / "head", sanity=True, **asked)
    assert "only a head is fitted on permuted labels, while this encoder was fine-tuned" in capsys.readouterr().err


def test_a_knn_head_has_no_grad_cam_plus_plus_and_its_empty_maps_are_counted(made, tmp_path, capsys):
    with_votes = {"encoder": "resnet18", "head": "knn", "neighbours": 1}  # one neighbour: every vote is unanimous
    kontrast.probe("random", made / "pack", out=tmp_path / "knn", **with_votes)
    options = {"images": 1, "replicates": 0, "limit": 3, "finding": ("Disc",)}
    with pytest.raises(UsageError, match="head is kNN"):
        kontrast.explain(tmp_path / "knn", made / "pack", out=tmp_path / "e", map="gradcam++", **options)
    more = {"map": "gradcam++", "repeat": (tmp_path / "knn",)}
    with pytest.raises(UsageError, match="head is kNN"):
        kontrast.explain(made / "classifier", made / "pack", out=tmp_path / "e", **options | more)
    assert not (tmp_path / "e").exists()
    capsys.readouterr()
    outcome = kontrast.explain(tmp_path / "knn", made / "pack", out=tmp_path / "e", **options)
    found = read_card(outcome).content["findings"]["Disc"]
    assert found["empty"] == found["explained"] == 3 and found["hit"]["value"] == pytest.approx(found["area"]["value"])
    assert "Disc 3 of 3." in capsys.readouterr().out
    assert "Disc 3 of 3." in Path(kontrast.report(outcome.out, out=tmp_path / "page.html")).read_text()
    linear = kontrast.explain(made / "classifier", made / "pack", out=tmp_path / "linear", **options)
    assert read_card(linear).content["findings"]["Disc"]["empty"] == 0
    assert "Empty maps" not in capsys.readouterr().out


def test_what_repeats_must_know(made, tmp_path):
    make_pack(tmp_path / "pack", size=32, n=40, findings=("Other",))
    kontrast.probe("random", tmp_path / "pack", out=tmp_path / "other", encoder="resnet18")
    with pytest.raises(UsageError, match="does not know Disc, Bar"):
        kontrast.explain(made / "classifier", made / "pack", out=tmp_path / "e", repeat=(tmp_path / "other",))
    with pytest.raises(UsageError, match="has none"):
        kontrast.explain(made / "classifier", made / "pack", out=tmp_path / "e", map="rollout")
    assert not (tmp_path / "e").exists()


def test_rollout_has_no_check_by_labels(made, tmp_path, capsys):
    make_pack(tmp_path / "pack", n=40, masks=True, size=16)
    kontrast.probe("random", tmp_path / "pack", out=tmp_path / "vit", encoder="vit_small")
    options = {"images": 1, "replicates": 0, "limit": 3, "finding": ("Disc",), "sanity": True, "map": "rollout"}
    outcome = kontrast.explain(tmp_path / "vit", tmp_path / "pack", out=tmp_path / "e", **options)
    content = read_card(outcome).content
    assert content["method"].startswith("attention rollout") and "labels" not in content["findings"]["Disc"]["sanity"]
    assert "this kind of map knows no head" in capsys.readouterr().err
    first = content["findings"]["Disc"]["sanity"]["weights"][0]
    assert first["layer"] == "head" and first["rank"]["value"] == pytest.approx(1)


def test_a_dry_run_writes_nothing(made, tmp_path):
    outcome = kontrast.explain(made / "classifier", made / "pack", out=tmp_path / "e", dry_run=True)
    assert outcome.status == "planned" and set(outcome.summary["findings"]) == {"Disc", "Bar"}
    assert not (tmp_path / "e").exists()


def test_sixteen_bit_packs_are_drawn_too(made, tmp_path):
    make_pack(tmp_path / "pack", size=32, n=40, masks=True, dtype="uint16")
    kontrast.explain(made / "classifier", tmp_path / "pack", out=tmp_path / "e", images=1, replicates=0)
    path = next((tmp_path / "e" / "overlays").glob("disc-*.png"))
    data = Pack.open(tmp_path / "pack")
    (row,) = np.flatnonzero("disc-" + data.table["image_id"] + ".png" == path.name)
    left = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[:, :224]
    outlined = left.reshape(32, 7, 32, 7).mean((1, 3))  # enlarged sevenfold; the outline covers little of it
    assert np.corrcoef(outlined.ravel(), data.images([row])[0].ravel())[0, 1] > 0.8


def test_findings_that_the_pack_does_not_label_are_left_out(made, tmp_path):
    make_pack(tmp_path / "pack", size=32, n=40, findings=("Disc",))
    outcome = kontrast.explain(made / "classifier", tmp_path / "pack", out=tmp_path / "e", dry_run=True)
    assert outcome.summary["findings"] == ["Disc"]


def test_a_wrong_finding_names_its_neighbour(made, tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'Disc'"):
        kontrast.explain(made / "classifier", made / "pack", out=tmp_path / "e", finding=("Disk",))


def test_findings_without_a_positive_image_are_refused(made, tmp_path):
    make_pack(tmp_path / "pack", size=32, n=40, findings=("Other",))
    with pytest.raises(DataError, match="labelled 1"):
        kontrast.explain(made / "classifier", tmp_path / "pack", out=tmp_path / "e")
    with pytest.raises(UsageError, match="no labels of Disc"):
        kontrast.explain(made / "classifier", tmp_path / "pack", out=tmp_path / "e", finding=("Disc",))
    make_pack(tmp_path / "train_only", size=32, n=40, splits=(0.8, 0.2))
    with pytest.raises(DataError, match="test 0"):
        kontrast.explain(made / "classifier", tmp_path / "train_only", out=tmp_path / "e")


@pytest.mark.parametrize(
    ("option", "value"), [("images", -1), ("limit", 0), ("threshold", 0.0), ("replicates", -1), ("batch_size", 0)]
)
def test_values_out_of_range_are_refused(made, tmp_path, option, value):
    with pytest.raises(UsageError, match="--" + option.replace("_", "-")):
        kontrast.explain(made / "classifier", made / "pack", out=tmp_path / "e", **{option: value})
