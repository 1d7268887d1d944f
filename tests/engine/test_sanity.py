"""Maps under random weights, permuted labels and other seeds, against what is known of each."""

import numpy as np
import pytest
import torch

from helpers import make_pack
from kontrast.artifacts.classifier import Classifier
from kontrast.artifacts.pack import Pack
from kontrast.engine.explaining import Rule, sample
from kontrast.engine.features import to_input
from kontrast.engine.sanity import SIDE, Compared, cascade, check, layers, no_heads, refitted_heads, repeat
from kontrast.metrics.similarity import rank_correlation
from kontrast.nn.encoders import EncoderSpec, build_encoder
from kontrast.saliency.gradcam import gradcam

CPU = torch.device("cpu")


def classifier(name="resnet18", seed=0, size=32):
    spec = EncoderSpec(name, size)
    torch.manual_seed(seed)
    return Classifier(build_encoder(spec, seed=seed), spec, ["Bar", "Disc"]).eval()


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return Pack.open(make_pack(tmp_path_factory.mktemp("sanity") / "pack", size=32, n=60, masks=True))


@pytest.fixture(scope="module")
def compared(pack):
    chosen = sample(pack, "Disc", pack.rows("train"), images=0, limit=8, seed=0)
    return Compared(pack, chosen, kind="gradcam", device=CPU, replicates=20, seed=0)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "vit_small"])
def test_layers_are_all_of_the_network_from_input_to_head(name):
    model = classifier(name)
    found = layers(model)
    assert [key for keys in found.values() for key in keys] == list(model.state_dict())
    names = list(found)
    assert names[-1] == "head" and 5 < len(names) < 16
    assert names[0] == {"resnet18": "conv1", "densenet121": "features.conv0", "vit_small": "patch_embed"}[name]
    assert not any(name.startswith(("bn", "norm", "cls")) for name in names)


def test_random_weights_are_not_those_that_the_classifier_began_with():
    model = classifier(seed=3)
    *_, (_, broken) = cascade(model, seed=3)
    for name, value in broken.encoder.named_parameters():
        if value.dim() > 1:
            assert not torch.equal(value, model.encoder.get_parameter(name)), name


def test_the_cascade_makes_one_layer_after_the_other_random_and_spares_the_original():
    model = classifier()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    order = list(layers(model))
    for step, (name, broken) in enumerate(cascade(model, seed=5), 1):
        assert name == order[-step]
        changed = {layer for layer, keys in layers(model).items() for key in keys
                   if not torch.equal(broken.state_dict()[key], before[key])}  # fmt: skip
        assert changed == set(order[-step:]), name
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    again = [one.head.weight.clone() for _, one in cascade(model, seed=5)]
    assert torch.equal(again[0], broken.head.weight)  # the seed fixes it


def test_likeness_is_the_mean_over_images(compared, pack):
    model = classifier()
    x = to_input(pack.images(compared.rows), model.spec)
    own, other = (gradcam(m, x, 1, size=SIDE).numpy() for m in (model, classifier(seed=1)))
    np.testing.assert_allclose(compared.maps(model), own, atol=1e-4)
    found = compared.likeness((own, other), (own, own))
    each = (rank_correlation(own, other) + 1) / 2
    assert found["rank"]["value"] == pytest.approx(each.mean()) and found["rank"]["low"] < each.mean()
    flat = compared.likeness((own, np.zeros_like(own)))["rank"]
    assert flat["value"] is None and "flat" in flat["reason"]


def test_maps_of_other_images_are_those_of_other_patients(compared):
    people = compared.patients
    seen = {}
    maps = np.arange(len(people), dtype=float)[:, None, None] * np.ones((1, SIDE, SIDE))
    compared.likeness, real = lambda pair: seen.update(pair=pair), compared.likeness
    try:
        compared.shuffled(maps)
    finally:
        compared.likeness = real
    first, second = (pair[:, 0, 0].astype(int) for pair in seen["pair"])
    assert list(first) == list(range(len(people))) and len(set(people)) < len(people)
    assert all(people[i] != people[j] for i, j in zip(first, second, strict=True))


def test_a_map_that_knows_no_weights_is_found_out(compared, monkeypatch):
    bright = {
        "maps": lambda model: compared.pack.images(compared.rows)[:, ::1, ::1].astype(float).repeat(2, 1).repeat(2, 2)
    }
    monkeypatch.setattr(
        compared, "maps", bright["maps"]
    )  # edges of the image, whatever the classifier: the classic failure
    found = check(compared, classifier(), None)
    assert all(step["rank"]["value"] == pytest.approx(1) for step in found["weights"]) and "labels" not in found
    assert found["between_images"]["rank"]["value"] < 0.9


def test_random_weights_and_permuted_labels_change_the_maps_of_what_was_learnt(compared, pack):
    policy = {"uncertain": "zeros", "blank": "negative"}
    heads = refitted_heads(classifier(), pack, policy, seed=0, device=CPU, batch_size=64)
    found = check(compared, heads[0], heads)
    steps = [step["rank"]["value"] for step in found["weights"]]
    assert found["weights"][0]["layer"] == "head" and max(steps) < 0.95  # of a network that was never trained
    assert found["labels"]["rank"]["value"] < 0.9
    assert heads[0].encoder is heads[1].encoder and not torch.allclose(heads[0].head.weight, heads[1].head.weight)


def test_why_heads_cannot_be_refitted(pack, tmp_path):
    assert no_heads(classifier(), pack, of_finding=True) is None
    assert "no head" in no_heads(classifier(), pack, of_finding=False)
    other = Pack.open(make_pack(tmp_path / "p", size=32, n=12, findings=("Disc",)))
    assert "no labels of Bar" in no_heads(classifier(), other, of_finding=True)


def test_repeats_are_compared_pair_by_pair_and_scored_each(compared, pack):
    models = [classifier(seed=s) for s in range(3)]
    found = repeat(compared, models, Rule(0.5))
    maps = [compared.maps(m) for m in models]
    pairs = [rank_correlation(maps[i], maps[j]) for i, j in ((1, 0), (2, 0), (2, 1))]
    assert found["rank"]["value"] == pytest.approx(np.nanmean(np.nanmean(pairs, axis=0)))
    assert found["classifiers"] == 3 and len(found["hits"]) == len(found["ious"]) == 3
    same = repeat(compared, [models[0], models[0]], Rule(0.5))
    assert same["rank"]["value"] == pytest.approx(1) and same["hits"][0] == same["hits"][1]
