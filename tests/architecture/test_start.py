"""What a newcomer meets first: help at once, no heavy imports, no torchvision, public names that exist."""

import importlib.util
import inspect
import subprocess
import sys
import time

import kontrast


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_default_environment_has_no_torchvision() -> None:
    # Its wheel breaks at import beside a CPU build of torch and takes timm, lightning and torchmetrics with it.
    assert importlib.util.find_spec("torchvision") is None


def test_help_answers_in_under_half_a_second() -> None:
    command = [sys.executable, "-m", "kontrast", "--help"]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - start)
    assert all(name in done.stdout for name in kontrast.COMMANDS)
    # the best of five: the machine may be busy, the program is what it is
    assert min(times) < 0.5


HELP = """
import sys, kontrast.cli
for words in (["--help"], *([name, "--help"] for name in kontrast.COMMANDS)):
    code = "went on"
    try:
        kontrast.cli.main(words)
    except SystemExit as end:
        code = end.code
    heavy = {"torch", "numpy", "pandas", "scipy", "sklearn", "cv2", "matplotlib", "pydicom"} & set(sys.modules)
    if heavy or code:
        sys.exit(f"{words} {heavy} {code}")
"""


def test_help_imports_nothing_heavy() -> None:
    done = run(HELP)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: kontrast") == 1 + len(kontrast.COMMANDS)


def test_public_names_exist() -> None:
    for name in kontrast.__all__:
        assert hasattr(kontrast, name), name
    for name in kontrast.COMMANDS:
        assert callable(getattr(kontrast, name))
        assert inspect.getdoc(getattr(kontrast, name)), f"{name} has no docstring"
