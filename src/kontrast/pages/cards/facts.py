"""What the artifacts of a report know about one Classifier, by topic."""

from collections.abc import Mapping, Sequence
from typing import Any

from kontrast.artifacts.pack import Pack
from kontrast.artifacts.wording import decimal
from kontrast.pages.cards.figures import groups, looking, testing
from kontrast.pages.cards.subject import Subject
from kontrast.pages.cohort import SPLIT_WORDS, flow, table_one
from kontrast.pages.limits import limits
from kontrast.pages.sections import Found
from kontrast.types import counted

CHOSEN = {
    "finetune": "The epoch with the highest macro AUROC on the validation split was kept.",
    "probe": "The L2 penalty with the highest macro AUROC on the validation split was taken.",
    "knn": "Nothing was chosen on the validation split but thresholds and calibration.",
}
"""How the final weights were chosen, by protocol."""

IDENTITY = "Patient ids are hashed with a secret key. No artifact holds raw ids, except where file names do."


def facts(about: Subject, of: Mapping[str, Sequence[Found]]) -> dict[str, list[str]]:
    """What is known by topic; a topic of which nothing is known is not there.

    Args:
        about: the Classifier.
        of: kind → artifacts of the page, for the limits.
    """
    known: dict[str, list[str]] = {"limits": limits(of)}
    for topic, said in (_model(about) | _data(about) | testing(about) | looking(about) | groups(about)).items():
        if said:
            known[topic] = said
    return known


def _model(about: Subject) -> dict[str, list[str]]:
    card, config = about.classifier.card, about.classifier.card.config
    content, spec = card.content, card.content.get("encoder", {})
    summary, protocol = content.get("summary") or {}, content.get("protocol")
    how = {
        "probe": "a linear layer on frozen features", "finetune": "all weights tuned together",
        "knn": "no training: the features of the training images are kept and vote",
    }  # fmt: skip
    near = content.get("neighbours")
    head = (
        f"the share of the {near['k']:,} nearest of {near['images']:,} training images that have it, weighted by "
        "likeness, for each of"
        if near
        else "one linear output with a logistic function for each of"
    )
    network = [
        f"{spec.get('name')} on images of {spec.get('size')} × {spec.get('size')} pixels, one channel, "
        f"(x − {spec.get('mean'):.4g}) / {spec.get('std'):.4g} with x in [0, 1]; {head} "
        f"{counted(len(content.get('findings', [])), 'finding')}, which exclude nothing: "
        f"{', '.join(content.get('findings', []))}."
    ] if spec else []  # fmt: skip
    start = config.get("start")
    initial = {
        "random": "Weights began as random numbers.", "imagenet": "Weights began as ImageNet's.",
    }.get(str(start))  # fmt: skip
    if about.encoder:
        s = about.encoder.card.content.get("summary") or {}
        initial = (
            f"Weights began as those of the encoder {about.encoder.name}: {s.get('method')} without labels on "
            f"{s.get('images', 0):,} images of {s.get('patients') or 'unknown numbers of'} patients, "
            f"{s.get('steps')} steps."
        )
    training = [f"{how.get(str(protocol), protocol)}, on {100 * summary['label_fraction']:g} % of the labels: "
                f"{summary.get('train_images', 0):,} images of {summary.get('train_patients', 0):,} patients."
                ] if "label_fraction" in summary else []  # fmt: skip
    settings = {k: v for k, v in config.items() if isinstance(v, str | int | float) and k not in ("start", "device")}
    training += [f"Settings: {', '.join(f'{k} = {v}' for k, v in settings.items())}."] if settings else []
    return {
        "network": network, "initial": [initial] if initial else [], "training": training,
        "selection": _selection(str(protocol), summary),
        "output": _output(content),
        "software": [f"kontrast {card.version}; its card is {about.classifier.sha[:12]} (SHA-256)."],
        "dropped": [f"Not learnt: {n} ({why})." for n, why in (summary.get("dropped") or {}).items()],
        "policy": _policy(content),
    }  # fmt: skip


def _selection(protocol: str, summary: Mapping[str, Any]) -> list[str]:
    """How the final weights were chosen; that nothing chose them where validation had no finding with both classes."""
    if protocol != "knn" and (summary.get("val") or {}).get("macro_auroc", 0) is None:
        return ["Validation could choose nothing: no finding had both classes there."]
    return [CHOSEN[protocol]] if protocol in CHOSEN else []


def _policy(content: Mapping[str, Any]) -> list[str]:
    policy = content.get("label_policy")
    if not policy:
        return []
    return [
        f"Uncertain labels (-1) count as {policy.get('uncertain')}, blank ones as {policy.get('blank')}, in training.",
    ]


def _output(content: Mapping[str, Any]) -> list[str]:
    chosen = {n: t for n, t in (content.get("thresholds") or {}).items() if t.get("value") is not None}
    said = ["A probability for each finding."]
    said += _corrected(content["calibration"]) if content.get("calibration") else []
    if chosen:
        rules = sorted({str(t.get("rule")) for t in chosen.values()})
        values = ", ".join(f"{n} {decimal(t['value'])}" for n, t in chosen.items())
        said.append(f"Thresholds, chosen on validation by {' and '.join(rules)} and frozen since: {values}.")
    return said


def _corrected(calibration: Mapping[str, Any]) -> list[str]:
    """Of which findings the probabilities are corrected, and of how many they are as the network gave them."""
    fits = calibration["findings"]
    done = [name for name, fit in fits.items() if not fit.get("reason")]
    left = len(fits) - len(done)
    if not done:
        return ["Probabilities are not corrected: no finding could be fitted on validation."]
    said = f"Probabilities of {', '.join(done)} are corrected by {calibration['method']} scaling fitted on validation"
    return [f"{said}; of the {counted(len(fits), 'finding')} {left} could not be." if left else f"{said}."]


def _data(about: Subject) -> dict[str, list[str]]:
    sources, counts, treatment, partitions, missing, people, elements = [], [], [], [], [], [], []
    for one in about.packs:
        pack, content, config = Pack.open(one.path, verify=False), one.card.content, one.card.config
        made = " (drawn by a program)" if content.get("generated") else ""
        sources.append(f"{one.name}{made}: layout {content.get('layout', 'unknown')}, {len(pack):,} images.")
        shown = flow(one, pack)
        listed = shown["steps"][0]
        counts.append(f"{one.name}: {listed['images']:,} images listed.")
        counts += [f"{n:,} left out: {why}." for n, why in listed["out"] if n]
        for part in shown["splits"]:
            people_of = "" if part["patients"] is None else f" of {part['patients']:,} patients"
            counts.append(f"{SPLIT_WORDS[part['split']]}: {part['images']:,} images{people_of}.")
        steps = [f"{k} {config[k]}" for k in ("denoise", "equalize") if config.get(k) not in (None, "none")]
        treatment.append(
            f"{one.name}: decoded to grey, resized to {pack.size} pixels with the shape kept and black padding, "
            f"{pack.dtype}; {', '.join(steps) or 'nothing else done to pixels'}."
        )
        partitions.append(
            f"{one.name}: by patient, {'as given by the source or ' if content.get('layout') != 'folder' else ''}drawn "
            f"with a seed; no patient stands in two splits."
            if pack.patients_known
            else f"{one.name}: no patient ids, so each image counts as its own patient, and splits may share people."
        )
        if content.get("moved"):
            missing.append(f"{one.name}: {content['moved']:,} images of patients in two splits were moved to training.")
        people.append(f"{one.name}: {_characteristics(pack)}")
        elements.append(f"{one.name}: 1, 0, -1 (uncertain) and blank (not mentioned), as given.")
    return {
        "sources": sources, "flow": counts, "treatment": treatment, "partitions": partitions, "missing": missing,
        "people": people, "elements": elements if any(o.card.content.get("findings") for o in about.packs) else [],
        "identity": [IDENTITY] if about.packs else [],
    }  # fmt: skip


def _characteristics(pack: Pack) -> str:
    table, parts = table_one(pack), []
    for row in table["rows"]:
        if row["head"] or row["words"] in ("Patients", "Studies", "Images", "unknown"):
            continue
        parts.append(f"{row['words']} {' / '.join(row['cells'])}")
    return f"({' / '.join(table['heads'])}) {'; '.join(parts)}."
