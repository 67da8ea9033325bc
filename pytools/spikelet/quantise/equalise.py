"""Cross-layer equalisation: channels of neighbouring layers get like ranges, in the same function.

A positive factor passes through ReLU, so a channel may be made larger in one layer and its weights
smaller in the next. Source: Nagel et al., Data-Free Quantization Through Weight Equalization and
Bias Correction, 2019, section 4.1.
"""

from __future__ import annotations

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.meaning import shapes
from spikelet.quantise.network import Network, Node, constant
from spikelet.quantise.operator import operator_of

_ROUNDS = 20
_LARGEST = 2.0**20  # factor of a channel in one round


def equalise(network: Network, factors: dict[str, Array] | None = None) -> Network:
    """A folded network with the same outputs whose layers in a row have equalised channels.

    Args:
        network: folded.
        factors: gets, by tensor between two such layers, what it is multiplied by.
    """
    equalised = network.copy()
    pairs = _pairs(equalised)
    total = {first: np.ones(len(_weight(equalised, first))) for first, _, _ in pairs}
    for first, second, _ in pairs:
        for at in (first, second):
            _own_constants(equalised, at)
    for _ in range(_ROUNDS if pairs else 0):
        change = 1.0
        for pair in pairs:
            factor = _equalise(equalised, *pair)
            total[pair[0]] *= factor
            change = max(change, float(np.maximum(factor, 1 / factor).max()))
        if change < 1.01:
            break
    if factors is not None and pairs:
        ranks = {name: len(shape) for name, shape in shapes(equalised).items()}
        for first, second, repeats in pairs:
            factors.update(_between(equalised, first, second, repeats, total[first], ranks))
    return equalised


def _weight(network: Network, at: int) -> Array:
    return network.constants[network.nodes[at].inputs[1]]


def _between(
    network: Network, first: int, second: int, repeats: int, factor: Array, ranks: dict[str, int]
) -> dict[str, Array]:
    """The factor of a channel, for the axes of each tensor from one layer to the next."""
    head, name = network.nodes[first], network.nodes[second].inputs[0]
    factors: dict[str, Array] = {}
    while True:
        rank = ranks[name]
        if head.op == "Gemm":
            factors[name] = factor.reshape((1,) * (rank - 1) + (-1,))
        elif rank == 2:
            factors[name] = np.repeat(factor, repeats).reshape(1, -1)
        else:
            factors[name] = factor.reshape(1, -1, *(1,) * (rank - 2))
        if name == head.name:
            return factors
        writer = network.writer(name)
        name = writer.inputs[0] if writer is not None else head.name


def _pairs(network: Network) -> list[tuple[int, int, int]]:
    """Indices of two layers in a row, and how many inputs of the second belong to a channel."""
    at = {node.name: i for i, node in enumerate(network.nodes)}
    pairs = []
    for second, node in enumerate(network.nodes):
        if node.op not in ("Conv", "Gemm") or node.inputs[1] not in network.constants:
            continue
        name = node.inputs[0]
        while name in at:
            if name in network.outputs or len(network.readers(name)) != 1:
                break
            first = network.nodes[at[name]]
            if first.op in ("Conv", "Gemm") and first.inputs[1] in network.constants:
                repeats = _repeats(network, first, node)
                if repeats:
                    pairs.append((at[name], second, repeats))
                break
            flat = first.op == "Reshape" and len(first.attributes["shape"]) == 2
            if not operator_of(first).homogeneous and not flat:
                break
            name = first.inputs[0]
    return pairs


def _repeats(network: Network, first: Node, second: Node) -> int:
    """Inputs of the second layer by channel of the first; 0 where they do not correspond."""
    channels = len(network.constants[first.inputs[1]])
    weight = network.constants[second.inputs[1]]
    if second.op == "Gemm":
        repeats, rest = divmod(weight.shape[1], channels)
        return 0 if rest or (first.op == "Gemm" and repeats != 1) else repeats
    group = int(second.attributes.get("group", 1))
    return int(weight.shape[1] * group == channels and first.op == "Conv")


def _own_constants(network: Network, at: int) -> None:
    """Give a layer weights, and a bias if it has one, that no other node reads."""
    node = network.nodes[at]
    made = [
        constant(network, name, network.constants[name].copy())
        if name and sum(name in n.inputs for n in network.nodes) > 1
        else name
        for name in node.inputs[1:]
    ]
    network.nodes[at] = node.replace(inputs=(node.inputs[0], *made))
    for name in made:
        if name:
            network.constants[name] = network.constants[name].copy()


def _by_channel(network: Network, second: Node, repeats: int, channels: int) -> Array:
    """The second layer's weights as (channels, what reads each)."""
    weight = network.constants[second.inputs[1]]
    if second.op == "Gemm":
        return (
            weight.reshape(len(weight), channels, repeats).transpose(1, 0, 2).reshape(channels, -1)
        )
    group = int(second.attributes.get("group", 1))
    rows = weight.reshape(group, len(weight) // group, weight.shape[1], -1)
    return rows.transpose(0, 2, 1, 3).reshape(channels, -1)


def _equalise(network: Network, first: int, second: int, repeats: int) -> Array:
    """Equalise one pair of layers in place; the factor of each channel."""
    head, tail = network.nodes[first], network.nodes[second]
    weight = network.constants[head.inputs[1]]
    channels = len(weight)
    before = np.abs(weight.reshape(channels, -1)).max(axis=1).astype(np.float64)
    after = np.abs(_by_channel(network, tail, repeats, channels)).max(axis=1).astype(np.float64)
    used = (before > 0) & (after > 0)
    ratio = np.where(used, after, 1) / np.where(used, before, 1)
    factor = np.clip(np.sqrt(ratio), 1 / _LARGEST, _LARGEST)  # of what the first layer writes
    network.constants[head.inputs[1]] = _scale(weight, factor, 0)
    if len(head.inputs) > 2 and head.inputs[2]:
        name = head.inputs[2]
        network.constants[name] = _scale(network.constants[name], factor, 0)
    values = network.constants[tail.inputs[1]]
    if tail.op == "Gemm":
        network.constants[tail.inputs[1]] = _scale(values, 1 / np.repeat(factor, repeats), 1)
    else:
        group = int(tail.attributes.get("group", 1))
        each = np.arange(len(values)) // (len(values) // group)
        inverse = (1 / factor).reshape(group, -1)[each]  # (O, I / group)
        scaled = values * inverse.reshape(*inverse.shape, *(1,) * (values.ndim - 2))
        network.constants[tail.inputs[1]] = scaled.astype(values.dtype)
    return factor


def _scale(values: Array, factor: Array, axis: int) -> Array:
    shape = [1] * values.ndim
    shape[axis] = -1
    scaled: Array = (values * factor.reshape(shape)).astype(values.dtype)
    return scaled
