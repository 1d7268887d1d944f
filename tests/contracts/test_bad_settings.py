"""Settings that do not fit the data, the network or the machine: what is wrong, what to set, and nothing written."""

import pytest

from contracts.commands import SIZE, problem, run
from helpers import make_pack
from kontrast.artifacts.safe import write_weights
from kontrast.nn.encoders import EncoderSpec, build_encoder

IMAGES = 36
"""In the train split of the world's Pack."""

USUAL = {"--encoder": "resnet18", "--batch-size": "8", "--epochs": "1"}

BAD = {
    "batch-norm groups, half a batch each": (
        {"--method": "moco", "--batch-size": "4", "--options.bn_groups": "8"},
        ("4 images", "8 batch-norm groups"),
        {"--batch-size": "16"},
    ),
    "batch-norm groups, no equal parts": (
        {"--method": "moco", "--batch-size": "9", "--options.bn_groups": "2"},
        ("9 images", "2 batch-norm groups"),
        {"--options.bn_groups": "3"},
    ),
    "MoCo's queue": (
        {"--method": "moco", "--queue-length": "1000"},
        ("--queue-length 1000", f"the {IMAGES} images"),
        {"--queue-length": "9"},
    ),
    "SwAV's queue": (
        {"--method": "swav", "--queue-length": "1000"},
        ("--queue-length 1000", f"the {IMAGES} images"),
        {"--queue-length": "9"},
    ),
    "a batch": (
        {"--batch-size": "37"},
        ("--batch-size 37", f"the {IMAGES} training images"),
        {"--batch-size": "36"},
    ),
    "fp16 on a CPU": (
        {"--device": "cpu", "--precision": "fp16"},
        ("--precision fp16", "GPU"),
        {"--precision": "bf16"},
    ),
    "local crops below the encoder's stride": (
        {"--method": "swav", "--encoder": "densenet121", "--size": "64", "--options.local_views": "2"},
        ("At --size 64", "24 px", "densenet121", "32-fold"),
        {"--options.local_views": "0"},
    ),
    "fewer pixels than any view": ({"--size": "12"}, ("--size should be above 15", "12"), {"--size": "16"}),
    "no whole patches": (
        {"--encoder": "vit_small", "--size": "20"},
        ("--size is 20", "multiple of 8"),
        {"--size": "16"},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_pretrain_says_what_does_not_fit_and_what_to_set(name, world, tmp_path):
    options, words, mended = BAD[name]

    def pretrain(asked, *more):
        flat = [word for pair in (USUAL | asked).items() for word in pair]
        return run(["pretrain", world.paths["pack"], "--out", tmp_path / "out", *flat, *more])

    refused = pretrain(options)
    said, fix = problem(refused)
    assert refused.code == 2 and all(word in said for word in words), refused.err
    assert next(iter(mended)) in fix or "Leave it out" in fix
    assert not (tmp_path / "out").exists()
    better = pretrain(options | mended, "--dry-run")
    assert better.code == 0, better.err


@pytest.mark.parametrize("name", ["pretrain", "finetune", "probe", "embed"])
def test_fewer_pixels_than_the_stride_of_the_weights(name, world, tmp_path):
    """ImageNet's stem reduces 32-fold: of 16 px nothing would be left."""
    weights = tmp_path / "imagenet_stem.safetensors"
    write_weights(weights, build_encoder(EncoderSpec("resnet18", 224), seed=0).state_dict())
    pack = make_pack(tmp_path / "pack", n=60, size=SIZE)
    if name == "pretrain":
        words = [*world.words(name, tmp_path / "out", pack=pack), "--init", weights]
    else:
        words = [*world.words(name, tmp_path / "out", pack=pack, encoder=weights), "--encoder", "resnet18"]
    refused = run(words)
    said, fix = problem(refused)
    assert refused.code == 2 and "32-fold" in said and f"--size is {SIZE}" in said and "--size 32" in fix
    assert not (tmp_path / "out").exists()
    better = run([*words, "--size", "32", "--dry-run"])
    assert better.code == 0, better.err


PEOPLE = {
    "one patient": (1, ("60 training images", "one patient"), "at least two patients"),
    "nobody twice": (60, ("--positives patient", "no patient has two of the 60"), "--positives image"),
}


@pytest.mark.parametrize("name", PEOPLE)
def test_pairs_of_a_patient_need_patients_with_two_images(name, world, tmp_path):
    patients, words, advice = PEOPLE[name]
    pack = make_pack(tmp_path / "pack", n=60, size=SIZE, patients=patients, splits=(1.0, 0.0))
    refused = run([*world.words("pretrain", tmp_path / "out", pack=pack), "--positives", "patient"])
    said, fix = problem(refused)
    assert refused.code == 2 and all(word in said for word in words) and advice in fix
    assert not (tmp_path / "out").exists()


def test_fp16_on_a_cpu_is_refused_to_finetune_too(world, tmp_path):
    refused = run([*world.words("finetune", tmp_path / "out"), "--device", "cpu", "--precision", "fp16"])
    said, fix = problem(refused)
    assert refused.code == 2 and "--precision fp16" in said and "bf16" in fix
    assert not (tmp_path / "out/card.json").exists()


TAKE_A_SEED = [
    "demo", "phantom", "prepare", "pretrain", "probe", "finetune", "evaluate", "score", "explain", "embed", "study",
    "audit",
]  # fmt: skip
INPUTS = {"demo": 0, "prepare": 1, "pretrain": 1, "study": 1, "audit": 1}


@pytest.mark.parametrize("name", TAKE_A_SEED)
def test_a_negative_seed_is_refused_before_anything_is_read(name, tmp_path):
    gone = [str(tmp_path / "gone")] * INPUTS.get(name, 2)
    out = [str(tmp_path / "out")] if name == "phantom" else [*gone, "--out", str(tmp_path / "out")]
    refused = run([name, *out, "--seed", "-1"])
    assert refused.code == 2 and "--seed" in problem(refused)[0] and "-1" in problem(refused)[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "option", "value", "kinds"),
    [
        ("pretrain", "--lr", "inf", "a number or auto"),
        ("pretrain", "--epochs", "Infinity", "a number or auto"),
        ("pretrain", "--minutes", "inf", "a number"),
        ("finetune", "--weight-decay", "nan", "a number"),
        ("prepare", "--val-fraction", "nan", "a number"),
        ("prepare", "--key", "", "a path"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(name, option, value, kinds, tmp_path):
    refused = run([name, "gone", *(["gone"] * (name == "finetune")), "--out", tmp_path / "out", option, value])
    assert refused.code == 2
    assert problem(refused)[0] == f"{option} {value or repr(value)} does not fit: it takes {kinds}."


def test_a_folder_whose_variable_is_not_set_is_not_the_folder_where_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["prepare", "", "--out", "out"], ["scan", ""], ["report", "", "--out", "page.html"]):
        refused = run(words)
        assert refused.code == 2 and "'' does not fit: it takes a path" in problem(refused)[0]
