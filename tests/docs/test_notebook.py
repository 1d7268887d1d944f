"""The examples run as they stand."""

import importlib.util
import os
from pathlib import Path

import nbformat
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def own_key(tmp_path, monkeypatch):
    monkeypatch.setenv("KONTRAST_KEY", str(tmp_path / "patient.key"))
    (tmp_path / "patient.key").write_text("5a" * 32)


def test_the_notebook_is_saved_without_outputs():
    notebook = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and all(not cell.outputs and cell.execution_count is None for cell in code)
    assert os.sep + "home" not in str(notebook.cells)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    from nbclient import NotebookClient

    notebook = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / "quickstart" / "report.html").stat().st_size > 100_000
    text = str([cell.get("outputs", "") for cell in notebook.cells])
    assert "Overlap with training: 0 patients" in text


@pytest.mark.slow
def test_the_script_runs_and_runs_again(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("quickstart", EXAMPLES / "quickstart.py")
    assert spec is not None and spec.loader is not None
    quickstart = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quickstart)
    page = quickstart.main(tmp_path / "q")
    before = page.read_bytes()
    capsys.readouterr()
    assert quickstart.main(tmp_path / "q").read_bytes() == before
    assert "is already done" in capsys.readouterr().out
