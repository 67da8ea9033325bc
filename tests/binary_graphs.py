"""Graphs of layers on signs: every shape, padding and border that is allowed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from int8_graphs import scale_fields
from spikelet.graph import Graph, Operator, Tensor
from spikelet.graph.ops.binary_conv2d import BinaryConv2d
from spikelet.graph.ops.binary_max_pool2d import BinaryMaxPool2d
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.ops.threshold import Threshold

# in shape, outputs, kernel, stride, dilation, padding (top, left, bottom, right)
LAYERS: list[tuple[Any, ...]] = [
    ((5, 6, 32), 32, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    ((7, 5, 64), 64, (3, 3), (2, 1), (1, 1), (0, 1, 2, 0)),
    ((4, 4, 32), 96, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((9, 7, 32), 32, (3, 2), (1, 2), (2, 3), (2, 3, 1, 2)),
    ((4, 3, 32), 13, (4, 3), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((1, 1, 45), 33, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((1024,), 64, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((33,), 7, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((1,), 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((2, 2, 32), 5, (5, 5), (4, 4), (1, 1), (3, 3, 3, 3)),
]


def binary_layers(name: str = "binary") -> Graph:
    """Independent layers, one an input: bits out, and codes."""
    rng = np.random.default_rng(11)
    inputs: list[Tensor] = []
    nodes: list[Operator] = []
    for case, (layer, outside, codes) in enumerate(
        itertools.product(LAYERS, (-1, 0, 1), (False, True))
    ):
        shape, outputs, kernel, stride, dilation, padding = layer
        if not any(padding) and outside:
            continue
        if not codes and outputs % 32 and padding == (3, 3, 3, 3):
            continue  # more than one pixel of bits
        x = Tensor(f"x{case}", "bit", shape, kind="input")
        weight = -rng.integers(0, 2, (outputs, *kernel, shape[-1])).astype(np.int8)
        n = weight[0].size
        fields = scale_fields(rng, outputs, n, case // 2, far=case % 8 == 3)
        fields["bias"] = rng.integers(-n, n + 1, outputs).astype(np.int32)
        if not codes:
            zero = np.zeros(outputs, np.int32)
            threshold = rng.integers(-n - 2, n + 3, outputs).astype(np.int32)
            fields |= {"multiplier": zero, "shift": zero, "threshold": threshold}
        inputs.append(x)
        nodes.append(
            BinaryConv2d(
                name=f"binary{case}", inputs=(x.name,), weight=weight, stride=stride,
                dilation=dilation, padding=padding, outside=outside, **fields,
            )
        )  # fmt: skip
    for case, shape in enumerate([(1,), (32,), (4, 33), (3, 5, 16)]):
        x = Tensor(f"v{case}", "i8", shape, kind="input")
        threshold = rng.integers(-128, 129, shape[-1]).astype(np.int16)
        threshold[:1] = (128, -128, 127, 0)[case]
        inputs.append(x)
        nodes.append(Threshold(name=f"sign{case}", inputs=(x.name,), threshold=threshold))
    return Graph(name, 1, inputs, nodes, [nodes[-1].name])


# in shape, window, stride, padding (top, left, bottom, right)
POOLS: list[tuple[Any, ...]] = [
    ((4, 6, 32), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((5, 4, 64), (3, 2), (2, 1), (2, 0, 1, 1)),
    ((1, 1, 96), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((3, 3, 32), (5, 7), (3, 2), (4, 3, 2, 5)),
]


def pools_of_bits() -> Graph:
    """Independent pools, one an input; what one writes in another shape."""
    rng = np.random.default_rng(12)
    inputs, nodes = [], list[Operator]()
    for case, (shape, window, stride, padding) in enumerate(POOLS):
        x = Tensor(f"x{case}", "bit", shape, kind="input")
        inverted = rng.integers(0, 2, shape[-1]).astype(np.uint8) * np.uint8(case % 2)
        inputs.append(x)
        nodes.append(
            BinaryMaxPool2d(
                name=f"pool{case}", inputs=(x.name,), window=window, stride=stride,
                padding=padding, inverted=inverted,
            )
        )  # fmt: skip
    nodes.append(Reshape(name="flat", inputs=("pool1",), shape=(3 * 4 * 64,)))
    return Graph("pools_of_bits", 1, inputs, nodes, [node.name for node in nodes])
