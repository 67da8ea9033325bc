"""Packages that load after an edit, as whole images: each builds, or is refused by name."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from package_edits import VALUES, apply_edit, at_ends, instances, places
from spikelet.board import ImageTooLarge, find_board
from spikelet.graph import Graph, GraphError
from spikelet.package import Package
from spikelet.run.workflow import make
from support import need

BOARDS = ("native", "native", "mps2-an386", "mps3-an547", "virt-rv32")


def load_edited(rng: random.Random) -> tuple[str, Graph]:
    """A graph that loads although a value of it was changed, and what was changed."""
    made = sorted(instances().items())
    while True:
        kind, graph = rng.choice(made)
        data = json.loads(json.dumps(graph.to_json()))
        edit = rng.choice(list(places(data))), rng.choice(VALUES)
        if rng.random() < 0.5:
            edit = rng.choice(list(at_ends(kind, graph)))
        changed = apply_edit(data, edit)
        if changed == data:
            continue
        try:
            return f"{kind}: {edit}", Graph.from_json(changed, graph.constants())
        except GraphError:
            continue


def build(count: int, folder: Path, seed: int) -> int:
    """Images of that many; how many were refused."""
    for tool in ("gcc", "arm-none-eabi-gcc", "riscv64-unknown-elf-gcc"):
        need(tool)
    rng, refused = random.Random(seed), 0
    for i in range(count):
        edit, graph = load_edited(rng)
        board = find_board(BOARDS[i % len(BOARDS)])
        try:
            make(Package(graph, {}, {}), board, folder / str(i))
        except (GraphError, ImageTooLarge):  # any other error of a build is the compiler's
            refused += 1
        except Exception as e:
            raise AssertionError(f"{edit} on {board.name} ended in {e}") from e
    return refused


@pytest.mark.long
def test_two_hundred_that_load_build(tmp_path: Path) -> None:
    assert build(200, tmp_path, 1) < 50
