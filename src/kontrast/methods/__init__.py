"""Self-supervised methods, one a file, each as its paper reads: views in, a loss out.

What belongs here: the losses as pure functions, and modules that hold networks and call them. What does not: data,
devices, optimisers, logging, files, and how views are made (a method says how many it needs).

A file in this folder is all that a new method needs: METHODS finds it.
"""

import inspect
from importlib import import_module
from pkgutil import iter_modules

from kontrast.methods.method import Method, Step


def _found() -> dict[str, type[Method]]:
    """The one method that each file defines; method.py holds the contract."""
    found: dict[str, type[Method]] = {}
    for name in sorted(module.name for module in iter_modules(__path__) if module.name != "method"):
        module = import_module(f"{__name__}.{name}")
        own = [kind for kind in vars(module).values() if inspect.isclass(kind) and kind.__module__ == module.__name__]
        (found[name],) = (kind for kind in own if issubclass(kind, Method) and not inspect.isabstract(kind))
    return found


METHODS: dict[str, type[Method]] = _found()
"""Every method, under its file's name."""

__all__ = ["METHODS", "Method", "Step"]
