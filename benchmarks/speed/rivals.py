"""Case 2: SimCLR on a ResNet-18 from image files on, against other libraries doing the same on one core.

Peers open, transform and train as their documentation shows. kontrast prepares the files once into a Pack, which is
part of its way and is given as a figure of its own, and then trains from the Pack.
"""

import tempfile
from pathlib import Path
from typing import Any

import cv2
import torch
from benchmarks.speed.measure import Work, alternate, figure, pictures, ratio
from benchmarks.speed.peers.client import MISSING, Peers, Unable, installed
from benchmarks.speed.step import loop

PEERS = ("lightly", "stable-pretraining", "monai")
SETTINGS = {64: (32, 2), 224: (8, 1)}


def trained(size: int, batch: int, steps: int) -> Work:
    """The loop of `kontrast pretrain`, logging and all."""
    return loop("simclr", size, batch, steps, "resnet18", torch.device("cpu"))


def at(size: int, peers: Peers, folder: Path) -> list[dict[str, Any]]:
    """One size."""
    batch, steps = SETTINGS[size]
    for i, image in enumerate(pictures(4 * batch, size, size)):
        cv2.imwrite(str(folder / f"{i:04d}.jpg"), image)
    contestants, notes = {"kontrast": trained(size, batch, steps)}, {}
    for peer in PEERS:
        asked = {"peer": peer, "folder": str(folder), "size": size, "batch": batch, "steps": steps}
        try:
            contestants[peer] = peers.contestant("train", f"{peer} {size}", **asked)
        except Unable as error:
            notes[peer] = f"not measured: {error}"
    seconds = alternate(contestants)
    rate = batch * steps / sorted(seconds["kontrast"])[len(seconds["kontrast"]) // 2]
    found = [figure("rivals", f"kontrast, SimCLR, ResNet-18, {size} px, one core", rate, "images/s", rounds=seconds)]
    for peer in PEERS:
        what = f"SimCLR, ResNet-18, {size} px, batch {batch}: against {peer}"
        if peer in seconds:
            found.append(figure("rivals", what, ratio(seconds[peer], seconds["kontrast"]), "×", target=2))
        else:
            found.append({"case": "rivals", "what": what, "value": None, "note": notes[peer]})
    return found


def run() -> list[dict[str, Any]]:
    """Both sizes; solo-learn where it imports."""
    gpu = {"case": "rivals", "what": "on a GPU, against 871 samples/s (ViT-S/16)", "value": None}
    gpu |= {"note": "not measured: no GPU here"}
    if not installed():
        return [{"case": "rivals", "what": peer, "value": None, "note": MISSING} for peer in (*PEERS, "solo-learn")] + [
            gpu
        ]
    peers, found = Peers(), []
    for size in SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            found += at(size, peers, Path(folder))
    try:
        peers.ask("solo", "solo")
        note = "imports; its own trainer is a repository of scripts that pip does not install"
    except Unable as error:
        note = f"does not import: {error}"
    peers.close()
    return [*found, {"case": "rivals", "what": "solo-learn", "value": None, "note": f"not measured: {note}"}, gpu]
