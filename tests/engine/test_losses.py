import numpy as np
import pytest
import torch

from kontrast.engine.losses import balanced_pos_weight, bce, focal


def cells(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=(7, 3)) * 3)
    targets = torch.tensor(rng.choice([0.0, 1.0, 0.7], size=(7, 3)))
    weights = torch.tensor((rng.random((7, 3)) > 0.3).astype(float))
    return logits, targets, weights


def naive(logits, targets, weights, gamma, pos_weight=None) -> float:
    total = count = 0.0
    for i in range(logits.shape[0]):
        for f in range(logits.shape[1]):
            if weights[i, f] == 0:
                continue
            p = 1 / (1 + np.exp(-float(logits[i, f])))
            t = float(targets[i, f])
            a = 1.0 if pos_weight is None else float(pos_weight[f])
            cross = -(a * t * np.log(p) + (1 - t) * np.log(1 - p))
            total += (1 - (t * p + (1 - t) * (1 - p))) ** gamma * cross
            count += 1
    return total / count


def test_bce_is_the_naive_loop_over_counted_cells() -> None:
    logits, targets, weights = cells()
    assert bce(logits, targets, weights).item() == pytest.approx(naive(logits, targets, weights, 0), abs=1e-12)
    scale = torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64)
    assert bce(logits, targets, weights, scale).item() == pytest.approx(naive(logits, targets, weights, 0, scale))


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_focal_focuses_each_cell(gamma: float) -> None:
    logits, targets, weights = cells(1)
    expected = naive(logits, targets, weights, gamma)
    assert focal(logits, targets, weights, gamma=gamma).item() == pytest.approx(expected, abs=1e-12)
    if gamma == 0:
        assert focal(logits, targets, weights, gamma=0).item() == pytest.approx(bce(logits, targets, weights).item())


def test_a_weak_focus_has_a_gradient_where_the_model_is_sure() -> None:
    logits = torch.tensor([[20.0, -20.0, 200.0, -200.0]], requires_grad=True)
    targets = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    (gradient,) = torch.autograd.grad(focal(logits, targets, torch.ones_like(targets), gamma=0.5), logits)
    assert torch.isfinite(gradient).all()


def test_an_ignored_cell_has_no_gradient() -> None:
    logits, targets, weights = cells(2)
    logits.requires_grad_()
    for loss in (bce, focal):
        (gradient,) = torch.autograd.grad(loss(logits, targets, weights), logits)
        assert (gradient[weights == 0] == 0).all()
        assert (gradient[weights == 1] != 0).all()


def test_no_counted_cell_gives_zero_not_nan() -> None:
    logits, targets, _ = cells()
    assert bce(logits, targets, torch.zeros_like(targets)).item() == 0


def test_losses_are_float32_under_bfloat16() -> None:
    logits, targets, weights = (t.float() for t in cells())
    assert bce(logits.bfloat16(), targets, weights).dtype == torch.float32


def test_balanced_pos_weight_is_the_ratio_within_its_limit() -> None:
    targets = torch.tensor([[1.0, 0], [0, 0], [0, 0], [0, 0]])
    assert balanced_pos_weight(targets, torch.ones(4, 2), limit=3.5).tolist() == [3.0, 3.5]
