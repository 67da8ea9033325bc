"""Layers of an int8 graph with fewer bits a weight: the graph stays, a layer's constants change.

All is in units of the layer's own step: weights are rounded to a coarser grid, the step goes into
the factor of the sums. What rounding moves the mean of a channel by is taken off its bias.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from spikelet.graph import Array, Graph
from spikelet.graph.int8 import round_half_away
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.quantised import Quantised
from spikelet.graph.requantise import quantize_multiplier
from spikelet.quantise.calibrate import integers, reals, weight_code
from spikelet.quantise.network import Code

MEAN_SAMPLES = 64  # that the means of inputs are taken of
QUIET = 0.25  # of an output code: what the weights of a channel without any may move it by


def narrowable(graph: Graph) -> list[Quantised]:
    """The layers whose weights can have fewer bits, in order of execution."""
    return [
        node
        for node in graph.order
        if isinstance(node, Conv2d | FullyConnected) and not node.packed and not node.even
    ]


def input_means(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Of each layer that can be narrowed: (I,) the mean of its input's channels, centred."""
    few = {name: values[:MEAN_SAMPLES] for name, values in inputs.items()}
    known: dict[str, Array] = {**few, **graph.run(few, trace=True).trace}
    return {
        node.name: known[node.inputs[0]].reshape(-1, node.weight.shape[-1]).mean(axis=0)
        - node.ins[0].zero_point
        for node in narrowable(graph)
    }


def narrow(graph: Graph, bits: Mapping[str, int], means: Mapping[str, Array]) -> Graph:
    """The graph with so many bits a weight in the layers that are named.

    Args:
        graph: with int8 weights.
        bits: 8, 4, 2 or 1, by layer.
        means: of `input_means`.
    """
    nodes = [
        narrowed(node, bits[node.name], means[node.name])
        if isinstance(node, Quantised) and bits.get(node.name, 8) < 8
        else node
        for node in graph.nodes
    ]
    return dataclasses.replace(graph, nodes=nodes)


def narrow_code(node: Quantised, bits: int) -> tuple[Array, Code]:
    """Weights (O, n) of a layer, float32 in its own steps, and their code without a zero."""
    rows = node.weight.reshape(len(node.weight), -1).astype(np.float32)
    code = weight_code(rows, bits=bits, odd=True)
    factor = np.ldexp(node.multiplier.astype(np.float64), node.shift.astype(np.int64) - 31)
    silent = ~rows.any(axis=1)  # such a channel must stay one without weights, nearly
    most = QUIET / np.maximum(factor * 255 * rows.shape[1] * (1 << bits), 2.0**-30)
    scale = np.where(silent, np.minimum(most, 1), code.scale)
    return rows, dataclasses.replace(code, scale=scale.astype(np.float32))


def narrowed(node: Quantised, bits: int, mean: Array) -> Quantised:
    """A layer with weights of fewer bits, on the grid without a zero.

    Args:
        node: of int8 weights (O, ..., I).
        bits: 4, 2 or 1.
        mean: (I,) of its input's channels, less the zero point.
    """
    rows, code = narrow_code(node, bits)
    codes = integers(rows, code)
    moved = (reals(codes, code) - rows).reshape(len(rows), -1, len(mean)).sum(axis=1) @ mean
    scale = code.scale.astype(np.float64)
    bias = round_half_away((node.bias - moved) / scale)
    factors = np.ldexp(node.multiplier.astype(np.float64), node.shift.astype(np.int64) - 31)
    found = np.array([quantize_multiplier(float(f)) for f in factors * scale], np.int32)
    fields: dict[str, Any] = {"bits": bits, "odd": True}
    if isinstance(node, FullyConnected):
        fields["fraction"] = None
    return dataclasses.replace(
        node,
        weight=codes.reshape(node.weight.shape),
        bias=bias.astype(np.int32),
        multiplier=found[:, 0],
        shift=found[:, 1],
        **fields,
    )
