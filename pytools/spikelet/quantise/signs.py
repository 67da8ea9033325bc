"""Tensors of -1 and 1 that only layers of 1-bit weights read become bits, and these layers binary.

A layer whose output is a sign writes bits itself where it is binary, else a `Threshold` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace

import numpy as np

from spikelet.graph import Array, Operator, Tensor
from spikelet.graph.ops.binary_conv2d import WORD, BinaryConv2d
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.threshold import Threshold
from spikelet.graph.quantised import Quantised

SIGNS = (-1, 1)


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
    bits: dict[str, str] = {}
    made: list[Operator] = []
    for node in nodes:
        whole = _binary(node, bits[node.inputs[0]]) if node.inputs[0] in bits else node
        readers = [reader for reader in nodes if node.name in reader.inputs]
        signs = _writes_signs(node) and node.name not in outputs
        if not (signs and readers and all(_reads_bits(r, tensors) for r in readers)):
            made.append(whole)
        elif isinstance(whole, BinaryConv2d):
            bits[node.name] = node.name
            made.append(_thresholded(whole))
        else:
            bits[node.name] = fresh(node.name, "bits")
            threshold = np.zeros(tensors[node.name].shape[-1], np.int16)
            made += [
                whole, Threshold(name=bits[node.name], inputs=(node.name,), threshold=threshold)
            ]  # fmt: skip
    return made


def _writes_signs(node: Operator) -> bool:
    """Whether an output is -1 or 1, and nothing between."""
    if not isinstance(node, Quantised) or node.steps is None or node.output_zero_point:
        return False
    return node.activation == SIGNS and np.array_equal(node.steps[:, 0], node.steps[:, 1])


def _reads_bits(node: Operator, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a layer may be binary: its weights have 1 bit, its pixels whole words."""
    if not isinstance(node, Conv2d | FullyConnected) or (node.bits, node.odd) != (1, True):
        return False
    shape = tensors[node.inputs[0]].shape
    if isinstance(node, FullyConnected):
        return len(shape) == 1
    return shape[2] % WORD == 0 or shape[:2] == (1, 1)


def _binary(node: Operator, source: str) -> Operator:
    """A layer that reads bits instead."""
    if not isinstance(node, Conv2d | FullyConnected):
        raise node.error("it reads no bits")
    weight: Array = node.weight
    if isinstance(node, FullyConnected):
        weight = weight.reshape(len(weight), 1, 1, -1)
    known = {field.name for field in fields(BinaryConv2d) if field.init}
    given = {f.name: getattr(node, f.name) for f in fields(node) if f.init and f.name in known}
    return BinaryConv2d(**{**given, "inputs": (source,), "weight": weight, "outside": 0})


def _thresholded(layer: BinaryConv2d) -> BinaryConv2d:
    """The same, its sign as a bit."""
    if layer.steps is None:
        raise layer.error("it has no steps")
    return replace(layer, steps=None, threshold=np.ascontiguousarray(layer.steps[:, 0]))
