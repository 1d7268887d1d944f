"""What holds for the views of every recipe and method."""

import pytest
import torch

from kontrast.methods import METHODS
from kontrast.views.params import ViewSpec
from kontrast.views.recipes import FINETUNE, make_views

EVERY = {
    **{f"finetune-{name}": (made, 1) for name, made in FINETUNE.items()},
    **{f"{name}-xray": (kind.xray, 2) for name, kind in METHODS.items()},
    **{f"{name}-natural": (kind.natural, 2) for name, kind in METHODS.items()},
}
every = pytest.mark.parametrize("name", list(EVERY))


def small(name):
    """A recipe at 32 px, and how many views to make of it."""
    made, count = EVERY[name]
    return made.at(32), ViewSpec(count, 3 if made.local_view else 0)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def pictures(n, side=24):
    return torch.randint(0, 256, (n, 1, side, side), dtype=torch.uint8, generator=seeded(9))


@every
@pytest.mark.parametrize("n", [1, 7])
def test_shape_type_and_range(name, n):
    made, spec = small(name)
    views = make_views(pictures(n), made, spec, seeded(0))
    sizes = [made.global_views[0].size] * spec.globals + [16] * spec.locals
    assert [tuple(v.shape) for v in views] == [(n, 1, size, size) for size in sizes]
    for view in views:
        assert view.dtype == torch.float32 and view.min() >= 0 and view.max() <= 1 and not view.requires_grad


@every
def test_the_seed_decides(name):
    images, (made, spec) = pictures(5), small(name)
    one, two, other = (make_views(images, made, spec, seeded(s)) for s in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True)) == (name == "finetune-none")


@every
def test_two_processes_make_the_views_of_one(name):
    images, (made, spec) = pictures(6), small(name)
    whole = make_views(images, made, spec, seeded(0))
    halves = [make_views(images[a : a + 3], made, spec, seeded(0), first=a, total=6) for a in (0, 3)]
    for one, *two in zip(whole, *halves, strict=True):
        # Not every pixel: where solarize stands on its threshold, a rounding decides.
        assert ((torch.cat(two) - one).abs() > 1e-5).float().mean() < 0.01


@every
def test_a_sample_does_not_see_its_neighbours(name):
    images, (made, spec) = pictures(4), small(name)
    before = make_views(images, made, spec, seeded(0))
    images[2] = 255 - images[2]
    for one, two in zip(before, make_views(images, made, spec, seeded(0)), strict=True):
        changed = (one - two).abs().amax((1, 2, 3)) > 0
        assert changed.tolist() == [False, False, True, False]
