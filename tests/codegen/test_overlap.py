"""An output over its input: what operators state, against the order of reads and writes.

Against loops that are written down here once more, access by access; `test_overlap_claims.py` does
it with the kernels themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import plan_graphs
from spikelet.codegen import Plan, plan
from spikelet.codegen.plan import ALIGN, WORD
from spikelet.graph import Graph, Operator
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.max_pool2d import MaxPool2d
from spikelet.graph.ops.mean import Mean
from spikelet.graph.ops.relu import Relu
from spikelet.graph.ops.resize_nearest import ResizeNearest
from spikelet.graph.ops.slice import Slice
from spikelet.graph.target import ANY
from spikelet.graph.target import Target as Core
from targets import check_graph

M4, M55 = Core.parse("armv7e-m"), Core.parse("armv8.1-m.main+mve")
CORES = (ANY, M4, M55)
Access = tuple[bool, int]  # whether it writes, and the byte


def window(
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, ...],
    y: int,
    x: int,
    channels: Iterable[int],
) -> Iterator[Access]:
    """Reads of one output."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            row = y * stride[0] - padding[0] + i * dilation[0]
            column = x * stride[1] - padding[1] + j * dilation[1]
            if 0 <= row < shape[0] and 0 <= column < shape[1]:
                for c in channels:
                    yield False, (row * shape[1] + column) * shape[2] + c


def conv_accesses(node: Conv2d, shape: tuple[int, ...], kernel: str) -> Iterator[Access]:
    """As spk_conv2d_KERNEL goes: four, two, dsp, mve or direct."""
    height, width, outputs = node.outs[0].shape
    taps = (node.weight.shape[1], node.weight.shape[2])
    how = (shape, taps, node.stride, node.dilation, node.padding)
    total, every = height * width, range(shape[2])
    together = {"four": 4, "two": 2, "dsp": 2, "mve": 1, "direct": 1}[kernel]
    for at in range(0, total, together):
        pixels = [min(at + p, total - 1) for p in range(together)]
        if (kernel == "mve" and taps[0] == 1) or kernel == "direct":
            step = 4 if kernel == "mve" else 1
            for o in range(0, outputs, step):
                yield from window(*how, *divmod(at, width), every)
                yield from ((True, at * outputs + k) for k in range(o, min(o + step, outputs)))
            continue
        for pixel in pixels:
            yield from window(*how, *divmod(pixel, width), every)
        for o in range(outputs):
            yield from ((True, pixel * outputs + o) for pixel in pixels)


def depthwise_accesses(
    node: DepthwiseConv2d, shape: tuple[int, ...], kernel: str
) -> Iterator[Access]:
    """As spk_depthwise_conv2d_KERNEL goes: any, dsp, mve or 3x3."""
    height, width, outputs = node.outs[0].shape
    how = (shape, node.weight.shape[:2], node.stride, node.dilation, node.padding)
    if kernel == "3x3":
        for channel in range(outputs):
            for cell in range(shape[0] * shape[1]):
                yield False, cell * shape[2] + channel
            for at in range(height * width):
                yield True, at * outputs + channel
        return
    step = {"any": 1, "dsp": 4, "mve": 8}[kernel]
    for at in range(height * width):
        for o in range(0, outputs, step):
            first = min(o, max(0, outputs - step))
            made = range(first, min(first + step, outputs))
            sources = {k // node.depth_multiplier for k in made}
            yield from window(*how, *divmod(at, width), sources)
            yield from ((True, at * outputs + k) for k in made)


def other_accesses(node: Operator, shape: tuple[int, ...]) -> Iterator[Access]:
    size = math.prod(shape)
    if isinstance(node, Relu):
        for i in range(size):
            yield False, i
            yield True, i
    if isinstance(node, MaxPool2d):
        height, width, channels = node.outs[0].shape
        how = (shape, node.window, node.stride, (1, 1), node.padding)
        for at in range(height * width):
            for c in range(channels):
                yield from window(*how, *divmod(at, width), [c])
                yield True, at * channels + c
    if isinstance(node, Mean):
        outer, count, inner = node._view
        for i in range(outer):
            for k in range(inner):
                yield from ((False, (i * count + j) * inner + k) for j in range(count))
                yield True, i * inner + k
    if isinstance(node, ResizeNearest):
        to = 0
        for row in node.rows:
            for column in node.columns:
                for c in range(shape[2]):
                    yield False, (int(row) * shape[1] + int(column)) * shape[2] + c
                    yield True, to
                    to += 1
    if isinstance(node, Slice):
        cells = np.arange(size).reshape(shape)
        for axis, (begin, count, stride) in enumerate(
            zip(node.begin, node.size, node.stride, strict=True)
        ):
            cells = np.take(cells, begin + stride * np.arange(count), axis=axis)
        for to, cell in enumerate(cells.reshape(-1)):
            yield False, int(cell)
            yield True, to


def spoiling_leads(accesses: Iterable[Access], leads: Iterable[int]) -> list[int]:
    """Those leads with which a write reaches a byte that is read later."""
    listed = list(accesses)
    last_read = {byte: i for i, (writes, byte) in enumerate(listed) if not writes}
    found = []
    for lead in leads:
        if any(w and last_read.get(byte - lead, -1) > i for i, (w, byte) in enumerate(listed)):
            found.append(lead)
    return found


def check(node: Operator, shape: tuple[int, ...], core: Core, accesses: list[Access]) -> int:
    """Any permitted lead is safe; how much more than needed is asked for."""
    (overlap,) = node.overlaps(core)
    assert overlap is not None
    if overlap.exact:
        assert spoiling_leads(accesses, [overlap.lead]) == []
        return 0
    most = math.prod(shape) + max(byte for writes, byte in accesses if writes) + 2
    wrong = spoiling_leads(accesses, range(overlap.lead, most, max(1, (most - overlap.lead) // 40)))
    assert wrong == [], (node, core)
    near = spoiling_leads(accesses, range(overlap.lead, min(most, overlap.lead + 40)))
    assert near == [], (node, core)
    least = max(spoiling_leads(accesses, range(overlap.lead)), default=-1) + 1
    return overlap.lead - least


@given(st.integers(0, 2**32 - 1), st.sampled_from(["conv", "pointwise", "wide"]))
@settings(max_examples=40, deadline=None)
def test_a_convolution_asks_for_what_its_loops_need(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(3, 7)), int(rng.integers(1, 6)), int(rng.integers(1, 6)))
    node = plan_graphs.operator(rng, kind, "n", "x", shape)
    assert isinstance(node, Conv2d)
    node = node.place([plan_graphs.image("x", shape)], {}, 1)
    kernels = {ANY: ("four", "two"), M4: ("dsp", "four", "two")}
    for core in CORES:
        more = []
        for kernel in kernels.get(core, ("mve", "four", "two")):
            more.append(check(node, shape, core, list(conv_accesses(node, shape, kernel))))
        assert min(more) <= 4 * len(node.weight), (core, more)  # it gives away four pixels at most


def test_a_convolution_without_scratch_is_known() -> None:
    rng = np.random.default_rng(0)
    shape = (4, 3, 200)
    node = plan_graphs.conv(rng, "n", "x", shape, 3, (3, 3), padding=(1, 1, 1, 1))
    node = node.place([plan_graphs.image("x", shape)], {}, 1)
    check(node, shape, ANY, list(conv_accesses(node, shape, "direct")))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["depthwise", "more"]))
@settings(max_examples=40, deadline=None)
def test_a_depthwise_convolution_asks_for_what_its_loops_need(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(3, 6)), int(rng.integers(2, 6)), int(rng.integers(2, 12)))
    node = plan_graphs.operator(rng, kind, "n", "x", shape)
    assert isinstance(node, DepthwiseConv2d)
    node = node.place([plan_graphs.image("x", shape)], {}, 1)
    for core in CORES:
        (overlap,) = node.overlaps(core)
        kernel = {"dsp": "dsp", "mve": "mve"}.get(node._variant(core), "any")
        if overlap is not None and overlap.exact:
            kernel = "3x3"
        check(node, shape, core, list(depthwise_accesses(node, shape, kernel)))


@pytest.mark.parametrize("kind", ["relu", "max", "resize", "rows", "strided", "mean"])
def test_other_operators_ask_for_what_their_loops_need(kind: str) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        shape = (int(rng.integers(3, 7)), int(rng.integers(2, 6)), int(rng.integers(1, 6)))
        node = plan_graphs.operator(rng, kind, "n", "x", shape)
        if kind == "mean":
            axes = [(0,), (0, 1), (1,), (1, 2), (2,)][seed % 5]
            node = Mean(name="n", inputs=("x",), axes=axes, **plan_graphs.CODE)
        assert node is not None
        node = node.place([plan_graphs.image("x", shape)], {}, 1)
        check(node, shape, ANY, list(other_accesses(node, shape)))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_the_plan_keeps_what_is_still_to_be_read(seed: int) -> None:
    """Every byte has an owner; an operator reads what is its inputs' own."""
    graph = plan_graphs.network(seed)
    for core in CORES:
        places = plan(graph, core)
        owner: dict[int, tuple[str, int]] = {}

        def own(name: str, places: Plan = places) -> Iterator[tuple[int, tuple[str, int]]]:
            slot = places.slots[name]
            return ((slot.offset + i, (name, i)) for i in range(slot.tensor.nbytes))

        same = Same(graph)
        assert all(slot.offset + slot.size <= places.size for slot in places.slots.values())
        for tensor in graph.inputs:
            owner.update(own(tensor.name))
        for node in graph.order:
            written = node.outs[0].name
            to = places.slots[written]
            moved = [s for s in node.shares() if not places.is_shared(s)]
            ranges = (
                [(to.offset, to.offset + to.tensor.nbytes)]
                if not node.shares()
                else [
                    (to.offset + s.at, to.offset + s.at + graph.tensors[s.part].nbytes)
                    for s in moved
                ]
            )
            for name, overlap in zip(node.inputs, node.overlaps(core), strict=True):
                source = places.slots[name]
                for byte, (_, i) in own(name):
                    assert same.of(*owner[byte]) == same.of(name, i), (node.name, name, i)
                distance = source.offset - to.offset
                assert (
                    all(
                        source.offset + source.tensor.nbytes <= low or high <= source.offset
                        for low, high in ranges
                    )
                    or (overlap and distance == overlap.lead)
                    or (overlap and not overlap.exact and distance > overlap.lead)
                ), (node.name, name)
            if node.name in places.scratch:
                block = places.scratch[node.name]
                for name in {*node.inputs, written}:
                    slot = places.slots[name]
                    assert (
                        block.offset + block.size <= slot.offset
                        or slot.offset + slot.tensor.nbytes <= block.offset
                    )
                owner.update((block.offset + i, (f"{node.name}/", i)) for i in range(block.size))
            owner.update(own(written))
        for name in graph.outputs:
            for byte, (_, i) in own(name):
                assert same.of(*owner[byte]) == same.of(name, i)
        assert places.bound <= places.size


def test_what_a_kernel_reads_past_a_tensor_is_in_the_arena() -> None:
    """A fully connected layer reads pairs of words of what ends its input's place in half a one."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-9, 9, (20, 4)).astype(np.int8)
    fields = plan_graphs.weight_fields(rng, 20, 4)
    nodes: list[Operator] = [
        Slice(name="end", inputs=("x",), begin=(12,), size=(4,), stride=(1,), **plan_graphs.CODE),
        FullyConnected(name="full", inputs=("end",), weight=weight, **fields),
    ]
    graph = Graph("net", 1, [plan_graphs.image("x", (16,))], nodes, ["full"])
    for core in CORES:
        places = plan(graph, core)
        assert places.slots["end"].offset % ALIGN == WORD
        assert places.slots["end"].offset + ALIGN <= places.size


class Same:
    """Bytes of one tensor that hold the same as those of another."""

    def __init__(self, graph: Graph) -> None:
        self.origin: dict[tuple[str, int], tuple[str, int]] = {}
        for node in graph.order:
            for share in node.shares():
                part = graph.tensors[share.part].nbytes
                new = node.name
                for i in range(part):
                    inner, outer = (share.part, i), (share.whole, share.at + i)
                    a, b = (inner, outer) if share.part == new else (outer, inner)
                    self.origin[a] = b

    def of(self, name: str, at: int) -> tuple[str, int]:
        found = (name, at)
        while found in self.origin:
            found = self.origin[found]
        return found


@pytest.mark.parametrize("target", ["native-gcc-sanitized", "rv32-gcc-qemu", "m4-gcc-qemu"])
@pytest.mark.parametrize("seed", range(4))
def test_random_networks_equal_golden_in_every_layer(
    target: str, seed: int, tmp_path: Path
) -> None:
    if seed > 1 and target != "native-gcc-sanitized":
        seed += 10
    check_graph(target, plan_graphs.network(100 + seed), 3, tmp_path)
