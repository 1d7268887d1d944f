"""Where the lungs are on a frontal radiograph: for `prepare --crop lungs`.

Belongs here: finding them, and how sure that is. Does not belong here: what is done with the crop (`preparation`), and
how the network was trained and measured (benchmarks/lungs_training.py and benchmarks/lungs.py).
"""

from kontrast.data.lungs.crop import Box, Lungs, find_lungs

__all__ = ["Box", "Lungs", "find_lungs"]
