"""Layers on signs in float .tflite files, as Larq Compute Engine's converter writes them.

A file's bit 1 stands for -1, the least significant bit first, and the last axis of a tensor of bits
is in words. In the network signs are the numbers -1 and 1, which have these codes, and what lies
between two layers on signs is computed in the engine's own steps, in float32. So every comparison
of a binary layer's sums is exact; float layers are quantised like those of any float file.
Source: github.com/larq/compute-engine, version 0.16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikelet.frontends.tflite.float_layers import ACTIVATIONS, FloatLayer, converts, with_batch
from spikelet.frontends.tflite.weighted import padding_of, steps
from spikelet.graph import Array
from spikelet.graph.ops.binary_conv2d import WORD
from spikelet.quantise import Network, Node, constant
from spikelet.quantise.calibrate import weight_code
from spikelet.quantise.fuse import is_affine
from spikelet.quantise.meaning import evaluate
from spikelet.quantise.network import Code
from spikelet.quantise.operator import operator_of

SIGNS = Code.of(1.0)
SIGN_WEIGHTS = Code(np.asarray(1, np.float32), bits=1, odd=True, even=True)
MEANS = Code.of(1 / 127)  # of signs that are averaged: the means lie between them
_AVERAGING = {"MEAN", "AVERAGE_POOL_2D"}
_RELU_LIKE = 3  # the last activation that clamps


def _sign(layer: FloatLayer, value: str) -> str:
    """A node that writes the sign; that of 0 is 1."""
    name = layer.add("Trunc", value, mode="SIGN", output_scale=1.0)
    layer.building.network.codes[name] = SIGNS
    return name


def _finish_bits(layer: FloatLayer, value: str) -> None:
    """The output is a tensor of signs, whose last axis the file has in words."""
    own, to = layer.building.shapes[value], with_batch(layer.output().shape)
    packed = (own[0], *own[2:], -(-own[1] // WORD))
    if to != packed or layer.output().dtype != "INT32":
        raise layer.refuse(
            f"its inputs and attributes give {packed} words of bits, the file says "
            f"{layer.output().dtype} {layer.output().shape}"
        )
    layer.building.values[layer.operator.outputs[0]] = value


def _signs(layer: FloatLayer) -> str:
    """Input 0, which must be signs."""
    source = layer.source(0)
    if layer.file_tensor(0).dtype != "INT32":
        raise layer.refuse(f"input 0 is {layer.file_tensor(0).dtype}", "bits, of LceQuantize")
    return source


@converts("CUSTOM LceQuantize")
def quantize(layer: FloatLayer) -> None:
    """Signs of real values; of signs the same."""
    layer.count((1,))
    source = layer.source(0)
    signs = source if layer.building.network.codes.get(source) is SIGNS else _sign(layer, source)
    _finish_bits(layer, signs)


@converts("CUSTOM LceDequantize")
def dequantize(layer: FloatLayer) -> None:
    """Signs as real values."""
    layer.count((1,))
    source = _signs(layer)
    readers = layer.model.readers.get(layer.operator.outputs[0], [])
    if not any(reader.kind in _AVERAGING for reader in readers):
        layer.finish(source)
        return
    layer.finish(layer.add("Requantize", source))
    layer.building.network.codes[layer.building.values[layer.operator.outputs[0]]] = MEANS


@converts("CUSTOM LceBMaxPool2d")
def max_pool(layer: FloatLayer) -> None:
    """MaxPool, whose margin does not count."""
    layer.count((1,))
    source = _signs(layer)
    window, stride = steps(layer, "Filter"), steps(layer, "Stride")
    pads = padding_of(layer, window, stride, (1, 1))
    cells = math.prod(layer.building.shapes[source]) * math.prod(window)
    layer.spend(cells, cells)
    attributes = {"kernel_shape": list(window), "strides": list(stride), "pads": list(pads)}
    _finish_bits(layer, layer.add("MaxPool", source, **attributes))


@converts("CUSTOM LceBconv2d")
def convolution(layer: FloatLayer) -> None:
    """Conv of -1 and 1; then thresholds and a sign, or a clamp, a factor and a summand."""
    layer.count((5,))
    source = _signs(layer)
    weight = _weight(layer, layer.building.shapes[source][1])
    sums = _sums(layer, source, weight)
    taps = weight[0].size
    if layer.has(4):
        least = layer.constant(4, ("INT32",)).astype(np.int64)
        if least.shape != (len(weight),):
            raise layer.refuse(f"thresholds of shape {least.shape} for {len(weight)} channels")
        # -1 where more bits differ than the threshold: of n taps p, and the sum is n - 2p.
        offset = 2 * np.clip(least, -1, taps) - taps
        shifted = layer.add("Add", sums, _by_channel(layer, "threshold", offset))
        _finish_bits(layer, _sign(layer, shifted))
        return
    if not (layer.has(2) and layer.has(3)):
        raise layer.refuse("neither thresholds nor a multiplier and a bias")
    factor, bias = (layer.real(i).reshape(-1) for i in (2, 3))
    if factor.shape != (len(weight),) or bias.shape != factor.shape:
        raise layer.refuse(f"{factor.size} factors, {bias.size} biases for {len(weight)} channels")
    number = layer.options["FusedActivationFunction"]
    if not 0 <= number <= _RELU_LIKE:
        raise layer.refuse(f"fused activation {number}", "none, RELU, RELU6 or RELU_N1_TO_1")
    if (activation := ACTIVATIONS[number]) is not None:
        sums = layer.add(activation[0], sums, **activation[1])
    whole = layer.keep(f"{layer.title}/taps", np.asarray(-taps, np.float32))
    scaled = layer.add("Mul", layer.add("Add", sums, whole), _by_channel(layer, "factor", factor))
    summand = bias + np.float32(taps) * factor  # the engine multiplies -2p, not n - 2p
    layer.finish(layer.add("Add", scaled, _by_channel(layer, "summand", summand)))


def _by_channel(layer: FloatLayer, what: str, values: Array) -> str:
    return layer.keep(f"{layer.title}/{what}", values.astype(np.float32).reshape(-1, 1, 1))


def _weight(layer: FloatLayer, channels: int) -> Array:
    """(O, I / group, KH, KW) of -1 and 1."""
    words = layer.constant(1, ("INT32",))
    if words.ndim != 4 or layer.options["ChannelsIn"] != channels:
        raise layer.refuse(
            f"weights of shape {words.shape} for {layer.options['ChannelsIn']} channels on an "
            f"input of {channels}",
            "(outputs, height, width, words) for as many channels",
        )
    depth = channels if words.shape[3] == -(-channels // WORD) else WORD * words.shape[3]
    if channels % depth or len(words) % (channels // depth):
        raise layer.refuse(f"weights of {depth} channels on an input of {channels}, in groups")
    raw = np.ascontiguousarray(words, "<i4").view(np.uint8)
    bits = np.unpackbits(raw, axis=-1, bitorder="little", count=depth)
    signs: Array = (1 - 2 * bits.astype(np.float32)).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(signs)


def _sums(layer: FloatLayer, source: str, weight: Array) -> str:
    """The convolution alone."""
    kernel = (weight.shape[2], weight.shape[3])
    stride, dilation = steps(layer, "Stride"), steps(layer, "Dilation")
    pads = list(padding_of(layer, kernel, stride, dilation))
    ones = layer.options["PadValues"]
    if ones not in (0, 1):
        raise layer.refuse(f"padding with {ones}", "0 or 1")
    if any(pads) and not ones and layer.has(4):
        raise layer.refuse("thresholds of sums with a margin of 0", "a margin of 1")
    channels = layer.building.shapes[source][1]
    cells = math.prod(layer.output().shape[1:3])
    layer.spend(cells * weight.size, cells * kernel[0] * kernel[1] * channels)
    if any(pads) and ones:
        around = [0, 0, *pads[:2], 0, 0, *pads[2:]]
        source, pads = layer.add("Pad", source, pads=around, value=1.0), [0] * 4
    name = layer.keep(f"{layer.title}/weight", weight)
    layer.building.network.codes[name] = SIGN_WEIGHTS
    attributes: dict[str, Any] = {"strides": list(stride), "dilations": list(dilation)}
    group = channels // weight.shape[1]
    return layer.add("Conv", source, name, pads=pads, group=group, **attributes)


# Networks with signs


def settle_signs(network: Network) -> None:
    """What is exact in a network with signs is made so; nothing happens in others.

    Weights of one magnitude a channel get 1 bit. A layer whose sign alone is read is compared, not
    rounded first. A pool between a binary layer and the sign of what becomes of its sums is moved
    behind the sign.
    """
    signs = [node for node in network.nodes if _is_sign(node)]
    for node in network.nodes if signs else []:
        if operator_of(node).weighted and node.inputs[1] not in network.codes:
            _code_weights(network, node)
    for node in signs:
        pooled = _find_pool(network, node)
        if pooled is not None:
            _move_pool(network, pooled)


def _is_sign(node: Node) -> bool:
    return node.op == "Trunc" and node.attributes["mode"] == "SIGN"


def _only_reader(network: Network, name: str) -> Node | None:
    """Who alone reads a tensor that may disappear."""
    readers = network.readers(name)
    inner = name not in network.outputs and name not in network.codes
    return readers[0] if inner and len(readers) == 1 else None


def _code_weights(network: Network, node: Node) -> None:
    """Signs, or 8 bits where only the sign of the sums is read."""
    weight = network.constants[node.inputs[1]]
    if len(network.readers(node.inputs[1])) != 1:
        return
    sizes = np.abs(weight.reshape(len(weight), -1))
    reader = _only_reader(network, node.name)
    if np.all(sizes == sizes[:, :1]) and np.all(sizes > 0):
        code = Code(sizes[:, 0].astype(np.float32), bits=1, odd=True, even=True)
    elif reader is not None and _is_sign(reader):
        code = Code(weight_code(weight).scale, even=True)
    else:
        return
    network.codes[node.inputs[1]] = code


@dataclass(frozen=True)
class _Pooled:
    """A binary layer, what becomes of its sums, a pool somewhere between, and the sign at last."""

    layer: Node
    before: list[Node]
    pool: Node
    behind: list[Node]
    sign: Node


def _find_pool(network: Network, sign: Node) -> _Pooled | None:
    parts: tuple[list[Node], list[Node]] = ([], [])  # behind the pool, before it
    pool = None
    name = sign.inputs[0]
    while True:
        node = network.writer(name)
        if node is None or _only_reader(network, name) is None:
            return None
        weights = network.codes.get(node.inputs[1]) if operator_of(node).weighted else None
        if pool is not None and weights is SIGN_WEIGHTS:
            return _Pooled(node, parts[1][::-1], pool, parts[0][::-1], sign)
        if node.op == "MaxPool" and pool is None:
            pool = node
        elif is_affine(network, node) or operator_of(node).limits(node.attributes) is not None:
            parts[pool is not None].append(node)
        else:
            return None
        name = node.inputs[0]


def _move_pool(network: Network, found: _Pooled) -> None:
    """A comparison of the sums, the pool, and signs of channels that the rest turns upside down.

    The pool takes the largest of what lies before it. Where that rises with the sum and the rest
    falls, or the other way round, the sign behind it is 1 if all sums of the window say so: less
    than the largest of the opposites.
    """
    weight = network.constants[found.layer.inputs[1]]
    taps, channels = weight[0].size, len(weight)
    sums = np.arange(-taps, taps + 1, dtype=np.float32).reshape(-1, 1, 1, 1)
    rank = (-1, channels, 1, 1)
    before = _through(network, found.before, np.broadcast_to(sums, (len(sums), *rank[1:])))
    after = _through(network, [*found.behind, found.sign], before).reshape(len(sums), -1) > 0
    before = before.reshape(len(sums), -1)
    falls, sinks = after[0] > after[-1], before[0] > before[-1]
    turned = (falls != sinks) & (after[0] != after[-1])
    wanted = after ^ turned
    down = wanted[0] > wanted[-1]
    rises = np.where(down, wanted[::-1], wanted)  # as the sum, or its opposite, rises
    least = np.where(rises[-1], rises.argmax(axis=0), len(sums)) - taps
    title = found.sign.name

    def signs(of: Array) -> Array:
        return np.where(of, -1, 1).astype(np.float32).reshape(-1, 1, 1)

    made = [found.layer]
    if down.any():
        factor = constant(network, f"{title}/factor", signs(down))
        made.append(Node("Mul", f"{title}/turned", (made[-1].name, factor), {}, found.sign.source))
    offset = constant(network, f"{title}/least", -least.astype(np.float32).reshape(-1, 1, 1))
    made.append(Node("Add", f"{title}/compared", (made[-1].name, offset), {}, found.sign.source))
    made.append(found.sign.replace(name=f"{title}/sign", inputs=(made[-1].name,)))
    network.codes[made[-1].name] = SIGNS
    made.append(found.pool.replace(name=title, inputs=(made[-1].name,)))
    if turned.any():
        made[-1] = made[-1].replace(name=f"{title}/pooled")
        network.codes[made[-1].name] = SIGNS
        factor = constant(network, f"{title}/signs", signs(turned))
        made.append(Node("Mul", title, (made[-1].name, factor), {}, found.sign.source))
    gone = {n.name for n in (*found.before, found.pool, *found.behind, found.sign)}
    at = network.nodes.index(found.layer)
    network.nodes[at : at + 1] = made
    kept = {id(node) for node in made}
    network.nodes = [n for n in network.nodes if id(n) in kept or n.name not in gone]


def _through(network: Network, nodes: list[Node], values: Array) -> Array:
    """What a row of nodes makes of (n, C, 1, 1)."""
    for node in nodes:
        inputs = [network.constants.get(name, values) for name in node.inputs]
        values = evaluate(node, inputs)
    return values
