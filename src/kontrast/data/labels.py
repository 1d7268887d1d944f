"""Label policies: what to do with -1 (uncertain) and blank (not mentioned) when training or scoring, never before."""

from collections.abc import Sequence

import numpy as np

from kontrast.config import choose
from kontrast.errors import UsageError

SCORING = ("zeros", "ones", "ignore")
"""Policies with a fixed answer for each cell."""

TRAINING = ("soft", "multiclass", "selftrained")
"""Policies that are ways to train; where something is scored or chosen, such cells count for nothing."""

UNCERTAIN = (*SCORING, *TRAINING)
BLANK = ("negative", "ignore")
SOFT = (0.55, 0.85)
"""Range of a soft target for -1: label smoothing of the *ones* policy, U-Ones+LSR of Pham et al. 2021
(Neurocomputing 437, arXiv:1911.06475), their best policy on CheXpert."""

PRESETS = {
    "chexpert-best": {
        "Atelectasis": "ones",
        "Cardiomegaly": "multiclass",
        "Consolidation": "selftrained",
        "Edema": "ones",
        "Pleural Effusion": "multiclass",
    }
}
"""Named sets of policies. `chexpert-best`: for each of the five competition findings the policy with the highest AUROC
on CheXpert's validation set (Irvin et al. 2019, arXiv:1901.07031, table 3); only Atelectasis' and Cardiomegaly's are
clear of another policy there. Other findings are *zeros*."""


def parse_uncertain(spec: str, findings: Sequence[str]) -> dict[str, str]:
    """A policy for each finding from `zeros`, `ones,Edema=ignore,Atelectasis=soft` or `chexpert-best,Edema=zeros`.

    Args:
        spec: a policy or preset for all and exceptions by finding, parted by commas; without the first, `zeros`.
        findings: the names that exceptions may use.

    Raises:
        UsageError: an unknown policy or finding, with its nearest neighbour, two policies for all, or a preset that
            names none of the findings.
    """
    default, exceptions = None, {}
    for part in filter(None, (part.strip() for part in spec.split(","))):
        name, equals, policy = part.rpartition("=")
        choose(policy.strip(), UNCERTAIN if equals else (*UNCERTAIN, *PRESETS), "--uncertain policy")
        if equals:
            exceptions[choose(name.strip(), findings, "--uncertain finding")] = policy.strip()
        elif default is not None:
            raise UsageError(
                f"--uncertain {spec} has two policies for all findings.", fix="Give one, then NAME=POLICY."
            )
        else:
            default = policy.strip()
    preset = PRESETS.get(default or "", {})
    if preset and not set(preset) & set(findings):
        raise UsageError(
            f"--uncertain {default} is for {', '.join(preset)}, of which there is none here.",
            fix="Name policies by finding instead: zeros,NAME=POLICY.",
        )
    usual = "zeros" if preset else default or "zeros"
    return {finding: exceptions.get(finding, preset.get(finding, usual)) for finding in findings}


def for_scoring(spec: str, findings: Sequence[str]) -> str:
    """The policy by which a Classifier trained with `spec` is scored and chosen: what only training can use ignores."""
    parts, preset = [], []
    for part in filter(None, (part.strip() for part in spec.split(","))):
        name, equals, policy = (piece.strip() for piece in part.rpartition("="))
        if policy in PRESETS:
            kept = {finding: word for finding, word in PRESETS[policy].items() if finding in findings}
            preset = ["zeros", *(f"{f}={'ignore' if word in TRAINING else word}" for f, word in kept.items())]
        else:
            parts.append(f"{name}{equals}{'ignore' if policy in TRAINING else policy}")
    return ",".join(preset + parts)  # of two words on a finding the later holds: the exception, wherever it was written


def untaught(spec: str, findings: Sequence[str]) -> str:
    """The policy of the model that fills labels for `spec`: as it, but those labels ignored."""
    chosen = parse_uncertain(spec, findings)
    return ",".join(f"{f}={'ignore' if p == 'selftrained' else p}" for f, p in chosen.items())


def only(spec: str, findings: Sequence[str]) -> str:
    """A policy without what it says of other findings."""
    parts = [part.strip() for part in spec.split(",")]
    kept = [part for part in parts if "=" not in part or part.rpartition("=")[0].strip() in findings]
    return ",".join(kept) or "zeros"


def described(spec: str, findings: Sequence[str]) -> str:
    """A policy in words; a preset with what it stands for: `chexpert-best (zeros, Edema=ones)`."""
    preset = next((part.strip() for part in spec.split(",") if part.strip() in PRESETS), None)
    if preset is None:
        return spec
    chosen = parse_uncertain(spec, findings)
    named = [f"{finding}={policy}" for finding, policy in chosen.items() if policy != "zeros"]
    return f"{preset} ({', '.join(['zeros', *named])})"


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
        uncertain: see `parse_uncertain`; `soft` draws U(.55, .85) for each uncertain cell. Cells of `multiclass` and
            `selftrained` get weight 0 here: they are no matter of 0 and 1, but of a third class or of another model
            (`left_open` says which cells these are).
        blank: `negative` (CheXpert's labeller leaves out most negatives) or `ignore`.
        rng: for training; scoring gives none, since a score against targets that are drawn or learnt means nothing.

    Returns:
        targets (N, F) float32 in [0, 1], and weights (N, F) float32: 1, or 0 where the cell is to be ignored.

    Raises:
        UsageError: an unknown policy, or one of TRAINING in scoring.
    """
    choose(blank, BLANK, "--blank policy")
    values = np.asarray(table_values, dtype=np.float64)
    result = np.where(values == 1, 1.0, 0.0).astype(np.float32)
    weights = np.ones(values.shape, dtype=np.float32)
    if blank == "ignore":
        weights[np.isnan(values)] = 0
    for column, policy in enumerate(parse_uncertain(uncertain, findings).values()):
        cells = values[:, column] == -1
        if policy in TRAINING and rng is None:
            raise UsageError(
                f"--uncertain {policy} is for training: scores need targets that are not drawn at random or learnt.",
                fix="Score with zeros, ones or ignore.",
            )
        if policy == "ones":
            result[cells, column] = 1
        elif policy in ("ignore", "multiclass", "selftrained"):
            weights[cells, column] = 0
        elif policy == "soft" and rng is not None:
            result[cells, column] = rng.uniform(*SOFT, size=int(cells.sum()))
    return result, weights


def left_open(table_values: np.ndarray, findings: Sequence[str], uncertain: str, policy: str) -> np.ndarray:
    """The uncertain cells of the findings that have this policy (`multiclass` or `selftrained`): (N, F) bool."""
    chosen = np.array([name == policy for name in parse_uncertain(uncertain, findings).values()], dtype=bool)
    return (np.asarray(table_values, dtype=np.float64) == -1) & chosen
