"""Drives probe_model on a machine."""

from __future__ import annotations

import struct
from pathlib import Path

from spikelet.board import Machine, find_board
from spikelet.link.device import Device, RunResult

PROBE = Path(__file__).parent / "board" / "probe_model"
COMMANDS = (
    "nothing", "loop", "illegal", "load", "store", "overflow", "stack", "breakpoint", "divide",
    "waste",
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
