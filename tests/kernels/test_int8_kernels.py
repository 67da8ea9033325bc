"""The int8 kernels against golden, on every target and in every variant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from int8_graphs import connected, convolutions, depthwise, elementwise, joined, pools
from spikelet.graph import Graph
from targets import ARM_TARGETS, TARGETS, equals_golden

GRAPHS: dict[str, Callable[[], Graph]] = {
    "convolutions": lambda: joined(convolutions(), connected()),
    "depthwise": depthwise,
    "pointwise": lambda: joined(elementwise(), pools()),
}
# What differs from target to target there is little, and the native ones are sanitised.
SOME = ("native-gcc-sanitized", "rv32-gcc-qemu", "m4-gcc-qemu", "m55-gcc-qemu", "m0-zig-qemu")
CASES = [
    (target, name)
    for target in [*TARGETS, *ARM_TARGETS]
    for name in GRAPHS
    if name != "pointwise" or target in SOME
]


@pytest.mark.parametrize(("target", "name"), CASES)
def test_every_layer_equals_golden(target: str, name: str, tmp_path: Path) -> None:
    equals_golden(target, GRAPHS[name](), 4, tmp_path)
