"""DINOv2 against its published numbers, loops written from its paper, and the traps that others fell into."""

import copy
import math

import numpy as np
import pytest
import torch

from kontrast.errors import UsageError
from kontrast.methods.byol import tau
from kontrast.methods.dinov2 import DINOv2, DINOv2Config, ibot, koleo
from kontrast.methods.method import About
from kontrast.nn.sinkhorn import sinkhorn
from kontrast.nn.vit import VisionTransformer
from toys import ToyEncoder, X, about_for, families, pictures, rows, two_views

x = torch.tensor(X)


def koleo_by_loops(h: np.ndarray) -> float:
    h, total = rows(h), 0.0
    for i in range(len(h)):
        others = [j for j in range(len(h)) if j != i]
        nearest = max(others, key=lambda j: h[i] @ h[j])
        total -= math.log(math.sqrt(sum((h[i] - h[nearest] + 1e-8) ** 2)) + 1e-8)
    return total / len(h)


def ibot_by_loops(s: np.ndarray, p: np.ndarray, hidden: np.ndarray, T: float) -> float:
    total, row = 0.0, 0
    for view in hidden:
        own = 0.0
        for _ in range(view.sum()):
            below = math.log(sum(math.exp(v / T) for v in s[row]))
            own -= sum(p[row, k] * (s[row, k] / T - below) for k in range(s.shape[1]))
            row += 1
        total += own / max(view.sum(), 1)
    return total / len(hidden)


def test_koleo_is_the_reference_and_the_loop() -> None:
    assert koleo(x, 64).dtype == torch.float64
    assert koleo(x, 64).item() == pytest.approx(-0.23584012225141, abs=1e-12)
    assert koleo(x, 64).item() == pytest.approx(koleo_by_loops(X), abs=1e-12)
    similar = (rows(X) @ rows(X).T) - 4 * np.eye(4)
    assert similar.argmax(axis=1).tolist() == [3, 0, 1, 0]


def test_koleo_looks_within_its_group_alone() -> None:
    h = torch.randn(12, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    groups = [koleo_by_loops(h[i : i + 4].numpy()) for i in (0, 4, 8)]
    assert koleo(h, 4).item() == pytest.approx(sum(groups) / 3, abs=1e-12)
    assert abs(koleo(h, 12).item() - koleo(h, 4).item()) > 0.01
    # what is left over joins a group: none is smaller than asked for
    assert koleo(h[:11], 4).item() == pytest.approx(
        (6 * koleo_by_loops(h[:6].numpy()) + 5 * koleo_by_loops(h[6:11].numpy())) / 11, abs=1e-12
    )


def test_koleo_at_its_ends() -> None:
    D = 16
    same = torch.ones(4, D, dtype=torch.float64)
    assert koleo(same, 64).item() == pytest.approx(-math.log(1e-8 * (math.sqrt(D) + 1)))
    assert koleo(torch.eye(8, dtype=torch.float64), 64).item() == pytest.approx(-math.log(math.sqrt(2)), abs=1e-6)
    alone = torch.ones(1, D, requires_grad=True)
    koleo(alone, 64).backward()  # a batch of one has no neighbour: no term, where others divide by nothing
    assert koleo(alone, 64).item() == 0 and alone.grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_t17_koleo_of_equal_features_is_finite_with_its_gradient(dtype: torch.dtype) -> None:
    h = torch.ones(4, 8, dtype=dtype, requires_grad=True)
    koleo(h, 4).backward()
    assert koleo(h, 4).dtype == torch.float32 and koleo(h, 4).isfinite()
    assert h.grad is not None and h.grad.isfinite().all()


def masks() -> torch.Tensor:
    hidden = torch.zeros(3, 6, dtype=torch.bool)
    hidden[0, [1, 4]] = True
    hidden[2, [0, 1, 2, 5]] = True  # the second view hides nothing
    return hidden


def outputs() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    s = torch.randn(6, 5, generator=g, dtype=torch.float64) / 5
    return s, (5 * torch.randn(6, 5, generator=g, dtype=torch.float64)).softmax(dim=1)


def test_ibot_is_the_loop_each_view_counting_the_same() -> None:
    s, p = outputs()
    loss = ibot(s, p, masks(), 0.1)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(ibot_by_loops(s.numpy(), p.numpy(), masks().numpy(), 0.1), abs=1e-12)
    each = -(p * (s / 0.1).log_softmax(1)).sum(1)
    assert abs(each.mean().item() * 2 / 3 - loss.item()) > 1e-3, "a mean over patches is another number"


def test_ibot_at_chance_and_without_a_hidden_patch() -> None:
    zero = torch.zeros(6, 7, dtype=torch.float64)
    assert ibot(zero, zero.softmax(1), masks(), 0.1).item() == pytest.approx(2 / 3 * math.log(7))
    nothing = torch.zeros(0, 7, requires_grad=True)
    loss = ibot(nothing, sinkhorn(nothing), torch.zeros(3, 6, dtype=torch.bool), 0.1)
    loss.backward()
    assert loss.item() == 0


def test_gradients_by_finite_differences_and_none_into_the_teacher() -> None:
    s, p = outputs()
    s.requires_grad_()
    p.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: ibot(s, p, masks(), 0.1), (s,))
    ibot(s, p, masks(), 0.1).backward()
    assert p.grad is None
    assert torch.autograd.gradcheck(lambda h: koleo(h, 2), (x.clone().requires_grad_(),))


def dinov2(width: int = 16, depth: int = 1, **options: object) -> DINOv2:
    torch.manual_seed(0)
    config = {"hidden_dim": 32, "dim": 8, "prototypes": 10, "local_views": 2, "freeze_steps": 0, "momentum": 0.9}
    encoder = VisionTransformer(size=16, patch=4, dim=width, depth=depth, heads=2)
    return DINOv2(encoder, DINOv2Config(**(config | options)))  # type: ignore[arg-type]


def crops(n: int = 8, seed: int = 0) -> list[torch.Tensor]:
    images = pictures(n, seed=seed)
    return two_views(images, seed) + two_views(images[..., ::2, ::2], seed + 1)


@pytest.mark.parametrize("shared", [True, False])
def test_the_step_is_the_papers_sum(shared: bool) -> None:
    method = dinov2(shared_head=shared, koleo_group=4)
    with torch.no_grad():  # so that student and teacher differ, and the token shows
        method.mask_token.normal_(std=0.5)
        for p in method.teacher.parameters():
            p.add_(0.02 * torch.randn_like(p))
    views, about = crops(), about_for(method, 8)
    twin = copy.deepcopy(method)
    loss = method.step(views, about).loss.item()

    def tokens(encoder: VisionTransformer, view: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
        """The patches one image at a time, a hidden one's projection replaced by the mask token."""
        out = []
        for i, image in enumerate(view):
            maps = encoder.patch_embed.proj(image[None])[0].flatten(1).T  # (N, F)
            if hidden is not None:
                maps[hidden[i]] = twin.mask_token
            sequence = torch.cat([encoder.cls_token[0], maps]) + encoder.pos_embed[0]
            out.append(encoder.norm(encoder.blocks(sequence[None]))[0, 1:])
        return torch.stack(out)

    with torch.no_grad():
        teacher, head, patch_head = twin.teacher.module
        seen = [tokens(teacher, view, None) for view in views[:2]]
        left = [tokens(twin.encoder, view, mask) for view, mask in zip(views[:2], about.masks, strict=True)]
        small = [twin.encoder(view) for view in views[2:]]
        p = sinkhorn(head(torch.cat([t.mean(1) for t in seen])), method.teacher_temperature).double().chunk(2)
        s = [twin.head(h).double() for h in [*(t.mean(1) for t in left), *small]]
        pairs = [(t, v) for t in range(2) for v in range(4) if v != t]
        image = np.mean([-(p[t] * (s[v] / 0.1).log_softmax(1)).sum(1).mean().item() for t, v in pairs])
        hidden = about.masks.flatten(0, 1)
        p_patch = sinkhorn(patch_head(torch.cat(seen)[hidden]), method.teacher_temperature).double().numpy()
        s_patch = twin.patch_head(torch.cat(left)[hidden]).double().numpy()
        patch = ibot_by_loops(s_patch, p_patch, hidden.numpy(), 0.1)
        spread = [koleo_by_loops(t.mean(1)[i : i + 4].double().numpy()) for t in left for i in (0, 4)]
    assert loss == pytest.approx(image + patch + 0.1 * sum(spread) / 2, rel=1e-4)


def test_hidden_patches_do_not_reach_the_student() -> None:
    method = dinov2(local_views=0)
    views, about = crops()[:2], about_for(method, 8)
    other = [view.clone() for view in views]
    for view, mask in zip(other, about.masks, strict=True):
        places = mask.reshape(8, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
        view[places] = 9.0
    assert torch.equal(method.step(other, about).features, method.step(views, about).features)
    with pytest.raises(ValueError, match="masks"):
        method.step(views)


def test_koleo_reaches_the_encoder() -> None:
    gradients = []
    for weight in (0.0, 0.1):
        method = dinov2(koleo_weight=weight)
        method.step(crops(), about_for(method, 8)).loss.backward()
        gradients.append(method.encoder.norm.weight.grad)
    assert (gradients[0] - gradients[1]).abs().max() > 1e-3


def test_t5_teacher_starts_as_a_copy_heads_included_and_follows_after_the_step() -> None:
    method = dinov2(shared_head=False)
    student = [*method.encoder.parameters(), *method.head.parameters(), *method.patch_head.parameters()]
    for own, other in zip(method.teacher.parameters(), student, strict=True):
        assert torch.equal(own, other) and own.data_ptr() != other.data_ptr()
    before = [p.clone() for p in method.teacher.parameters()]
    with torch.no_grad():
        for p in student:
            p.add_(1.0)
    method.step(crops(), about_for(method, 8))
    assert all(torch.equal(a, b) for a, b in zip(before, method.teacher.parameters(), strict=True))
    method.after_step(0.5)
    m = tau(0.9, 0.5)
    for old, now, new in zip(before, method.teacher.parameters(), student, strict=True):
        torch.testing.assert_close(now, m * old + (1 - m) * new)


def test_t10_both_heads_prototypes_are_frozen_by_a_missing_gradient() -> None:
    method = dinov2(shared_head=False, freeze_steps=1)
    for step, frozen in ((0, True), (1, False)):
        method.step(crops(), about_for(method, 8)).loss.backward()
        method.after_backward(step, 0.0)
        for head in (method.head, method.patch_head):
            assert (head.prototypes.weight.grad is None) == frozen


def test_one_head_serves_both_unless_asked_otherwise() -> None:
    one, two = dinov2(), dinov2(shared_head=False)
    assert one.patch_head is one.head and two.patch_head is not two.head
    _, head, patch_head = one.teacher.module
    assert patch_head is head
    count = [sum(1 for _ in method.trainable()) for method in (one, two)]
    assert count[1] - count[0] == 7


def test_the_mask_token_belongs_to_no_encoder() -> None:
    method = dinov2()
    assert set(method.encoder.state_dict()) == set(
        VisionTransformer(size=16, patch=4, dim=16, depth=1, heads=2).state_dict()
    )
    assert "mask_token" in dict(method.trainable())


def test_alike_prototypes_stand_at_chance() -> None:
    method = dinov2(koleo_weight=0.0)
    with torch.no_grad():
        method.head.prototypes.weight.fill_(1.0)
    masked = torch.ones(2, 8, 16, dtype=torch.bool)
    masked[:, ::2] = False  # half of the views
    assert method.step(crops(), About(masks=masked)).loss.item() == pytest.approx(method.chance_loss(), abs=1e-4)


def test_published_numbers_stand_where_the_data_are_large_enough() -> None:
    config, _ = DINOv2.fit_config(DINOv2Config(), images=1_281_167, steps=125_000, batch_size=1024, size=224)
    assert (config.momentum, config.teacher_temperature, config.koleo_weight) == (0.992, 0.07, 0.1)
    spec = DINOv2(VisionTransformer(size=16, patch=4, dim=16, depth=1, heads=2), config).views
    assert spec.locals == 8 and spec.masks is not None
    assert (spec.masks.share, spec.masks.probability, spec.masks.patch) == ((0.1, 0.5), 0.5, 4)
    assert DINOv2.natural.global_views[0].scale == (0.32, 1.0)


def test_bad_values_are_refused() -> None:
    for name, value in (("koleo_weight", -1), ("koleo_group", 1), ("prototypes", 0)):
        with pytest.raises(UsageError, match="--" + name.replace("_", "-")):
            DINOv2Config(**{name: value})
    with pytest.raises(UsageError, match=r"Vision Transformer.*ToyEncoder"):
        DINOv2(ToyEncoder())


@pytest.mark.slow
def test_it_learns() -> None:
    """Balanced targets cannot collapse, so a loss below chance is something known of the images and their patches."""
    method = dinov2(
        width=32, depth=2, hidden_dim=64, dim=64, prototypes=64, local_views=0, freeze_steps=5, momentum=0.95
    )
    optimizer = torch.optim.AdamW((p for _, p in method.trainable()), lr=0.003)
    for step in range(100):
        views = two_views(families(32, 4, step)[1], step)
        made = method.step(views, about_for(method, 32, step))
        made.loss.backward()
        method.after_backward(step, step / 100)
        optimizer.step()
        optimizer.zero_grad()
        method.after_step(step / 100)
    assert made.logs["dino"] < 0.9 * math.log(64) and made.logs["ibot"] < 0.93 * math.log(64) / 2
    assert made.logs["prototype_entropy"] > 0.6
