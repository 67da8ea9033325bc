"""A board's firmware against register models of its part; link bytes are standard input and output.

    python part_registers.py PART IMAGE.elf --flash BASE:BYTES --ram BASE:BYTES
                             [--storage BASE:BYTES] [--baud BAUD] [--stats]

The models in `registers/` were written from the parts' manuals and stop where the firmware does
what a manual does not allow. The line has a rate: a byte comes at its time, and what meets a full
FIFO is lost; a UART that is set to another rate than the host's sends and receives garbage.
`--stats` says at the end what was counted. Exit: 0 good, 2 bad usage, 3 the model stopped, and why.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from registers.bank import Line, ModelError
from registers.cortex_m import CortexM
from registers.esp32c3 import Esp32C3
from registers.image import read_image
from registers.stm32h743 import Stm32H743
from registers.stm32l4r5 import Stm32L4R5

ARM = {"stm32l4r5": (Stm32L4R5, 0x200000), "stm32h743": (Stm32H743, 0x200000)}


def _region(text: str) -> tuple[int, int]:
    base, size = (int(part, 0) for part in text.split(":"))
    return base, size


def _machine(arguments: argparse.Namespace, line: Line) -> CortexM | Esp32C3:
    if arguments.part not in ARM:
        image = read_image(arguments.image, arguments.flash, arguments.ram)
        return Esp32C3(image, line, arguments.storage)
    part, flash_bytes = ARM[arguments.part]
    image = read_image(arguments.image, (arguments.flash[0], flash_bytes), arguments.ram)
    return CortexM(image, part, line, arguments.storage)


def main() -> int:
    """Run the machine of the command line; answers the exit code."""
    parser = argparse.ArgumentParser(description="a part's register models")
    parser.add_argument("part", choices=[*ARM, "esp32c3"])
    parser.add_argument("image", type=Path)
    parser.add_argument("--flash", type=_region, required=True)
    parser.add_argument("--ram", type=_region, required=True)
    parser.add_argument("--storage", type=_region)
    parser.add_argument("--baud", type=int, default=115_200)
    parser.add_argument("--stats", action="store_true")
    arguments = parser.parse_args()
    line = Line(sys.stdin.fileno(), sys.stdout.fileno(), arguments.baud)
    try:
        machine = _machine(arguments, line)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the host has gone
            machine.serve()
            line.flush()
    except ModelError as error:
        print(f"part_registers: {error}", file=sys.stderr)
        return 3
    if arguments.stats:
        part = machine.part if isinstance(machine, CortexM) else machine
        uart = part.uart
        print(
            f"part_registers: {machine.taken} interrupts, {machine.lost + uart.lost} bytes lost, "
            f"{machine.resets} resets, {part.core_hz} Hz, {uart.rate():.0f} baud",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
