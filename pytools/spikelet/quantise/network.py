"""Float networks: what ONNX files and PyTorch modules become before they are quantised.

A network is a line of nodes in order of execution. Nodes have the meaning of the ONNX operator of
the same name at opset 21, with two differences: what ONNX passes as a constant input that shapes
the operator (axes, pads, shapes, limits) is an attribute here, and a node has one output, which is
its name. Weights have the outputs first: (O, I) of Gemm, (O, I, *kernel) of ConvTranspose. One
operator is not ONNX's: Lookup, a function of a code whose 256 values are given. Images are
(N, C, H, W), signals (N, C, L); N is 1 as it is deployed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.text import brief_repr


@dataclass(frozen=True)
class Code:
    """How a tensor is written in integers: `real = (code - zero_point) * scale`.

    Attributes:
        scale: float32, of shape () or, for weights, (channels,).
        zero_point: the code of real 0, -128 to 127; 0 for weights.
        axis: of the channels, where there are several scales.
        bits: of a code; less than 8 for weights only.
        odd: weights of a grid without a zero (mid-rise): `real = (2 * code + 1) * scale`.
        even: it comes from a file whose halves are rounded to even; of weights: so are the sums of
            their layer, see `quantise.even`.
    """

    scale: Array
    zero_point: int = 0
    axis: int = 0
    bits: int = 8
    odd: bool = False
    even: bool = False

    @classmethod
    def of(cls, scale: float, zero_point: int = 0) -> Code:
        """A code with one scale."""
        return cls(np.asarray(scale, np.float32), int(zero_point))


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        op: its name in ONNX, such as `Conv`.
        name: of the tensor that it writes, unique in the network.
        inputs: tensors that it reads; "" where an optional one is missing.
        attributes: by their ONNX names; plain Python values.
        source: its name in the file or module that it comes from, for errors.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    source: str = ""

    def replace(self, **changes: Any) -> Node:
        """A copy with other fields."""
        return dataclasses.replace(self, **changes)


@dataclass
class Network:
    """A float network.

    Attributes:
        name: of the graph to be.
        inputs: shape by name, the batch axis of 1 included.
        outputs: names of tensors.
        nodes: in order of execution.
        constants: float32 (or integer) arrays by name.
        codes: of tensors whose int8 code is given, by a file or by training; by name.
    """

    name: str
    inputs: dict[str, tuple[int, ...]]
    outputs: list[str]
    nodes: list[Node]
    constants: dict[str, Array] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict)

    __repr__ = brief_repr

    def copy(self) -> Network:
        """A copy whose lists and dictionaries are its own."""
        return Network(
            self.name,
            dict(self.inputs),
            list(self.outputs),
            list(self.nodes),
            dict(self.constants),
            dict(self.codes),
        )

    def readers(self, name: str) -> list[Node]:
        """The nodes that read a tensor."""
        return [node for node in self.nodes if name in node.inputs]

    def writer(self, name: str) -> Node | None:
        """The node that writes a tensor; None for inputs and constants."""
        return next((node for node in self.nodes if node.name == name), None)


def constant(network: Network, name: str, values: Array | Iterable[float]) -> str:
    """Add a constant under `name`, or under a name like it that is free; the name."""
    taken = {*network.constants, *network.inputs, *(node.name for node in network.nodes)}
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    network.constants[free] = np.asarray(values)
    return free
