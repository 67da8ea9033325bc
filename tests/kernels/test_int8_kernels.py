"""The int8 kernels against golden, on every target and in every variant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from binary_graphs import binary_layers, pools_of_bits
from int8_graphs import (
    convolutions,
    dense_layers,
    depthwise,
    elementwise,
    even,
    join,
    low_bits,
    pools,
)
from spikelet.graph import Graph
from targets import ARM_TARGETS, RV32E_TARGETS, TARGETS, ZBB_TARGETS, check_graph

GRAPHS: dict[str, Callable[[], Graph]] = {
    "convolutions": lambda: join(convolutions(), dense_layers()),
    "depthwise": depthwise,
    "low_bits": lambda: low_bits(0, 4),
    "even": even,
    "binary": lambda: join(binary_layers(), pools_of_bits()),
    "pointwise": lambda: join(elementwise(), pools()),
}
# For every change; the others compile the same kernels once more. What differs in "pointwise" from
# target to target is little.
SOME = ("native-gcc-sanitized", "rv32-gcc-qemu", "m4-gcc-qemu", "m55-gcc-qemu", "m0-zig-qemu")
LOW = ("low_bits", "binary")  # what differs with Zbb
CASES = [
    pytest.param(
        target,
        name,
        marks=[pytest.mark.long]
        * (target not in SOME[:2] if name == "pointwise" else target not in SOME),
    )
    for target in [*TARGETS, *ARM_TARGETS]
    for name in GRAPHS
    if name != "pointwise" or target in SOME
] + [pytest.param(target, name) for target in ZBB_TARGETS for name in LOW]
CASES += [
    pytest.param(target, name, marks=[pytest.mark.long] * ("zig" in target or name not in LOW))
    for target in RV32E_TARGETS
    for name in GRAPHS
]


@pytest.mark.parametrize(("target", "name"), CASES)
def test_every_layer_equals_golden(target: str, name: str, tmp_path: Path) -> None:
    check_graph(target, GRAPHS[name](), 4, tmp_path)


@pytest.mark.parametrize(
    "target", ["rv32-zig-unicorn", "m0-zig-qemu", "m4-zig-qemu", "m55-zig-qemu"]
)
def test_kernels_leave_the_frame_pointer(target: str, tmp_path: Path) -> None:
    graph = convolutions(0, 3)
    check_graph(target, graph, 2, tmp_path, optimise="-O1 -fno-omit-frame-pointer")
