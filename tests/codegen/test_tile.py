"""Bands of rows: the same bits from every band, and an arena that is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphs
import plan_graphs
from spikelet.board import ImageTooLarge, find_board
from spikelet.codegen import ArenaTooSmall, fit_arena, plan
from spikelet.graph import Graph, GraphError, Operator
from spikelet.graph.ops.add import Add
from spikelet.graph.ops.softmax import Softmax
from spikelet.graph.tile import tile, tilings
from spikelet.package import Package
from spikelet.run import make, with_arena
from support import need
from targets import check_graph

CODE = plan_graphs.CODE


def residual(size: int = 16, name: str = "residual") -> Graph:
    """In the shape of a ResNet: convolutions beside a shortcut, then the same at half the size."""
    rng = np.random.default_rng(4)
    full, half = (size, size, 8), (size // 2, size // 2, 12)
    margin = (1, 1, 1, 1)
    conv = plan_graphs.conv
    nodes: list[Operator] = [
        conv(rng, "first", "x", (size, size, 3), 8, (3, 3), padding=margin),
        conv(rng, "a", "first", full, 8, (3, 3), padding=margin),
        conv(rng, "b", "a", full, 8, (3, 3), padding=margin),
        Add(name="sum", inputs=("first", "b"), **CODE),
        conv(rng, "down", "sum", full, 12, (3, 3), stride=(2, 2), padding=(0, 0, 1, 1)),
        conv(rng, "side", "sum", full, 12, (1, 1), stride=(2, 2)),
        Add(name="sum2", inputs=("down", "side"), **CODE),
        plan_graphs.depthwise(rng, "deep", "sum2", half, (3, 3), padding=margin),
        Softmax(name="end", inputs=("deep",)),
    ]
    return Graph(name, 1, [plan_graphs.image("x", (size, size, 3))], nodes, ["end"])


@given(st.integers(1, 8), st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_bands_compute_the_same(layers: int, bands: int) -> None:
    graph = residual()
    if layers in (2, 3, 5, 6):  # more than one tensor leaves them: a shortcut goes around
        with pytest.raises(GraphError, match="more than one tensor"):
            tile(graph, layers, bands)
        return
    made = tile(graph, layers, bands)
    inputs = graphs.random_inputs(graph, 3, np.random.default_rng(bands))
    assert np.array_equal(made.run(inputs).outputs["end"], graph.run(inputs).outputs["end"])
    last = graph.nodes[layers - 1].name
    whole, parts = (g.run(inputs, trace=True).trace[last] for g in (graph, made))
    assert np.array_equal(whole, parts)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_bands_of_any_network_compute_the_same(seed: int) -> None:
    graph = plan_graphs.network(seed, layers=5)
    inputs = graphs.random_inputs(graph, 2, np.random.default_rng(0))
    wanted = graph.run(inputs).outputs
    for tiling in tilings(graph)[:3]:
        found = tiling.graph.run(inputs).outputs
        assert all(np.array_equal(found[name], wanted[name]) for name in graph.outputs)
        assert tiling.macs >= tiling.macs_before


def test_bands_save_memory_and_say_what_they_cost() -> None:
    graph = residual(32)
    whole = plan(graph).size
    tiling = fit_arena(graph, whole * 3 // 4)
    assert tiling is not None
    assert plan(tiling.graph).size <= whole * 3 // 4
    assert 0 < tiling.more_work < 0.5
    cheaper = [t for t in tilings(graph) if t.macs < tiling.macs]
    assert all(plan(t.graph).size > whole * 3 // 4 for t in cheaper)
    assert fit_arena(graph, whole) is None


def test_an_arena_that_no_bands_reach_is_refused_with_figures() -> None:
    graph = residual(32)
    with pytest.raises(ArenaTooSmall, match=r"an arena of 1000 bytes is too small: it takes \d+"):
        fit_arena(graph, 1000)


@pytest.mark.parametrize(
    "names",
    [
        ("conv2d", "conv2d_0", "conv2d_1"),
        tuple(f"a_name_as_long_as_names_can_be_{i}" for i in "abc"),
    ],
)
def test_bands_get_names_that_no_layer_has(names: tuple[str, str, str]) -> None:
    shape, rng = (8, 4, 2), np.random.default_rng(0)
    sources = ("x", *names)
    nodes: list[Operator] = [
        plan_graphs.conv(rng, own, source, shape, 2, (3, 3), padding=(1, 1, 1, 1))
        for source, own in zip(sources, names, strict=False)
    ]
    graph = Graph("net", 1, [plan_graphs.image("x", shape)], nodes, [names[-1]])
    assert {tiling.layers for tiling in tilings(graph)} == {1, 2, 3}


def test_a_layer_that_needs_whole_tensors_is_named() -> None:
    with pytest.raises(GraphError, match=r"layer end \(softmax\): its rows cannot be made"):
        tile(residual(), 9, 2)


@pytest.mark.parametrize("target", ["native-gcc-sanitized", "rv32-gcc-qemu", "m55-gcc-qemu"])
def test_devices_compute_every_band_as_golden(target: str, tmp_path: Path) -> None:
    check_graph(target, tile(residual(), 8, 4), 3, tmp_path)


def test_the_constants_of_a_layer_are_there_once(tmp_path: Path) -> None:
    need("gcc")
    board = find_board("native")
    built = [
        make(Package(graph), board, tmp_path / str(i), toolchain="gcc").generated.const_bytes
        for i, graph in enumerate((residual(), tile(residual(), 8, 4)))
    ]
    assert built[0] == built[1]


def test_a_model_that_is_too_large_is_refused_with_figures_and_a_way_out(tmp_path: Path) -> None:
    need("riscv64-unknown-elf-gcc")
    board, package = find_board("sifive-e"), Package(residual(32))
    with pytest.raises(ImageTooLarge) as caught:
        make(package, board, tmp_path / "a", toolchain="gcc")
    arena = plan(package.graph, board.target).size
    assert f"arena {arena}, link and the rest " in caught.value.what
    assert "ram: " in caught.value.what and "16384 there" in caught.value.what
    room = arena - caught.value.over["ram"]
    assert f"`--arena {room}`: the first " in caught.value.next
    found, tiling = with_arena(package, room, board)
    assert tiling is not None
    built = make(found, board, tmp_path / "b", toolchain="gcc")
    assert built.firmware.ram_bytes + 2048 <= 16384
