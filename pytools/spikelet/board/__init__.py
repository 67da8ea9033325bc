"""Boards, toolchains and machines: from a model's C to a device that answers on a link.

A board is a folder under boards/ (or anywhere else, by path); a machine is a process that stands in
for one. Nothing here knows what the link's bytes mean.
"""

from __future__ import annotations

from spikelet.board.build import BuildError, Firmware, ImageTooLarge, build, too_large
from spikelet.board.doctor import USES, Check, doctor
from spikelet.board.flashing import (
    FlashFailed,
    Flashing,
    await_port,
    choose_tool,
    flash,
    plan_flash,
)
from spikelet.board.held import held_port
from spikelet.board.image import ImageSizes, Section, Symbol
from spikelet.board.machine import Machine, MachineDied, machines, start
from spikelet.board.spec import DEFAULT_BAUD, Board, boards, find_board, load_board
from spikelet.board.toolchain import ToolMissing, toolchains

__all__ = [
    "DEFAULT_BAUD",
    "USES",
    "Board",
    "BuildError",
    "Check",
    "Firmware",
    "FlashFailed",
    "Flashing",
    "ImageSizes",
    "ImageTooLarge",
    "Machine",
    "MachineDied",
    "Section",
    "Symbol",
    "ToolMissing",
    "await_port",
    "boards",
    "build",
    "choose_tool",
    "doctor",
    "find_board",
    "flash",
    "held_port",
    "load_board",
    "machines",
    "plan_flash",
    "start",
    "too_large",
    "toolchains",
]
