"""Means, and products and sums with constants, in files of few bits, which round them once.

They become convolutions with weights of 1: a layer with weights takes in what lies behind it, and
rounds as the file means it, whatever the quantiser does.
"""

from __future__ import annotations

import math

import numpy as np

from spikelet.frontends.onnx.layers import Layer, Value
from spikelet.graph import Array
from spikelet.quantise import Code, constant
from spikelet.quantise.network import Node

_CONSTANT = ("Add", "Mul", "Sub")


def exactly(layer: Layer, x: Value) -> Value:
    """x before it is quantised, as what a layer with weights writes, where that can be.

    Returns:
        x; or the same in another shape, see `write_shaped`.
    """
    made = _mean(layer, x)
    return _with_constants(layer, x) if made is x else made


def _mean(layer: Layer, x: Value) -> Value:
    """Make the mean pool that writes x, or a number times it, a Conv with weights of 1.

    A mean over all spatial axes is one, too. Its sums are then rounded as the file means it,
    whatever their quantiser does.

    Returns:
        x; where the mean drops its axes, the same with axes of 1 there.
    """
    network, node, factors = layer.building.network, layer.building.network.writer(x.tensor), []
    while node is not None and node.op == "Mul" and node.inputs[1] in network.constants:
        factors.append(node.inputs[1])
        node = network.writer(node.inputs[0])
    if node is None or node.op not in ("AveragePool", "GlobalAveragePool", "ReduceMean"):
        return x
    if len(network.readers(node.name)) > 1 or node.name in network.codes:
        return x
    attributes, source = dict(node.attributes), node.inputs[0]
    shape = next(v.shape for v in layer.building.values.values() if v.tensor == source)
    kept = True
    if node.op == "ReduceMean":
        axes, kept = attributes.pop("axes", None) or (), bool(attributes.pop("keepdims", 1))
        if sorted(a % len(shape) for a in axes) != list(range(2, len(shape))):
            return x
    kernel = [int(k) for k in attributes.pop("kernel_shape", shape[2:])]
    counted = bool(attributes.pop("count_include_pad", 0)) or not any(attributes.get("pads", ()))
    if attributes.pop("ceil_mode", 0) or not counted:
        return x
    if not kept and any(network.constants[name].size > 1 for name in factors):
        return x
    share = np.float32(1 / math.prod(kernel))
    weights = _ones(layer, np.ones((shape[1], 1, *kernel)), float(share))
    attributes["group"] = shape[1]
    if kept:
        made = node.replace(op="Conv", inputs=(source, weights), attributes=attributes)
        network.nodes[network.nodes.index(node)] = made
        return x
    wide = (*shape[:2], *(1 for _ in kernel))
    sums = layer.add("Conv", [source, weights], wide, attributes, output=None)
    for name in reversed(factors):
        sums = layer.add("Mul", [sums.tensor, name], wide, output=None)
    return sums


def _with_constants(layer: Layer, x: Value) -> Value:
    """Constants of channels, or of elements, times codes and added to them.

    The weights are -1 where the product of all factors is negative: a layer's codes may not fall
    where its sums rise. One number for all is left to tables.
    """
    chain = _chain(layer, x)
    if not chain or len(x.shape) < 2 or x.shape[0] != 1:
        return x
    values = [np.asarray(layer.building.network.constants[name]) for _, name, _ in chain]
    if all(v.size == 1 for v in values):
        return x
    full = [v.reshape((1,) * (len(x.shape) - v.ndim) + v.shape) for v in values]
    by_channel = all(v.size in (1, v.shape[1]) for v in full)
    if len(x.shape) in (3, 4) and by_channel:
        shape, spread = x.shape, (1, x.shape[1], *(1 for _ in x.shape[2:]))
        full = [np.broadcast_to(v, spread) for v in full]
    else:
        shape = spread = (1, math.prod(x.shape), 1, 1)
        full = [np.broadcast_to(v, x.shape).reshape(spread) for v in full]
    network, sign, steps = layer.building.network, np.ones(spread, np.float32), []
    for (node, _, first), v in zip(chain, full, strict=True):  # from the last to the first
        if node.op == "Mul":
            steps.append(("Mul", np.abs(v)))
            sign = np.where(v < 0, -sign, sign)
        else:
            steps.append(("Add", sign * (-v if node.op == "Sub" and not first else v)))
            sign = -sign if node.op == "Sub" and first else sign
    (source,) = (name for name in chain[-1][0].inputs if name != chain[-1][1])
    if shape != x.shape:
        code = network.codes[source]
        source = layer.add("Reshape", [source], shape, {"shape": list(shape)}, output=None).tensor
        network.codes[source] = code
    weights = sign.reshape(-1, 1, *(1 for _ in shape[2:]))
    y = layer.add("Conv", [source, _ones(layer, weights, 1.0)], shape, {"group": shape[1]},
                  output=None)  # fmt: skip
    for op, v in reversed(steps):
        name = constant(network, f"{y.tensor}.{op}", v.astype(np.float32))
        y = layer.add(op, [y.tensor, name], shape, output=None)
    return y


def _chain(layer: Layer, x: Value) -> list[tuple[Node, str, bool]]:
    """The nodes that make x of codes, from the last to the first; [] where it is not so made.

    With each its constant, and whether that comes first.
    """
    network, chain, tensor = layer.building.network, [], x.tensor
    while tensor not in network.codes:
        node = network.writer(tensor)
        if node is None or node.op not in _CONSTANT or len(node.inputs) != 2:
            return []
        known = [name in network.constants for name in node.inputs]
        if sum(known) != 1:
            return []
        chain.append((node, node.inputs[known.index(True)], known[0]))
        tensor = node.inputs[known.index(False)]
    shapes = {value.tensor: value.shape for value in layer.building.values.values()}
    return chain if shapes.get(tensor) == x.shape else []


def _ones(layer: Layer, values: Array, scale: float) -> str:
    """Weights of 1 and -1 times a scale."""
    network = layer.building.network
    name = constant(network, f"{layer.node.name}.ones", (values * scale).astype(np.float32))
    network.codes[name] = Code(np.asarray(scale, np.float32), even=True)
    return name
