"""The int8 kernels against golden, on every target and in every variant."""

from __future__ import annotations

import itertools
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
    few_bits,
    few_rows,
    join,
    low_bits,
    pools,
    small_convolutions,
    with_shared_inputs,
)
from spikelet.codegen import generate
from spikelet.graph import Graph
from spikelet.graph.target import Target
from targets import ARM_TARGETS, M33_TARGETS, RV32E_TARGETS, TARGETS, ZBB_TARGETS, check_graph

GRAPHS: dict[str, Callable[[], Graph]] = {
    "convolutions": lambda: join(convolutions(), dense_layers()),
    "depthwise": depthwise,
    "low_bits": few_bits,
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
] + [  # zig compiles the others for a Cortex-M0, and the signs with Zbb
    pytest.param(target, name, marks=[pytest.mark.long] * ("zig" in target and name == "low_bits"))
    for target in ZBB_TARGETS
    for name in LOW
]
CASES += [
    pytest.param(target, name, marks=[pytest.mark.long] * ("zig" in target or name not in LOW))
    for target in RV32E_TARGETS
    for name in GRAPHS
]
CASES += [
    pytest.param(target, name, marks=pytest.mark.long) for target in M33_TARGETS for name in GRAPHS
]


# Which part of `low_bits` a target takes, and of how many: the same C is compiled for several.
# Vectors and DSP have weights in orders of their own, and no tables.
PARTS = {
    "native-gcc-sanitized": (0, 4), "native-clang-sanitized": (1, 4), "native-zig": (2, 4),
    "m0-zig-qemu": (3, 4), "m0-gcc-qemu": (0, 4), "m3-gcc-qemu": (1, 4), "m3-zig-qemu": (2, 4),
    "rv32e-gcc-qemu": (0, 4), "rv32e-zig-qemu": (1, 4), "rv32-zig-unicorn": (3, 4),
    "rv32-gcc-qemu": (1, 4), "rv32b-gcc-qemu": (2, 4), "rv32b-zig-qemu": (3, 4),
    "m4-gcc-qemu": (0, 4), "m4-zig-qemu": (1, 4), "m55-gcc-qemu": (0, 2), "m55-zig-qemu": (1, 2),
    "m33-gcc-qemu": (2, 4), "m33-zig-qemu": (3, 4),
}  # fmt: skip


def graph_for(target: str, name: str) -> Graph:
    """One of GRAPHS as a target takes it."""
    if name != "low_bits":
        graph = GRAPHS[name]()
    else:
        part, parts = PARTS[target]
        more = join(small_convolutions(), few_rows()) if parts == 2 else few_bits()
        graph = join(low_bits(part, parts), more)
    # On the host each layer has inputs of its own, over which its output may lie.
    return graph if target.startswith("native") else with_shared_inputs(graph)


def samples_of(target: str) -> int:
    """Both ends of each input's codes, and random ones: an Arm board's UART holds one byte."""
    return 3 if target.startswith("m") else 4


@pytest.mark.parametrize(("target", "name"), CASES)
def test_every_layer_equals_golden(target: str, name: str, tmp_path: Path) -> None:
    check_graph(target, graph_for(target, name), samples_of(target), tmp_path)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("rv32-zig-unicorn", marks=pytest.mark.long),  # no register is short there
        "m0-zig-qemu",
        "m4-zig-qemu",
        "m55-zig-qemu",
    ],
)
def test_kernels_leave_the_frame_pointer(target: str, tmp_path: Path) -> None:
    graph = convolutions(0, 3)
    check_graph(target, graph, 2, tmp_path, optimise="-O1 -fno-omit-frame-pointer")


@pytest.mark.long  # tests/codegen/test_codegen.py bounds each kernel's stack
@pytest.mark.parametrize("target", ["rv32-zig-unicorn", "m4-zig-qemu", "m55-zig-qemu"])
def test_clang_without_optimisation_fits_in_a_boards_stack(target: str, tmp_path: Path) -> None:
    check_graph(target, low_bits(0, 4), 2, tmp_path, optimise="-O0")


def kernels_of(target: str, folder: Path, *graphs: Graph) -> set[str]:
    """The kernels that graphs call on an instruction set."""
    return {
        layer.kernel
        for graph in graphs
        for layer in generate(graph, "0" * 64, folder, target=Target.parse(target)).layers
    }


def names(pattern: str, *choices: tuple[str, ...]) -> set[str]:
    """Kernels whose names have one of each choice."""
    return {pattern.format(*each) for each in itertools.product(*choices)}


FAR = ("", "_wide")
ROUNDED = ("once", "twice", "wide")
NESTED = ("8_odd", "8_odd_upper4", "8_odd_upper2", "8_odd_upper1")
PACKED = ("1_odd", "2", "2_odd", "4", "4_odd", *NESTED)


@pytest.mark.parametrize(
    ("target", "parts"), [("host", "native"), ("rv32imac", "rv32-"), ("rv32imac_zba_zbb", "rv32b")]
)
def test_every_kernel_of_few_bits_is_called(target: str, parts: str, tmp_path: Path) -> None:
    graphs = [graph_for(name, "low_bits") for name in PARTS if name.startswith(parts)]
    expected = (
        names("conv2d_tables_{}_{}{}", ("two", "four"), ("1_odd", "2", "2_odd"), FAR)
        | names("conv2d_lanes_{}{}", ("4", "4_odd"), FAR)
        | names("binary_conv2d_{}{}", ("bits", "codes", "codes_wide"), ("", "_masked"))
        | names("fully_connected_tables_{}_{}", ("1_odd", "2", "2_odd"), ROUNDED)
        | names("fully_connected_pairs_{}_{}", ("4", "4_odd"), ROUNDED)
    )
    assert expected - kernels_of(target, tmp_path, *graphs, binary_layers()) == set()


@pytest.mark.parametrize(("target", "name"), [("armv7e-m", "m4"), ("armv8.1-m.main+mve", "m55")])
def test_every_kernel_of_few_bits_is_called_on_arm(target: str, name: str, tmp_path: Path) -> None:
    graphs = [graph_for(f"{name}-{toolchain}-qemu", "low_bits") for toolchain in ("gcc", "zig")]
    order = "lanes" if name == "m4" else "bytes"
    expected = names("fully_connected_{}_{}_{}", (order,), PACKED, ROUNDED)
    if name == "m4":
        expected |= names("conv2d_dsp_{}_{}{}", ("lanes", "quads"), PACKED, FAR)
    else:
        expected |= names("conv2d_mve_{}{}", (*PACKED, "64_4", "64_4_odd"), FAR)
    assert expected - kernels_of(target, tmp_path, *graphs) == set()
