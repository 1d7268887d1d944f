"""`kontrast embed`: the features of a Pack's images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from kontrast import console
from kontrast.config import require, to_dict, verb
from kontrast.options import Device, ImagesAtATime, at_least
from kontrast.types import Outcome, counted

ROWS = "rows.csv"


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """How features are computed."""

    encoder: str | None = None
    """Architecture, when ENCODER is `random`, `imagenet` or a weights file: resnet18, resnet50, vit_small …"""
    size: int | None = None
    """Input size in pixels; left out: the encoder's own, else the Pack's. Images of another size are resized."""
    split: Literal["all", "train", "val", "test"] = "all"
    """Which images; all of them gives one row of features for each row of table.csv."""
    batch_size: ImagesAtATime = 256
    device: Device = "auto"
    seed: int = 0
    """Seed of the weights, when ENCODER is `random`."""

    def __post_init__(self) -> None:
        at_least(self, batch_size=1, size=1, seed=0)


@verb
def embed(
    encoder: Path,
    pack: Path,
    /,
    *,
    out: Path,
    config: Annotated[EmbedConfig, Parameter(name="*")] = EmbedConfig(),
    dry_run: bool = False,
) -> Outcome:
    """Write the features of a Pack's images: features.npy, float32, rows as in table.csv.

    `rows.csv` beside it names each row's image and split. Interrupted, it goes on where it was.

    Args:
        encoder: an Encoder or Classifier, `random`, `imagenet`, or a weights file.
        pack: whose images.
        out: folder for the features.
        config: how.
        dry_run: say what would be done, write nothing.

    Raises:
        UsageError: an architecture that is missing or does not fit, or a split without images.
        ArtifactError: a damaged or missing input.
    """
    from dataclasses import asdict

    from kontrast.artifacts.card import parent, read_card, write_card
    from kontrast.artifacts.claims import claim
    from kontrast.artifacts.encoder import load_encoder, source_name, source_parents
    from kontrast.artifacts.files import write_csv
    from kontrast.artifacts.lock import locked
    from kontrast.artifacts.pack import Pack
    from kontrast.engine.features import FEATURES, embed_resumably
    from kontrast.engine.precision import resolve_device

    start = source_parents(encoder)  # a wrong word first: a Pack can take a while to open
    device = resolve_device(config.device)
    data = Pack.open(Path(pack))
    rows = data.rows(None if config.split == "all" else config.split)
    require(len(rows) > 0, f"This Pack has no images in --split {config.split}.", "Choose another --split.")
    parents = [*start, parent("pack", pack)]
    asked = to_dict(config) | {"source": source_name(encoder)}
    network, spec, _ = load_encoder(encoder, encoder=config.encoder, size=config.size, seed=config.seed, pack=data)
    taken = claim(out, "embedding", config=asked, parents=parents, dry_run=dry_run)
    if taken.state == "done":
        console.say(f"{out} is already done.")
        return Outcome("embed", Path(out), "already done", read_card(out).content["summary"])
    summary = {"images": len(rows), "feature_dim": network.feature_dim, "encoder": spec.name, "size": spec.size}
    console.say(f"{counted(len(rows), 'image')} → {network.feature_dim} features each, {spec.name} at {spec.size} px.")
    if dry_run:
        return Outcome("embed", Path(out), "planned", summary)
    with locked(taken.folder):
        embed_resumably(taken.folder, network, spec, data, rows, device, config.batch_size)
        columns = ["image_id", "split"]
        write_csv(taken.folder / ROWS, columns, data.table.loc[rows, columns].to_numpy().tolist())
        content = {"encoder": asdict(spec), "feature_dim": network.feature_dim, "rows": len(rows), "summary": summary}
        write_card(taken.folder, "embedding", config=asked, parents=parents, content=content, files=[FEATURES, ROWS])
    return Outcome("embed", taken.folder, "done", summary)
