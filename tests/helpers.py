"""Small artifacts for tests: made in milliseconds, valid, and with something in them to learn."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kontrast.artifacts.pack import PackWriter, Shard
from kontrast.data.identity import Key

KEY = Key(b"key of the tests, 32 bytes long.")


def plant(kind: int, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a pattern to a (size, size) float image in place; returns its (size, size) bool mask.

    0 a disc, 1 a vertical bar, 2 a horizontal bar, 3 a bright corner, then the same again at other places.
    """
    size = image.shape[0]
    y, x = np.mgrid[:size, :size] / size
    jitter = rng.uniform(-0.06, 0.06, 2)
    masks = (
        (y - 0.35 - jitter[0]) ** 2 + (x - 0.3 - jitter[1]) ** 2 < 0.15**2,
        np.abs(x - 0.75 - jitter[0]) < 0.06,
        np.abs(y - 0.8 - jitter[1]) < 0.06,
        (y < 0.2) & (x > 0.8),
    )
    mask = np.roll(masks[kind % 4], kind // 4 * size // 5, axis=(0, 1))
    image[mask] += 0.4
    return mask


def make_pack(
    path: Path,
    n: int = 64,
    size: int = 16,
    seed: int = 0,
    findings: Sequence[str] = ("Disc", "Bar"),
    patients: int | None = None,
    *,
    masks: bool = False,
    unclear: float = 0.1,
    splits: tuple[float, float] = (0.6, 0.2),
    patients_known: bool = True,
    key: Key = KEY,
    shard: int = 40,
    dtype: str = "uint8",
) -> Path:
    """Write a small valid Pack of noise with planted patterns (see `plant`), one kind per finding, and return `path`.

    Labels follow the patterns, balanced within each split, one truth per patient; a share `unclear` of them is
    written as -1 and as large a share blank, except that the first four patients of a split keep theirs.
    `patients` defaults to n/2 (two images each); `splits` are the shares of train and val, the rest is test.
    `masks=True` packs each pattern's mask under its finding's name.
    """
    rng = np.random.default_rng(seed)
    patients = patients or max(n // 2, 1)
    bounds = np.round(np.cumsum(splits) * patients).astype(int)
    split_of = np.repeat(["train", "val", "test"], np.diff([0, *bounds, patients]))
    truth = np.zeros((patients, len(findings)), dtype=int)
    unclear_of = rng.choice([0, 1, 2], p=[1 - 2 * unclear, unclear, unclear], size=truth.shape)
    for name in ("train", "val", "test"):
        members = np.flatnonzero(split_of == name)
        for f in range(len(findings)):
            truth[members, f] = rng.permutation(np.arange(len(members)) % 2)
            for value in (0, 1):  # both classes stay, whatever becomes unclear
                unclear_of[members[truth[members, f] == value][:2], f] = 0
    writer = PackWriter(folder=Path(path), findings=tuple(findings), size=size, dtype=dtype, key_id=key.id)
    rows, images, planes = [], [], []
    for i in range(n):
        patient = min(i * patients // n, patients - 1)
        image = 0.35 + 0.1 * rng.standard_normal((size, size)) + rng.uniform(-0.05, 0.05)
        planes.append({f: plant(f, image, rng) for f in range(len(findings)) if truth[patient, f]})
        top = np.iinfo(dtype).max
        images.append(np.clip(np.rint(image * top), 0, top).astype(dtype))
        values = np.select([unclear_of[patient] == 1, unclear_of[patient] == 2], [-1, np.nan], truth[patient])
        source = f"train/image{i:05d}.png"
        rows.append(
            {
                "image_id": key.hash(f"{seed}/{source}"),
                "patient_id": key.hash(f"{seed}/patient{patient}" if patients_known else f"{seed}/{source}"),
                "study_id": key.hash(f"{seed}/patient{patient}/study{i % 2}"),
                "split": str(split_of[patient]),
                "view": ("PA", "AP")[patient % 2],
                "sex": ("F", "M", "")[patient % 3],
                "age": float(30 + patient % 50) if patient % 7 else None,
                "source": source,
                "sha256": key.hash(f"pixels {seed} {i}", 64),
                "height": size,
                "width": size,
                **dict(zip(findings, values.tolist(), strict=True)),
            }
        )
    for index, first in enumerate(range(0, n, shard)):
        part = slice(first, first + shard)
        by_name = {
            name: {position: plane[f] for position, plane in enumerate(planes[part]) if f in plane}
            for f, name in enumerate(findings)
        }
        writer.write(index, Shard(images=np.stack(images[part]), rows=rows[part], masks=by_name if masks else {}))
    writer.finish(
        config={"made_by": "tests", "seed": seed},
        content={"patients_known": patients_known, "layout": "folder", "notes": []},
        mask_names=list(findings) if masks else (),
    )
    return Path(path)
