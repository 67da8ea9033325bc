"""Boards whose core is simulated from its Verilog: which there are, and whether one is built."""

from __future__ import annotations

import os

import pytest

from spikelet.board import Board, boards, find_board
from spikelet.board.rtl import modules, place
from spikelet.board.spec import RtlSpec
from support import MISSING, need

MACHINE = "verilator"


def rtl_of(board: Board) -> RtlSpec:
    spec = board.machines[MACHINE].rtl
    assert spec is not None
    return spec


def rtl_boards() -> list[str]:
    return [name for name, board in boards().items() if MACHINE in board.machines]


def need_simulator(board: Board | str) -> None:
    """Skip, loudly, where the board's simulator is not in the cache; fail where CI is set."""
    board = find_board(board) if isinstance(board, str) else board
    for module in modules(rtl_of(board)):
        need(module)
    if place(board, rtl_of(board)).is_file():
        return
    MISSING.add(board.name)
    message = f"the simulator of {board.name} is not built: run `make rtl`, which takes minutes"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
