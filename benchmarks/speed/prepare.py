"""Case 4: `prepare` against decoding alone, over one and two processes; and non-local means against its first use."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from benchmarks.speed.measure import alternate, cpu, family, figure, pictures, ratio, wall
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from kontrast.apart import _close_idle
from kontrast.data.decode import decode
from kontrast.data.decode.dicom_writer import encode_radiograph
from kontrast.data.intensity import denoise
from kontrast.data.preparation import Treatment, prepare_images
from kontrast.data.resize import fit
from kontrast.workers import run as run_jobs

SIZE = 224
NOISE = 10.0


def write(folder: Path) -> dict[str, list[str]]:
    """Files of each kind: how many fit a slice of work."""
    small, large = pictures(16, 320, 390), pictures(1, 2500, 3000)
    kinds: dict[str, list[str]] = {}
    for kind, images, suffix in (
        ("390×320 JPEG", small, ".jpg"), ("3000×2500 JPEG", large, ".jpg"),
        ("390×320 PNG", small, ".png"), ("3000×2500 PNG", large, ".png"),
    ):  # fmt: skip
        kinds[kind] = [f"{kind[:4]}{i}{suffix}" for i in range(len(images))]
        for name, image in zip(kinds[kind], images, strict=True):
            cv2.imwrite(str(folder / name), image)
    kinds["3000×2500 DICOM, 12 bit"] = ["large.dcm"]
    grey = large[0].astype(np.uint16) * 16
    data = encode_radiograph(grey, bits=12, inverted=False, uids={"SOPInstanceUID": ["1"]}, elements={"PatientID": "1"})
    (folder / "large.dcm").write_bytes(data)
    return kinds


def bare(path: Path) -> object:
    """What decoding takes when nothing else is asked: OpenCV's for JPEG and PNG, pydicom's pixel array."""
    if path.suffix == ".dcm":
        return pydicom.dcmread(path).pixel_array
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)


def shown(path: Path) -> object:
    """DICOM as pydicom shows it: a copy of the stored words is no image until they are rescaled and windowed."""
    dataset = pydicom.dcmread(path)
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    low, high = values.min(), values.max()
    return ((values - low) * (255 / (high - low))).astype(np.uint8)


def hashed(path: Path) -> object:
    """What no `prepare` can do without: the file read, and its hash for the table."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def against_decoding(folder: Path) -> list[dict[str, Any]]:
    """Images a second of `prepare`'s work on each file, and its share of what decoding alone reaches."""
    found = []
    for kind, names in write(folder).items():
        paths = [folder / name for name in names]
        contestants = {
            "prepare": family(lambda n=names: prepare_images(folder, n, Treatment(size=SIZE))),
            "decode": cpu(lambda p=paths: [bare(path) for path in p]),
            "checked": cpu(lambda p=paths: [decode(path).pixels for path in p]),
        }
        if "DICOM" in kind:
            contestants["shown"] = cpu(lambda p=paths: [shown(path) for path in p])
            contestants["hashed"] = cpu(lambda p=paths: [hashed(path) for path in p])
        seconds = alternate(contestants)
        rate = len(names) / sorted(seconds["prepare"])[len(seconds["prepare"]) // 2]
        found.append(figure("prepare", kind, rate, "images/s a core", rounds=seconds))
        value = ratio(seconds["decode"], seconds["prepare"])
        found.append(figure("prepare", f"{kind}, against bare decoding", value, "×", target=0.7))
        value = ratio(seconds["checked"], seconds["prepare"])
        found.append(figure("prepare", f"{kind}, against kontrast's own checked decoding", value, "×"))
        if "DICOM" in kind:
            value = ratio(seconds["shown"], seconds["prepare"])
            found.append(figure("prepare", f"{kind}, against pydicom's greys (rescaled, windowed)", value, "×"))
            value = ratio(seconds["decode"], seconds["hashed"])
            found.append(figure("prepare", f"{kind}: reading and hashing it alone, against bare decoding", value, "×"))
    return found


def over_processes(folder: Path) -> dict[str, Any]:
    """Wall time of one process over that of two, their start left out by the first round."""
    names = [f"3000{0}.jpg"]
    jobs = [(folder, names, Treatment(size=SIZE))] * 8

    def with_processes(count: int) -> Callable[[], object]:
        return lambda: list(run_jobs(prepare_images, jobs, count, threads=True))

    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    _close_idle()  # the process that has read files until now stays on its core
    seconds = alternate({"one": wall(with_processes(1)), "two": wall(with_processes(2))})
    os.sched_setaffinity(0, before)
    value = ratio(seconds["one"], seconds["two"])
    return figure("prepare", "3000×2500 JPEG, two processes against one (wall)", value, "×", rounds=seconds)


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB."""
    return float(10 * np.log10(255**2 / np.mean((image.astype(float) - truth) ** 2)))


def non_local_means() -> list[dict[str, Any]]:
    """Time an image against the first version's call at 390×320, and what either leaves of added noise."""
    source = pictures(3, 320, 390, seed=1)
    clean = [cv2.GaussianBlur(image, (0, 0), 2) for image in source]
    rng = np.random.default_rng(0)
    noisy = [np.clip(one + NOISE * rng.standard_normal(one.shape), 0, 255).astype(np.uint8) for one in clean]
    small = [fit(image, SIZE) for image in noisy]
    seconds = alternate(
        {
            "first": cpu(lambda: [cv2.fastNlMeansDenoising(image, None, 10.0, 7, 21) for image in noisy]),
            "now": cpu(lambda: [denoise(image, "nlm") for image in small]),
        }
    )
    quality = {
        name: np.mean([psnr(f(image), truth) for image, truth in zip(noisy, clean, strict=True)])
        for name, f in (
            ("noisy", lambda x: x), ("as the first version", lambda x: cv2.fastNlMeansDenoising(x, None, 10.0, 7, 21)),
            ("now", lambda x: denoise(x, "nlm")),
        )
    }  # fmt: skip
    found = [
        figure("prepare", "non-local means, against the first version's call", ratio(*seconds.values()), "×", target=5)
    ]
    for name, value in quality.items():
        found.append(figure("prepare", f"PSNR of noise of {NOISE:.0f} grey levels, {name}", float(value), "dB"))
    return found


def run() -> list[dict[str, Any]]:
    """Formats, processes, denoising."""
    with tempfile.TemporaryDirectory() as name:
        found = against_decoding(Path(name))
        found.append(over_processes(Path(name)))
    found += non_local_means()
    return found
