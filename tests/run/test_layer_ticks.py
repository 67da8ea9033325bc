"""Ticks that a trace build keeps of its layers: one count, from one beginning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cli_support import small_package
from spikelet.board import find_board
from spikelet.codegen import DIGESTS
from spikelet.run.workflow import SessionTarget, connect, make
from spikelet.streams import package_stream
from support import need


@pytest.mark.parametrize("name", ["virt-rv32", "virt-rv32e", "mps2-an386"])
def test_ticks_never_go_back_between_layers(name: str, tmp_path: Path) -> None:
    board, package = find_board(name), small_package()
    for machine in board.machines.values():
        need(machine.module or machine.argv[0])
    need(board.toolchains["gcc"].command[0])
    image = make(package, board, tmp_path, toolchain="gcc", trace=True)
    graph, stream = package.graph, package_stream(package)
    with connect(SessionTarget(board, image), package) as (device, _):
        for row in range(3):
            inputs = {t.name: graph.wire(t, stream.inputs[t.name][row]) for t in graph.inputs}
            result = device.run(inputs=inputs, timed=True)
            kept = np.frombuffer(device.get(DIGESTS), "<u4")
            ends = [0, *np.sort(kept[kept > 0]).tolist(), result.ticks]
            assert len(ends) > graph.steps
            # A tick of mps2-an386 is several instructions: a difference may be one less.
            assert min(np.diff(np.array(ends))) >= -(name == "mps2-an386")
