"""Grad-CAM++ against its definition by derivatives, rollout against a naive loop, and which encoder has which map."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kontrast.artifacts.classifier import Classifier
from kontrast.errors import UsageError
from kontrast.nn.encoders import EncoderSpec, build_encoder
from kontrast.nn.neighbours import Neighbours
from kontrast.nn.vit import VisionTransformer
from kontrast.saliency.gradcam import gradcam
from kontrast.saliency.maps import MAPS, choose_map, make_maps
from kontrast.saliency.rollout import roll_out, rollout


class Net(nn.Module):
    """A small encoder with maps that are never negative, and a head with weights of both signs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 5, 5, stride=4, padding=2)
        self.head = nn.Linear(5, 3)
        nn.init.normal_(self.head.weight, std=2)

    @property
    def encoder(self):
        return self

    def feature_maps(self, x):
        return self.conv(x).relu()

    def pool(self, maps):
        return maps.mean((2, 3))


def images(n, size=16, seed=0):
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


def by_derivatives(A, score):
    """Eq. 5, 7 and 10 of the paper for one image, every derivative of Y = exp(score) taken by autograd on its own."""
    C, h, w = A.shape
    heat = np.zeros((h, w))
    for c in range(C):
        total, weight = float(A[c].sum()), 0.0
        for i in range(h):
            for j in range(w):

                def along(value, c=c, i=i, j=j):
                    B = A.clone()
                    B[c, i, j] = 0
                    place = torch.zeros_like(A)
                    place[c, i, j] = 1
                    return score(B + value * place).exp()

                at = A[c, i, j].clone().requires_grad_()
                first = torch.autograd.grad(along(at), at, create_graph=True)[0]
                second = torch.autograd.grad(first, at, create_graph=True)[0]
                third = torch.autograd.grad(second, at)[0]
                first, second, third = (value.item() for value in (first, second, third))
                alpha = second / (2 * second + total * third)
                weight += alpha * max(first, 0)
        heat += weight * A[c].numpy()
    return np.maximum(heat, 0)


@pytest.mark.parametrize("finding", [0, 1, 2])
def test_grad_cam_plus_plus_is_what_its_derivatives_say(finding):
    net, x = Net().eval(), images(2)
    with torch.no_grad():
        maps = net.feature_maps(x).double()
    actual = gradcam(net, x, finding, size=4, plus=True).numpy()
    weight, bias = net.head.weight.detach().double(), net.head.bias.detach().double()

    def score(one):
        return one.mean((1, 2)) @ weight[finding] + bias[finding]

    for i in range(2):
        expected = by_derivatives(maps[i], score)
        assert expected.max() > 0
        np.testing.assert_allclose(actual[i], expected / expected.max(), atol=1e-5)
    plain = gradcam(net, x, finding, size=4).numpy()
    assert np.abs(actual - plain).max() > 0.01, "Grad-CAM would have passed too"


def test_grad_cam_plus_plus_behind_mean_and_linear_head_has_a_closed_form():
    # g = w / places everywhere, so a channel weighs w / (2 + w · mean) where w > 0, and nothing where it is not.
    net, x = Net().eval(), images(3)
    with torch.no_grad():
        maps, w = net.feature_maps(x), net.head.weight[1].clamp(min=0)
        cam = torch.einsum("bchw,bc->bhw", maps, w / (2 + w * maps.mean((2, 3)))).relu()
    cam = F.interpolate(cam[:, None], size=(16, 16), mode="bilinear", align_corners=False)[:, 0]
    expected = cam / cam.amax((1, 2), keepdim=True)
    torch.testing.assert_close(gradcam(net, x, 1, plus=True), expected, atol=1e-5, rtol=0)


def test_each_image_has_its_own_grad_cam_plus_plus():
    net, x, finding = Net().eval(), images(4), torch.tensor([2, 0, 1, 2])
    together = gradcam(net, x, finding, plus=True)
    for i in range(4):
        alone = gradcam(net, x[i : i + 1], int(finding[i]), plus=True)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=0)


def vit(depth=3, dim=8, heads=2):
    torch.manual_seed(1)
    encoder = VisionTransformer(size=16, patch=4, dim=dim, depth=depth, heads=heads).eval()
    for block in encoder.blocks:  # attention that is not flat
        nn.init.normal_(block.attn.qkv.weight, std=0.8)
    return encoder


def naive_rollout(encoder, x):
    """One image: R as the paper defines it, in NumPy, attention computed query by query."""
    with torch.no_grad():
        patches, positions = encoder.embed(x)
        tokens = torch.cat([encoder.cls_token + positions[:, :1], patches + positions[:, 1:]], dim=1)
        R = np.eye(tokens.shape[1])
        for block in encoder.blocks:
            inner = block.norm1(tokens)[0].double().numpy()
            W, b = block.attn.qkv.weight.double().numpy(), block.attn.qkv.bias.double().numpy()
            q, k, _ = np.split(inner @ W.T + b, 3, axis=1)
            width = q.shape[1] // block.attn.heads
            A = np.zeros((len(inner), len(inner)))
            for head in range(block.attn.heads):
                part = slice(head * width, (head + 1) * width)
                for row in range(len(inner)):
                    e = np.exp(k[:, part] @ q[row, part] / np.sqrt(width))
                    A[row] += e / e.sum() / block.attn.heads
            R = (0.5 * A + 0.5 * np.eye(len(A))) @ R
            tokens = block(tokens)
    return R


def test_rollout_is_the_product_of_attention_and_shortcuts():
    encoder, x = vit(), images(3)
    actual = roll_out(encoder, x).numpy()
    maps = rollout(encoder, x).numpy()
    for i in range(3):
        R = naive_rollout(encoder, x[i : i + 1])
        np.testing.assert_allclose(actual[i], R, atol=1e-5)
        grid = torch.tensor(R[1:, 1:].mean(0).reshape(1, 1, 4, 4))
        expected = F.interpolate(grid, size=(16, 16), mode="bilinear", align_corners=False)[0, 0].numpy()
        np.testing.assert_allclose(maps[i], expected / expected.max(), atol=1e-4)
    np.testing.assert_allclose(actual.sum(2), 1, atol=1e-5)
    assert maps.std(axis=(1, 2)).min() > 0.02 and not encoder.blocks[0].attn._forward_pre_hooks


def test_without_attention_to_others_rollout_keeps_each_patch():
    encoder = vit(depth=2, heads=1)
    for block in encoder.blocks:  # queries and keys of 0: everybody is looked at alike
        nn.init.zeros_(block.attn.qkv.weight)
        nn.init.zeros_(block.attn.qkv.bias)
    n = 17
    alike = torch.full((n, n), 1 / n)
    step = 0.5 * alike + 0.5 * torch.eye(n)
    torch.testing.assert_close(roll_out(encoder, images(1))[0], step @ step)


def test_which_encoder_has_which_map():
    cnn, tokens = EncoderSpec("resnet18", 32), EncoderSpec("vit_small", 32)
    assert choose_map("auto", cnn)[0] == choose_map("auto", tokens)[0] == "gradcam"
    assert "differs by finding" in choose_map("auto", tokens)[1]
    assert choose_map("rollout", tokens)[0] == "rollout" and choose_map("gradcam++", cnn)[0] == "gradcam++"
    with pytest.raises(UsageError, match="resnet18 has none"):
        choose_map("rollout", cnn)
    with pytest.raises(UsageError, match="both signs"):
        choose_map("gradcam++", tokens)
    votes = Neighbours.empty(3, 4, 2, k=3)
    assert choose_map("gradcam", cnn, votes)[0] == choose_map("auto", cnn, votes)[0] == "gradcam"
    assert choose_map("gradcam++", cnn, nn.Linear(4, 2))[0] == "gradcam++"
    with pytest.raises(UsageError, match="linear in the last map, and this Classifier's head is kNN"):
        choose_map("gradcam++", cnn, votes)
    with pytest.raises(UsageError, match="Did you mean 'gradcam'"):
        choose_map("grad-cam", cnn)


def test_any_map_is_made_by_name_with_the_logits_beside_it():
    spec = EncoderSpec("vit_small", 32)
    model = Classifier(build_encoder(spec, seed=0), spec, ["a", "b"]).eval()
    x = images(2, 32)
    heat, logits = make_maps(model, x, 1, 20, "rollout")
    torch.testing.assert_close(heat, rollout(model.encoder, x, 20))
    torch.testing.assert_close(logits, model(x))
    torch.testing.assert_close(make_maps(model, x, 0, 20, "rollout")[0], heat)  # of no finding
    torch.testing.assert_close(make_maps(model, x, 1, 20)[0], gradcam(model, x, 1, 20), atol=1e-4, rtol=0)
    assert [name for name, kind in MAPS.items() if not kind.of_finding] == ["rollout"]
    with pytest.raises(ValueError, match="evaluation mode"):
        make_maps(model.train(), x, 0, 20)
