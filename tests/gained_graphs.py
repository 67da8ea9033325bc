"""Layers with gains and biases of an adapter, for each kernel that takes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from plan_graphs import image
from spikelet.graph import Array, Graph, Learned, Operator, Tensor
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.quantised import Quantised
from spikelet.graph.requantise import quantize_multiplier
from spikelet.graph.requantise_once import split_factor

SHAPE = (6, 5, 4)
# Weights of a convolution, and its fields; the second shape's shifts leave the fast rounding.
CONVOLUTIONS: list[tuple[tuple[int, ...], float, dict[str, Any]]] = [
    ((6, 3, 3, 4), 0.004, {"padding": (1, 1, 1, 1)}),
    ((5, 1, 1, 4), 0.3, {}),
    ((9, 2, 3, 4), 2e-6, {"stride": (2, 1)}),
    ((8, 3, 3, 4), 0.02, {"bits": 4}),
    ((8, 3, 3, 4), 0.02, {"bits": 2, "odd": True}),
    ((7, 3, 3, 4), 0.02, {"bits": 1, "odd": True}),
    ((4, 3, 3, 4), 4.0, {"bits": 2}),
]
LINEAR: list[tuple[int, float, dict[str, Any]]] = [
    (10, 0.003, {}), (3, 0.9, {}), (6, 0.003, {"bits": 4}), (8, 0.02, {"bits": 1, "odd": True}),
]  # fmt: skip


def gained_layers() -> Graph:
    """Layers side by side, with large windows and factors of each kind, each with drawn gains."""
    graph = layers(rng := np.random.default_rng(3))
    return with_gains(graph, rng)


def halved_layers() -> Graph:
    """The same layers, which read `half`: the first of three stays whole."""
    graph = layers(np.random.default_rng(5))
    nodes, learned = [], []
    for number, node in enumerate(graph.nodes):
        name, half = f"{node.name}_delta.half", np.array([number % 3 > 0], np.uint8)
        learned.append(Learned.of(name, "u8", (1,), half))
        nodes.append(replace(node, inputs=(*node.inputs, name)))
    return Graph("halved", graph.steps, graph.inputs, nodes, graph.outputs, learned)


def layers(rng: np.random.Generator) -> Graph:
    """What both have in common, without values."""
    x, wide = image("x", SHAPE), image("wide", (3, 3, 136))
    nodes: list[Operator] = []
    for shape, factor, fields in CONVOLUTIONS:
        nodes.append(layer(Conv2d, f"n{len(nodes)}", x, shape, factor, rng, **fields))
    nodes.append(layer(Conv2d, "streamed", wide, (8, 3, 3, 136), 3e-4, rng))
    for outputs, factor, fields in LINEAR:
        for once in (False, True):
            shape = (outputs, x.size)
            name = f"n{len(nodes)}"
            nodes.append(layer(FullyConnected, name, x, shape, factor, rng, once=once, **fields))
    return Graph("gained", 1, [x, wide], nodes, [nodes[-1].name])


def layer(
    kind: type[Quantised], name: str, x: Tensor, shape: tuple[int, ...], factor: float,
    rng: np.random.Generator, once: bool = False, **fields: Any,
) -> Quantised:  # fmt: skip
    """One with drawn constants, of factors around one; once: it has fractions."""
    half = 1 << (fields.get("bits", 8) - 1)
    real = factor * rng.uniform(0.3, 3, shape[0])
    pairs = [quantize_multiplier(value) for value in real]
    if once:
        split = [split_factor(value) for value in real]
        pairs = [(multiplier, shift) for multiplier, _, shift in split]
        fields["fraction"] = np.array([fraction for _, fraction, _ in split], np.int32)
    return kind(
        name=name, inputs=(x.name,),
        weight=rng.integers(-half, half, shape).astype(np.int8),
        bias=rng.integers(-3000, 3000, shape[0]).astype(np.int32),
        multiplier=np.array([m for m, _ in pairs], np.int32),
        shift=np.array([s for _, s in pairs], np.int32),
        output_scale=0.1, output_zero_point=-7, activation=(-120, 110), **fields,
    )  # fmt: skip


def with_gains(graph: Graph, rng: np.random.Generator) -> Graph:
    """The same whose layers read gains and biases, which begin with drawn values."""
    nodes, learned = [], []
    for node in graph.nodes:
        assert isinstance(node, Quantised)
        values = {"gain": drawn(rng, len(node.bias)), "bias": drawn(rng, len(node.bias))}
        names = [f"{node.name}_delta.{part}" for part in values]
        learned += [
            Learned.of(name, "i8", held.shape, held)
            for name, held in zip(names, values.values(), strict=True)
        ]
        nodes.append(replace(node, inputs=(*node.inputs, *names)))
    return Graph(graph.name, graph.steps, graph.inputs, nodes, graph.outputs, learned)


def drawn(rng: np.random.Generator, channels: int) -> Array:
    """Codes, their ends among them."""
    values = rng.integers(-128, 128, channels).astype(np.int8)
    values[: min(3, channels)] = [-128, 127, -127][:channels]
    return rng.permutation(values)
