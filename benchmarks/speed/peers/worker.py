"""Runs in the peers' environment: reads `{"do": NAME, …}` a line, answers with CPU seconds or why it cannot.

Each peer does what its documentation shows: an image file is opened with Pillow in a Dataset, transformed one by one,
collated, and a ResNet-18 is trained with its loss. The loader works in this process, as one core is measured.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

torch.set_num_threads(1)


def allow_torchvision() -> None:
    """PyPI's torchvision is built for another torch; the operators that it registers by name are declared by hand."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    globals()["_kept"] = library  # what it declares lives as long as it does


def transform(peer: str, size: int) -> Callable[[Any], list[torch.Tensor]]:
    """Two views of an image by SimCLR's recipe, as the peer names it."""
    if peer == "lightly":
        from lightly.transforms import SimCLRTransform

        return SimCLRTransform(input_size=size)  # type: ignore[no-any-return]
    if peer == "stable-pretraining":
        from stable_pretraining.data import transforms as t

        steps = [
            t.RGB(), t.RandomResizedCrop((size, size), scale=(0.08, 1.0)), t.RandomHorizontalFlip(p=0.5),
            t.ColorJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, p=0.8), t.RandomGrayscale(p=0.2),
            t.PILGaussianBlur(p=0.5), t.ToImage(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]  # fmt: skip
        one = t.Compose(*steps)
        return lambda image: [one({"image": image})["image"] for _ in range(2)]
    if peer == "monai":
        import numpy as np
        from monai.transforms import Compose, RandAdjustContrast, RandFlip, RandGaussianSmooth, RandSpatialCrop, Resize

        made = Compose(
            [
                RandSpatialCrop((size // 2, size // 2), max_roi_size=(size, size), random_size=True),
                Resize((size, size), mode="bilinear", anti_aliasing=True), RandFlip(0.5, spatial_axis=1),
                RandAdjustContrast(0.8, (0.6, 1.4)), RandGaussianSmooth((0.1, 2.0), (0.1, 2.0), prob=0.5),
            ]
        )  # fmt: skip
        return lambda image: [
            made(np.asarray(image.convert("L"), np.float32)[None] / 255).as_tensor() for _ in range(2)
        ]
    raise ValueError(f"no transform of {peer}")


class Files(torch.utils.data.Dataset):
    """A folder of images, opened one by one."""

    def __init__(self, folder: str, views: Callable[[Any], list[torch.Tensor]]) -> None:
        self._files, self._views = sorted(Path(folder).iterdir()), views

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        from PIL import Image

        with Image.open(self._files[index]) as image:
            return self._views(image.convert("RGB"))


def network(peer: str) -> torch.nn.Module:
    """ResNet-18 and SimCLR's projector; MONAI's own for MONAI, shaped like torchvision's."""
    if peer == "monai":
        from monai.networks.nets import resnet18

        backbone: Any = resnet18(spatial_dims=2, n_input_channels=1, conv1_t_stride=2, bias_downsample=False)
    else:
        from torchvision.models import resnet18

        backbone = resnet18()
    backbone.fc = torch.nn.Identity()
    if peer == "lightly":
        from lightly.models.modules import SimCLRProjectionHead

        return torch.nn.Sequential(backbone, SimCLRProjectionHead(512, 512, 128))
    head = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.ReLU(), torch.nn.Linear(512, 128))
    return torch.nn.Sequential(backbone, head)


def criterion(peer: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The peer's contrastive loss."""
    if peer == "lightly":
        from lightly.loss import NTXentLoss

        return NTXentLoss(temperature=0.1)  # type: ignore[no-any-return]
    if peer == "stable-pretraining":
        from stable_pretraining.losses import NTXEntLoss

        return NTXEntLoss(temperature=0.1)  # type: ignore[no-any-return]
    from monai.losses import ContrastiveLoss

    return ContrastiveLoss(temperature=0.1)  # type: ignore[no-any-return]


class Training:
    """A training loop that goes on from request to request."""

    def __init__(self, peer: str, folder: str, size: int, batch: int) -> None:
        self.model, self.loss = network(peer).train(), criterion(peer)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        files = Files(folder, transform(peer, size))
        self.loader = torch.utils.data.DataLoader(files, batch, shuffle=True, drop_last=True)
        self.batches: Iterator[Any] = iter(())

    def step(self) -> None:
        """One batch."""
        views = next(self.batches, None)
        if views is None:
            self.batches = iter(self.loader)
            views = next(self.batches)
        first, second = (self.model(view) for view in views[:2])
        self.loss(first, second).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def kornia_views(size: int, batch: int) -> Callable[[], object]:
    """Two views of a batch in memory."""
    import kornia.augmentation as k

    made = k.AugmentationSequential(
        k.RandomResizedCrop((size, size), scale=(0.2, 1.0)), k.RandomHorizontalFlip(p=0.5),
        k.ColorJiggle(0.4, 0.4, 0.4, 0.1, p=0.8), k.RandomGrayscale(p=0.2),
        k.RandomGaussianBlur((23, 23), (0.1, 2.0), p=0.5), data_keys=["input"],
    )  # fmt: skip
    images = torch.rand(batch, 3, size, size)
    return lambda: [made(images) for _ in range(2)]


def lightly_views(size: int, batch: int) -> Callable[[], object]:
    """Two views of images in memory, MoCo v2's recipe."""
    import numpy as np
    from lightly.transforms import MoCoV2Transform
    from PIL import Image

    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)) for _ in range(batch)]
    images = [image.resize((size, size), Image.Resampling.BICUBIC).convert("RGB") for image in coarse]
    views = MoCoV2Transform(input_size=size)
    return lambda: [views(image) for image in images]


def solo() -> None:
    """Whether solo-learn can be used at all."""
    from solo.methods import SimCLR  # noqa: F401


def main() -> None:
    """Serve requests until standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not be taken for an answer
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    allow_torchvision()
    works: dict[str, Callable[[], object]] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            name = asked["name"]
            if asked["do"] == "train":
                training = Training(asked["peer"], asked["folder"], asked["size"], asked["batch"])
                works[name] = lambda t=training, n=asked["steps"]: [t.step() for _ in range(n)]
            elif asked["do"] == "views":
                make = {"lightly": lightly_views, "kornia": kornia_views}[asked["peer"]]
                works[name] = make(asked["size"], asked["batch"])
            elif asked["do"] == "solo":
                solo()
            start = time.process_time()
            if asked["do"] == "run":
                works[name]()
            answer: dict[str, Any] = {"seconds": time.process_time() - start}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
