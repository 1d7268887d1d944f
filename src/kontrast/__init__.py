"""kontrast turns a pile of unlabelled medical images and a handful of labels into a tested classifier.

Every command of the command line is a function here, with the same names and defaults:
`kontrast pretrain PACK --out ENCODER` is `kontrast.pretrain(PACK, out=ENCODER)`.
"""

import importlib
from typing import Any

__version__ = "0.2.0.dev0"

COMMANDS: dict[str, str] = {
    "demo": "The whole flow on generated radiographs, in minutes, ending with a report.",
    "phantom": "Generate chest radiographs with known truth, laid out like CheXpert.",
    "scan": "Say what is in a folder: formats, sizes, views, patients, labels, problems.",
    "prepare": "Decode, check, split and resize images into a Pack.",
    "pretrain": "Train an encoder on Packs without labels.",
    "probe": "Train a linear classifier on frozen features (kNN beside it).",
    "finetune": "Train encoder and classifier together on labelled images.",
    "evaluate": "Predict a split and score it, with intervals by patient.",
    "score": "Score any system's predictions from CSV files, the same way.",
    "explain": "Show where a classifier looks, and score it where masks are known.",
    "embed": "Write the features of a Pack's images.",
    "study": "Run the grid: methods × weights × label fractions × seeds.",
    "audit": "Look for leaks between splits and for shortcuts in the metadata.",
    "pack": "Check a Pack (verify), merge several, take a subset, or export one.",
    "report": "Make one HTML page from any artifacts.",
    "doctor": "Say what this machine can do, and how to mend what it cannot.",
}
"""Each command and what it does, in the order of the flow. The function NAME lives in `kontrast.stages.NAME`."""

__all__ = ["COMMANDS", "__version__", *COMMANDS]


def __getattr__(name: str) -> Any:
    # Stages load when they are used: `import kontrast` and `kontrast --help` stay quick.
    if name in COMMANDS:
        return getattr(importlib.import_module(f"kontrast.stages.{name}"), name)
    raise AttributeError(f"module 'kontrast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
