"""Which images pretraining reads, what it decides, and that its views do not depend on the number of processes."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from helpers import KEY, make_pack
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.data.identity import Key
from kontrast.engine.batches import Batch, Batches, generator
from kontrast.engine.choices import OPTIONS, choose_batch_size, choose_optimizer, choose_steps, method_options
from kontrast.engine.optim import split_decay
from kontrast.engine.patients import partner_groups, patient_numbers
from kontrast.engine.planning import Plan, make_plan
from kontrast.engine.pretraining import pooled_statistics, seen_by, training_rows
from kontrast.engine.selfsupervised import VIEWS_CELL, SelfSupervised, build_model, write_views
from kontrast.errors import UsageError
from kontrast.methods import METHODS
from kontrast.methods.method import Step
from kontrast.nn.encoders import EncoderSpec, build_encoder
from kontrast.stages.pretrain import PretrainConfig
from kontrast.views.masks import MaskSpec
from kontrast.views.params import ViewSpec
from kontrast.views.recipes import XRAY, make_views
from toys import ToyEncoder, small_config

CPU = torch.device("cpu")


class Echo(torch.nn.Module):
    """Keeps the views and the moments it was called at."""

    views = ViewSpec(globals=2, locals=1)
    sync_batchnorm = False

    def __init__(self):
        super().__init__()
        self.calls = []

    def before_step(self, progress):
        self.calls.append(("before", progress))

    def step(self, views, about):
        self.calls.append(("step", views))
        return Step(views[0].mean(), views[0].flatten(1))

    def after_backward(self, step, progress):
        self.calls.append(("after_backward", step, progress))

    def after_step(self, progress):
        self.calls.append(("after_step", progress))

    def trainable(self):
        return iter(())


def _batch(first=0, last=6):
    images = torch.randint(0, 256, (6, 1, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    part = slice(first, last)
    return Batch(images[part], np.arange(6)[part], ["x"] * (last - first), 4, first, 6)


def test_views_are_normalised_and_the_same_however_the_batch_is_shared():
    spec = EncoderSpec("resnet18", 16, mean=0.4, std=0.2)
    whole, parts = Echo(), Echo()
    views = XRAY.at(16)
    SelfSupervised(whole, views, spec).step(_batch(), 0.25, generator(0, 4))
    for first, last in ((0, 3), (3, 6)):
        SelfSupervised(parts, views, spec).step(_batch(first, last), 0.25, generator(0, 4))
    assert whole.calls[0] == ("before", 0.25)
    seen = whole.calls[1][1]
    assert len(seen) == 3 and seen[0].shape == (6, 1, 16, 16) and seen[2].shape[-1] < 16
    for view, a, b in zip(seen, parts.calls[1][1], parts.calls[3][1], strict=True):
        torch.testing.assert_close(view, torch.cat([a, b]), rtol=0, atol=1e-6)
    low, high = (0 - 0.4) / 0.2 - 1e-6, (1 - 0.4) / 0.2 + 1e-6
    assert low <= float(seen[0].min()) and float(seen[0].max()) <= high and float(seen[0].max()) > 1


def test_masks_are_drawn_for_the_whole_batch_and_after_the_views():
    class Masked(Echo):
        views = ViewSpec(globals=2, locals=1, masks=MaskSpec(patch=4, share=(0.2, 0.6), blocks=True))

        def step(self, views, about):
            self.calls.append(("masks", about.masks))
            return super().step(views, about)

    plain, whole, parts = Echo(), Masked(), Masked()
    spec, views = EncoderSpec("vit_small", 16), XRAY.at(16)
    SelfSupervised(plain, views, spec).step(_batch(), 0.25, generator(0, 4))
    SelfSupervised(whole, views, spec).step(_batch(), 0.25, generator(0, 4))
    for first, last in ((0, 2), (2, 6)):
        SelfSupervised(parts, views, spec).step(_batch(first, last), 0.25, generator(0, 4))
    masks = [call[1] for call in whole.calls + parts.calls if call[0] == "masks"]
    assert masks[0].shape == (2, 6, 16) and masks[0].dtype == torch.bool
    assert masks[0].sum(2).min() > 0 and len(masks[0].flatten(0, 1).unique(dim=0)) > 6
    assert torch.equal(masks[0], torch.cat(masks[1:], dim=1))
    seen = [next(call[1] for call in echo.calls if call[0] == "step") for echo in (plain, whole)]
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True)), "views.png shows what a step sees"


def test_the_method_sees_partners_and_is_told_the_patients(tmp_path):
    class Told(Echo):
        def step(self, views, about):
            self.calls.append(("patients", about.patients))
            return super().step(views, about)

    found = [(pack := Pack.open(make_pack(tmp_path / "a", n=40, size=16)), pack.rows("train"))]
    patients = patient_numbers(found)
    batches = Batches(found, 8, 3, CPU, groups=partner_groups(found, "patient"))
    told, spec, batch = Told(), EncoderSpec("resnet18", 16, mean=0, std=1), batches.at(5)
    SelfSupervised(told, XRAY.at(16), spec, patients).step(batch, 0.0, generator(3, 5))
    (_, given), (_, seen) = told.calls[1:]
    assert given.dtype == torch.int64
    people = pack.table.set_index("image_id")["patient_id"]
    assert people[batch.ids].tolist() == people[batch.partner_ids].tolist()
    for i, one in enumerate(people[batch.ids]):
        assert [int(n) == int(given[i]) for n in given] == [one == other for other in people[batch.ids]]
    expected = make_views(batch.images, XRAY.at(16), told.views, generator(3, 5), partners=batch.partners)
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))
    SelfSupervised(told, XRAY.at(16), spec).step(batch, 0.0, generator(3, 5))
    assert told.calls[4] == ("patients", None)


def test_only_the_train_split_is_read(tmp_path):
    pack = Pack.open(make_pack(tmp_path / "a", n=40))
    ((_, rows),) = training_rows([pack])
    assert set(pack.table["split"].iloc[rows]) == {"train"}
    table = seen_by([(pack, rows)], Seen.nothing()).table
    assert len(table) == len(rows) and set(table["role"]) == {"pretrain"}
    assert set(table["patient_id"]) == set(pack.table["patient_id"].iloc[rows])


def test_packs_that_cannot_serve_are_refused(tmp_path):
    pack = Pack.open(make_pack(tmp_path / "a", n=40))
    with pytest.raises(UsageError, match="twice"):
        training_rows([pack, Pack.open(tmp_path / "a")])
    one = Pack.open(make_pack(tmp_path / "one", n=6, patients=1, splits=(1.0, 0.0)))
    with pytest.raises(UsageError, match="one patient"):
        training_rows([one])
    none = Pack.open(make_pack(tmp_path / "none", n=12, splits=(0.0, 0.5)))
    with pytest.raises(UsageError, match="training images"):
        training_rows([none])


def test_held_out_patients_of_another_pack_are_warned_of(tmp_path, capsys):
    a = Pack.open(make_pack(tmp_path / "a", n=40))
    b = Pack.open(make_pack(tmp_path / "b", n=40, splits=(0.2, 0.2)))  # the same patients, split otherwise
    training_rows([a, b])
    assert "held-out images" in capsys.readouterr().err
    c = Pack.open(make_pack(tmp_path / "c", n=40, seed=9, key=Key(b"another key of the tests, 32 by.")))
    assert c.key_id != KEY.id
    training_rows([a, c])
    assert capsys.readouterr().err == ""


def test_pooled_statistics_are_those_of_all_pixels_together():
    rng = np.random.default_rng(0)
    parts = [rng.uniform(0, 1, (30, 5)), rng.uniform(0.5, 0.7, (10, 5))]

    class Stub:
        def __init__(self, x):
            self.mean, self.std = float(x.mean()), float(x.std())

    mean, std = pooled_statistics([(Stub(x), np.arange(len(x))) for x in parts])
    together = np.concatenate(parts)
    assert mean == pytest.approx(together.mean()) and std == pytest.approx(together.std())


@pytest.mark.parametrize(
    ("images", "expected"), [(5, 5), (40, 8), (100, 8), (360, 32), (540, 64), (2000, 128), (10**6, 128)]
)
def test_auto_batch_is_an_eighth_of_the_images(images, expected):
    assert choose_batch_size("auto", images, CPU) == expected
    with pytest.raises(UsageError, match="training images"):
        choose_batch_size(images + 1, images, CPU)


def test_learning_rates_follow_the_batch():
    assert choose_optimizer("moco", "auto", "auto", "auto", 64) == ("adamw", 5e-4, 1e-4)  # root rule
    name, lr, decay = choose_optimizer("byol", "lars", "auto", "auto", 64)
    assert (name, lr, decay) == ("lars", 0.05, 1.5e-6)  # linear rule, the paper's 0.2 for 256
    assert choose_optimizer("moco", "adamw", 0.1, 0.0, 64) == ("adamw", 0.1, 0.0)


@pytest.mark.parametrize(
    ("method", "optimizer", "inside", "all_decay"),
    [
        ("simclr", "lars", True, False), ("byol", "lars", False, False), ("simclr", "adamw", False, False),
        ("moco", "sgd", False, True), ("simsiam", "sgd", False, True), ("moco", "adamw", False, False),
        ("simclr", "sgd", False, False), ("swav", "lars", False, True),
    ],
)  # fmt: skip
def test_the_papers_optimiser_is_the_papers_in_form_and_in_what_decays(method, optimizer, inside, all_decay):
    """SimCLR's LARS has the rate within its momentum; MoCo, SimSiam and SwAV let biases and norms decay."""
    kind = METHODS[method]
    plan = Plan(
        method=method, options=dataclasses.asdict(small_config(kind)), encoder="resnet18", size=16, recipe="xray",
        batch_size=8, steps=10, epochs=1, optimizer=optimizer, lr=0.1, weight_decay=0.01, warmup=0, clip=None,
        precision="fp32", seed=0,
    )  # fmt: skip
    assert plan.loop().lr_in_momentum is inside
    model = build_model(plan, ToyEncoder(), EncoderSpec("resnet18", 16, mean=0.5, std=0.25))
    groups = split_decay(model.parameter_groups())
    decayed = {p.ndim for group in groups if group.get("weight_decay", 1) for p in group["params"]}
    assert (1 in decayed) is all_decay and {2, 4} <= decayed


class _Batches:
    steps_per_epoch, batch_size, device = 20, 10, CPU


def test_steps_from_epochs_minutes_or_the_number_of_images(capsys):
    assert choose_steps(2.5, None, _Batches, None) == 50
    assert choose_steps("auto", 10, _Batches, lambda: 2.0) == 1140
    assert "20 images/s" in capsys.readouterr().out
    assert choose_steps("auto", None, _Batches, None) == 400 * 20
    _Batches.steps_per_epoch = 10**6
    assert choose_steps("auto", None, _Batches, None) == 10**7
    _Batches.steps_per_epoch = 20


def test_options_reach_the_negatives_by_either_way(tmp_path, capsys):
    pack = Pack.open(make_pack(tmp_path / "p", n=40, size=16))
    found = training_rows([pack])
    spec = EncoderSpec("resnet18", 16)

    def planned(method, found=found, **asked):
        config = PretrainConfig(method=method, batch_size=8, epochs=1, **asked)
        flat = {name: getattr(config, name) for name in OPTIONS}
        options = method_options(method, flat, config.options)
        plan = make_plan(method, options, config, build_encoder(spec), spec, found, CPU, measuring=False)
        return plan.positives, plan.options.get("same_patient_negatives")

    assert planned("moco") == ("image", "mask")
    said = capsys.readouterr()
    assert "--same-patient-negatives = mask" in said.out and "batch-norm group" not in said.out + said.err
    assert planned("simclr", same_patient_negatives="keep", positives="patient") == ("patient", "keep")
    assert planned("moco", options={"same_patient_negatives": "keep"}) == ("image", "keep")
    assert planned("byol", positives="patient") == ("patient", None)
    nameless = Pack.open(make_pack(tmp_path / "nameless", n=40, size=16, patients_known=False))
    assert planned("moco", [(nameless, nameless.rows("train"))]) == ("image", "keep")
    with pytest.raises(UsageError, match="--same-patient-negatives is no option of byol"):
        planned("byol", same_patient_negatives="keep")


@pytest.mark.parametrize(("encoder", "size", "leaks"), [("resnet18", 16, True), ("vit_small", 32, False)])
def test_t16_one_batch_norm_group_on_one_process_is_warned_of(tmp_path, capsys, encoder, size, leaks):
    found = training_rows([Pack.open(make_pack(tmp_path / "p", n=40, size=16))])
    spec = EncoderSpec(encoder, size)
    config = PretrainConfig(method="moco", batch_size=8, epochs=1, options={"bn_groups": 1})
    options = method_options("moco", {name: getattr(config, name) for name in OPTIONS}, config.options)
    make_plan("moco", options, config, build_encoder(spec), spec, found, CPU, measuring=False)
    said = capsys.readouterr()
    assert ("one batch-norm group" in said.out + said.err) == leaks


@pytest.mark.parametrize("name", ["one", *({"mae"} & METHODS.keys())])
def test_a_method_of_one_view_takes_no_pairs(tmp_path, monkeypatch, name):
    class One(METHODS["byol"]):
        views = ViewSpec(globals=1)

    monkeypatch.setitem(METHODS, "one", One)
    pack = Pack.open(make_pack(tmp_path / "p", n=40, size=16))
    found = [(pack, pack.rows("train"))]
    with pytest.raises(UsageError, match=f"{name} learns from one view") as error:
        make_plan(name, METHODS[name].Config(), PretrainConfig(positives="patient"), None, None, found, CPU,
                  measuring=False)  # fmt: skip
    assert "--positives image" in error.value.fix


def test_an_option_of_another_method_is_refused():
    assert method_options("moco", {"momentum": 0.5, "prototypes": "auto"}).momentum == 0.5
    with pytest.raises(UsageError, match="--prototypes is no option of moco"):
        method_options("moco", {"momentum": "auto", "prototypes": 10})


def test_what_has_no_option_of_its_own_goes_through_options():
    found = method_options("swav", {"momentum": "auto", "prototypes": 10}, {"epsilon": "0.03", "local_views": 2.0})
    assert (found.prototypes, found.epsilon, found.local_views) == (10, 0.03, 2)
    assert method_options("swav", {}, {"local_views": "auto"}).local_views == "auto"
    with pytest.raises(UsageError, match="epsilon") as error:
        method_options("swav", {}, {"epsilom": 0.03})
    assert "epsilom" in error.value.problem and "swav" in error.value.problem
    with pytest.raises(UsageError, match="local_views"):
        method_options("swav", {}, {"local_views": 2.5})
    with pytest.raises(UsageError, match=r"^--options\.dim 0 is not"):
        method_options("swav", {}, {"dim": 0})


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_views_shown_are_those_of_the_first_step(tmp_path, dtype):
    pack = Pack.open(make_pack(tmp_path / "p", n=40, size=VIEWS_CELL, dtype=dtype))
    batches = Batches([(pack, pack.rows("train"))], 8, 3, CPU)
    echo = Echo()
    model = SelfSupervised(echo, XRAY.at(VIEWS_CELL), EncoderSpec("resnet18", VIEWS_CELL, mean=0, std=1))
    model.step(batches.at(0), 0.0, generator(3, 0))
    seen = next(call[1] for call in echo.calls if call[0] == "step")
    assert write_views(tmp_path, model, batches) == ["views.png"]
    data = (tmp_path / "views.png").read_bytes()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) / 255
    first, one, two, local = np.split(picture, [118, 236, 354], axis=1)
    for i in range(4):
        band = slice(118 * i, 118 * i + VIEWS_CELL)
        image = batches.at(0).images[i, 0].numpy() / (255 if dtype == "uint8" else 1)
        assert np.abs(first[band, :VIEWS_CELL] - image).max() <= 0.5 / 255 + 1e-6
        for shown, view in ((one, seen[0]), (two, seen[1])):
            assert np.abs(shown[band, :VIEWS_CELL] - view[i, 0].numpy()).max() <= 0.5 / 255 + 1e-6
        assert local[band].shape == (VIEWS_CELL, VIEWS_CELL)
    write_views(tmp_path, model, batches)
    assert (tmp_path / "views.png").read_bytes() == data


def test_partners_stand_beside_the_images_in_the_picture(tmp_path):
    found = [(pack := Pack.open(make_pack(tmp_path / "p", n=40, size=VIEWS_CELL)), pack.rows("train"))]
    batches = Batches(found, 8, 3, CPU, groups=partner_groups(found, "patient"))
    model = SelfSupervised(Echo(), XRAY.at(VIEWS_CELL), EncoderSpec("resnet18", VIEWS_CELL, mean=0, std=1))
    write_views(tmp_path, model, batches)
    picture = cv2.imdecode(np.frombuffer((tmp_path / "views.png").read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    columns = np.split(picture, [118 * i for i in range(1, 5)], axis=1)
    assert len(columns) == 5 and columns[4].shape[1] == VIEWS_CELL
    for i in range(4):
        band = slice(118 * i, 118 * i + VIEWS_CELL)
        for column, images in ((columns[0], batches.at(0).images), (columns[1], batches.at(0).partners)):
            np.testing.assert_array_equal(column[band, :VIEWS_CELL], images[i, 0].numpy())
