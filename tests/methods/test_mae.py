"""MAE against its published numbers and loops written from its paper."""

import math

import numpy as np
import pytest
import torch

from kontrast.errors import UsageError
from kontrast.methods.mae import MAE, MAEConfig, patchify, reconstruction, sincos_positions
from kontrast.methods.method import About
from kontrast.nn.vit import VisionTransformer
from toys import ToyEncoder, X, Y, about_for, families, pictures

x, y = torch.tensor(X), torch.tensor(Y)


def by_loops(prediction: np.ndarray, pixels: np.ndarray, hidden: np.ndarray) -> float:
    errors = []
    for guess, patch, counts in zip(prediction, pixels, hidden, strict=True):
        mean = sum(patch) / len(patch)
        variance = sum((v - mean) ** 2 for v in patch) / (len(patch) - 1)
        target = [(v - mean) / math.sqrt(variance + 1e-6) for v in patch]
        if counts:
            errors.append(sum((g - t) ** 2 for g, t in zip(guess, target, strict=True)) / len(patch))
    return sum(errors) / len(errors)


def test_the_loss_is_the_reference_and_the_loop() -> None:
    hidden = torch.tensor([False, True, True, False])
    loss = reconstruction(y, x, hidden)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(1.494089928549169, abs=1e-12)
    assert loss.item() == pytest.approx(by_loops(Y, X, hidden.numpy()), abs=1e-12)
    assert reconstruction(0 * y, x, hidden).item() == pytest.approx(0.874998386409130, abs=1e-12)
    everything = reconstruction(y, x, torch.ones(4, dtype=torch.bool)).item()
    assert abs(everything - loss.item()) > 1e-3, "patches that are seen do not count"


def test_closed_forms() -> None:
    hidden = torch.ones(4, dtype=torch.bool)
    target = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1e-6).sqrt()
    assert reconstruction(target, 3 * x + 5, hidden).item() == pytest.approx(0, abs=1e-10)  # exposure drops out
    assert reconstruction(torch.zeros(4, 8), torch.full((4, 8), 0.5), hidden).item() == pytest.approx(0, abs=1e-12)


def test_gradient_by_finite_differences() -> None:
    hidden = torch.tensor([False, True, True, False])
    guess = y.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda g: reconstruction(g, x, hidden), (guess,))
    reconstruction(guess, x, hidden).backward()
    assert guess.grad is not None and (guess.grad.abs().sum(1) > 0).tolist() == hidden.tolist()


def test_t17_half_precision_is_widened() -> None:
    loss = reconstruction(y.bfloat16(), x.bfloat16(), torch.ones(4, dtype=torch.bool))
    assert loss.dtype == torch.float32 and loss.isfinite()


def test_patches_lie_as_the_encoder_cuts_them() -> None:
    images = torch.arange(2 * 9 * 14.0).reshape(2, 1, 9, 14)
    patches = patchify(images, 4)
    assert patches.shape == (2, 2 * 3, 16)
    tiles = torch.nn.functional.unfold(images[..., :8, :12], 4, stride=4).transpose(1, 2)
    assert torch.equal(patches, tiles)
    encoder = VisionTransformer(size=16, patch=4, dim=16, depth=1, heads=1)
    with torch.no_grad():  # a patch that is brighter than all others lights the same place
        encoder.patch_embed.proj.weight.fill_(1.0)
        encoder.patch_embed.proj.bias.zero_()
        spot = torch.zeros(1, 1, 16, 16)
        spot[..., 4:8, 8:12] = 1
        assert patchify(spot, 4).sum(2).argmax() == encoder.embed(spot)[0].sum(2).argmax() == 6


def test_positions_are_the_papers_sines() -> None:
    positions = sincos_positions(3, 5, 8).numpy()
    assert positions.shape == (1, 16, 8) and not positions[0, 0].any()
    for row in range(3):
        for column in range(5):
            waves = [10000 ** (-k / 2) for k in range(2)]
            expected = [f(at * w) for at in (column, row) for f in (math.sin, math.cos) for w in waves]
            np.testing.assert_allclose(positions[0, 1 + 5 * row + column], expected, atol=1e-12)


def mae(width: int = 16, depth: int = 1, **options: object) -> MAE:
    torch.manual_seed(0)
    encoder = VisionTransformer(size=16, patch=4, dim=width, depth=depth, heads=2)
    return MAE(encoder, MAEConfig(**({"decoder_dim": 32, "decoder_depth": 1} | options)))  # type: ignore[arg-type]


def test_the_step_is_the_papers_one_image_at_a_time() -> None:
    method = mae()
    with torch.no_grad():
        method.encoder.cls_token.normal_()
    images, hidden = pictures(5), about_for(method, 5).masks
    loss = method.step([images], About(masks=hidden)).loss.item()
    encoder, expected = method.encoder, []
    with torch.no_grad():
        for image, mask in zip(images, hidden[0], strict=True):
            tokens = encoder.patch_embed.proj(image[None])[0].flatten(1).T + encoder.pos_embed[0, 1:]
            seen = torch.cat([encoder.cls_token[0] + encoder.pos_embed[0, :1], tokens[~mask]])
            latent = method.enter(encoder.norm(encoder.blocks(seen[None]))[0])
            full = method.mask_token.repeat(16, 1)
            full[~mask] = latent[1:]
            z = torch.cat([latent[:1], full]) + sincos_positions(4, 4, 32)[0].float()
            painted = method.leave(method.norm(method.decoder(z[None])))[0, 1:]
            pixels = patchify(image[None], 4)[0]
            expected.append(by_loops(painted.double().numpy(), pixels.double().numpy(), mask.numpy()))
    assert loss == pytest.approx(np.mean(expected), rel=1e-4)


def test_hidden_patches_reach_the_loss_alone() -> None:
    method = mae()
    images, about = pictures(5), about_for(method, 5)
    places = about.masks[0].reshape(5, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    other = torch.where(places, torch.randn(5, 1, 16, 16), images)
    one, two = method.step([images], about), method.step([other], about)
    assert torch.equal(one.features, two.features) and one.loss.item() != two.loss.item()
    lengths: list[int] = []
    method.encoder.blocks.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    method.step([images], about)
    assert lengths == [1 + 4]  # a quarter of 16, and the class token
    with pytest.raises(ValueError, match="masks"):
        method.step([images])


def test_a_grey_painting_stands_at_chance() -> None:
    method = mae()
    with torch.no_grad():
        method.leave.weight.zero_()
    step = method.step([torch.randn(8, 1, 16, 16)], about_for(method, 8))
    assert step.loss.item() == pytest.approx(method.chance_loss(), abs=1e-4) and method.chance_loss() == 15 / 16


def test_it_takes_one_view_and_no_exposure() -> None:
    method = MAE(VisionTransformer(size=32, patch=8, dim=16, depth=1, heads=1))
    assert (method.views.globals, method.views.locals) == (1, 0) and method.views.masks is not None
    assert (method.views.masks.share, method.views.masks.patch) == ((0.75, 0.75), 8)
    assert MAE.natural.global_views[0].scale == (0.2, 1.0)
    for recipe in (MAE.natural, MAE.xray):
        (view,) = recipe.global_views
        assert view.flip == 0.5 and not (view.brightness or view.contrast or view.blur or view.solarize or view.rotate)


def test_bad_values_are_refused() -> None:
    for name, value in (("mask_ratio", 1.0), ("mask_ratio", 0.0), ("decoder_dim", 48), ("decoder_depth", 0)):
        with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
            MAEConfig(**{name: value})
    with pytest.raises(UsageError, match=r"Vision Transformer.*ToyEncoder"):
        MAE(ToyEncoder())


def test_it_learns() -> None:
    """Of three pictures, a quarter tells which one it is and with that the rest; their mean alone gives 0.77."""
    method = mae(width=32, depth=2)
    optimizer = torch.optim.AdamW((p for _, p in method.trainable()), lr=0.003)
    losses = []
    for step in range(100):
        loss = method.step([families(32, 3, step)[1]], about_for(method, 32, step)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < 0.7 < 0.9 < losses[0]
