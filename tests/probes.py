"""Drives probe_model on a machine; images of a model that learns, with their objects."""

from __future__ import annotations

import importlib
import os
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest

from link_agent import C_TESTS
from once import Once
from spikelet.board import Board, Machine, build, find_board
from spikelet.link import Device, RunResult
from support import need

builder = importlib.import_module("spikelet.board.build")

PROBE = Path(__file__).parent / "board" / "probe_model"
COMMANDS = (
    "nothing", "loop", "illegal", "load", "store", "overflow", "stack", "breakpoint", "divide",
    "waste", "float", "fused",
)  # fmt: skip
# Bytes of stack that an interrupt takes, at whatever depth it finds the code: two marks of the same
# work differ by as much.
INTERRUPT = 160
RV32 = [("zig", "unicorn"), ("zig", "qemu"), ("gcc", "unicorn"), ("gcc", "qemu")]


class Probe:
    """A machine with probe_model, and the commands of that model."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.device = Device(machine.transport)

    def obey(self, command: str, argument: int = 0, deadline_s: float = 10.0) -> RunResult:
        words = struct.pack("<2I", COMMANDS.index(command), argument)
        return self.device.run(inputs={"command": words}, deadline_s=deadline_s)

    def result(self, command: str, argument: int = 0) -> tuple[int, int, int]:
        self.obey(command, argument)
        a, b, c = struct.unpack("<3I", self.device.get("result"))
        return a, b, c


def tool_of(board: str, toolchain: str) -> str:
    return find_board(board).toolchains[toolchain].command[0]


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in family(int(child)))]


def processor_seconds(pid: int) -> float:
    """What a process and all below it have used."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc to read the processor time from")
    total = 0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def built(once: Once, name: str, toolchain: str) -> tuple[Path, list[Path]]:
    """The board's image with a model that learns, and the objects that it was linked of."""
    need(tool_of(name, toolchain))

    def make(room: Path) -> tuple[Path, list[Path]]:
        kept: list[Path] = []

        def keep(objects: Sequence[Path], image: Path, board: Board) -> None:
            kept.extend(Path(shutil.copy(each, room)) for each in objects)

        shutil.copy(C_TESTS / "model_echo.c", room / "model.c")
        with patch.object(builder, "_stack", keep):
            elf = build(room, name, room, toolchain, defines=["SPK_LEARN"]).elf
        return elf, kept

    made: tuple[Path, list[Path]] = once(f"objects-{name}-{toolchain}", make)
    return made
