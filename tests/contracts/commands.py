"""Every command with small inputs, called alike through the command line and as a Python function."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

import kontrast
from helpers import make_pack
from kontrast.artifacts.card import parent
from kontrast.artifacts.claims import claim
from kontrast.artifacts.encoder import save_encoder
from kontrast.artifacts.pack import Pack
from kontrast.artifacts.seen import Seen
from kontrast.cli import main
from kontrast.config import flag
from kontrast.nn.encoders import EncoderSpec, build_encoder

SIZE = 16


@dataclass(frozen=True)
class Case:
    """How one command is called.

    Attributes:
        inputs: positional arguments; a name of the world's is its path.
        options: keywords of the function; flags of the command line.
        out: how its output is named: an option, `` (first argument) or None (it writes nothing).
        suffix: of the output's name.
    """

    inputs: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    out: str | None = "out"
    suffix: str = ""


FEW = {"replicates": 20}
CASES = {
    "demo": Case(),
    "phantom": Case(options={"patients": 3, "size": 32}, out=""),
    "scan": Case(("src",), out="html", suffix=".html"),
    "prepare": Case(("src",), {"size": SIZE, "workers": 1}),
    "pretrain": Case(("pack",), {"encoder": "resnet18", "batch_size": 8, "epochs": 1.0}),
    "probe": Case(("encoder", "pack")),
    "finetune": Case(("encoder", "pack"), {"epochs": 1}),
    "evaluate": Case(("classifier", "pack"), FEW),
    "score": Case(("predictions", "truth"), FEW),
    "explain": Case(("classifier", "pack"), {**FEW, "images": 1, "limit": 4}),
    "embed": Case(("encoder", "pack")),
    "study": Case(("study",)),
    "audit": Case(("pack",), FEW),
    "pack": Case(("verify", "pack"), out=None),
    "report": Case(("evaluation",), suffix=".html"),
    "doctor": Case(out=None),
}
IN_A_FOLDER = [
    "phantom", "prepare", "pretrain", "probe", "finetune", "evaluate", "score", "explain", "embed", "study", "audit",
]  # fmt: skip
"""Commands that claim a folder and hold it while they write."""
MAKES = {"pack": "prepare", "encoder": "pretrain", "classifier": "probe", "evaluation": "evaluate"}
STUDY = """\
pack: {pack}
arms: {{random: {{}}}}
protocols: [probe]
fractions: [1.0]
seeds: [0]
replicates: 20
"""


class World:
    """A folder with an input of every kind."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: dict[str, Path] = {"src": root / "radiographs", "study": root / "study.yaml"}
        kontrast.phantom(self.paths["src"], patients=12, size=32)
        self.paths["pack"] = make_pack(root / "pack", n=60, size=SIZE, masks=True)
        self.paths["encoder"] = self._encoder()
        self.paths["study"].write_text(STUDY.format(pack=self.paths["pack"]))
        self.paths["classifier"] = Path(
            kontrast.probe(self.paths["encoder"], self.paths["pack"], out=root / "classifier", device="cpu")
        )
        self.paths["evaluation"] = Path(
            kontrast.evaluate(self.paths["classifier"], self.paths["pack"], out=root / "evaluation", replicates=20)
        )
        self.paths["predictions"] = self.paths["evaluation"] / "predictions.csv"
        self.paths["truth"] = self.paths["evaluation"] / "truth.csv"

    def _encoder(self) -> Path:
        folder, pack = self.root / "encoder", Pack.open(self.paths["pack"])
        spec = EncoderSpec("resnet18", SIZE, mean=pack.mean, std=pack.std)
        parents = [parent("pack", pack.path)]
        claim(folder, "encoder", config={}, parents=parents)
        seen = Seen.of(pack, pack.rows("train"), "pretrain")
        save_encoder(folder, build_encoder(spec, seed=0), spec, config={}, parents=parents, seen=seen)
        return folder

    def inputs(self, name: str, **other: Path) -> list[Any]:
        """The positional inputs of a command; `other` stand in for some."""
        paths = {**self.paths, **other}
        return [paths.get(word, word) for word in CASES[name].inputs]

    def words(self, name: str, out: Path, **other: Path) -> list[str]:
        """The command line of a command."""
        case, words = CASES[name], [name]
        if case.out == "":
            words.append(str(out))
        words += map(str, self.inputs(name, **other))
        for option, value in case.options.items():
            words += [flag(option), str(value)]
        return [*words, flag(case.out), str(out)] if case.out else words

    def call(self, name: str, out: Path, wrap: Any = Path, **options: Any) -> Any:
        """The same as a call of the function; `wrap` makes an input of a path."""
        case = CASES[name]
        inputs = [wrap(one) if isinstance(one, Path) else one for one in self.inputs(name)]
        keywords = {**case.options, **options, **({case.out: out} if case.out else {})}
        return getattr(kontrast, name)(*([out] if case.out == "" else []), *inputs, **keywords)


@dataclass(frozen=True)
class Ran:
    """What a command line came to."""

    code: int
    out: str
    err: str


def run(words: Sequence[Any]) -> Ran:
    """Run a command line in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    pipe = signal.getsignal(signal.SIGPIPE)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main([str(word) for word in words])
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        signal.signal(signal.SIGPIPE, pipe)
        kontrast.console.configure()
    return Ran(code, out.getvalue(), err.getvalue())


def start(words, **variables):
    """The command in a process of its own, with these variables in its environment."""
    return subprocess.Popen(
        [sys.executable, "-m", "kontrast", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
    )  # fmt: skip


def tree(*folders: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below, and every folder, with its time of change and its bytes."""
    found = {}
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            if path.exists():
                found[str(path)] = (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
    return found


def problem(ran: Ran) -> tuple[str, str]:
    """Problem and fix of a refusal, which is all that it says beside warnings and notes."""
    lines = [line for line in ran.err.splitlines() if line.strip()]
    at = next((i for i, line in enumerate(lines) if line.startswith("kontrast: ")), None)
    assert at is not None, ran.err
    assert "Traceback" not in ran.err and "fault of kontrast's own" not in ran.err, ran.err
    text = "\n".join(lines[at:]).removeprefix("kontrast: ")
    head, _, fix = text.partition("\n  ")
    assert head.strip() and fix.strip(), ran.err
    return head, fix


def read_table(path: Path) -> pd.DataFrame:
    """A CSV as text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)
