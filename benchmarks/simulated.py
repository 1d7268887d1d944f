"""What the benchmarks on simulated studies share: their command line, and the file that they write."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def asked(about: str | None) -> tuple[int, Path | None]:
    """How many studies to simulate of each setting, and the file to write, from the command line."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=int, nargs="?", default=2000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    return given.studies, given.out


def write(out: Path | None, studies: int, replicates: int, results: Sequence[Mapping[str, Any]]) -> None:
    """Write the results as JSON, one a line, and of how many studies and replicates they are; None: nowhere."""
    if out is None:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(one) for one in results)
    out.write_text(f'{{"studies": {studies}, "replicates": {replicates}, "results": [\n{lines}\n]}}\n')
