"""Drives probe_model on a machine."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from spikelet.board import Machine, find_board
from spikelet.link import Device, RunResult

PROBE = Path(__file__).parent / "board" / "probe_model"
COMMANDS = (
    "nothing", "loop", "illegal", "load", "store", "overflow", "stack", "breakpoint", "divide",
    "waste", "float", "fused",
)  # fmt: skip
RV32 = [("zig", "unicorn"), ("zig", "qemu"), ("gcc", "unicorn"), ("gcc", "qemu")]


class Probe:
    """A machine with probe_model, and the commands of that model."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.device = Device(machine.transport)

    def obey(self, command: str, argument: int = 0) -> RunResult:
        words = struct.pack("<2I", COMMANDS.index(command), argument)
        return self.device.run(inputs={"command": words})

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
