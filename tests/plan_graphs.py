"""Random int8 networks, with tensors beside theirs that nothing may touch."""

from __future__ import annotations

from typing import Any

import numpy as np

from int8_graphs import codes, scale_fields
from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.int8 import CODES
from spikelet.graph.ops.add import Add
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.average_pool2d import AveragePool2d
from spikelet.graph.ops.concatenate import Concatenate
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.max_pool2d import MaxPool2d
from spikelet.graph.ops.mean import Mean
from spikelet.graph.ops.mul import Mul
from spikelet.graph.ops.pad import Pad
from spikelet.graph.ops.relu import Relu
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.ops.resize_nearest import ResizeNearest
from spikelet.graph.ops.slice import Slice
from spikelet.graph.ops.softmax import Softmax
from spikelet.graph.ops.transpose import Transpose

SCALE = 0.5
CODE: dict[str, Any] = {"output_scale": SCALE, "output_zero_point": 0}
Shape = tuple[int, int, int]


def image(name: str, shape: tuple[int, ...]) -> Tensor:
    return Tensor(name, "i8", shape, kind="input", scale=SCALE)


def weight_fields(rng: np.random.Generator, channels: int, taps: int) -> dict[str, Any]:
    return {**scale_fields(rng, channels, taps, 0), **CODE, "activation": (-128, 127)}


def conv(
    rng: np.random.Generator,
    name: str,
    source: str,
    shape: Shape,
    outputs: int,
    kernel: tuple[int, int],
    **how: Any,
) -> Conv2d:
    weight = codes(rng, (outputs, *kernel, shape[2]), 0)
    fields = weight_fields(rng, outputs, weight[0].size)
    return Conv2d(name=name, inputs=(source,), weight=weight, **fields, **how)


def depthwise(
    rng: np.random.Generator,
    name: str,
    source: str,
    shape: Shape,
    kernel: tuple[int, int],
    times: int = 1,
    **how: Any,
) -> DepthwiseConv2d:
    weight = codes(rng, (*kernel, shape[2] * times), 0)
    fields = weight_fields(rng, weight.shape[2], kernel[0] * kernel[1])
    return DepthwiseConv2d(
        name=name, inputs=(source,), weight=weight, depth_multiplier=times, **fields, **how
    )


def table(rng: np.random.Generator) -> Array:
    return rng.permutation(CODES).astype(np.int8)


def operator(
    rng: np.random.Generator, kind: str, name: str, source: str, shape: Shape
) -> Operator | None:
    """One layer on an image, None where it does not fit."""
    height, width, channels = shape
    margin = {"padding": (1, 1, 1, 1)}
    if kind == "pointwise":
        return conv(rng, name, source, shape, int(rng.integers(1, channels + 6)), (1, 1))
    if kind == "conv":
        stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        outputs = int(rng.integers(1, channels + 6))
        return conv(rng, name, source, shape, outputs, (3, 3), stride=stride, **margin)
    if kind == "wide":
        return conv(rng, name, source, shape, 4, (3, 1), dilation=(2, 1), padding=(2, 0, 2, 0))
    if kind == "depthwise":
        stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        return depthwise(rng, name, source, shape, (3, 3), stride=stride, **margin)
    if kind == "more":
        return depthwise(rng, name, source, shape, (2, 3), 2, padding=(0, 1, 1, 1))
    if kind == "relu":
        return Relu(name=name, inputs=(source,), table=table(rng), **CODE)
    if kind in ("max", "average") and min(height, width) > 1:
        pool = MaxPool2d if kind == "max" else AveragePool2d
        return pool(name=name, inputs=(source,), window=(2, 2), stride=(1, 2), **CODE)
    if kind == "pad" and height < 12:
        return Pad(name=name, inputs=(source,), before=(1, 0, 0), after=(0, 1, 0), value=3, **CODE)
    if kind == "rows" and height > 2:
        rows = int(rng.integers(1, height - 1))
        begin, size = (int(rng.integers(0, height - rows)), 0, 0), (rows, width, channels)
        return Slice(name=name, inputs=(source,), begin=begin, size=size, stride=(1, 1, 1), **CODE)
    if kind == "strided" and height > 2:
        begin, size = (0, 0, 0), (-(-height // 2), width, channels)
        return Slice(name=name, inputs=(source,), begin=begin, size=size, stride=(2, 1, 1), **CODE)
    if kind == "turn":
        return Transpose(name=name, inputs=(source,), order=(1, 0, 2), **CODE)
    if kind == "resize" and height * width < 80:
        rows = np.arange(height + 2).astype(np.uint16) * height // (height + 2)
        columns = np.arange(width - 1 or 1).astype(np.uint16)
        return ResizeNearest(
            name=name, inputs=(source,), rows=rows.astype(np.uint16), columns=columns, **CODE
        )
    if kind == "flat":
        return Reshape(name=name, inputs=(source,), shape=(width, height, channels))
    if kind == "softmax":
        return Softmax(name=name, inputs=(source,))
    return None


KINDS = (
    "pointwise", "pointwise", "conv", "conv", "depthwise", "depthwise", "relu", "wide", "more",
    "max", "average", "pad", "rows", "strided", "turn", "resize", "flat", "add", "add", "mul",
    "join", "join",
)  # fmt: skip


def network(seed: int, layers: int = 12, name: str = "net") -> Graph:
    """A chain with branches: later layers read earlier ones again, add them, join them.

    Two inputs that only an argmax at the end reads lie between the others: zones that must stay.
    """
    rng = np.random.default_rng(seed)
    start: Shape = (int(rng.integers(4, 9)), int(rng.integers(3, 7)), int(rng.integers(2, 10)))
    shapes: dict[str, Shape] = {"x": start}
    nodes: list[Operator] = []
    while len(nodes) < layers:
        kind, own = str(rng.choice(KINDS)), f"n{len(nodes)}"
        source = list(shapes)[-1] if rng.random() < 0.75 else str(rng.choice(list(shapes)))
        shape = shapes[source]
        like = [n for n, s in shapes.items() if s == shape]
        other = str(rng.choice(like))
        node: Operator | None
        if kind in ("add", "mul"):
            node = (Add if kind == "add" else Mul)(name=own, inputs=(source, other), **CODE)
        elif kind == "join":
            fit = [n for n, s in shapes.items() if s[1:] == shape[1:]]
            node = Concatenate(name=own, inputs=(source, str(rng.choice(fit))), axis=0, **CODE)
        else:
            node = operator(rng, kind, own, source, shape)
        if node is None:
            continue
        graph = Graph(name, 1, [image("x", start)], [*nodes, node], [own])
        found = graph.tensors[own].shape
        if 6 <= np.prod(found) <= 4000:
            nodes.append(node)
            shapes[own] = (found[0], found[1], found[2])
    zones = [image("zone1", (int(rng.integers(5, 60)),)), image("zone2", (40,))]
    last = nodes[-1].name
    nodes += [
        Mean(name="mean", inputs=(last,), axes=(0, 1), **CODE),
        Argmax(name="best1", inputs=("zone1",)),
        Argmax(name="best2", inputs=("zone2",)),
    ]
    inputs = [zones[0], image("x", start), zones[1]]
    kept = [last, str(rng.choice(list(shapes)[1:])), "mean", "best1", "best2"]
    return Graph(name, 1, inputs, nodes, list(dict.fromkeys(kept)))


def singles(kinds: tuple[str, ...], seeds: int, name: str = "singles", first: int = 0) -> Graph:
    """Layers that do not know of each other, each on an input of its own."""
    inputs: list[Tensor] = []
    nodes: list[Operator] = []
    for seed in range(first, first + seeds):
        rng = np.random.default_rng(seed)
        for kind in kinds:
            shape = (int(rng.integers(3, 9)), int(rng.integers(2, 8)), int(rng.integers(1, 21)))
            source, own = f"x_{kind}{seed}", f"{kind}{seed}"
            node = operator(rng, kind, own, source, shape)
            if node is not None:
                inputs.append(image(source, shape))
                nodes.append(node)
    return Graph(name, 1, inputs, nodes, [nodes[-1].name])


def two_convolutions(size: int = 16, name: str = "two") -> Graph:
    """A wide tensor between two convolutions, the second one with a stride."""
    rng = np.random.default_rng(2)
    shape, wide = (size, size, 2), (size, size, 16)
    nodes: list[Operator] = [
        conv(rng, "first", "x", shape, 16, (3, 3), padding=(1, 1, 1, 1)),
        conv(rng, "second", "first", wide, 4, (3, 3), stride=(2, 2), padding=(0, 0, 1, 1)),
    ]
    return Graph(name, 1, [image("x", shape)], nodes, ["second"])
