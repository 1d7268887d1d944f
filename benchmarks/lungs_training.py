"""Train the small U-Net that finds lungs for `prepare --crop lungs`, on generated radiographs alone.

    python benchmarks/lungs_training.py --out src/kontrast/data/lungs/unet.safetensors

No real image is used, neither to train nor to choose anything: the phantom's exact masks are the truth, and what makes
the network hold on real films is how strongly its films are disturbed (`disturb`). The same seed gives the same
weights on the same machine and version of torch. It takes some minutes on one core that is
free. `benchmarks/lungs.py` measures the result.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from torch import nn

from kontrast.data.lungs.network import CHANNELS, SIDE
from kontrast.data.phantom import MASKS, generate

SOURCE = 128
"""Side of the generated films in pixels, from which disturbed ones of SIDE are cut."""
LUNGS, HEART = (1 << MASKS.index(name) for name in ("lungs", "heart"))


def films(patients: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(film, targets) of generated patients: (SOURCE, SOURCE) uint8, and (SOURCE, SOURCE, 2) of lungs and heart.

    A lateral film has no target: there the two lungs lie behind each other, and the whole image is kept.
    """
    found = []
    for patient in range(1, patients + 1):
        images = [image for study in generate(patient, seed=seed, size=SOURCE) for image in study.images]
        for image in images[:2]:
            bits = image.masks * (image.view != "lateral")
            targets = np.stack([(bits & LUNGS) > 0, (bits & HEART) > 0], axis=-1)
            found.append((image.pixels, targets.astype(np.uint8) * 255))
    return found


def disturb(film: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A film as another hospital might have made it, at SIDE pixels: float32 in [0, 1], and targets (2, SIDE, SIDE).

    Position, size, proportions and tilt; what covers or fills the lungs; devices, wires and letters; exposure, tone
    curve and detail; blur and noise; collimation, frames and padding.
    """
    matrix = _placement(rng)
    size = (SIDE, SIDE)
    picture = cv2.warpAffine(film, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    picture = picture.astype(np.float32) / 255
    masks = cv2.warpAffine(targets, matrix, size, flags=cv2.INTER_LINEAR).astype(np.float32) / 255
    if rng.random() < 0.5:
        picture, masks = picture[:, ::-1].copy(), masks[:, ::-1].copy()
    if rng.random() < 0.6:
        picture = _fill(picture, masks[..., 0] > 0.5, rng)
    if rng.random() < 0.3:
        picture = _gas(picture, masks.max(axis=-1) > 0.5, rng)
    for _ in range(rng.poisson(1.5)):
        _wire(picture, rng)
    picture = _tone(picture, rng)
    for _ in range(rng.poisson(0.7)):
        _label(picture, rng)
    picture = _detector(picture, rng)
    outside = _collimate(picture, rng)
    masks[outside] = 0
    return np.clip(picture, 0, 1), np.ascontiguousarray(masks.transpose(2, 0, 1))


def _placement(rng: np.random.Generator) -> np.ndarray:
    """From the film's pixels to the picture's: lungs smaller, larger, cut by the edge, turned, slanted, squashed."""
    scale = SIDE / SOURCE * np.exp(rng.uniform(np.log(0.8), np.log(1.6)))
    stretch = np.exp(rng.normal(0, 0.12))
    angle = np.deg2rad(rng.normal(0, 7))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[1, rng.normal(0, 0.06)], [rng.normal(0, 0.04), 1]])
    linear = turn @ slant @ np.diag([scale * stretch, scale / stretch])
    centre = np.array([0.5, 0.47]) + rng.normal(0, 0.06, 2)
    return np.column_stack([linear, np.array([SIDE / 2, SIDE / 2]) - linear @ (centre * SOURCE)])


def _clouds(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth random texture in [0, 1], `cells` grains to a side."""
    return cv2.resize(rng.random((cells, cells), dtype=np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def _fill(picture: np.ndarray, lungs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Opacities: patches, a level of fluid from below, or one lung white from top to bottom."""
    if not lungs.any():
        return picture
    rows, columns = np.nonzero(lungs)
    middle = (columns.min() + columns.max()) / 2
    white = float(np.quantile(picture, rng.uniform(0.7, 0.95)))
    share = np.zeros_like(picture)
    kind = rng.random()
    side = (np.arange(SIDE)[None, :] < middle) == (rng.random() < 0.5)
    if kind < 0.5:
        share = np.clip((_clouds(rng, int(rng.integers(3, 9))) - rng.uniform(0.3, 0.7)) * 3, 0, 1)
        if rng.random() < 0.5:
            share = share * side
    elif kind < 0.8:
        level = rows.max() - rng.uniform(0.05, 0.6) * np.ptp(rows)
        share = 1 / (1 + np.exp(-(np.arange(SIDE)[:, None] - level) / rng.uniform(0.3, 3))) * side
    else:
        share = np.ones_like(picture) * side
    share = cv2.GaussianBlur((share * lungs).astype(np.float32), (0, 0), rng.uniform(0.4, 1.4))
    share *= rng.uniform(0.3, 1.0)
    return picture * (1 - share) + share * (white + 0.08 * (_clouds(rng, 12) - 0.5))


def _gas(picture: np.ndarray, organs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dark bubbles outside lungs and heart: stomach, bowel, skin folds, air under the skin."""
    board = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(rng.integers(1, 5)):
        centre = (int(rng.integers(0, SIDE)), int(rng.integers(SIDE // 3, SIDE)))
        axes = (int(rng.integers(2, SIDE // 7)), int(rng.integers(2, SIDE // 9)))
        cv2.ellipse(board, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA)
    share = cv2.GaussianBlur(board, (0, 0), rng.uniform(0.5, 2)).astype(np.float32) / 255 * ~organs
    return picture * (1 - share * rng.uniform(0.2, 0.9))


def _wire(picture: np.ndarray, rng: np.random.Generator) -> None:
    """A bright line, or a bright clip, box or disc at its end."""
    board = np.zeros((SIDE, SIDE), np.uint8)
    ends = rng.uniform(-0.1, 1.1, (4, 2)) * SIDE
    t = np.linspace(0, 1, 30)[:, None]
    bend = (1 - t) ** 3 * ends[0] + 3 * (1 - t) ** 2 * t * ends[1] + 3 * (1 - t) * t**2 * ends[2] + t**3 * ends[3]
    cv2.polylines(board, [np.rint(bend * 8).astype(np.int32)], False, 255, 1, cv2.LINE_AA, 3)
    if rng.random() < 0.4:
        x, y = (int(v) for v in np.clip(ends[3], 0, SIDE - 1))
        if rng.random() < 0.5:
            cv2.circle(board, (x, y), int(rng.integers(1, 4)), 255, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(board, (x, y), (x + int(rng.integers(1, 8)), y + int(rng.integers(1, 6))), 255, -1)
    np.maximum(picture, board.astype(np.float32) / 255 * rng.uniform(0.4, 1.0), out=picture)


def _label(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Letters, with or without a plate beneath, mostly near the edge."""
    x, y = (int(v) for v in rng.beta(0.5, 0.5, 2) * (SIDE - 8))
    bright = float(rng.uniform(0.7, 1.0))
    if rng.random() < 0.3:
        shade = float(rng.uniform(0, 0.5))
        cv2.rectangle(picture, (x, y - 6), (x + int(rng.integers(4, 14)), y + 1), shade, -1)
    text = "".join(rng.choice(list("LRAPSEMI0123456789"), rng.integers(1, 5)))
    board = np.zeros((SIDE, SIDE), np.uint8)
    cv2.putText(board, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, float(rng.uniform(0.15, 0.35)), 255, 1, cv2.LINE_AA)
    np.maximum(picture, board.astype(np.float32) / 255 * bright, out=picture)


def _tone(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure and display: uneven light, gamma, a random rising curve, equalisation, local contrast."""
    picture = picture + rng.uniform(0, 0.35) * (_clouds(rng, int(rng.integers(2, 5))) - 0.5)
    picture = np.clip(picture, 0, 1)
    if rng.random() < 0.25:
        picture = cv2.equalizeHist((picture * 255).astype(np.uint8)).astype(np.float32) / 255
    picture = picture ** np.float32(np.exp(rng.normal(0, 0.45)))
    heights = np.concatenate([[0], np.cumsum(rng.dirichlet(np.full(6, 2.5)))])
    mix = rng.uniform(0, 0.8)
    curve = np.interp(picture, np.linspace(0, 1, 7), heights).astype(np.float32)
    picture = mix * curve + (1 - mix) * picture
    if rng.random() < 0.4:
        soft = cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.5, 8))
        picture = picture + rng.uniform(-0.3, 1.0) * (picture - soft)
    low, high = rng.uniform(0, 0.35), rng.uniform(0.65, 1.0)
    return (low + (high - low) * np.clip(picture, 0, 1)).astype(np.float32)


def _detector(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur and noise."""
    if rng.random() < 0.4:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.2))
    return picture + rng.normal(0, rng.uniform(0, 0.04), picture.shape).astype(np.float32)


def _collimate(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut the picture by shutters, a frame and the padding of a film that is no square; True where nothing is left."""
    outside = np.zeros((SIDE, SIDE), bool)
    if rng.random() < 0.3:  # shutters, slightly turned
        centre = (SIDE / 2 + rng.normal(0, 3), SIDE / 2 + rng.normal(0, 3))
        opening = (SIDE * rng.uniform(0.75, 1.2), SIDE * rng.uniform(0.75, 1.2))
        corners = cv2.boxPoints((centre, opening, float(rng.normal(0, 4))))
        board = np.zeros((SIDE, SIDE), np.uint8)
        cv2.fillConvexPoly(board, np.rint(corners).astype(np.int32), 1)
        outside |= board == 0
        picture[outside] = rng.choice([0.0, rng.uniform(0, 0.3), 1.0], p=[0.6, 0.25, 0.15])
    if rng.random() < 0.6:  # aspect: padding as `resize.fit` makes it
        short = round(SIDE * rng.uniform(0.62, 1.0))
        band = np.zeros((SIDE, SIDE), bool)
        start = (SIDE - short) // 2
        band[:start] = band[start + short :] = True
        band = band.T if rng.random() < 0.4 else band
        picture[band] = 0
        outside |= band
    return outside


class UNet(nn.Module):
    """A narrow U-Net (Ronneberger et al. 2015): two convolutions a level down, one a level up.

    It works at half of SIDE: 2 × 2 pixels become channels at its start and are made of channels at its end (Shi et al.
    2016), which halves its cost and keeps edges fine. Gives logits (B, 2, SIDE, SIDE): lungs, heart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        before = 4
        for width in CHANNELS:
            self.down.append(nn.Sequential(*self._conv(before, width), *self._conv(width, width)))
            before = width
        self.up = nn.ModuleList()
        for width in CHANNELS[-2::-1]:
            self.up.append(nn.Sequential(*self._conv(before + width, width)))
            before = width
        self.head = nn.Conv2d(before, 8, 1)

    @staticmethod
    def _conv(before: int, width: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of (B, 1, SIDE, SIDE) in [0, 1]."""
        x, levels = F.pixel_unshuffle(x, 2), []
        for i, level in enumerate(self.down):
            x = level(x if i == 0 else F.max_pool2d(x, 2))
            levels.append(x)
        for level, skip in zip(self.up, levels[-2::-1], strict=True):
            x = level(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1))
        return F.pixel_shuffle(self.head(x), 2)

    def folded(self) -> dict[str, np.ndarray]:
        """Weights for `kontrast.data.lungs.network`: each normalisation folded into its convolution, 16 bits."""
        found = {"head.weight": self.head.weight, "head.bias": self.head.bias}
        for name, module in (*self.down.named_children(), *self.up.named_children()):
            part = "down" if module in list(self.down) else "up"
            for i in range(0, len(module), 3):
                conv, norm = module[i], module[i + 1]
                gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
                found[f"{part}.{name}.{i // 3}.weight"] = conv.weight * gain[:, None, None, None]
                found[f"{part}.{name}.{i // 3}.bias"] = norm.bias - norm.running_mean * gain
        return {
            # In the order of their indices: channels-last tensors lie otherwise, and safetensors writes what lies so.
            name: np.ascontiguousarray(value.detach().numpy().astype(np.float16))
            for name, value in found.items()
        }


def loss_of(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus 1 - Dice over the batch, the heart at half weight."""
    weights = torch.tensor([1.0, 0.5])[None, :, None, None]
    entropy = (F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weights).mean()
    shares = torch.sigmoid(logits)
    dice = 2 * (shares * targets).sum((2, 3)) + 1
    dice = dice / (shares.sum((2, 3)) + targets.sum((2, 3)) + 1)
    return entropy + (1 - dice).mul(weights[..., 0, 0]).mean()


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--steps", type=int, default=2200)
    parser.add_argument("--stop", type=int, default=1500, help="end after so many of the planned steps")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--seed", type=int, default=20)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(options.seed)
    data = films(options.patients, options.seed)
    print(f"{len(data)} films", flush=True)
    model = UNet().to(memory_format=torch.channels_last)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    optim = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optim, 3e-3, total_steps=options.steps, pct_start=0.05)
    running = 0.0
    for step in range(1, min(options.steps, options.stop) + 1):
        drawn = [disturb(*data[i], rng) for i in rng.integers(0, len(data), options.batch)]
        x = torch.from_numpy(np.stack([stretched(picture) for picture, _ in drawn])[:, None])
        y = torch.from_numpy(np.stack([targets for _, targets in drawn]))
        loss = loss_of(model(x.contiguous(memory_format=torch.channels_last)), y)
        optim.zero_grad()
        loss.backward()
        optim.step()
        schedule.step()
        running += (loss.item() - running) * (0.02 if step > 50 else 1 / step)
        if step % 100 == 0:
            print(f"step {step}  loss {running:.4f}", flush=True)
        if step % 500 == 0 or step in (options.stop, options.steps):
            model.eval()
            save_file(model.folded(), options.out)
            model.train()


def stretched(picture: np.ndarray) -> np.ndarray:
    """The picture as the network is given it, in use as in training."""
    from kontrast.data.lungs.network import stretch

    return stretch(picture)


if __name__ == "__main__":
    main()
