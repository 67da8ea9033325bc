"""Boards whose core is simulated from its Verilog: which there are, and whether one is built."""

from __future__ import annotations

import pytest

from spikelet.board import Board, boards, find_board
from spikelet.board.rtl import modules, place
from spikelet.board.spec import RtlSpec
from support import MISSING, available

MACHINE = "verilator"


def rtl_of(board: Board) -> RtlSpec:
    spec = board.machines[MACHINE].rtl
    assert spec is not None
    return spec


def rtl_boards() -> list[str]:
    return [name for name, board in boards().items() if MACHINE in board.machines]


def need_packages(board: Board) -> None:
    """Skip, loudly, where Verilator or the core is not installed: they are an extra, in CI, too."""
    for module in modules(rtl_of(board)):
        if not available(module):
            _skip(module, f"{module} is missing")


def need_simulator(board: Board | str) -> None:
    """Skip, loudly, where the board's simulator is not in the cache."""
    board = find_board(board) if isinstance(board, str) else board
    need_packages(board)
    if not place(board, rtl_of(board)).is_file():
        _skip(board.name, f"the simulator of {board.name} is not built")


def _skip(what: str, why: str) -> None:
    MISSING.add(what)
    pytest.skip(f"{why}: run `make rtl`, which takes minutes")
