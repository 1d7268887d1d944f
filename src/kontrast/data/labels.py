"""Label policies: what to do with -1 (uncertain) and blank (not mentioned) when training or scoring, never before."""

from collections.abc import Sequence

import numpy as np

from kontrast.config import choose
from kontrast.errors import UsageError

UNCERTAIN = ("zeros", "ones", "ignore", "soft")
BLANK = ("negative", "ignore")
SOFT = (0.55, 0.85)
"""Range of a soft target for -1: label smoothing of the *ones* policy, U-Ones+LSR of Pham et al. 2021
(Neurocomputing 437, arXiv:1911.06475), their best policy on CheXpert."""


def parse_uncertain(spec: str, findings: Sequence[str]) -> dict[str, str]:
    """A policy for each finding from `zeros` or `ones,Edema=ignore,Atelectasis=soft`.

    Args:
        spec: a policy for all and exceptions by finding, parted by commas; without the first, `zeros`.
        findings: the names that exceptions may use.

    Raises:
        UsageError: an unknown policy or finding, with its nearest neighbour, or two policies for all.
    """
    default, exceptions = None, {}
    for part in filter(None, (part.strip() for part in spec.split(","))):
        name, equals, policy = part.rpartition("=")
        choose(policy.strip(), UNCERTAIN, "--uncertain policy")
        if equals:
            exceptions[choose(name.strip(), findings, "--uncertain finding")] = policy.strip()
        elif default is not None:
            raise UsageError(
                f"--uncertain {spec} has two policies for all findings.", fix="Give one, then NAME=POLICY."
            )
        else:
            default = policy.strip()
    return {finding: exceptions.get(finding, default or "zeros") for finding in findings}


def targets(
    table_values: np.ndarray,
    findings: Sequence[str],
    uncertain: str = "zeros",
    blank: str = "negative",
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels as a Pack keeps them, turned into targets and weights.

    Args:
        table_values: (N, F) of 1, 0, -1 (uncertain) and NaN (blank).
        findings: the F names.
        uncertain: see `parse_uncertain`; `soft` draws U(.55, .85) for each uncertain cell.
        blank: `negative` (CheXpert's labeller leaves out most negatives) or `ignore`.
        rng: for `soft`; scoring gives none, since a score against random targets means nothing.

    Returns:
        targets (N, F) float32 in [0, 1], and weights (N, F) float32: 1, or 0 where the cell is to be ignored.

    Raises:
        UsageError: an unknown policy, or `soft` in scoring.
    """
    choose(blank, BLANK, "--blank policy")
    values = np.asarray(table_values, dtype=np.float64)
    result = np.where(values == 1, 1.0, 0.0).astype(np.float32)
    weights = np.ones(values.shape, dtype=np.float32)
    if blank == "ignore":
        weights[np.isnan(values)] = 0
    for column, policy in enumerate(parse_uncertain(uncertain, findings).values()):
        cells = values[:, column] == -1
        if policy == "ones":
            result[cells, column] = 1
        elif policy == "ignore":
            weights[cells, column] = 0
        elif policy == "soft":
            if rng is None:
                raise UsageError(
                    "--uncertain soft is for training: scores need targets that are not drawn at random.",
                    fix="Score with zeros, ones or ignore.",
                )
            result[cells, column] = rng.uniform(*SOFT, size=int(cells.sum()))
    return result, weights
