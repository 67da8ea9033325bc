"""Tensors of -1 and 1 become bits where layers of 1-bit weights read them, and these layers binary.

A layer whose output is a sign writes bits itself where it is binary, else a `Threshold` does it.
Bits pass pools and reshapes; a margin of -1 or 1 is what the layer behind it sees outside.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from spikelet.graph import Array, Operator, Tensor
from spikelet.graph.ops.binary_conv2d import WORD, BinaryConv2d
from spikelet.graph.ops.binary_max_pool2d import BinaryMaxPool2d
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.max_pool2d import MaxPool2d
from spikelet.graph.ops.mul import Mul
from spikelet.graph.ops.pad import Pad
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.ops.table import Table
from spikelet.graph.ops.threshold import Threshold
from spikelet.graph.quantised import Quantised

SIGNS = (-1, 1)
MOVING = MaxPool2d | Mul | Pad | Reshape  # what may pass signs on


def signs_as_bits(
    nodes: Sequence[Operator],
    tensors: Mapping[str, Tensor],
    outputs: Collection[str],
    fresh: Callable[[str, str], str],
) -> list[Operator]:
    """The same network with bits where they serve.

    Args:
        nodes: in order.
        tensors: that they read and write, by name.
        outputs: names of tensors that stay.
        fresh: a new name of a tensor, from one and what it is.
    """
    network = _Signs(nodes, tensors, outputs)
    bits: dict[str, str] = {}
    made: list[Operator] = []
    for node in nodes:
        source = bits.get(node.inputs[0], "")
        binary = bool(source) and network.takes(node)
        if binary and isinstance(node, Pad):
            bits[node.name] = source
            continue
        whole = network.binary(node, source) if binary else node
        taken = [network.takes(reader) for reader in network.readers(node.name)]
        if node.name not in network.signs or not any(taken):
            made.append(whole)
        elif binary and isinstance(node, MOVING):
            bits[node.name] = node.name
            made.append(whole)
        elif isinstance(whole, BinaryConv2d) and all(taken) and node.name not in outputs:
            bits[node.name] = node.name
            made.append(_thresholded(whole))
        else:
            bits[node.name] = fresh(node.name, "bits")
            threshold = network.threshold(node, bits[node.name])
            replaced = isinstance(node, Table) and all(taken) and node.name not in outputs
            made += [threshold] if replaced else [whole, threshold]
    return made


@dataclass
class _Signs:
    """What is asked of a network.

    Attributes:
        nodes: in order.
        tensors: by name.
        outputs: names.
        signs: by the name of each tensor that holds nothing but -1 and 1, who writes it.
    """

    nodes: Sequence[Operator]
    tensors: Mapping[str, Tensor]
    outputs: Collection[str]
    signs: dict[str, Operator] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.nodes:
            if self._writes_signs(node):
                self.signs[node.name] = node

    def _writes_signs(self, node: Operator) -> bool:
        if isinstance(node, Quantised) and node.steps is not None:
            plain = node.activation == SIGNS and node.output_zero_point == 0
            return plain and np.array_equal(node.steps[:, 0], node.steps[:, 1])
        if isinstance(node, Table):
            codes = node.table[np.arange(-128, 128)]
            rises = bool(np.all(codes[1:] >= codes[:-1]))
            return rises and node.output_zero_point == 0 and set(codes.tolist()) <= set(SIGNS)
        moved = node.inputs[0] in self.signs
        if isinstance(node, Pad):
            return moved and node.value in SIGNS and node.before[-1] == node.after[-1] == 0
        if isinstance(node, Mul):
            return moved and self._turned(node) is not None
        return moved and isinstance(node, MaxPool2d | Reshape)

    def _turned(self, node: Mul) -> Array | None:
        """(C,) 1 for channels that a product with -1 or 1 turns upside down; None for others."""
        channels = self.tensors[node.name].shape[-1]
        if node.constant is None or node.constant.size not in (1, channels):
            return None
        level = node.constant.reshape(-1).astype(np.int64) - node.constant_zero_point
        products = np.rint(level * np.float64(node.constant_scale) / node.output_scale)
        if node.output_zero_point or not np.all(np.abs(products) == 1):
            return None
        return np.broadcast_to(products < 0, (channels,)).astype(np.uint8)

    def readers(self, name: str) -> list[Operator]:
        """Who reads a tensor."""
        return [node for node in self.nodes if name in node.inputs]

    def takes(self, node: Operator) -> bool:
        """Whether a reader of signs may read bits: its pixels are whole words, its weights bits."""
        shape = self.tensors[node.inputs[0]].shape
        if isinstance(node, FullyConnected):
            return (node.bits, node.odd) == (1, True) and len(shape) == 1
        if isinstance(node, Conv2d):
            margins = isinstance(self.signs.get(node.inputs[0]), Pad) and any(node.padding)
            fits = shape[2] % WORD == 0 or shape[:2] == (1, 1)
            return (node.bits, node.odd) == (1, True) and fits and not margins
        if not isinstance(node, MOVING) or node.name not in self.signs or node.name in self.outputs:
            return False
        readers = self.readers(node.name)
        if isinstance(node, Pad) and not all(isinstance(reader, Conv2d) for reader in readers):
            return False
        fits = shape[-1] % WORD == 0 and (len(shape) == 3 or isinstance(node, Reshape))
        return fits and bool(readers) and all(map(self.takes, readers))

    def binary(self, node: Operator, source: str) -> Operator:
        """A node that reads bits instead."""
        if isinstance(node, Reshape):
            return replace(node, inputs=(source,))
        if isinstance(node, MaxPool2d):
            window = {name: getattr(node, name) for name in ("window", "stride", "padding")}
            inverted = np.zeros(self.tensors[node.name].shape[-1], np.uint8)
            return BinaryMaxPool2d(name=node.name, inputs=(source,), inverted=inverted, **window)
        if isinstance(node, Mul):
            turned = self._turned(node)
            if turned is None:
                raise node.error("its factors are no signs")
            return BinaryMaxPool2d(name=node.name, inputs=(source,), window=(1, 1), inverted=turned)
        if not isinstance(node, Conv2d | FullyConnected):
            raise node.error("it reads no bits")
        return self._layer(node, source)

    def _layer(self, node: Conv2d | FullyConnected, source: str) -> BinaryConv2d:
        weight: Array = node.weight
        if isinstance(node, FullyConnected):
            weight = weight.reshape(len(weight), 1, 1, -1)
        known = {field.name for field in fields(BinaryConv2d) if field.init}
        given: dict[str, Any] = {
            f.name: getattr(node, f.name) for f in fields(node) if f.init and f.name in known
        }
        given |= {"inputs": (source,), "weight": weight, "outside": 0}
        pad = self.signs.get(node.inputs[0])
        if isinstance(pad, Pad):
            given |= {"padding": (*pad.before[:2], *pad.after[:2]), "outside": pad.value}
        return BinaryConv2d(**given)

    def threshold(self, node: Operator, name: str) -> Threshold:
        """The signs that a node writes as bits; of a table's, those of what it reads."""
        channels, source, least = self.tensors[node.name].shape[-1], node.name, 0
        if isinstance(node, Table):
            source = node.inputs[0]
            least = int(np.count_nonzero(node.table == SIGNS[0])) - 128
        thresholds = np.full(channels, least, np.int16)
        return Threshold(name=name, inputs=(source,), threshold=thresholds)


def _thresholded(layer: BinaryConv2d) -> BinaryConv2d:
    """The same, its sign as a bit."""
    if layer.steps is None:
        raise layer.error("it has no steps")
    return replace(layer, steps=None, threshold=np.ascontiguousarray(layer.steps[:, 0]))
