"""What holds for every method. A new one in METHODS is covered by being there."""

import copy
import dataclasses
import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kontrast.errors import UsageError
from kontrast.methods import METHODS, Method
from kontrast.methods.method import About
from kontrast.stages import pretrain
from toys import about_for, pictures, small_config, toy_encoder, two_views

DOCS = Path(__file__).parents[2] / "docs" / "methods"

CHANCE_IS_NO_COLLAPSE = {"byol", "simsiam", "swav", "dino", "dinov2", "mae"}
"""Without negatives a collapse has the least loss, and chance is orthogonality; that of prototypes is where they are
alike, MAE's where all is painted grey."""

LEARNS_OTHERWISE = {"dino", "dinov2", "mae"}
"""DINO's loss is also low while all images are alike, and what MAE paints is drawn at random here: `test_it_learns` of
tests/methods has pictures and measures of their own."""

CONTRASTS = [
    name
    for name, cls in METHODS.items()
    if "same_patient_negatives" in {field.name for field in dataclasses.fields(cls.Config)}
]

every = pytest.mark.parametrize("name", list(METHODS))


def build(name: str, seed: int = 0, feature_dim: int = 16, **options: Any) -> Method:
    torch.manual_seed(seed)
    cls: Any = METHODS[name]
    return cls(toy_encoder(cls, feature_dim), small_config(cls, **options))


def views_for(method: Method, n: int = 8, seed: int = 0, size: int = 16) -> list[Tensor]:
    images = pictures(n, size, seed)
    spec, small = method.views, images[..., ::2, ::2]
    return two_views(images, seed, count=spec.globals) + two_views(small, seed + 1, count=spec.locals)


def inputs(method: Method, n: int = 8, seed: int = 0) -> tuple[list[Tensor], About]:
    return views_for(method, n, seed), about_for(method, n, seed)


def train(method: Method, steps: int, lr: float = 0.05, seed: int = 0, n: int = 8, adam: bool = False) -> list[float]:
    """A plain loop in the order that `Method` states; views of step s depend on s alone."""
    parameters = [p for _, p in method.trainable()]
    optimizer: torch.optim.Optimizer = torch.optim.SGD(parameters, lr=lr, momentum=0.9)
    if adam:
        optimizer = torch.optim.AdamW(parameters, lr=lr)
    losses = []
    for s in range(steps):
        progress = s / steps
        method.before_step(progress)
        step = method.step(*inputs(method, n, seed + s))
        optimizer.zero_grad()
        step.loss.backward()
        method.after_backward(s, progress)
        optimizer.step()
        method.after_step(progress)
        losses.append(step.loss.item())
    return losses


@every
@pytest.mark.parametrize("half", [None, torch.bfloat16, torch.float16])
def test_loss_is_finite_full_precision_and_scalar(name: str, half: torch.dtype | None) -> None:
    """Networks may compute in half precision, fp16 too; the loss itself never does."""
    method, twin = build(name), build(name)
    with torch.autocast("cpu", dtype=half or torch.bfloat16, enabled=half is not None):
        step = method(*inputs(method))
    assert step.loss.shape == () and step.loss.dtype == torch.float32 and step.loss.isfinite()
    near = {None: 0.0, torch.bfloat16: 2e-2, torch.float16: 3e-3}[half]
    assert step.loss.item() == pytest.approx(twin(*inputs(twin)).loss.item(), rel=near)
    step.loss.backward()
    assert all(p.grad.isfinite().all() for _, p in method.trainable() if p.grad is not None)


@every
def test_step_carries_features_and_scalar_logs(name: str) -> None:
    method = build(name)
    step = method.step(*inputs(method))
    assert step.features.shape == (8, 16) and not step.features.requires_grad
    with torch.no_grad():  # of the first view
        assert step.features.isfinite().all() and step.features.std() > 0
    for value in step.logs.values():
        assert torch.as_tensor(value).shape == () and not torch.as_tensor(value).requires_grad


@every
def test_the_settings_in_force_are_told_for_the_log(name: str) -> None:
    method = build(name)
    method.before_step(0.0)
    told = method.in_force(0.0)  # of one step: what `step` logs is averaged over all since the last line
    has = {field.name for field in dataclasses.fields(method.config)}  # type: ignore[arg-type]
    settings = {"momentum", "temperature", "teacher_temperature"} & has
    assert settings <= told.keys()
    for setting in settings - {"teacher_temperature"}:  # which warms up
        assert told[setting] == pytest.approx(vars(method.config)[setting])  # type: ignore[arg-type]


@every
def test_gradient_reaches_all_that_trains_and_no_teacher(name: str) -> None:
    method = build(name)
    method.step(*inputs(method)).loss.backward()
    trainable = dict(method.trainable())
    assert all(p.grad is not None for p in trainable.values())
    encoder = {n for n, _ in method.encoder.named_parameters()}
    assert {n.removeprefix("encoder.") for n in trainable if n.startswith("encoder.")} == encoder
    for parameter_name, p in method.named_parameters():
        if parameter_name not in trainable:
            assert p.grad is None and not p.requires_grad
    assert not any(n.startswith("teacher") for n in trainable)


@every
def test_every_trainable_parameter_moves(name: str) -> None:
    """The first version's BYOL trained its encoder alone, its SwAV never called its prototypes."""
    method = build(name)
    before = {n: p.detach().clone() for n, p in method.trainable()}
    train(method, 2)
    still = {n: p for n, p in method.trainable() if torch.equal(before[n], p)}
    # the batch-norm after a bias takes it away again: its gradient is rounding
    removed = {n for n, p in still.items() if n.endswith("bias") and p.grad is not None and p.grad.abs().max() < 1e-6}
    assert set(still) == removed


@every
def test_teachers_follow(name: str) -> None:
    method = build(name)
    before = {n: p.clone() for n, p in method.named_parameters() if n.startswith("teacher")}
    train(method, 3)
    after = dict(method.named_parameters())
    assert all(not torch.equal(before[n], after[n]) for n in before if not n.endswith("bias"))


@every
def test_same_seed_same_losses(name: str) -> None:
    first, second = train(build(name), 4), train(build(name), 4)
    assert first == second
    torch.manual_seed(123)  # no method draws from the global generator
    method = build(name)
    torch.manual_seed(99)
    assert train(method, 4) == first


@every
def test_state_round_trips_through_a_file_without_pickled_code(name: str) -> None:
    method = build(name)
    train(method, 4)
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    twin = build(name, seed=1)
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert train(twin, 3, seed=50) == train(method, 3, seed=50)


@every
def test_order_of_the_batch_does_not_matter(name: str) -> None:
    method = build(name, bn_groups=1)
    twin = copy.deepcopy(method)
    views, about = inputs(method)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    loss = method.step(views, about).loss.item()
    about = About(masks=None if about.masks is None else about.masks[:, order])
    assert twin.step([v[order] for v in views], about).loss.item() == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("name", CONTRASTS)
def test_patients_mask_negatives_by_name_alone(name: str) -> None:
    """Numbers are names: others give the same; kept, or of people who come once, they change nothing."""
    patients = torch.tensor([0, 1, 0, 2, 2, 2, 3, 4])

    def losses(treat: str, *numbers: Tensor | None) -> list[float]:
        method = build(name, same_patient_negatives=treat)
        return [method.step(views_for(method, seed=s), About(n)).loss.item() for s, n in enumerate(numbers)]

    masked = losses("mask", patients, patients, patients)
    assert masked == losses("mask", *[7**11 - 1000 * patients] * 3)
    plain = losses("mask", None, None, None)
    assert plain == losses("keep", patients, patients, patients)
    assert plain == losses("mask", *(torch.arange(8) + 8 * s for s in range(3)))
    assert all(a < b for a, b in list(zip(masked, plain, strict=True))[-2:]), "fewer negatives, a smaller loss"


@every
@pytest.mark.parametrize("feature_dim", [1, 7, 64])
def test_any_feature_size(name: str, feature_dim: int) -> None:
    method = build(name, feature_dim=feature_dim)
    step = method.step(*inputs(method, n=4))
    assert step.loss.isfinite() and step.features.shape == (4, feature_dim)


@every
@pytest.mark.parametrize(("images", "batch", "steps"), [(2, 2, 1), (5, 4, 3), (100, 64, 10), (200_000, 256, 10_000)])
def test_fit_config_resolves_every_auto_with_a_reason(name: str, images: int, batch: int, steps: int) -> None:
    cls: Any = METHODS[name]
    config, why = cls.fit_config(cls.Config(), images=images, steps=steps, batch_size=batch, size=32)
    autos = {k for k, v in vars(cls.Config()).items() if v == "auto"}
    assert {option for option, _, _ in why} == autos
    assert "auto" not in vars(config).values()
    for option, value, reason in why:
        assert getattr(config, option) == value and len(reason) > 10
    again, nothing = cls.fit_config(config, images=images, steps=steps, batch_size=batch, size=32)
    assert again == config and nothing == []
    if images < 1000:
        torch.manual_seed(0)
        method = cls(toy_encoder(cls), config)
        assert method.step(*inputs(method, n=batch)).loss.isfinite()


@every
def test_chance_is_what_a_collapsed_encoder_gets(name: str) -> None:
    """Where one image is all that there is, all embeddings are alike, and the loss is the closed form."""
    method = build(name)
    views = [view[:1].expand(8, -1, -1, -1) for view in views_for(method)]
    same = [views[0] if view.shape == views[0].shape else view for view in views]
    for _ in range(5):  # a queue fills
        loss = method.step(same, about_for(method, 8)).loss.item()
    chance = method.chance_loss()
    if chance is None:
        return
    assert math.isfinite(chance)
    if name not in CHANCE_IS_NO_COLLAPSE:
        assert loss == pytest.approx(chance, abs=1e-4)


@every
def test_it_learns(name: str) -> None:
    """No picture is seen twice, so a falling loss is something learned, not remembered."""
    if name in LEARNS_OTHERWISE:
        pytest.skip(f"tests/methods/test_{name}.py::test_it_learns")
    method = build(name, **({"queue_length": 0} if name == "swav" else {}))
    losses = train(method, 80, lr=0.005, n=32, adam=True)
    chance = method.chance_loss()
    start, end = sum(losses[5:15]) / 10, sum(losses[-10:]) / 10
    assert end < start - 0.15 * abs(start), (start, end)
    assert not chance or end < 0.7 * chance, (end, chance)


@every
def test_recommended_and_published_optimisers_are_complete(name: str) -> None:
    for hint in (METHODS[name].recommended, METHODS[name].published):
        assert set(hint) - {"lr_in_momentum", "decay_1d"} == {"optimizer", "lr", "weight_decay", "per"}
        assert hint["optimizer"] in {"adamw", "sgd", "lars"}


@every
def test_wrong_words_are_refused_by_name(name: str) -> None:
    cls: Any = METHODS[name]
    width = "decoder_dim" if name == "mae" else "dim"
    with pytest.raises(UsageError, match="--" + width.replace("_", "-")):
        cls.Config(**{width: 0})


def test_help_names_every_method() -> None:
    assert sorted(METHODS) == pretrain._METHODS, "a file in methods/ that holds no method belongs elsewhere"


@every
def test_it_is_explained_on_a_page_of_its_own(name: str) -> None:
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for heading in ("What differs from the paper, and why", "What the numbers mean", "Results"):
        assert f"\n## {heading}\n" in page
    assert f"`src/kontrast/methods/{name}.py`" in page and "arXiv:" in page
    logs = {"loss"} | set(build(name).step(*inputs(build(name))).logs)
    assert {number for number in logs if f"`{number}`" not in page} == set()
