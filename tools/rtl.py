"""Builds the simulators of the boards whose core is in Verilog, into the cache: minutes, once.

python tools/rtl.py [BOARD ...]
"""

from __future__ import annotations

import sys
import time

from spikelet.board import boards, find_board
from spikelet.board.rtl import simulator


def main(names: list[str]) -> None:
    """Build those of the named boards, or all."""
    for board in map(find_board, names) if names else boards().values():
        for spec in board.machines.values():
            if spec.rtl is not None:
                begin = time.monotonic()
                place = simulator(board, spec.rtl)
                print(f"{board.name}: {place} ({time.monotonic() - begin:.0f} s)", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
