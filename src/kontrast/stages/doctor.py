"""`kontrast doctor`: what this machine can do, and how to mend what it cannot."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from kontrast import console
from kontrast.config import verb
from kontrast.errors import KontrastError, UsageError
from kontrast.types import Outcome, counted

TORCH_FLOOR = (2, 10)
"""CVE-2025-32434 (code run by weights_only loading) is mended in 2.6, CVE-2026-24747 in 2.10."""
PYDICOM_FLOOR = (3, 0, 2)
"""CVE-2026-32711 (paths that leave a DICOMDIR's folder) is mended in 3.0.2."""
MARGIN = " " * 21
DECODERS = {
    "imagecodecs": "JPEG (8 and 12 bit, lossless), JPEG-LS",
    "pylibjpeg-openjpeg": "JPEG 2000",
    "pylibjpeg-rle": "RLE",
}


@dataclass(frozen=True)
class Check:
    """One line of the doctor's.

    Attributes:
        name: what was looked at.
        state: PASS, WARN (works, with a limit) or FAIL (kontrast or a part of it cannot work).
        found: what was found.
        fix: what to do; "" when nothing is needed.
    """

    name: str
    state: Literal["PASS", "WARN", "FAIL"]
    found: str
    fix: str = ""


@verb
def doctor(*, dry_run: bool = False) -> Outcome:
    """Say what this machine can do, and how to mend what it cannot.

    Changes nothing and looks at no images. Exit code 1 when a check fails; warnings leave it 0.

    Args:
        dry_run: name the checks, make none.
    """
    if dry_run:
        names = [_name(check) for check in CHECKS]
        console.say(f"Would check {', '.join(names)}.")
        return Outcome("doctor", None, "planned", {"checks": names})
    checks = []
    for check in CHECKS:
        found = _guarded(check)
        checks.append(found)
        console.note(found.found, f"{found.state}  {found.name:<15}", MARGIN)
        if found.fix:
            console.note(found.fix, f"{MARGIN}→ ", f"{MARGIN}  ")
    counts = {state: sum(c.state == state for c in checks) for state in ("PASS", "WARN", "FAIL")}
    console.say()
    console.say(f"{counts['PASS']} passed, {counts['WARN']} with a warning, {counts['FAIL']} failed.")
    summary = {"checks": [asdict(c) for c in checks], **{state.lower(): n for state, n in counts.items()}}
    return Outcome("doctor", None, summary=summary, exit_code=int(counts["FAIL"] > 0))


def _guarded(check: Callable[[], Check]) -> Check:
    """A check that itself breaks is a finding, not the end of the visit."""
    try:
        return check()
    except Exception as error:
        return Check(
            _name(check), "FAIL", f"could not be looked at ({type(error).__name__})", "Install kontrast again."
        )


def _name(check: Callable[[], Check]) -> str:
    return check.__name__.removeprefix("_check_").replace("_", " ")


def version_of(package: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def numbers(version: str) -> tuple[int, ...]:
    """`2.13.0+cpu` is (2, 13, 0)."""
    return tuple(int(n) for n in re.findall(r"\d+", version.split("+")[0])[:3])


def _check_python() -> Check:
    # An older Python than 3.11 cannot install kontrast, so there is nothing to fail here.
    return Check("Python", "PASS", ".".join(map(str, sys.version_info[:3])))


def _check_packages() -> Check:
    required = [r for r in importlib.metadata.requires("kontrast") or [] if "extra ==" not in r]
    names = [re.split(r"[^A-Za-z0-9_.-]", r)[0] for r in required]
    missing = [name for name in names if version_of(name) is None]
    if missing:
        return Check("packages", "FAIL", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Check("packages", "PASS", f"all {len(names)} that kontrast needs are installed")


def _check_torch() -> Check:
    version = version_of("torch")
    floor = ".".join(map(str, TORCH_FLOOR))
    if version is None:
        return Check("torch", "FAIL", "not installed", f'pip install "torch>={floor}"')
    if numbers(version) < TORCH_FLOOR:
        return Check(
            "torch", "FAIL", f"{version}: older ones run code hidden in weights", f'pip install "torch>={floor}"'
        )
    try:
        import torch
    except Exception as error:
        return Check("torch", "FAIL", f"{version} cannot be imported ({type(error).__name__})", "Install torch again.")
    return Check("torch", "PASS", f"{torch.__version__}, {counted(torch.get_num_threads(), 'thread')}")


def _check_torchvision() -> Check:
    if importlib.util.find_spec("torchvision") is None:
        return Check("torchvision", "PASS", "not installed; kontrast does not need it")
    # In a process of its own: a broken torchvision raises RuntimeError half way through its import.
    done = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, check=False)
    version = version_of("torchvision") or "of unknown version"
    if done.returncode:
        return Check(
            "torchvision", "WARN", f"{version} breaks at import, and timm, lightning or torchmetrics with it",
            "pip uninstall torchvision, or install the build that matches torch's (CPU or CUDA).",
        )  # fmt: skip
    return Check("torchvision", "PASS", f"{version} works; kontrast does not need it")


def _check_gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return Check("GPU", "PASS", ", ".join(f"{c.name} {c.total_memory / 2**30:.0f} GiB" for c in cards))
    if Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi"):
        build = "is a CPU build" if torch.version.cuda is None else f"is built for CUDA {torch.version.cuda}"
        return Check(
            "GPU", "WARN", f"there is an NVIDIA driver, but torch cannot use it (torch {build})",
            "Install a CUDA build of torch that the driver supports: https://pytorch.org/get-started.",
        )  # fmt: skip
    return Check(
        "GPU", "WARN", "none: training runs on the CPU",
        "Choose 64 to 128 px and --minutes, or train on a machine with a GPU.",
    )  # fmt: skip


def _check_bfloat16() -> Check:
    import torch

    from kontrast.engine.precision import cpu_has_bf16

    gpu = torch.cuda.is_available()
    if torch.cuda.is_bf16_supported(including_emulation=False) if gpu else cpu_has_bf16():
        return Check("bfloat16", "PASS", f"computed by the {'GPU' if gpu else 'CPU'}: about twice as fast")
    return Check(
        "bfloat16", "WARN", f"the {'GPU' if gpu else 'CPU'} does not compute it",
        "--precision auto takes fp32 here"
        + ("; --precision fp16 is faster." if gpu else ", which is the fastest it can do."),
    )  # fmt: skip


def _check_cores() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads and threads.isdigit() and int(threads) < cores:
        return Check(
            "cores", "WARN", f"{cores}, but OMP_NUM_THREADS={threads} keeps torch to fewer",
            "unset OMP_NUM_THREADS, unless others share this machine.",
        )  # fmt: skip
    if cores < 2:
        return Check("cores", "WARN", "1: preparing and training take turns", "Use a machine with more cores.")
    return Check("cores", "PASS", str(cores))


def _check_memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")  # what a container may use, where there is one
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    found = f"{total / 2**30:.0f} GiB"
    if total < 4 * 2**30:
        return Check("memory", "WARN", found, "Keep --batch-size at 64 or below, and --workers at 1.")
    return Check("memory", "PASS", found)


def _check_disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / 2**30:,.1f} GiB free in this folder"
    if free < 2**28:
        return Check("disk", "FAIL", found, "Free some space, or work in a folder on another disk.")
    if free < 10 * 2**30:
        # one byte a pixel: CheXpert's 223,414 images at 320 px are 21.3 GiB
        return Check("disk", "WARN", found, "Enough for about 10,000 images a GiB at 320 px; 223,000 need 22 GiB.")
    return Check("disk", "PASS", found)


def _check_dicom() -> Check:
    version = version_of("pydicom")
    if version is None or numbers(version) < PYDICOM_FLOOR:
        return Check("DICOM", "FAIL", f"pydicom {version or 'missing'}", 'pip install "pydicom>=3.0.2"')
    missing = [name for name in DECODERS if version_of(name) is None]
    if missing:
        lost = "; ".join(DECODERS[name] for name in missing)
        return Check("DICOM", "WARN", f"cannot be decoded: {lost}", f"pip install {' '.join(missing)}")
    return Check("DICOM", "PASS", "plain, RLE, JPEG, JPEG-LS and JPEG 2000")


def _check_patient_key() -> Check:
    from kontrast.data.identity import key_path, load_key, made_on_first_use, readable_by_others

    path = key_path()
    if made_on_first_use() and not path.exists():
        return Check("patient key", "PASS", f"none yet; the first kontrast prepare makes {path}")
    try:
        with console.silent(warnings=True):
            key = load_key()
    except KontrastError as error:
        return Check("patient key", "FAIL", error.problem, error.fix)
    if mode := readable_by_others(path):
        return Check("patient key", "WARN", f"{path} can be read by others (mode {mode:o})", f"chmod 600 {path}")
    return Check("patient key", "PASS", f"{path} ({key.id}), readable by you alone")


def _check_imagenet_weights() -> Check:
    from kontrast.nn.encoders import ENCODERS
    from kontrast.nn.weights import find_imagenet, imagenet_source

    found = []
    for name in ENCODERS:
        try:
            find_imagenet(name)
            found.append(name)
        except UsageError as error:
            if "damaged" in error.problem:
                return Check("ImageNet", "FAIL", error.problem, error.fix)
    if not found:
        return Check(
            "ImageNet", "WARN", "no weights on this machine; everything works but --init imagenet",
            f"For resnet50, fetch {imagenet_source('resnet50')[1]} into the folder that $KONTRAST_WEIGHTS names.",
        )  # fmt: skip
    return Check("ImageNet", "PASS", f"weights of {', '.join(found)}")


CHECKS = (
    _check_python, _check_packages, _check_torch, _check_torchvision, _check_gpu, _check_bfloat16, _check_cores,
    _check_memory, _check_disk, _check_dicom, _check_patient_key, _check_imagenet_weights,
)  # fmt: skip
