"""Views for X-rays, which every method learns from by default, and those of fine-tuning; `make_views`.

What a method's own paper has for photographs stands in the method's file, as `natural`. The papers' hue, saturation
and conversion to grey are missing everywhere: they do nothing to a grey image.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kontrast.views.params import View, ViewSpec, apply, draw


@dataclass(frozen=True)
class Recipe:
    """The views of one method.

    Attributes:
        global_views: one View per global view; a method that takes more starts again with the first.
        local_view: the View of every local crop, None where there can be none.
    """

    global_views: tuple[View, ...]
    local_view: View | None = None

    def at(self, size: int) -> "Recipe":
        """The same with global views of `size` pixels a side, and local ones of `local_size`."""
        local = self.local_view and replace(self.local_view, size=local_size(size))
        return Recipe(tuple(replace(view, size=size) for view in self.global_views), local)


def local_size(size: int) -> int:
    """Side of the local crops: 96 for 224 as in SwAV, in whole patches of a vision transformer (16, or 8 below 128)."""
    patch = 16 if size >= 128 else 8
    return max(patch, round(size * 96 / 224 / patch) * patch)


_xray = View(
    scale=(0.5, 1.0),  # smaller crops lose the finding: .5 to 1 beat .2 to 1 on chest X-rays (Xiao et al. 2023)
    ratio=(3 / 4, 4 / 3),  # as in the papers; heart and chest stretch together, their ratio stays
    flip=0.5,  # MoCo-CXR (Sowrirajan et al. 2021) mirrors too; what it costs was never measured apart
    rotate=10.0,  # patients lie askew by about that much; ±5 to ±10 in nearly every chest X-ray work
    jitter=0.8,  # as in the papers, so that some views keep their exposure
    brightness=0.4,  # exposure and tube voltage differ from machine to machine
    contrast=0.4,  # likewise, and so does the maker's post-processing
    gamma=0.0,  # brightness and contrast cover what differs; nothing shows that a curve adds to it
    blur=0.0,  # may remove what makes a finding: fine lines, a pleural edge. If at all, at most .1
    solarize=0.0,  # turns bone dark: such an image does not occur
    erase=0.0,  # may remove the finding itself
)

XRAY = Recipe(
    (_xray,),  # where a paper's views differ, it is in blur and solarize, which are off
    replace(_xray, scale=(0.15, 0.5)),  # SwAV's own .05 to .14 show a patch of rib that could be anyone's
)

FINETUNE = {
    "xray": Recipe(
        (
            replace(
                _xray,
                scale=(0.8, 1.0),  # the label is about the whole image
                ratio=(0.9, 1.1),
                flip=0.0,  # the heart is on the left, and a label may depend on the side
                rotate=5.0,  # what positioning leaves
                brightness=0.2,
                contrast=0.2,
            ),
        )
    ),
    # ImageNet: crop and mirror (Szegedy et al. 2015), as the methods' papers do
    "natural": Recipe((View(scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), flip=0.5),)),
    "none": Recipe((View(),)),
}
"""Views of fine-tuning by name."""


def make_views(
    images: Tensor,
    recipe: Recipe,
    spec: ViewSpec,
    generator: torch.Generator,
    *,
    partners: Tensor | None = None,
    first: int = 0,
    total: int | None = None,
) -> list[Tensor]:
    """Make the views of a batch, or of one process's part of it.

    Parameters are drawn for all `total` samples of the global batch, and this part takes its own, so that views do not
    depend on how many processes share the work.

    Args:
        images: (n, 1, H, W), uint8, or float in [0, 1], on any device.
        recipe: the ranges.
        spec: how many views.
        generator: on the CPU, in the same state in every process.
        partners: like `images`; every second view of image i, from the second on, is one of partner i instead.
        first: where these samples stand in the global batch.
        total: samples of the global batch, None = these.

    Returns:
        The global views, then the local ones: (n, 1, size, size) float32 in [0, 1] each.

    Raises:
        ValueError: local views are asked of a recipe that has none, or the part is not within the whole.
    """
    n = len(images)
    total = n if total is None else total
    if not 0 <= first <= first + n <= total:
        raise ValueError(f"Samples {first} to {first + n} are not within a batch of {total}.")
    views = [recipe.global_views[i % len(recipe.global_views)] for i in range(spec.globals)]
    if spec.locals:
        if recipe.local_view is None:
            raise ValueError(f"The method asks for {spec.locals} local views, but its recipe has none.")
        views += [recipe.local_view] * spec.locals
    params = [draw(view, total, generator).slice(first, first + n) for view in views]
    sources = (images, images if partners is None else partners)
    return [apply(sources[i % 2], drawn, view.size) for i, (view, drawn) in enumerate(zip(views, params, strict=True))]
