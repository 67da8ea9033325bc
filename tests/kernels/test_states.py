"""What the state of leaky neurons costs, as packages say it, against an emulated core."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphs
from spikelet.graph import Graph, Operator
from spikelet.graph.fixed import LEAK_INSTRUCTIONS
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import Lif
from spikelet.graph.ops.poisson import Poisson
from support import need
from targets import make_package

NEURONS, STEPS = 128, 10
# membrane, leak, leak_bits, rounding, fraction bits
STATES = [
    ("i16", 29491, 15, "zero", 0),
    ("i32", 29491, 15, "zero", 6),
    ("i16", 1932735236, 31, "nearest", 0),
    ("i32", 1932735236, 31, "nearest", 12),
]


def every_state() -> Graph:
    rng = np.random.default_rng(0)
    nodes: list[Operator] = [
        Poisson(name="encode", inputs=("x", "seed")),
        Dense(name="fc", inputs=("encode.spikes",), weight=graphs.weights(rng, NEURONS, 64)),
    ]
    for i, (membrane, leak, bits, rounding, shift) in enumerate(STATES):
        for reset in ("subtract", "zero", "none"):
            nodes.append(
                Lif(
                    name=f"{reset}{i}",
                    inputs=("fc",),
                    threshold=np.array([256 << shift], np.int32),
                    leak=leak,
                    leak_bits=bits,
                    leak_round=rounding,
                    input_shift=shift,
                    membrane=membrane,
                    reset=reset,
                    timing="same_step" if reset == "none" else "next_step",
                )
            )
        nodes.append(
            LeakyReadout(
                name=f"out{i}",
                inputs=("fc",),
                leak=leak,
                leak_bits=bits,
                leak_round=rounding,
                input_shift=shift,
            )
        )
    return Graph("states", STEPS, [graphs.values(64), graphs.seed()], nodes, ["out0"])


@pytest.mark.long
@pytest.mark.parametrize(
    ("board", "core", "tools"),
    [
        ("virt-rv32", 0, ("riscv64-unknown-elf-gcc", "qemu-system-riscv32")),
        ("mps2-an386", 1, ("arm-none-eabi-gcc", "qemu-system-arm")),
    ],
)
def test_an_update_takes_what_packages_say(
    board: str, core: int, tools: tuple[str, ...], tmp_path: Path
) -> None:
    for tool in tools:
        need(tool)
    path = tmp_path / "states.spk"
    make_package(every_state(), 4).save(path)
    command = [sys.executable, "-m", "spikelet", "bench", str(path), "--board", board]
    done = subprocess.run(
        [*command, "--toolchain", "gcc", "--json"], capture_output=True, text=True, check=True
    )
    ticks = {layer["name"]: layer["ticks"] for layer in json.loads(done.stdout)["layers"]}
    assert {(membrane, bits > 15) for membrane, _, bits, _, _ in STATES} == set(LEAK_INSTRUCTIONS)
    for i, (membrane, _, bits, _, _) in enumerate(STATES):
        said = LEAK_INSTRUCTIONS[membrane, bits > 15][core]
        dearest = max(ticks[f"{r}{i}"] for r in ("subtract", "zero", "none")) / (NEURONS * STEPS)
        assert abs(dearest - said) < 1, (membrane, bits, dearest)
        assert ticks[f"out{i}"] / (NEURONS * STEPS) < said + 2.2
