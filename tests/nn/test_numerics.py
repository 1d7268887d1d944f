import pytest
import torch
from torch import Tensor

from kontrast.nn.numerics import full_precision, unit


@full_precision
def total(first: Tensor, others: list[Tensor], *, scale: float = 1.0) -> Tensor:
    """A product that autocast would compute in half precision."""
    return first @ sum(others, torch.zeros_like(first)).T * scale


@pytest.mark.parametrize(("given", "got"), [(torch.float16, torch.float32), (torch.bfloat16, torch.float32)])
def test_half_precision_is_widened_also_in_lists(given: torch.dtype, got: torch.dtype) -> None:
    x = torch.randn(3, 4).to(given)
    assert total(x, [x, x], scale=2.0).dtype == got


def test_float64_stays_and_integers_pass() -> None:
    x = torch.randn(3, 4, dtype=torch.float64)
    assert total(x, [x]).dtype == torch.float64
    assert full_precision(lambda i: i)(torch.arange(3)).dtype == torch.int64


def test_autocast_is_off_inside_and_on_again_after() -> None:
    x = torch.randn(8, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(total(x, [x]), x @ (x.float().T.double()).float()) or total(x, [x]).dtype == torch.float32
        assert (x @ x.T).dtype == torch.bfloat16


def test_unit_rows() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-9, 0.0]], requires_grad=True)
    torch.testing.assert_close(unit(x)[0], torch.tensor([0.6, 0.8]))
    unit(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
