"""docs/start.ipynb to the letter: trained, exported, predicted, run on virt-rv32, reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support import need

NOTEBOOK = Path(__file__).parents[2] / "docs" / "start.ipynb"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The code cells as Jupyter leaves them."""
    for tool in ("nbclient", "ipykernel", "sklearn", "torch", "zig"):
        need(tool)
    import nbformat
    from nbclient import NotebookClient

    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cells: list[Any], begin: str) -> dict[str, str]:
    """What the cell that begins so shows, by media type; text that it prints as `stdout`."""
    (cell,) = [cell for cell in cells if cell.source.startswith(begin)]
    made: dict[str, str] = {}
    for output in cell.outputs:
        made |= output.get("data", {})
        if output.output_type == "stream":
            made[output.name] = made.get(output.name, "") + output.text
    return made


@pytest.mark.long
def test_a_package_is_a_line_and_a_picture(cells: list[Any]) -> None:
    package = shown(cells, "package = ")
    assert package["text/plain"].startswith("<Package digits: x i8 (64,) -> linear_2 i8 (10,);")
    assert "<svg" in package["text/html"] and "<table>" in package["text/html"]


@pytest.mark.long
def test_integers_predict_as_floats_do(cells: list[Any]) -> None:
    lines = shown(cells, "made = ")["stdout"].splitlines()
    real, integer = (float(line.split()[-1]) for line in lines[:2])
    assert real > 0.85 and abs(real - integer) < 0.02


@pytest.mark.long
def test_the_device_is_golden(cells: list[Any]) -> None:
    session = shown(cells, "session = ")
    assert "samples 397; mismatches 0; accuracy" in session["text/plain"]
    assert "is golden to the bit" in session["text/html"]


@pytest.mark.long
def test_the_report_is_shown(cells: list[Any]) -> None:
    page = shown(cells, "session.report()")["text/html"]
    assert page.startswith("<iframe") and "0 mismatches" in page.replace("\u202f", " ")


def test_it_is_kept_without_output() -> None:
    import json

    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert all(not c["outputs"] and c["execution_count"] is None for c in code)
