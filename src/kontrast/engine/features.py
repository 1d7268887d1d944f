"""A Pack's images through a frozen network: features of an encoder, probabilities of a classifier.

Nothing here draws at random. Networks run in evaluation mode and, unless asked otherwise, in full single precision
(TF32 off), so that cached features do not depend on the kind of GPU.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kontrast import console
from kontrast.artifacts.classifier import Classifier
from kontrast.artifacts.files import write_npy
from kontrast.artifacts.pack import Pack
from kontrast.engine.kept import FEATURES, kept
from kontrast.nn.encoders import Encoder, EncoderSpec, normalise

Change = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Images (n, H, W) of a Pack and their rows (n,) → images to look at in their place."""

PART_ROWS = 4096
"""Rows in a part: what an interruption may cost, a few minutes of a ResNet-50 on a CPU."""


def embed(
    encoder: Encoder,
    spec: EncoderSpec,
    pack: Pack,
    rows: np.ndarray,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    *,
    bf16: bool = False,
) -> np.ndarray:
    """Features of images.

    Args:
        encoder: left on `device`, in the mode it was in.
        spec: its size, mean and std; images of another size are resized, which is said.
        pack: whose images.
        rows: which rows, (n,).
        device: where to compute.
        batch_size: images at a time; the result does not depend on it beyond rounding.
        bf16: compute in bfloat16: faster, and good to about two digits.

    Returns:
        (n, D) float32, in the order of `rows`.
    """

    def compute(rows: np.ndarray) -> np.ndarray:
        return _run(encoder, spec, pack, rows, encoder.feature_dim, torch.device(device), batch_size, bf16, "features")

    def of_all(folder: Path) -> None:
        _in_parts(folder, compute, np.arange(len(pack)))

    found = None if bf16 else kept(encoder, spec, pack, of_all)
    return compute(rows) if found is None else found[rows]


def embed_resumably(
    folder: Path,
    encoder: Encoder,
    spec: EncoderSpec,
    pack: Pack,
    rows: np.ndarray,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
) -> None:
    """`embed` into `features.npy` in a folder, part by part; parts that an earlier run left there are not done again.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    _in_parts(folder, lambda part: embed(encoder, spec, pack, part, device, batch_size), rows)


def _in_parts(folder: Path, compute: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> None:
    parts = folder / ".parts"
    parts.mkdir(exist_ok=True)
    starts = range(0, len(rows), PART_ROWS)
    for start in starts:
        part = parts / f"{start:09d}.npy"
        if not part.is_file():
            write_npy(part, compute(rows[start : start + PART_ROWS]))
    write_npy(folder / FEATURES, np.concatenate([np.load(parts / f"{start:09d}.npy") for start in starts]))
    shutil.rmtree(parts)


def predict(
    classifier: Classifier,
    pack: Pack,
    rows: np.ndarray,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    *,
    bf16: bool = False,
    raw: bool = False,
    change: Change | None = None,
) -> np.ndarray:
    """Probabilities of findings, 1 / (1 + exp(−logit)) in double precision, so that ties stay as rare as in the logits.

    Args and Returns as `embed`, but (n, F) float64, corrected by the classifier's calibration unless `raw`.
    `change` alters images before they are predicted.
    """
    there, width = torch.device(device), len(classifier.findings)
    found = None if bf16 or change is not None else kept(classifier.encoder, classifier.spec, pack)
    if found is None:
        logits = _run(classifier, classifier.spec, pack, rows, width, there, batch_size, bf16, "predictions", change)
    else:
        logits = _head(classifier, found[rows], there, batch_size)
    probabilities = torch.from_numpy(logits).double().sigmoid().numpy()
    return probabilities if raw else classifier.calibrated(probabilities)


def _head(classifier: Classifier, features: np.ndarray, device: torch.device, batch_size: int) -> np.ndarray:
    """(n, D) features → (n, F) logits."""
    parts = torch.from_numpy(features).split(batch_size)
    head = classifier.to(device).head
    with _frozen(head):
        return torch.cat([head(part.to(device)).float().cpu() for part in parts]).numpy()


def to_input(images: np.ndarray, spec: EncoderSpec, device: str | torch.device = "cpu") -> Tensor:
    """Packed images, (n, H, W) uint8 or uint16, as an encoder wants them: (n, 1, size, size) float32, normalised.

    Another size than the encoder's is resized, bilinear with antialiasing.
    """
    x = torch.from_numpy(images).to(device).unsqueeze(1)
    x = x.float() / torch.iinfo(x.dtype).max
    if x.shape[-1] != spec.size:
        x = F.interpolate(x, size=(spec.size, spec.size), mode="bilinear", antialias=True, align_corners=False)
    return normalise(x, spec)


def _run(
    network: nn.Module,
    spec: EncoderSpec,
    pack: Pack,
    rows: np.ndarray,
    width: int,
    device: torch.device,
    batch_size: int,
    bf16: bool,
    title: str,
    change: Change | None = None,
) -> np.ndarray:
    if pack.size != spec.size:
        console.say(f"  Images of {pack.size} px are resized to the encoder's {spec.size} px.")
    out = np.empty((len(rows), width), dtype=np.float32)
    network.to(device)
    with (
        _frozen(network),
        torch.autocast(device.type, torch.bfloat16, enabled=bf16),
        console.progress(title, len(rows), "images") as line,
    ):
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            images = pack.images(part)
            y = network(to_input(images if change is None else change(images, part), spec, device))
            out[start : start + len(part)] = y.float().cpu().numpy()
            line.update(len(part))
    return out


@contextlib.contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, no TF32, channels last (faster); everything as before afterwards, to the bit."""
    modes = [(module, module.training) for module in network.modules()]
    layouts = [(parameter, parameter.data) for parameter in network.parameters()]
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32
        for parameter, data in layouts:
            parameter.data = data
        for module, training in modes:
            module.training = training
