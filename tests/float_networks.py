"""Float networks for the tests of quantisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from faults import spoil
from spikelet.graph import Array
from spikelet.quantise import Network, Node


class Builder:
    """A network node by node, with random constants."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0, faults: bool = False) -> None:
        self.faults = np.random.default_rng(seed) if faults else None  # channels that are spoilt
        self.rng = np.random.default_rng(seed)
        self.network = Network("tested", {"input": shape}, [], [])

    def constant(self, name: str, values: Array) -> str:
        self.network.constants[name] = np.asarray(values, np.float32)
        return name

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.network.nodes)}"
        self.network.nodes.append(Node(op, name, inputs, attributes, f"/{name}/{op}"))
        return name

    def conv(
        self,
        x: str,
        channels: int,
        outputs: int,
        kernel: tuple[int, ...],
        bias: bool = True,
        **more: Any,
    ) -> str:
        depth = channels // more.get("group", 1)
        number = len(self.network.nodes)
        scale = np.sqrt(2 / (depth * np.prod(kernel)))
        weight = self.rng.normal(0, scale, (outputs, depth, *kernel))
        offset = self.rng.normal(0, 0.1, outputs) if bias else np.zeros(outputs)
        if self.faults is not None:
            spoil(self.faults, weight, offset)
        inputs = [x, self.constant(f"w{number}", weight)]
        if bias:
            inputs.append(self.constant(f"b{number}", offset))
        return self.node("Conv", *inputs, **more)

    def gemm(self, x: str, features: int, outputs: int) -> str:
        number = len(self.network.nodes)
        weight = self.rng.normal(0, features**-0.5, (outputs, features))
        bias = self.rng.normal(0, 0.1, outputs)
        if self.faults is not None:
            spoil(self.faults, weight, bias)
        return self.node(
            "Gemm", x, self.constant(f"w{number}", weight), self.constant(f"b{number}", bias)
        )

    def norm(self, x: str, channels: int) -> str:
        number = len(self.network.nodes)
        values = (
            self.rng.uniform(0.5, 1.5, channels),
            self.rng.normal(0, 0.3, channels),
            self.rng.normal(0, 0.3, channels),
            self.rng.uniform(0.5, 2, channels),
        )
        names = [self.constant(f"n{number}_{i}", v) for i, v in enumerate(values)]
        return self.node("BatchNormalization", x, *names, epsilon=1e-5)

    def finish(self, *outputs: str) -> Network:
        self.network.outputs = list(outputs)
        return self.network


def mobile(
    size: int = 16, width: int = 16, blocks: int = 3, seed: int = 0, head: bool = True
) -> Network:
    """A MobileNet in small: a Conv, depthwise-separable blocks with batch norm, a classifier."""
    b = Builder((1, 3, size, size), seed)
    x = b.conv("input", 3, width, (3, 3), bias=False, pads=[1, 1, 1, 1], strides=[2, 2])
    x = b.node("Relu", b.norm(x, width))
    for _ in range(blocks):
        x = b.conv(x, width, width, (3, 3), bias=False, pads=[1, 1, 1, 1], group=width)
        x = b.node("Relu", b.norm(x, width))
        x = b.conv(x, width, width, (1, 1), bias=False)
        x = b.node("Relu", b.norm(x, width))
    x = b.node("GlobalAveragePool", x)
    x = b.node("Reshape", x, shape=[1, width])
    x = b.gemm(x, width, 10)
    return b.finish(b.node("Softmax", x, axis=1) if head else x)


def images(network: Network, samples: int, seed: int = 1) -> dict[str, Array]:
    """Smooth random inputs, about -2 to 2."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in network.inputs.items():
        x = rng.normal(0, 1, (samples, *shape[1:]))
        for axis in range(2, x.ndim):
            x = x + np.roll(x, 1, axis)
        found[name] = (x / 2).astype(np.float32)
    return found


def unequal(network: Network, seed: int) -> Network:
    """The same function with channels over three decades, undone by the next layer's weights."""
    rng = np.random.default_rng(seed)
    for node, relu, conv in zip(network.nodes, network.nodes[1:], network.nodes[2:], strict=False):
        if (node.op, relu.op, conv.op) != ("BatchNormalization", "Relu", "Conv"):
            continue
        scale, bias, weight = node.inputs[1], node.inputs[2], conv.inputs[1]
        factor = 10 ** rng.uniform(-1.5, 1.5, len(network.constants[scale])).astype(np.float32)
        network.constants[scale] = network.constants[scale] * factor
        network.constants[bias] = network.constants[bias] * factor
        depthwise = network.constants[weight].shape[1] == 1
        shape = (-1, 1, 1, 1) if depthwise else (1, -1, 1, 1)
        network.constants[weight] = network.constants[weight] / factor.reshape(shape)
    return network
