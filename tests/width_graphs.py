"""A network whose int8 weights serve several widths."""

from __future__ import annotations

from typing import Literal

import numpy as np

import graphs
from int8_graphs import scale_fields
from spikelet.graph import Array, Graph, Tensor
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.widths import EFFORT, at_widths, draft_first, upper_bits

Width = Literal[1, 2, 4, 8]
WIDTHS: tuple[Width, ...] = (8, 4, 2, 1)


def plain(width: Width = 8) -> Graph:
    """A convolution and a linear layer, of whose int8 weights the upper bits count."""
    rng = np.random.default_rng(4)
    x = Tensor("x", "i8", (6, 5, 3), kind="input", zero_point=-5)
    first = rng.integers(-128, 128, (8, 3, 3, 3)).astype(np.int8)
    second = rng.integers(-128, 128, (5, 8 * 30)).astype(np.int8)
    grid = {"bits": 8, "odd": True}
    padding = {"padding": (1, 1, 1, 1)}
    one = {**scale_fields(rng, 8, 4 * 27, 0), **grid, **padding}
    two = {**scale_fields(rng, 5, 16 * 240, 10), **grid}
    nodes = [
        Conv2d(name="conv", inputs=("x",), weight=first, **one),
        Reshape(name="flat", inputs=("conv",), shape=(240,)),
        FullyConnected(name="scores", inputs=("flat",), weight=second, **two),
    ]
    return upper_bits(Graph("net", 1, [x], nodes, ["scores"]), width)


def nested(widths: tuple[Width, ...] = WIDTHS) -> Graph:
    """The same at several widths."""
    return at_widths({width: plain(width) for width in widths}, "nested")


def speculative() -> Graph:
    """The same, whole only where 1 bit is not sure."""
    return draft_first(plain(1), plain(8), 30, "speculative")


def inputs_of(graph: Graph, samples: int) -> dict[str, Array]:
    made = graphs.random_inputs(graph, samples, np.random.default_rng(1))
    choices = np.array(next(t.choices for t in graph.inputs if t.name == EFFORT), np.uint8)
    return {**made, EFFORT: np.resize(choices, (samples, 1))}
