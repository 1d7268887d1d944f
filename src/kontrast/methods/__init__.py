"""Self-supervised methods, one a file, each as its paper reads: views in, a loss out.

What belongs here: the losses as pure functions, and modules that hold networks and call them. What does not: data,
devices, optimisers, logging, files, and how views are made (a method says how many it needs).
"""

from kontrast.methods.barlow import Barlow
from kontrast.methods.byol import BYOL
from kontrast.methods.dino import DINO
from kontrast.methods.dinov2 import DINOv2
from kontrast.methods.mae import MAE
from kontrast.methods.method import Method, Step
from kontrast.methods.moco import MoCo
from kontrast.methods.mocov3 import MoCoV3
from kontrast.methods.simclr import SimCLR
from kontrast.methods.simsiam import SimSiam
from kontrast.methods.swav import SwAV
from kontrast.methods.vicreg import VICReg

METHODS: dict[str, type[Method]] = {
    "moco": MoCo,
    "mocov3": MoCoV3,
    "simclr": SimCLR,
    "byol": BYOL,
    "simsiam": SimSiam,
    "swav": SwAV,
    "barlow": Barlow,
    "vicreg": VICReg,
    "dino": DINO,
    "dinov2": DINOv2,
    "mae": MAE,
}
"""One a file, under the file's name."""

__all__ = ["METHODS", "Method", "Step"]
