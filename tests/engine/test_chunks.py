"""Chunks against the whole: the same gradients, statistics, teachers and runs."""

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.chunked import CHUNKABLE, B, about, build, draws, whole_batch
from engine.tiny import FakePack
from kontrast.engine.batches import Batch, Batches
from kontrast.engine.choices import check_chunks
from kontrast.engine.chunks import Embed, backward_in_chunks
from kontrast.engine.loop import Hook, LoopConfig, fit
from kontrast.engine.selfsupervised import SelfSupervised
from kontrast.errors import UsageError
from kontrast.methods import METHODS
from kontrast.methods.method import Step
from kontrast.nn.batchnorm import RunningStatistics, split_batchnorm
from kontrast.nn.encoders import EncoderSpec
from toys import ToyEncoder, small_config

CHUNK = 2

every = pytest.mark.parametrize("name", CHUNKABLE)


def test_the_methods_that_compare_a_batch_have_chunks() -> None:
    assert set(CHUNKABLE) >= {"simclr", "mocov3", "barlow", "vicreg"}


def chunked(model: Any, size: int = CHUNK, *, scale: float = 1.0, autocast: Callable[[], Any] | None = None) -> Step:
    return backward_in_chunks(
        Embed(model), model, whole_batch(), size, 0.5,
        draws=draws, autocast=autocast or contextlib.nullcontext, scale=lambda loss: loss * scale,
    )  # fmt: skip


def gradients(model: Any) -> dict[str, Tensor]:
    return {n: p.grad for n, p in model.method.trainable()}


def assert_same(found: Any, expected: Any, rtol: float = 1e-9) -> None:
    """Close by the size of the largest: a bias before a batch-norm has a gradient of rounding alone."""
    assert found.keys() == expected.keys()
    largest = max(float(value.abs().max()) for value in expected.values() if value.is_floating_point())
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=rtol, atol=rtol * largest, msg=key)


def with_all_in_memory(model: Any, batch: Batch, size: int, autocast: Callable[[], Any]) -> Step:
    """Every chunk embedded with a gradient, then compared; nothing is cached."""
    model.before_step(0.5)
    parts = [batch.part(start, start + size) for start in range(0, B, size)]
    with autocast():
        found = [model.embed(part, draws(part.first)) for part in parts]
        return model.compare(tuple(torch.cat(column) for column in zip(*found, strict=True)), batch)


@every
def test_the_gradient_is_that_of_all_chunks_embedded_with_a_gradient(name: str) -> None:
    """With dropout: the second pass must see the first one's noise."""
    model = build(name, dropout=0.3)
    twin = copy.deepcopy(model)
    output = chunked(model, scale=64.0)
    direct = with_all_in_memory(twin, whole_batch(), CHUNK, contextlib.nullcontext)
    (64.0 * direct.loss).backward()
    assert output.loss.item() == pytest.approx(direct.loss.item(), rel=1e-12)
    assert_same(gradients(model), gradients(twin))
    torch.testing.assert_close(output.features, direct.features)
    assert not output.features.requires_grad
    assert {k: float(v) for k, v in output.logs.items()} == pytest.approx({k: float(v) for k, v in direct.logs.items()})
    assert model.started == 1


def in_groups(model: Any, groups: int) -> None:
    """Let the direct step take its statistics over the chunks' images; SimCLR passes both views at once."""
    method = model.method
    split_batchnorm(method, groups)
    if type(method).__name__ == "SimCLR":
        order = torch.arange(2 * B).reshape(2, groups, -1).transpose(0, 1).flatten()
        for part in (method.encoder, method.projector):
            part.register_forward_pre_hook(lambda _, args: (args[0][order],))
            part.register_forward_hook(lambda _, args, out: out[order.argsort()])


@every
@pytest.mark.parametrize("size", [2, 4, 8])
def test_gradient_statistics_and_teacher_are_those_of_the_direct_step_with_the_same_groups(
    name: str, size: int
) -> None:
    model = build(name)
    twin = copy.deepcopy(model)
    in_groups(twin, B // size)
    for _ in range(2):
        model.zero_grad()
        twin.zero_grad()
        output = chunked(model, size)
        twin.before_step(0.5)
        direct = twin.method.step(twin.views(whole_batch(), draws(0)), about(whole_batch()))
        direct.loss.backward()
        assert output.loss.item() == pytest.approx(direct.loss.item(), rel=1e-12)
        assert_same(gradients(model), gradients(twin))
        assert_same(model.state_dict(), twin.state_dict())


@every
@pytest.mark.parametrize("size", [2, 4])
def test_without_batchnorm_the_gradient_is_the_plain_steps(name: str, size: int) -> None:
    model = build(name, norm=False)
    twin = copy.deepcopy(model)
    output = chunked(model, size)
    twin.before_step(0.5)
    direct = twin.method.step(twin.views(whole_batch(), draws(0)), about(whole_batch()))
    direct.loss.backward()
    assert output.loss.item() == pytest.approx(direct.loss.item(), rel=1e-12)
    assert_same(gradients(model), gradients(twin))


@every
def test_reduced_precision_reaches_every_weight(name: str) -> None:
    """Autocast keeps copies of weights: those of a pass without gradient must not serve the one with."""
    model = build(name).float()
    twin = copy.deepcopy(model)
    batch = whole_batch(torch.float32)

    def half() -> Any:
        return torch.autocast("cpu", dtype=torch.bfloat16)

    backward_in_chunks(Embed(model), model, batch, 4, 0.5, draws=draws, autocast=half, scale=lambda loss: loss)
    with_all_in_memory(twin, batch, 4, half).loss.backward()
    assert_same(gradients(model), gradients(twin), rtol=0.05)


def test_statistics_follow_the_mean_of_the_parts_once() -> None:
    net = nn.Sequential(
        nn.BatchNorm1d(3), nn.BatchNorm1d(3, momentum=None), nn.BatchNorm1d(3, track_running_stats=False)
    )
    x = torch.randn(8, 3, dtype=torch.float64) * 2 + 1
    net.double()
    statistics = RunningStatistics(net)
    for part in x.split(4):
        net[0](part), net[1](part)
        statistics.add()
        assert net[0].running_mean.abs().max() == 0
    statistics.settle()
    means = x.reshape(2, 4, 3).mean(dim=1)
    torch.testing.assert_close(net[0].running_mean, 0.1 * means.mean(dim=0))
    torch.testing.assert_close(net[1].running_mean, means.mean(dim=0))
    assert net[0].num_batches_tracked == net[1].num_batches_tracked == 1
    net[0](x)
    statistics.restore()
    torch.testing.assert_close(net[0].running_mean, 0.1 * means.mean(dim=0))


class Stop(Exception):
    """In place of a kill."""


class Killer(Hook):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_log(self, model: Any, step: int, output: Step, line: dict[str, Any]) -> None:
        if step == self.at:
            raise Stop


def trained(folder: Any, *, name: str = "simclr", kill: int = 0, **options: Any) -> dict[str, Tensor]:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(5)
    cls: Any = METHODS[name]
    encoder = ToyEncoder()
    encoder.bn2 = nn.Sequential(encoder.bn2, nn.Dropout(0.3))  # type: ignore[assignment]
    spec = EncoderSpec(name="resnet18", size=16, mean=0.5, std=0.25)
    model = SelfSupervised(cls(encoder, small_config(cls)), cls.xray.at(16), spec, np.arange(40) % 9)
    batches = Batches([(FakePack(size=16), np.arange(40))], B, 0, "cpu")
    config = LoopConfig(steps=6, lr=0.05, optimizer="sgd", precision="fp32", log_every=1, checkpoint_every=1, **options)
    with contextlib.suppress(Stop):
        fit(model, batches, config, out=folder, device=torch.device("cpu"), hooks=[Killer(kill)])
    return model.state_dict()


@every
def test_a_run_of_one_chunk_is_the_plain_run(name: str, tmp_path: Any) -> None:
    assert_same(trained(tmp_path / "a", name=name, chunk_size=B), trained(tmp_path / "b", name=name), rtol=1e-5)


def test_a_run_in_chunks_goes_on_to_the_bit(tmp_path: Any) -> None:
    trained(tmp_path / "a", name="mocov3", chunk_size=4, kill=3)
    resumed = trained(tmp_path / "a", name="mocov3", chunk_size=4)
    whole = trained(tmp_path / "b", name="mocov3", chunk_size=4)
    assert all(torch.equal(resumed[key], value) for key, value in whole.items())


def test_only_one_chunk_is_in_memory_at_a_time() -> None:
    model = build("simclr")
    sizes: list[tuple[int, bool]] = []
    model.method.encoder.register_forward_hook(lambda _, args, out: sizes.append((len(args[0]), out.requires_grad)))
    chunked(model)
    assert sizes == [(2 * CHUNK, False)] * 4 + [(2 * CHUNK, True)] * 4


@pytest.mark.parametrize("name", ["moco", "byol", "swav"])
def test_methods_without_chunks_say_who_has_them(name: str) -> None:
    with pytest.raises(UsageError, match=f"not for {name}") as error:
        check_chunks(name, 8, 64)
    assert all(other in str(error.value.fix) for other in CHUNKABLE)
    check_chunks(name, None, 64)


@pytest.mark.parametrize(
    ("size", "batch", "fix"), [(48, 64, "--chunk-size 32"), (128, 64, "--chunk-size 64"), (5, 7, "mul")]
)
def test_chunks_are_equal_parts(size: int, batch: int, fix: str) -> None:
    with pytest.raises(UsageError, match=f"does not divide the {batch}") as error:
        check_chunks("simclr", size, batch)
    assert fix in str(error.value.fix)
    check_chunks("simclr", 16, 64)
