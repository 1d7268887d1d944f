"""Self-supervised methods, one a file, each as its paper reads: views in, a loss out.

What belongs here: the losses as pure functions, and modules that hold networks and call them. What does not: data,
devices, optimisers, logging, files, and how views are made (a method says how many it needs).
"""

from kontrast.methods.byol import BYOL
from kontrast.methods.method import Method, Step
from kontrast.methods.moco import MoCo
from kontrast.methods.simclr import SimCLR
from kontrast.methods.swav import SwAV

METHODS: dict[str, type[Method]] = {"moco": MoCo, "simclr": SimCLR, "byol": BYOL, "swav": SwAV}

__all__ = ["BYOL", "METHODS", "Method", "MoCo", "SimCLR", "Step", "SwAV"]
