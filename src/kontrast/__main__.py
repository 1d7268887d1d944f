"""`python -m kontrast` is `kontrast`; `torchrun -m kontrast` too."""

from kontrast.cli import main

main()
