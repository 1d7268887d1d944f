"""Images without a table: class folders (`CLASS/…` or `train/CLASS/…`), or a plain folder without labels."""

import re
from collections import Counter
from pathlib import Path

import pandas as pd

from kontrast.data.decode import find_images, out_of_reach
from kontrast.data.label_words import MAX_CLASSES
from kontrast.data.layouts.names import masked
from kontrast.data.layouts.records import Records, finish
from kontrast.data.words import split_values
from kontrast.errors import DataError
from kontrast.types import counted

_NOT_CLASSES = re.compile(
    r"(images?|img|data|masks?|.*_masks?|png|jpe?g|dicom|files|frontal|lateral|unlabell?ed)", re.I
)
# patient00012, p10, 1.2.840.…, 4711: folders of people or studies, not of classes. A single digit may be a class.
_ID = re.compile(
    r"(patient|subject|study|series|case|p|s)?[-_ ]?\d{2,}.*|(patient|subject|study|series|case)[-_ ]?\d.*|.*\d{3,}.*",
    re.I,
)


def images_of(src: Path) -> list[Path]:
    """`find_images`, or an error that says what is there instead.

    Raises:
        DataError: no image file below `src`.
    """
    images = find_images(src)
    if images:
        return images
    broken = out_of_reach(src)
    if broken:
        first = "the folder itself" if broken[0][0] == "." else masked(broken[0][0])
        raise DataError(
            f"{src} holds no image that can be reached; {counted(len(broken), 'entry')} below it "
            f"cannot (the first: {first}, a {broken[0][1]}).",
            fix="Fetch the files that the links mean (`git annex get`, `dvc pull`, the drive they lie on), or mend the "
            "folder's permissions.",
        )
    suffixes = Counter(_kind(path) for path in src.rglob("*") if path.is_file())
    shown = ", ".join(f"{count:,} of {suffix}" for suffix, count in suffixes.most_common(4))
    raise DataError(
        f"{src} holds no image (JPEG, PNG, TIFF or DICOM). "
        + (f"It holds files: {shown}." if shown else "It is empty."),
        fix="Name the folder that holds the images.",
    )


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    # What stands behind the last point of an id is no suffix, and nothing for a message.
    return suffix if re.fullmatch(r"\.[a-z]{1,5}\d?", suffix) else "no suffix"


def class_folders(images: list[Path]) -> Counter[str]:
    """The folders that may be classes, each with its number of images; none for a plain folder."""
    depth = class_depth(images)
    return Counter() if depth is None else Counter(path.parts[depth] for path in images)


def class_depth(images: list[Path]) -> int | None:
    """Which part of each path may name its class: 0 (`CLASS/…`), 1 (`train/CLASS/…`), or None for a plain folder."""
    tops = {path.parts[0] for path in images if len(path.parts) > 1}
    depth = 1 if tops and all(split_values(tops)) else 0
    if any(len(path.parts) < depth + 2 for path in images):
        return None
    counts = Counter(path.parts[depth] for path in images)
    if not 2 <= len(counts) <= MAX_CLASSES or any(_NOT_CLASSES.fullmatch(n) or _ID.fullmatch(n) for n in counts):
        return None
    return depth


def records(src: Path, labels: object = (), overrides: object = None, *, classes: bool = True) -> Records:
    """Records of a folder; classes become findings of 1 and 0, one of which is 1.

    Args:
        src: the folder.
        labels: not used.
        overrides: not used.
        classes: False reads class folders as plain ones.

    Raises:
        DataError: no images.
    """
    images = images_of(src)
    depth = class_depth(images) if classes else None
    frame = pd.DataFrame({"source": [path.as_posix() for path in images]})
    for name in ("patient", "study", "split", "view", "sex"):
        frame[name] = ""
    frame["age"] = float("nan")
    if depth is None:
        notes = ["no labels: a plain folder of images"]
        return finish(src, frame, findings=(), layout="plain", notes=notes, patients_known=False)
    names = [path.parts[depth] for path in images]
    findings = sorted(set(names))
    for finding in findings:
        frame[finding] = [float(name == finding) for name in names]
    notes = [f"findings = the names of the {len(findings)} class folders: {', '.join(findings)}"]
    official = ""
    if depth == 1:
        given = split_values(path.parts[0] for path in images)
        frame["split"], official, note = divide(given)
        notes += [f"split = the top folders; {note}"]
    return finish(
        src, frame, findings=findings, layout="folder", notes=notes, official_split=official, patients_known=False
    )


def divide(given: list[str]) -> tuple[list[str], str, str]:
    """Given parts as `Records` wants them: (parts, official_split, what to say)."""
    parts = set(given)
    if "test" in parts and "val" not in parts:
        return [part if part == "test" else "" for part in given], "test", "val will be drawn from train"
    if "" in parts:
        return given, "test" if "test" in parts else "", "images without a part will be drawn"
    missing = [name for name in ("train", "val", "test") if name not in parts]
    return given, "all", f"there is no {' and no '.join(missing)} part" if missing else "all three are given"
