"""A Pack that pixels do not explain: four shapes anywhere in the image, at any exposure; the finding is which shape."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from helpers import KEY
from kontrast.artifacts.pack import PackWriter, Shard
from kontrast.nn.backbone import Encoder

SIZE = 32


def shape_pack(path: Path, n: int = 800, seed: int = 0) -> Path:
    """Half of the images train, half test; the finding `Odd` is a shape of odd number."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(np.random.default_rng(1).normal(size=(4, 1, 4, 4)))
    shapes = nn.functional.interpolate(coarse, size=(16, 16), mode="bicubic")[:, 0].numpy()
    shapes = shapes + shapes[:, :, ::-1]  # views mirror; a shape should stay itself
    shapes = (shapes - shapes.mean((1, 2), keepdims=True)) / shapes.std((1, 2), keepdims=True)
    images, rows = [], []
    for i in range(n):
        kind = i % 4
        image = 0.04 * rng.standard_normal((SIZE, SIZE)) + rng.uniform(0.35, 0.65)
        top, left = rng.integers(0, SIZE - 15, 2)
        image[top : top + 16, left : left + 16] += rng.uniform(0.08, 0.25) * shapes[kind]
        images.append(np.clip(image * 255, 0, 255).astype(np.uint8))
        rows.append(
            {
                "image_id": KEY.hash(f"{seed}/{i}"), "patient_id": KEY.hash(f"patient {seed}/{i}"), "study_id": "",
                "split": "train" if i < n // 2 else "test", "view": "", "sex": "", "age": None,
                "source": f"{i:05d}.png", "sha256": KEY.hash(f"pixels {seed} {i}", 64), "height": SIZE, "width": SIZE,
                "Odd": float(kind % 2),
            }
        )  # fmt: skip
    writer = PackWriter(folder=path, findings=("Odd",), size=SIZE, dtype="uint8", key_id=KEY.id)
    writer.write(0, Shard(images=np.stack(images), rows=rows, masks={}))
    writer.finish(
        config={}, content={"patients_known": True, "layout": "folder", "roles": {}, "notes": []}, mask_names=()
    )
    return path


class SmallEncoder(Encoder):
    """Three strided convolutions: 64 features."""

    feature_dim = 64

    def __init__(self) -> None:
        super().__init__()
        widths = [1, 16, 32, 64]
        self.body = nn.Sequential(
            *(
                layer
                for a, b in pairwise(widths)
                for layer in (nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            )
        )

    def feature_maps(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)
