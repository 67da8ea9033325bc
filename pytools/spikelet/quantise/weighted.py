"""Operators with constant weights, and the affine functions of channels that they take in."""

from __future__ import annotations

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.fold import Folding
from spikelet.quantise.fuse import rounds_to_even
from spikelet.quantise.network import Node
from spikelet.quantise.operator import NetworkOperator, operator_of


class Weighted(NetworkOperator):
    """Weights (O, ...) and, in some nodes, a bias (O,)."""

    weighted = True
    clamped = True


def per_channel(values: Array, rank: int, axis: int, channels: int) -> Array | None:
    """(channels,) of a constant that differs between channels only, else None."""
    if values.ndim > rank:
        return None
    full = values.reshape((1,) * (rank - values.ndim) + values.shape)
    if any(d != 1 for i, d in enumerate(full.shape) if i != axis):
        return None
    if full.shape[axis] not in (1, channels):
        return None
    return np.broadcast_to(full.reshape(-1), (channels,)).astype(np.float64)


def _affine(folding: Folding, node: Node, axis: int) -> tuple[Array, Array] | None:
    """(scale, shift), float64 (C,), of a node that computes `scale * x + shift` along `axis`."""
    if not node.inputs or node.inputs[0] == "" or folding.values(node.inputs[0]) is not None:
        return None
    shape = folding.shapes[node.inputs[0]]
    given = [folding.values(name) for name in node.inputs[1:]]
    if axis >= len(shape) or any(v is None for v in given) or folding.shapes[node.name] != shape:
        return None
    constants = [np.asarray(v, np.float64) for v in given]
    return operator_of(node).affine(node.attributes, constants, shape, axis)


def _is_taken_in(folding: Folding, node: Node) -> bool:
    """Whether a layer whose halves go to even takes a node in."""
    writer = folding.inner(node.inputs[0])
    while writer is not None and (
        operator_of(writer).scales_channels or operator_of(writer).limits(writer.attributes)
    ):
        writer = folding.inner(writer.inputs[0])
    return writer is not None and rounds_to_even(folding.network, writer)


def _as_weighted(node: Node | None) -> Weighted | None:
    operator = None if node is None else operator_of(node)
    return operator if isinstance(operator, Weighted) else None


def _with_bias(folding: Folding, node: Node, weight: Array, bias: Array) -> tuple[str, ...]:
    """Inputs of a weighted node with other constants."""
    weights = node.inputs[1]
    if weight is not folding.values(weights):
        weights = folding.constant(weights, weight.astype(np.float32))
    named, dtype = f"{node.name}.bias", np.dtype(np.float32)
    if len(node.inputs) > 2 and node.inputs[2]:
        named = node.inputs[2]
        dtype = folding.network.constants[named].dtype
    return node.inputs[0], weights, folding.constant(named, bias.astype(dtype))


def _constants(folding: Folding, node: Node) -> tuple[Array, Array] | None:
    """Weight, and bias (O,) float64, of a weighted node; None where they are no constants."""
    weight = folding.values(node.inputs[1])
    if weight is None:
        return None
    if len(node.inputs) < 3 or not node.inputs[2]:
        return weight, np.zeros(len(weight))
    bias = folding.values(node.inputs[2])
    return None if bias is None else (weight, bias.astype(np.float64))


def into_writer(folding: Folding, node: Node) -> bool:
    """A weighted node, then an affine function of channels: the weighted one alone."""
    writer = folding.inner(node.inputs[0])
    operator = _as_weighted(writer)
    if writer is None or operator is None:
        return False
    affine = _affine(folding, node, operator.channel_axis(len(folding.shapes[writer.name])))
    constants = _constants(folding, writer)
    if affine is None or constants is None:
        return False
    (scale, shift), (weight, bias) = affine, constants
    if np.any(scale != 1):
        if writer.inputs[1] in folding.network.codes:
            return False
        weight = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    inputs = _with_bias(folding, writer, weight, bias * scale + shift)
    return folding.merge(writer, node, inputs=inputs)


def into_reader(folding: Folding, node: Node, group: int = 1) -> bool:
    """An affine function of channels, then a Conv without padding or a Gemm: the latter alone.

    Args:
        folding: the network.
        node: the Conv or Gemm.
        group: of a Conv.
    """
    if node.inputs[1] in folding.network.codes:
        return False
    before = folding.inner(node.inputs[0])
    constants, operator = _constants(folding, node), _as_weighted(node)
    if before is None or constants is None or operator is None:
        return False
    if before.inputs and _as_weighted(folding.inner(before.inputs[0])) is not None:
        return False  # it may go into that one
    affine = _affine(folding, before, operator.channel_axis(len(folding.shapes[node.inputs[0]])))
    if affine is None:
        return False
    (scale, shift), (weight, bias) = affine, constants
    if any(node.attributes.get("pads") or ()) and np.any(shift):
        return False
    taps = weight.astype(np.float64).reshape(len(weight), weight.shape[1], -1)  # (O, I / g, taps)
    each = np.arange(len(weight)) // (len(weight) // group)  # the group of each output
    scales, shifts = (v.reshape(group, -1)[each][:, :, None] for v in (scale, shift))
    bias = bias + (taps * shifts).sum(axis=(1, 2))
    inputs = _with_bias(folding, node, (taps * scales).reshape(weight.shape), bias)
    folding.network.nodes.remove(before)
    return folding.replace(node, node.replace(inputs=(before.inputs[0], *inputs[1:])))


def as_layer(folding: Folding, node: Node) -> bool:
    """An affine function of channels that nothing takes in: a depthwise Conv, or Mul and Add."""
    rank = len(folding.shapes[node.name])
    if node.op != "BatchNormalization":  # of one value, or of each element, Mul and Add stay
        constant = folding.values(node.inputs[1]) if len(node.inputs) == 2 else None
        if rank not in (3, 4) or constant is None or constant.size == 1:
            return False
        if node.name in folding.network.codes and np.all(np.abs(constant) == 1):
            return False  # a file's signs, some of them turned
    affine = _affine(folding, node, 1)
    if affine is None or _is_taken_in(folding, node):
        return False
    scale, shift = (v.astype(np.float32) for v in affine)
    if rank in (3, 4):
        weight = folding.constant(f"{node.name}.weight", scale.reshape(-1, 1, *(1,) * (rank - 2)))
        bias = folding.constant(f"{node.name}.bias", shift)
        attributes = {"group": len(scale)}
        inputs = (node.inputs[0], weight, bias)
        return folding.replace(node, node.replace(op="Conv", inputs=inputs, attributes=attributes))
    product = folding.fresh(node.name)
    shape = (-1, *(1,) * (rank - 2))
    factor = folding.constant(f"{node.name}.scale", scale.reshape(shape))
    offset = folding.constant(f"{node.name}.shift", shift.reshape(shape))
    return folding.replace(
        node,
        Node("Mul", product, (node.inputs[0], factor), {}, node.source),
        Node("Add", node.name, (product, offset), {}, node.source),
    )
