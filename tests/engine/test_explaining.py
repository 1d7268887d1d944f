"""Which images are explained, where their findings are, and what is made of the scores."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import make_pack
from kontrast.artifacts.classifier import Classifier
from kontrast.artifacts.pack import Pack
from kontrast.engine.explaining import (
    FIXED,
    Rule,
    explain_sample,
    find_places,
    fix_rule,
    map_shape,
    sample,
    summarise,
)
from kontrast.engine.features import predict, to_input
from kontrast.metrics.localisation import centre_prior, ious
from kontrast.nn.encoders import EncoderSpec, build_encoder
from kontrast.saliency.gradcam import gradcam

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return Pack.open(make_pack(tmp_path_factory.mktemp("explain") / "pack", size=32, n=60, masks=True))


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return Pack.open(make_pack(tmp_path_factory.mktemp("explain") / "pack", size=32, n=60))


def classifier(size=32):
    spec = EncoderSpec("resnet18", size)
    torch.manual_seed(0)
    return Classifier(build_encoder(spec, seed=0), spec, ["Bar", "Disc"]).eval()


def with_boxes(pack, rows):
    """The same Pack with boxes instead of masks."""
    twin = Pack(path=pack.path, card=pack.card, table=pack.table)
    ids = pack.table["image_id"].iloc[rows]
    values = {"image_id": ids, "finding": "Disc", "x": 2.0, "y": 4.0, "width": 10.0, "height": 5.0}
    twin.__dict__["boxes"] = pd.DataFrame(values)
    return twin


def test_only_images_labelled_one_of_the_split_are_taken(pack):
    chosen = sample(pack, "Disc", pack.rows("test"), images=3, limit=500, seed=0)
    labels = pack.labels(np.arange(len(pack)))[:, pack.findings.index("Disc")]
    expected = [row for row in pack.rows("test") if labels[row] == 1]
    assert sorted(chosen.rows) == expected and chosen.positives == chosen.scored == len(expected) > 0


def test_the_seed_fixes_the_order_and_the_limit_cuts_it(pack):
    rows = pack.rows("train")
    whole, same, other = (sample(pack, "Disc", rows, images=2, limit=500, seed=s).rows for s in (0, 0, 1))
    assert (whole == same).all() and (whole != other).any() and set(whole) == set(other)
    cut = sample(pack, "Disc", rows, images=2, limit=4, seed=0)
    assert (cut.rows == whole[:4]).all() and cut.scored == 4 and cut.positives == len(whole)


def test_without_masks_only_the_pictures_are_made(bare):
    chosen = sample(bare, "Disc", bare.rows("train"), images=5, limit=500, seed=0)
    assert len(chosen.rows) == 5 and chosen.scored == 0 and chosen.places is None and chosen.positives > 5


def test_images_whose_place_is_known_come_first(bare):
    rows = bare.rows("train")
    positive = sample(bare, "Disc", rows, images=100, limit=500, seed=0).rows
    some = with_boxes(bare, positive[-3:])
    chosen = sample(some, "Disc", rows, images=5, limit=500, seed=0)
    assert chosen.scored == 3 and set(chosen.rows[:3]) == set(positive[-3:]) and len(chosen.rows) == 5
    assert len(set(chosen.rows)) == 5


def test_masks_are_found_by_name_else_boxes(pack, bare):
    rows = np.arange(6)
    assert (find_places(pack, "disc")(rows) == pack.mask("Disc", rows)).all()
    assert find_places(bare, "Disc") is None
    boxed = with_boxes(bare, [2, 4])
    filled = find_places(boxed, "Disc")(rows)
    assert filled[[0, 1, 3, 5]].sum() == 0 and filled[2].sum() == filled[4].sum() == 50
    assert filled[2, 4:9, 2:12].all() and find_places(boxed, "Bar") is None


@pytest.mark.parametrize("size", [32, 48])
def test_each_image_gets_its_own_map_probability_and_scores(pack, size):
    model = classifier(size)
    chosen = sample(pack, "Disc", pack.rows("train"), images=3, limit=7, seed=0)
    rule = Rule(0.3, priors={"centre": (centre_prior(32, 32), 0.5)})
    found = list(explain_sample(model, pack, chosen, rule=rule, device=CPU, batch_size=3))
    assert [one.row for one in found] == chosen.rows.tolist()
    maps = gradcam(model, to_input(pack.images(chosen.rows), model.spec), 1, size=pack.size).numpy()
    probabilities = predict(model, pack, chosen.rows)[:, 1]
    for i, one in enumerate(found):
        np.testing.assert_allclose(one.heat, maps[i], atol=1e-4)
        assert one.probability == pytest.approx(probabilities[i], abs=1e-5)
        mask = pack.mask("Disc", [one.row])[0]
        assert (one.place == mask).all() and one.scores["area"] == pytest.approx(mask.mean())
        y, x = np.unravel_index(one.heat.argmax(), one.heat.shape)
        assert one.scores["hit"] == mask[y, x] or 0 < one.scores["hit"] < 1  # a plateau counts by its share
        region = one.heat >= 0.3 * one.heat.max()
        assert one.scores["iou"] == pytest.approx((region & mask).sum() / (region | mask).sum())
        assert one.scores["centre_hit"] == mask[15:17, 15:17].mean()


def test_a_map_of_the_right_place_scores_and_the_summary_says_so(pack):
    class Oracle(Classifier):
        """Finds bright columns: the planted bar runs from top to bottom."""

        def __init__(self):
            super().__init__(build_encoder(EncoderSpec("resnet18", 32)), EncoderSpec("resnet18", 32), ["Bar"])
            self.encoder.feature_maps = lambda x: torch.nn.functional.avg_pool2d(x, (32, 2)).clamp(min=0)
            self.head = torch.nn.Linear(1, 1)
            torch.nn.init.ones_(self.head.weight)

    chosen = sample(pack, "Bar", pack.rows("train"), images=0, limit=500, seed=0)
    rule = fix_rule(Oracle(), pack, "Bar", threshold=0.5, kind="gradcam", limit=500, seed=0, device=CPU, batch_size=7)
    found = list(explain_sample(Oracle(), pack, chosen, rule=rule, device=CPU, batch_size=64))
    scores = pd.DataFrame([{"prob": one.probability} | one.scores for one in found])
    patients = pack.table["patient_id"].to_numpy()[chosen.rows]
    cutoff = float(scores["prob"].median())
    result = summarise(chosen, scores, patients, cutoff=cutoff, replicates=200, seed=0)
    assert result["n"] == result["positives"] == len(found)
    assert result["hit"]["value"] > 0.7 > result["centre_hit"]["value"]
    assert result["iou"]["low"] < result["iou"]["value"] < result["iou"]["high"]
    gap = result["hit_over_centre"]
    assert gap["value"] == pytest.approx(result["hit"]["value"] - result["centre_hit"]["value"]) and gap["low"] > 0
    called = scores["prob"] >= cutoff
    seen = result["true_positives"]
    assert seen["n"] == called.sum() < len(found)
    assert seen["hit"]["value"] == pytest.approx(scores["hit"][called].mean())
    nobody = summarise(chosen, scores, patients, cutoff=1.5, replicates=20, seed=0)["true_positives"]
    assert nobody["n"] == 0 and "none of these images positive" in nobody["hit"]["reason"]
    without = summarise(chosen, scores, patients, cutoff=None, replicates=20, seed=0)["true_positives"]
    assert without["n"] is None and "no threshold" in without["iou"]["reason"]


def test_thresholds_are_tuned_on_val_and_priors_come_from_train(pack):
    model = classifier()
    options = {"kind": "gradcam", "limit": 500, "seed": 0, "device": CPU, "batch_size": 4}
    rule = fix_rule(model, pack, "Disc", threshold=None, **options)
    column = pack.labels(np.arange(len(pack)))[:, pack.findings.index("Disc")]
    val, train = (np.array([r for r in pack.rows(name) if column[r] == 1]) for name in ("val", "train"))
    maps = gradcam(model, to_input(pack.images(val), model.spec), 1, size=32).numpy()
    table = ious(maps, pack.mask("Disc", val)).mean(axis=0)
    grid = np.arange(2, 19) * 0.05
    assert rule.threshold == pytest.approx(grid[int(table.argmax())])
    assert rule.about == {"value": rule.threshold, "chosen": "on val", "n": len(val), "iou": pytest.approx(table.max())}
    usual, own = rule.priors["usual"]
    np.testing.assert_allclose(usual, pack.mask("Disc", train).mean(axis=0))
    best = ious(np.broadcast_to(usual, maps.shape), pack.mask("Disc", val)).mean(axis=0)
    assert own == pytest.approx(grid[int(best.argmax())]) and set(rule.priors) == {"centre", "usual"}
    fixed = fix_rule(model, pack, "Disc", threshold=0.25, **options)
    assert fixed.threshold == 0.25 and fixed.about["chosen"] == "as asked"


def test_without_places_in_val_the_threshold_says_so(bare):
    rule = fix_rule(
        classifier(), bare, "Disc", threshold=None, kind="gradcam", limit=9, seed=0, device=CPU, batch_size=8
    )
    assert (
        rule.threshold == FIXED
        and "fewer than 5 images of val" in rule.about["chosen"]
        and rule.about["n"] == 0
        and set(rule.priors) == {"centre"}
    )


def test_what_cannot_be_scored_says_why(bare, pack):
    nothing = pd.DataFrame(columns=["prob", "hit", "iou", "centre_hit", "centre_iou", "area"], dtype=float)
    chosen = sample(bare, "Disc", bare.rows("test"), images=0, limit=9, seed=0)
    result = summarise(chosen, nothing, None, cutoff=0.5, replicates=10, seed=0)
    assert (
        result["n"] == 0 and result["iou"]["value"] is None and "no mask and no box of Disc" in result["iou"]["reason"]
    )
    empty = sample(pack, "Disc", pack.rows("test")[:0], images=2, limit=9, seed=0)
    reason = summarise(empty, nothing, None, cutoff=0.5, replicates=10, seed=0)["hit"]["reason"]
    assert "no image of this split" in reason


@pytest.mark.parametrize(("size", "side"), [(32, 4), (64, 2)])
def test_map_shape(size, side):
    assert map_shape(classifier(size)) == (side, side)
