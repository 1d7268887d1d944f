"""Encoder artifacts, and the one door by which an encoder enters any command.

Beside `card.json`: `encoder.safetensors` (torchvision's or timm's parameter names) and `seen.csv` (the patients
and images that the weights were made with, by which leaks are seen).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from kontrast import console
from kontrast.artifacts.card import (
    MADE_BY,
    Card,
    Parent,
    article,
    parent,
    read_card,
    sha256_file,
    verify_files,
    write_card,
)
from kontrast.artifacts.classifier import refuse_permuted
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.safe import open_weights, write_weights
from kontrast.artifacts.seen import COLUMNS, SEEN, Seen
from kontrast.config import choose, nearest
from kontrast.errors import ArtifactError, UsageError
from kontrast.nn.encoders import ENCODERS, Encoder, EncoderSpec, build_encoder
from kontrast.nn.weights import find_imagenet, fitting_stem, load_weights
from kontrast.types import PathLike

WEIGHTS = "encoder.safetensors"
WORDS = ("random", "imagenet")
DEFAULT_SIZE = 224

SEEN_UNKNOWN = Seen(pd.DataFrame([["", "", "", "pretrain", ""]], columns=COLUMNS))
"""Of weights from a bare file: they have met somebody, under no key, so an overlap is unknown and never none."""


def save_encoder(
    folder: PathLike,
    encoder: Encoder,
    spec: EncoderSpec,
    *,
    config: Mapping[str, Any],
    parents: Sequence[Parent] = (),
    content: Mapping[str, Any] | None = None,
    seen: Seen,
    written: Sequence[str] = (),
) -> Card:
    """Finish an Encoder artifact.

    Args:
        folder: claimed beforehand.
        encoder: its weights are written.
        spec: its description, into the card's content under `encoder`.
        config: what was asked for.
        parents: the Packs (and encoder) that it was made from.
        content: more to keep (method, steps, images …).
        seen: whom the weights have met.
        written: further files that the caller has put there.

    Raises:
        OutputError: the disk is full, or the folder cannot be written.
    """
    folder = Path(folder)
    write_weights(folder / WEIGHTS, encoder.state_dict())
    seen.save(folder)
    described = {"encoder": asdict(spec), "feature_dim": encoder.feature_dim, **(content or {})}
    return write_card(
        folder, "encoder", config=config, parents=parents, content=described, files=[WEIGHTS, SEEN, *written]
    )


def load_encoder(
    source: PathLike,
    *,
    encoder: str | None = None,
    size: int | None = None,
    seed: int = 0,
    pack: Pack | None = None,
) -> tuple[Encoder, EncoderSpec, Seen]:
    """An encoder from wherever a user may name one, on the CPU, in training mode.

    Args:
        source: `random` (fresh, from `seed`), `imagenet` (public weights on this machine), an Encoder or Classifier
            artifact, or a weights file (.safetensors, .pth, .pt).
        encoder: architecture, needed for `random`, `imagenet` and a weights file; must agree with an artifact's.
        size: image size in pixels; None is the artifact's own, else the Pack's, else 224.
        seed: for `random`.
        pack: gives size and pixel statistics where the source has none of its own (all but artifacts).

    Returns:
        The encoder, its spec, and whom its weights have met.

    Raises:
        UsageError: `encoder` missing, unknown or another than the artifact's; weights that do not fit or are absent.
        ArtifactError: no artifact there, or a damaged or unsafe file.
    """
    path = Path(source)
    if str(source) not in WORDS and not path.is_file():
        return _from_artifact(path, encoder, size)
    if encoder is None:
        raise UsageError(
            f"{source} says nothing about the architecture.", fix=f"Add --encoder, one of: {', '.join(ENCODERS)}."
        )
    spec = EncoderSpec(encoder, size or (pack.size if pack else DEFAULT_SIZE))
    if pack is not None:
        spec = replace(spec, mean=pack.mean, std=pack.std)
    if str(source) == "random":
        return build_encoder(spec, seed=seed), spec, Seen.nothing()
    if str(source) == "imagenet":
        return *_from_weights(find_imagenet(encoder), spec), Seen.nothing()
    return *_from_weights(path, spec), SEEN_UNKNOWN


def source_name(source: PathLike) -> str:
    """How a card names what `load_encoder` is given: `random`, `imagenet`, `artifact`, or a weights file's SHA-256."""
    if str(source) in WORDS:
        return str(source)
    return f"weights {sha256_file(Path(source))}" if Path(source).is_file() else "artifact"


def source_parents(source: PathLike) -> list[Parent]:
    """The parents that a card names for what `load_encoder` is given: an artifact's card, or nothing.

    Raises:
        ArtifactError: no artifact there.
    """
    if str(source) in WORDS or Path(source).is_file():
        return []
    _expect(Path(source))
    return [parent("encoder", source)]


def _from_weights(path: Path, spec: EncoderSpec) -> tuple[Encoder, EncoderSpec]:
    state = open_weights(path)
    fitted = fitting_stem(state, spec)
    if fitted.stem != spec.stem:
        console.decided("stem", fitted.stem, f"of the weights in {path.name}; at {spec.size} px usually {spec.stem}")
    network = build_encoder(fitted)
    left_out = load_weights(network, fitted, state, str(path))
    tail = f"; left out its classification layer ({', '.join(left_out)})" if left_out else ""
    console.say(f"  Weights of {spec.name} from {path.name}: every tensor matched{tail}.")
    return network, fitted


def _expect(folder: Path) -> None:
    """Refuse a place where nothing is, with what may have been meant.

    Raises:
        ArtifactError: see there.
    """
    if folder.exists():
        return
    guess = nearest(str(folder), WORDS)
    hint = f"Did you mean {guess!r}? " if guess else ""
    if str(folder) in ENCODERS:
        hint = f"That is an architecture: without weights it is `random` with --encoder {folder}. "
    raise ArtifactError(
        f"Expected an encoder at {folder}, but there is no such folder or file.",
        fix=f"{hint}Check the path of the folder or weights file, name `random` or `imagenet`, or make one: "
        f"{MADE_BY['encoder']} --out ENCODER",
    )


def _from_artifact(folder: Path, encoder: str | None, size: int | None) -> tuple[Encoder, EncoderSpec, Seen]:
    _expect(folder)
    card = read_card(folder)
    if card.kind not in ("encoder", "classifier"):
        raise ArtifactError(
            f"Expected an encoder at {folder}, but it is {article(card.kind)} {card.kind}.",
            fix="Name the folder of an encoder or classifier, a weights file, `random` or `imagenet`.",
        )
    refuse_permuted(card, folder)
    spec = EncoderSpec(**card.content["encoder"])
    if encoder not in (None, spec.name):
        choose(str(encoder), ENCODERS, "--encoder")
        raise UsageError(f"{folder} holds a {spec.name}, but --encoder is {encoder}.", fix="Leave --encoder out.")
    spec = replace(spec, size=size or spec.size)
    file = f"{card.kind}.safetensors"
    verify_files(folder, [file, SEEN])
    network = build_encoder(spec)
    load_weights(network, spec, _own(open_weights(folder / file), card.kind), str(folder / file))
    return network, spec, Seen.load(folder)


def _own(state: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The encoder's tensors; a classifier keeps them under `encoder.`."""
    if kind == "encoder":
        return state
    return {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
