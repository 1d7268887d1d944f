"""Case 3: views alone, on one core, against lightly's, kornia's, the tensor code and a bare copy of the same bytes."""

from typing import Any

import numpy as np
import torch
from benchmarks.speed.measure import Work, alternate, cpu, figure, pictures, ratio
from benchmarks.speed.peers.client import MISSING, Peers, Unable, installed

from kontrast.methods import METHODS
from kontrast.views.params import ViewSpec, apply, apply_tensors, draw
from kontrast.views.recipes import FINETUNE, make_views

BATCH = {64: 64, 224: 16}
PEERS = ("lightly", "kornia")


def bound(n: int, size: int) -> Work:
    """Reading the images' bytes and writing floats, which no way of making views can spare."""
    images, views = pictures(n, size, size), np.empty((n, size, size), np.float32)

    def work() -> None:
        for image, view in zip(images, views, strict=True):
            np.copyto(view, image)

    return cpu(work)


def against_peers(size: int) -> list[dict[str, Any]]:
    """Two views of each image, MoCo v2's recipe and that for X-rays."""
    n = BATCH[size]
    images = torch.from_numpy(pictures(n, size, size))[:, None]
    generator, spec = torch.Generator().manual_seed(0), ViewSpec(2)
    contestants: dict[str, Work] = {}
    for kind in ("xray", "natural"):
        made = getattr(METHODS["moco"], kind).at(size)
        contestants[kind] = cpu(lambda m=made: make_views(images, m, spec, generator))
        drawn = [draw(made.global_views[0], n, generator) for _ in range(2)]
        contestants[f"tensors {kind}"] = cpu(lambda p=drawn: [apply_tensors(images, one, size) for one in p])
    contestants["copy"] = bound(2 * n, size)
    notes, peers = {}, Peers() if installed() else None
    for peer in PEERS if peers else ():
        try:
            contestants[peer] = peers.contestant("views", f"{peer} {size}", peer=peer, size=size, batch=n)
        except Unable as error:
            notes[peer] = f"not measured: {error}"
    seconds = alternate(contestants)
    if peers:
        peers.close()
    found = []
    for kind in ("xray", "natural"):
        rate = 2 * n / sorted(seconds[kind])[len(seconds[kind]) // 2]
        found.append(figure("views", f"{kind} recipe, {size} px", rate, "views/s", rounds=seconds[kind]))
        for peer in PEERS:
            what = f"{kind} recipe, {size} px, against {peer}"
            if peer not in seconds:
                found.append({"case": "views", "what": what, "value": None, "note": notes.get(peer, MISSING)})
                continue
            goal = {"target": 8} if (peer, size) == ("lightly", 224) else {}
            found.append(figure("views", what, ratio(seconds[peer], seconds[kind]), "×", **goal))
        for other, words in ((f"tensors {kind}", "the tensor code"), ("copy", "a bare copy of the bytes")):
            value = ratio(seconds[other], seconds[kind])
            found.append(figure("views", f"{kind} recipe, {size} px, against {words}", value, "×"))
    return found


def every_recipe(size: int) -> list[dict[str, Any]]:
    """Milliseconds a view of each distinct View."""
    images = torch.from_numpy(pictures(16, size, size))[:, None]
    recipes = {f"{name}-natural": kind.natural for name, kind in METHODS.items()}
    recipes |= {"xray": METHODS["swav"].xray} | {f"finetune-{name}": made for name, made in FINETUNE.items()}
    distinct: dict[Any, str] = {}
    for name, made in recipes.items():
        for view in (*made.at(size).global_views, made.at(size).local_view):
            if view is not None:
                distinct.setdefault(view, f"{name}, {view.size} px")
    generator = torch.Generator().manual_seed(0)
    seconds = alternate(
        {
            f"{name} #{i}": cpu(lambda v=view: apply(images, draw(v, len(images), generator), v.size))
            for i, (view, name) in enumerate(distinct.items())
        }
    )
    return [
        figure("views", f"recipe {name.split(' #')[0]}, from {size} px", 1000 * sorted(s)[len(s) // 2] / 16, "ms/view")
        for name, s in seconds.items()
    ]


def run() -> list[dict[str, Any]]:
    """Both sizes."""
    found = [line for size in BATCH for line in against_peers(size)] + every_recipe(224)
    if not torch.cuda.is_available():
        found.append(
            {"case": "views", "what": "share of a GPU's step", "value": None, "note": "not measured: no GPU here"}
        )
    else:
        found += on_gpu()
    return found


def on_gpu() -> list[dict[str, Any]]:
    """Views as a share of a step of ResNet-50 at 224 px."""
    from benchmarks.speed.measure import wall
    from benchmarks.speed.step import bare

    device, n = torch.device("cuda"), 256
    images = torch.from_numpy(pictures(n, 224, 224))[:, None].to(device)
    generator, recipe = torch.Generator().manual_seed(0), METHODS["moco"].xray.at(224)

    def views() -> None:
        make_views(images, recipe, ViewSpec(2), generator)
        torch.cuda.synchronize()

    seconds = alternate({"views": wall(views), "step": wall(bare("moco", 224, n, 1, "resnet50", device))})
    return [
        figure(
            "views",
            "share of a GPU's step, ResNet-50, 224 px",
            ratio(seconds["views"], seconds["step"]),
            "",
            limit=0.05,
        )
    ]
