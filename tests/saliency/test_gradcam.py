"""Grad-CAM against Captum, the closed form behind a linear head, and one image at a time."""

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn
from torch.nn import functional as F

from kontrast.artifacts.classifier import Classifier
from kontrast.nn.encoders import EncoderSpec, build_encoder
from kontrast.saliency.gradcam import gradcam


def classifier(name="resnet18", size=64, findings=3, seed=0):
    spec = EncoderSpec(name, size)
    torch.manual_seed(seed)
    model = Classifier(build_encoder(spec, seed=seed), spec, [f"f{i}" for i in range(findings)]).eval()
    nn.init.normal_(model.head.weight)  # so that signs differ
    return model


def images(n, size=64, seed=0):
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


class LastMap(nn.Module):
    """Captum hooks a module, so the encoder's two halves become modules."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x):
        return self.encoder.feature_maps(x)


class Nonlinear(nn.Module):
    """An encoder whose pooling is no mean: Grad-CAM is then no CAM."""

    feature_dim = 6

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 5, stride=4, padding=2)

    def feature_maps(self, x):
        return self.conv(x).tanh()

    def pool(self, maps):
        return torch.logsumexp(maps.flatten(2), dim=2) + maps.pow(2).mean((2, 3))

    def forward(self, x):
        return self.pool(self.feature_maps(x))


class Whole(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.maps, self.model = LastMap(model.encoder), model

    def forward(self, x):
        return self.model.head(self.model.encoder.pool(self.maps(x)))


def captum(model, x, finding):
    whole = Whole(model)
    cam = LayerGradCam(whole, whole.maps).attribute(x, target=finding, relu_attributions=True).detach()
    cam = F.interpolate(cam, size=x.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return cam / cam.amax((1, 2), keepdim=True).clamp(min=1e-30)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "vit_small", "nonlinear"])
def test_it_is_captums(name):
    model = classifier() if name == "nonlinear" else classifier(name)
    if name == "nonlinear":
        model.encoder, model.head = Nonlinear(), nn.Linear(6, 3)
    x, some = images(3), 0
    for finding in range(3):
        actual = gradcam(model, x, finding)
        torch.testing.assert_close(actual, captum(model, x, finding), atol=1e-4, rtol=0)
        some += int((actual.amax((1, 2)) > 0).sum())
    assert some >= 3  # the rest has nothing that speaks for the finding, and says so with zeros


def test_behind_mean_and_linear_head_it_is_cam():
    model, x = classifier(), images(4)
    with torch.no_grad():
        maps, weight = model.encoder.feature_maps(x), model.head.weight[1]
        cam = torch.einsum("bchw,c->bhw", maps, weight).relu()
    cam = F.interpolate(cam[:, None], size=(64, 64), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(gradcam(model, x, 1), cam / cam.amax((1, 2), keepdim=True), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["resnet18", "vit_small"])
def test_an_image_is_explained_as_it_would_be_alone(name):
    model, x = classifier(name), images(4)
    finding = torch.tensor([2, 0, 1, 2])
    together = gradcam(model, x, finding)
    for i in range(4):
        torch.testing.assert_close(
            together[i : i + 1], gradcam(model, x[i : i + 1], int(finding[i])), atol=1e-4, rtol=0
        )


def test_range_size_and_what_is_left_alone():
    model, x = classifier(), images(2)
    model.head.weight.data.abs_()  # ResNet's maps are never negative: now all speaks for it
    maps = gradcam(model, x, 0, size=30)
    assert maps.shape == (2, 30, 30) and maps.dtype == torch.float32 and not maps.requires_grad
    assert maps.min() >= 0 and np.isclose(maps.amax((1, 2)).numpy(), 1).all()
    assert all(p.grad is None for p in model.parameters())
    with torch.no_grad():  # whoever calls it may have switched gradients off
        torch.testing.assert_close(gradcam(model, x, 0, size=30), maps)


def test_nothing_that_speaks_for_it_gives_zeros():
    model = classifier()
    nn.init.constant_(model.head.weight, -1)
    assert torch.equal(gradcam(model, images(2), 0), torch.zeros(2, 64, 64))


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="evaluation mode"):
        gradcam(classifier().train(), images(2), 0)
