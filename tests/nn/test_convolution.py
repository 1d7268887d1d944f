import pytest
import torch
from torch.nn import functional as F

from kontrast.nn import convolution
from kontrast.nn.convolution import Conv2d, Product
from kontrast.nn.encoders import EncoderSpec, build_encoder


@pytest.fixture
def products(monkeypatch):
    """As on a processor with AVX2, whatever this one has."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def gradients(function, x, weight, toward):
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = function(x, weight)
    (y * toward).sum().backward()
    return y.detach(), x.grad, weight.grad


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("few", [0, 10**6], ids=["weights alone", "all three"])
@pytest.mark.parametrize(
    ("size", "stride", "padding", "side"),
    [
        (3, 1, 1, (2, 2)),
        (3, 2, 1, (4, 4)),
        (3, 2, 1, (5, 7)),
        (1, 1, 0, (3, 2)),
        (1, 2, 0, (5, 4)),
        (3, 1, 0, (4, 5)),
        (3, 1, 1, (1, 1)),
        (5, 2, 2, (2, 3)),
    ],
)
def test_equals_the_convolution_in_double_precision(monkeypatch, products, layout, few, size, stride, padding, side):
    monkeypatch.setattr(convolution, "FEW", few)
    monkeypatch.setattr(convolution, "DEEP", (1, 1))
    rng = torch.Generator().manual_seed(0)
    layer = Conv2d(6, 4, size, stride=stride, padding=padding).to(memory_format=layout)
    x = torch.randn(5, 6, *side, generator=rng).contiguous(memory_format=layout).requires_grad_()
    y = layer(x)
    assert type(y.grad_fn).__name__ == "ProductBackward"
    toward = torch.randn(y.shape, generator=rng)
    (y * toward).sum().backward()

    def plain(x, weight):
        return F.conv2d(x, weight, stride=stride, padding=padding)

    expected = gradients(plain, x.double(), layer.weight.double(), toward.double())
    for found, right in zip((y, x.grad, layer.weight.grad), expected, strict=True):
        torch.testing.assert_close(found.double(), right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("few", [0, 10**6])
def test_gradients_equal_differences(monkeypatch, few):
    monkeypatch.setattr(convolution, "FEW", few)
    window = convolution.Window(3, 2, 1)
    x = torch.randn(2, 3, 5, 4, dtype=torch.double, requires_grad=True)
    weight = torch.randn(2, 3, 3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: Product.apply(a, b, window), (x, weight))


def test_gradients_that_nobody_asks_for_are_not_computed(monkeypatch, products):
    layer = Conv2d(128, 64, 3, padding=1)
    monkeypatch.setattr(convolution, "input_gradient", None)
    layer(torch.randn(1, 128, 2, 2)).sum().backward()
    layer.weight.requires_grad_(False)
    monkeypatch.undo()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(convolution, "weight_gradient", None)
    x = torch.randn(1, 128, 2, 2, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None


def way(layer, x):
    return type(layer(x).grad_fn).__name__


def test_taken_only_where_it_was_measured(monkeypatch, products):
    layer = Conv2d(128, 64, 3, padding=1)
    assert way(layer, torch.randn(1, 128, 4, 4)) == "ProductBackward"
    plain = "ConvolutionBackward0"
    assert way(layer, torch.randn(1, 128, 15, 15)) == plain
    assert way(Conv2d(64, 64, 3, padding=1), torch.randn(1, 64, 4, 4)) == plain
    assert way(Conv2d(128, 32, 3, padding=1), torch.randn(1, 128, 4, 4)) == plain
    with torch.autocast("cpu", torch.bfloat16):
        assert way(layer, torch.randn(1, 128, 4, 4)) == plain
    assert way(layer.bfloat16(), torch.randn(1, 128, 4, 4).bfloat16()) == plain
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert way(layer.float(), torch.randn(1, 128, 4, 4)) == plain


def test_a_network_is_as_exact_as_with_torchs_own(monkeypatch, products):
    x = torch.randn(16, 1, 64, 64)

    def step(kind, dtype):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: kind)
        encoder = build_encoder(EncoderSpec("resnet18", 64), seed=0).train().to(dtype)
        encoder(x.to(dtype)).square().mean().backward()
        return torch.cat([p.grad.flatten().double() for p in encoder.parameters()])

    exact, torchs, ours = step("DEFAULT", torch.double), step("DEFAULT", torch.float), step("AVX2", torch.float)
    assert not torch.equal(torchs, ours)
    assert (ours - exact).norm() <= 1.2 * (torchs - exact).norm() + 1e-7 * exact.norm()
