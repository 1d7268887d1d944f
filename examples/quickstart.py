"""From raw radiographs to a scored report, with the Python functions: python examples/quickstart.py [FOLDER].

The images are generated, so it runs anywhere, offline, in about a minute. It shows the flow; its figures mean nothing.
Run it again: every step says that it is done already.
"""

import json
import sys
from pathlib import Path

import kontrast


def main(folder: Path) -> Path:
    # 60 made-up patients, laid out as CheXpert is. With images of your own, begin at `prepare`.
    xrays = kontrast.phantom(folder / "xrays", patients=60, size=96)

    # Decode, check, split by patient, resize: once. What was recognised and decided is printed.
    pack = kontrast.prepare(xrays, out=folder / "pack", size=64)

    # An encoder without labels. Two epochs teach it little; leave `epochs` out to have it chosen.
    encoder = kontrast.pretrain(pack, out=folder / "encoder", method="moco", encoder="resnet18", epochs=2)

    # Two classifiers on half of the labels: with these weights, and with weights drawn at random.
    findings = ("Lung Opacity", "Pleural Effusion", "Support Devices")
    shown = [pack, encoder]
    for name, start in {"moco": encoder, "random": "random"}.items():
        classifier = kontrast.probe(
            start, pack, out=folder / name, label_fraction=0.5, findings=findings, encoder="resnet18"
        )
        # Patients that no step above has met; intervals are resampled by patient.
        scores = kontrast.evaluate(classifier, pack, out=folder / f"{name}-scores")
        macro = json.loads(Path(scores, "scores.json").read_text(encoding="utf-8"))["macro"]["auroc"]
        print(f"{name}: macro AUROC {macro['value']} ({macro['low']} to {macro['high']})")
        shown += [classifier, scores]

    # Where the first classifier looks, and one page from all of it.
    shown.append(kontrast.explain(folder / "moco", pack, out=folder / "heat", images=2))
    return Path(kontrast.report(*shown, out=folder / "report.html"))


if __name__ == "__main__":
    print(main(Path(sys.argv[1] if len(sys.argv) > 1 else "quickstart")))
