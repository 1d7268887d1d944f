"""What a display shows of stored values, PS3.3 C.11: modality LUT, then VOI LUT, then the polarity.

The chain is one function of a stored value. A radiograph has at most 65,536 of them, so it is computed once for each
value in double precision and then looked up: the pixels themselves are met twice, to count them and to look them up.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from kontrast.data.decode.image import histogram

TABLE_VALUES = 1 << 17
"""Where the stored values span more than this, the chain is computed for those that occur alone."""


class Words(NamedTuple):
    """An image as places in a table.

    Attributes:
        words: (H, W) uint8 or uint16, or intp where values of 32 bits lie far apart.
        values: (256 or 65,536,) or as many as occur: the stored value of each word.
        met: as long: which words occur; for `by_span` those between the smallest and the largest that do.
    """

    words: np.ndarray
    values: np.ndarray
    met: np.ndarray


def by_word(stored: np.ndarray, used: Callable[[np.ndarray], np.ndarray], *, by_span: bool) -> Words:
    """(H, W) whole numbers of 1, 2 or 4 bytes as words and their values.

    Args:
        stored: as the file holds them.
        used: what is meant of such numbers: some of their bits.
        by_span: it need not be known which values occur, but the smallest and the largest: a third of the time.
    """
    if not stored.dtype.isnative:
        stored = stored.astype(stored.dtype.newbyteorder("="))
    if stored.dtype.itemsize > 2:
        stored = used(stored)
        low, high = int(stored.min()), int(stored.max())
        if high - low > 0xFFFF:
            values, places = np.unique(stored, return_inverse=True)
            return Words(places.reshape(stored.shape), values, np.ones(len(values), bool))
        words = (stored - low).astype(np.uint16)
        return Words(words, low + np.arange(1 << 16), histogram(words) > 0)
    words = stored.view(np.uint8 if stored.dtype.itemsize == 1 else np.uint16)
    every = np.arange(1 << 8 * words.dtype.itemsize, dtype=words.dtype).view(stored.dtype)
    values = used(every)
    if by_span:
        low, high = (int(end) for end in cv2.minMaxLoc(stored)[:2])
        span = (every >= low) & (every <= high)
        if np.array_equal(values[span], every[span]):  # no bits but those that are used: the ends stay the ends
            return Words(words, values, span)
    return Words(words, values, histogram(words) > 0)


def numbers(dataset: Dataset, name: str) -> list[float]:
    """The finite values of a numeric element; none where it is absent, empty or no number."""
    try:
        value = dataset.get(name)
    except Exception:  # its text is no number: pydicom says so only now
        return []
    values = value if isinstance(value, (MultiValue, list, tuple)) else [value]
    found = []
    for one in values:
        try:
            found.append(float(one))
        except (TypeError, ValueError, OverflowError):
            continue
    return [one for one in found if np.isfinite(one)]


def number(dataset: Dataset, name: str, default: float) -> float:
    """The first of `numbers`, or the default."""
    return next(iter(numbers(dataset, name)), default)


def window(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """VOI window to [0, 1]: PS3.3 C.11.2.1.2 (LINEAR) and C.11.2.1.3 (SIGMOID, LINEAR_EXACT)."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -80, 80)))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width <= 1:  # a step
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def lut(item: Dataset, signed: bool) -> tuple[np.ndarray, int, int] | None:
    """A lookup table (PS3.3 C.11.1.1): its entries, the value that the first stands for, and its largest output.

    None where it holds nothing that can be used.

    Args:
        item: an item of a modality or VOI LUT sequence.
        signed: whether the values that are looked up may be negative; then the first value mapped may be too.
    """
    descriptor, data = numbers(item, "LUTDescriptor"), item.get("LUTData")
    if len(descriptor) != 3 or not data:
        return None
    count, first, bits = int(descriptor[0]) or 1 << 16, int(descriptor[1]), int(descriptor[2])
    if signed and first >= 1 << 15:  # written as unsigned
        first -= 1 << 16
    if isinstance(data, (bytes, bytearray)):
        entries = np.frombuffer(data, np.uint8 if len(data) < 2 * count else "<u2")
    else:
        entries = np.asarray(data, np.int64) & 0xFFFF
    if bits <= 8 and len(entries) < count <= 2 * len(entries):  # two entries in each word
        entries = entries.astype("<u2").view(np.uint8)
    entries = entries[:count].astype(np.float64)
    if not len(entries) or entries.min() == entries.max():
        return None
    # The bits are often wrong: more where an entry needs them, fewer where half of the range is never met.
    needed = int(entries.max()).bit_length()
    top = (1 << (bits if needed <= bits and needed > bits - 1 else max(needed, 8))) - 1
    return entries, first, top


def look_up(values: np.ndarray, entries: np.ndarray, first: int) -> np.ndarray:
    """Values outside the table take its first or last entry."""
    return entries[np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)]


def _items(dataset: Dataset, name: str) -> list[Dataset]:
    items = dataset.get(name)
    return [item for item in items if isinstance(item, Dataset)] if items is not None and len(items) else []


def modality(dataset: Dataset, signed: bool) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[float, float] | None]:
    """Stored values to output units, and the range of the outputs where a table gives one."""
    items = _items(dataset, "ModalityLUTSequence")
    if items and (found := lut(items[0], signed)) is not None:
        return partial(look_up, entries=found[0], first=found[1]), (0.0, float(found[2]))
    slope, intercept = number(dataset, "RescaleSlope", 1) or 1.0, number(dataset, "RescaleIntercept", 0)
    return lambda x: x * slope + intercept, None


def voi(dataset: Dataset, values: np.ndarray, signed: bool) -> np.ndarray | None:
    """Output units to [0, 1] by the first usable VOI LUT, else the first usable window; None without either.

    Where a file has both, the table comes first, as its author's finer choice. One that makes all values alike is a
    wrong header, not a black image.
    """
    for item in _items(dataset, "VOILUTSequence"):
        if (found := lut(item, signed)) is not None:
            entries, first, top = found
            shown = look_up(values, entries, first) / top
            if shown.min() < shown.max():
                return shown
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    pairs = zip(numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth"), strict=False)
    for center, width in pairs:
        if width > 0:
            shown = window(values, center, width, function)
            if shown.min() < shown.max():
                return shown
    return None


def render(
    dataset: Dataset, image: Words, *, bits: int, signed: bool, padding: tuple[int, int] | None
) -> tuple[np.ndarray, bool]:
    """The grey value of each word, uint8 for 8 bits else uint16, and whether a viewer shows them from black to white.

    They lie in 0 … 2**bits - 1, bone bright. Without a VOI the stored range (of the header's bits) is kept. Padding
    gets the darkest value of the rest, so that it neither shows nor stretches anything.

    Args:
        dataset: the header.
        image: the stored values; with padding not `by_span`.
        bits: of the stored values, 1 to 16.
        signed: whether they may be negative.
        padding: the first and the last stored value that is none, or None.
    """
    values, met = image.values.astype(np.int64), image.met
    padded = np.zeros(len(values), bool)
    if padding is not None:
        padded = (values >= padding[0]) & (values <= padding[1])
        if padded[met].all():
            padded[:] = False
    seen = values[met & ~padded]
    low, high = int(seen.min()), int(seen.max())
    every = high - low < TABLE_VALUES
    x = np.arange(low, high + 1) if every else seen
    grey, displayed = _chain(dataset, x.astype(np.float64), bits=bits, signed=signed)
    table = grey[np.clip(values, low, high) - low if every else np.searchsorted(x, np.clip(values, low, high))]
    if padded[met].any():
        table[padded] = table[met & ~padded].min()
    return table, displayed or table.dtype == np.uint8


def _chain(dataset: Dataset, x: np.ndarray, *, bits: int, signed: bool) -> tuple[np.ndarray, bool]:
    """The grey value of each stored value, ascending, and whether a VOI made them."""
    units, ends = modality(dataset, signed)
    values = units(x)
    shown = voi(dataset, values, signed or float(values.min()) < 0)
    displayed = shown is not None
    if shown is None:
        if ends is None:
            # Some files hold more than their header's bits say: then the data are right.
            first = -(1 << bits - 1) if signed else 0
            span = np.array([min(first, x[0]), max(first + (1 << bits) - 1, x[-1])], np.float64)
            ends = tuple(sorted(units(span).tolist()))  # type: ignore[assignment]
        assert ends is not None
        shown = np.clip((values - ends[0]) / (ends[1] - ends[0]), 0, 1)
    if str(dataset.get("PhotometricInterpretation", "")).upper() == "MONOCHROME1":
        shown = 1 - shown
    out_bits = max(8, bits)
    return np.rint(shown * ((1 << out_bits) - 1)).astype(np.uint8 if out_bits == 8 else np.uint16), displayed
