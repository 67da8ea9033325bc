"""Random networks: folding keeps them, and every layer of the graph is the nearest code or so."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from float_networks import Builder, images
from graphs import random_inputs
from layerwise import differences
from spikelet.graph import Graph
from spikelet.graph.simplify import simplify
from spikelet.quantise import Network, Options, fold, quantise, run
from spikelet.quantise.meaning import shapes

STEPS = (
    "conv", "depthwise", "norm", "function", "scalar", "constant", "residual", "gate", "pool",
    "mean", "reshape", "transpose", "concat", "slice", "pad", "gemm", "swish", "prelu",
)  # fmt: skip
FUNCTIONS = ("Relu", "Sigmoid", "HardSwish", "Tanh", "LeakyRelu", "Abs")
Shape = tuple[int, ...]


def step(b: Builder, known: list[str], draw: st.DrawFn) -> str | None:
    """Add one node that fits one of the last tensors; None where nothing does."""
    x = draw(st.sampled_from(known[-3:]))
    b.network.outputs = []
    shape = shapes(b.network)[x]
    op = draw(st.sampled_from(STEPS))
    if op in ("residual", "concat"):
        return _join(b, op, x, known, draw)
    for kinds in (_add_weighted, _pointwise, _spatial, _add_moving):
        made = kinds(b, op, x, shape, draw)
        if made is not None:
            return made
    return None


def _join(b: Builder, op: str, x: str, known: list[str], draw: st.DrawFn) -> str:
    """A node of `x` and of a tensor of its shape, which may be itself."""
    of = shapes(b.network)
    other = draw(st.sampled_from([name for name in known if of[name] == of[x]]))
    if op == "residual":
        return b.node(draw(st.sampled_from(["Add", "Sub", "Mul"])), x, other)
    return b.node("Concat", x, other, axis=draw(st.integers(1, len(of[x]) - 1)))


def _add_weighted(b: Builder, op: str, x: str, shape: Shape, draw: st.DrawFn) -> str | None:
    channels, space = (shape[1], shape[2:]) if len(shape) > 1 else (1, ())
    if op in ("conv", "depthwise") and len(space) in (1, 2):
        kernel = tuple(draw(st.integers(1, min(3, d))) for d in space)
        pads = [draw(st.integers(0, 1)) for _ in range(2 * len(space))]
        group = channels if op == "depthwise" else draw(st.sampled_from([1, math.gcd(channels, 2)]))
        outputs = group * draw(st.integers(1, 3))
        bias = draw(st.booleans())
        return b.conv(x, channels, outputs, kernel, bias=bias, pads=pads, group=group)
    if op == "norm" and len(shape) > 1:
        return b.norm(x, channels)
    if op == "gemm" and 1 < len(shape) < 5:
        return b.gemm(x, shape[-1], draw(st.integers(1, 5)))
    return None


def _pointwise(b: Builder, op: str, x: str, shape: Shape, draw: st.DrawFn) -> str | None:
    channels, space = (shape[1], shape[2:]) if len(shape) > 1 else (1, ())
    of_channels = (channels, *(1,) * len(space))
    if op == "function":
        return b.node(draw(st.sampled_from(FUNCTIONS)), x)
    if op == "swish":
        return b.node("Mul", x, b.node("Sigmoid", x))
    if op == "prelu" and len(space) in (1, 2):
        slope = b.rng.uniform(-0.5, 0.5, of_channels)
        return b.node("PRelu", x, b.constant(f"p{len(b.network.nodes)}", slope))
    if op in ("scalar", "constant"):
        values = b.rng.uniform(0.3, 2, () if op == "scalar" else of_channels)
        name = b.constant(f"k{len(b.network.nodes)}", values)
        operands = [x, name] if draw(st.booleans()) else [name, x]
        return b.node(draw(st.sampled_from(["Add", "Sub", "Mul"])), *operands)
    return None


def _spatial(b: Builder, op: str, x: str, shape: Shape, draw: st.DrawFn) -> str | None:
    space = shape[2:]
    if len(space) not in (1, 2):
        return None
    if op == "gate":
        return b.node("Mul", x, b.node("Sigmoid", b.node("GlobalAveragePool", x)))
    if op == "pool" and min(space) > 1:
        kind = draw(st.sampled_from(["MaxPool", "AveragePool"]))
        strides = [draw(st.integers(1, 2))] * len(space)
        return b.node(kind, x, kernel_shape=[2] * len(space), strides=strides)
    if op == "mean":
        inner = draw(st.booleans())
        axes = list(range(2, len(shape))) if inner else [draw(st.integers(1, len(shape) - 1))]
        return b.node("ReduceMean", x, axes=axes, keepdims=draw(st.integers(0, 1)))
    return None


def _add_moving(b: Builder, op: str, x: str, shape: Shape, draw: st.DrawFn) -> str | None:
    if op == "reshape" and len(shape) > 2:
        size = math.prod(shape)
        last = draw(st.sampled_from([d for d in range(1, 9) if size % d == 0]))
        forms = [[1, size], [1, last, size // last], [1, size // last, last, 1]]
        return b.node("Reshape", x, shape=draw(st.sampled_from(forms)))
    if op == "transpose" and len(shape) > 2:
        return b.node("Transpose", x, perm=[0, *draw(st.permutations(range(1, len(shape))))])
    if op == "slice" and len(shape) > 1:
        axis = draw(st.integers(1, len(shape) - 1))
        begin = draw(st.integers(0, shape[axis] - 1))
        return b.node("Slice", x, starts=[begin], ends=[shape[axis]], axes=[axis], steps=[1])
    if op == "pad" and len(shape) > 2:
        pads = [0, *(draw(st.integers(0, 1)) for _ in shape[1:])] * 2
        return b.node("Pad", x, pads=pads, value=draw(st.sampled_from([0.0, 0.5])))
    return None


@st.composite
def networks(draw: st.DrawFn) -> Network:
    shape = draw(st.sampled_from([(1, 6), (1, 4, 9), (1, 3, 5, 4), (1, 1, 6, 7)]))
    b = Builder(shape, draw(st.integers(0, 2**16)), faults=draw(st.booleans()))
    known = ["input"]
    for _ in range(draw(st.integers(1, 9))):
        made = step(b, known, draw)
        if made is not None:
            known.append(made)
    if len(known) == 1:
        known.append(b.node("Relu", "input"))
    last = known[-1]
    outputs = [b.node("Neg", last)]  # something is computed, whatever was moved before
    if draw(st.booleans()) and len(known) > 3:
        outputs.append(b.node("Abs", known[-2]))
    return b.finish(*outputs)


@given(network=networks())
@settings(max_examples=60, deadline=None)
def test_a_random_network(network: Network) -> None:
    feeds = images(network, 4)
    small = fold(network)
    real, found = run(network, feeds), run(small, feeds)
    for name in network.outputs:
        scale = float(np.abs(real[name]).max()) + 1
        np.testing.assert_allclose(found[name], real[name], atol=1e-4 * scale)
    assert fold(small).nodes == small.nodes
    quantised = quantise(network, feeds, Options(method="minmax", equalise=False, correct=False))
    # Constants of two-operand nodes have codes of their own: half a step more.
    assert max(differences(quantised, feeds).values()) <= 2
    same_with_less(quantised.graph)


def same_with_less(graph: Graph) -> None:
    """What is left out of a graph changes no code of what is left."""
    less = simplify(graph)
    inputs = random_inputs(graph, 3, np.random.default_rng(0))
    before, after = (g.run(inputs, trace=True).trace for g in (graph, less.graph))
    for name, rows in before.items():
        kept = less.kept.get(name, slice(None))
        np.testing.assert_array_equal(rows[..., kept], after[name], name)
