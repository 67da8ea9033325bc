"""What lowering works with: the graph so far, a layer on its way into it, layouts.

Images and signals are held with channels last: (1, C, H, W) as (H, W, C), (1, C, L) as (1, L, C);
anything else in its own order without the batch axis. A layout says which axis is where, so a
Transpose costs nothing until an operator needs another order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikelet.graph import Array, Operator, Tensor
from spikelet.graph.int8 import factor, interval, round_half_away
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.ops.table import Table, function_table
from spikelet.graph.ops.transpose import Transpose
from spikelet.graph.requantise_once import split_factor
from spikelet.quantise.calibrate import integers
from spikelet.quantise.correct import bias_of
from spikelet.quantise.even import even_fields, slopes
from spikelet.quantise.fuse import Group, groups
from spikelet.quantise.meaning import shapes
from spikelet.quantise.network import Code, Network, Node
from spikelet.quantise.operator import operator_of
from spikelet.refusal import ImportRefused, refuse

MOST_DIMENSIONS = 4
Weights = tuple[Array, Array, Array]  # integers (O, ...), scales (O,), bias (O,)
_STEM = 20  # of a derived name: 32 with what follows
_DERIVED = re.compile(r"(_(shaped|moved|recoded)(_\d+)?)+$")


@dataclass(frozen=True)
class Value:
    """A tensor of the network as the graph holds it.

    Attributes:
        tensor: of the graph.
        layout: the network's axes, the batch axis left out, in the order of the graph.
        order: of a flat tensor, which element of the network's is at each place; None for all in
            order.
    """

    tensor: Tensor
    layout: tuple[int, ...]
    order: Array | None = None


def channels_last(rank: int) -> tuple[int, ...]:
    """The layout of images and signals."""
    return (*range(2, rank), 1) if rank > 2 else tuple(range(1, rank))


def graph_shape(shape: Sequence[int], layout: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in the graph of a tensor of the network."""
    sizes = tuple(shape[axis] for axis in layout)
    return (1, *sizes) if len(sizes) == 2 else sizes or (1,)


def like(code: Code) -> dict[str, Any]:
    """A code as an operator's fields."""
    return {"output_scale": float(code.scale), "output_zero_point": int(code.zero_point)}


def code_of(tensor: Tensor) -> Code:
    """The code of a tensor of the graph."""
    return Code.of(tensor.scale, tensor.zero_point)


@dataclass
class Lowering:
    """A graph in the making.

    Attributes:
        network: folded, with all codes.
        nodes: the operators so far.
        known: the graph's tensors by name.
        values: what is computed so far, by the network's names.
        moved: values in another layout or code that were made on the way.
    """

    network: Network
    nodes: list[Operator] = field(default_factory=list)
    known: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    moved: dict[tuple[object, ...], Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shapes = shapes(self.network)
        self.groups = groups(self.network)
        self.readers: dict[str, list[Group]] = {}
        for group in self.groups:
            for name in {i for node in group.nodes for i in node.inputs}:
                self.readers.setdefault(name, []).append(group)

    def fresh(self, name: str) -> str:
        """A name that is not taken yet: this one, or with a number behind it."""
        free, number = name, 1
        while free in self.known:
            number += 1
            free = f"{name}_{number}"
        return free

    def derive_name(self, name: str, what: str) -> str:
        """A name for a step on the way to or from a tensor."""
        stem = _DERIVED.sub("", name)[:_STEM].rstrip("_")
        return self.fresh(f"{stem}_{what}")

    def refuse(self, node: Node, reason: str, supported: str = "") -> ImportRefused:
        """An error that names a node and its attributes."""
        return refuse(node.source or node.name, node.op, reason, supported, node.attributes)

    def add(self, node: Operator) -> Tensor:
        """Add an operator; what it writes."""
        ins = [self.known[name] for name in node.inputs]
        bounds = {t.name: interval(t.shape, *t.limits) for t in ins}
        written = node.place(ins, bounds, 1).outs[0]
        self.nodes.append(node)
        self.known[written.name] = written
        return written

    def reshape(self, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The tensor in another shape."""
        if tensor.shape == shape:
            return tensor
        name = self.derive_name(tensor.name, "shaped")
        return self.add(Reshape(name=name, inputs=(tensor.name,), shape=shape))

    def laid_out(self, name: str, layout: tuple[int, ...]) -> Value:
        """A tensor of the network with its axes in an order."""
        value = self.values[name]
        if value.layout == layout:
            return value
        if (name, layout) not in self.moved:
            shape = self.shapes[name]
            tensor, own = value.tensor, value.layout
            long = [axis for axis in own if shape[axis] > 1]
            if long != [axis for axis in layout if shape[axis] > 1]:
                lead = len(tensor.shape) - len(own)
                order = (*range(lead), *(lead + own.index(axis) for axis in layout))
                tensor = self.add(
                    Transpose(
                        name=self.derive_name(tensor.name, "moved"),
                        inputs=(tensor.name,),
                        order=order,
                        **like(code_of(tensor)),
                    )
                )
            tensor = self.reshape(tensor, graph_shape(shape, layout))
            self.moved[name, layout] = Value(tensor, layout)
        return self.moved[name, layout]

    def recode(self, tensor: Tensor, code: Code) -> Tensor:
        """The same real values in another code."""
        if (tensor.scale, tensor.zero_point) == (float(code.scale), code.zero_point):
            return tensor
        key = (tensor.name, float(code.scale), code.zero_point)
        if key not in self.moved:
            scale = float(code.scale)
            table = function_table(tensor, scale, code.zero_point, lambda v: v, code.even)
            name = self.derive_name(tensor.name, "recoded")
            node = Table(
                name=name, inputs=(tensor.name,), table=table, function="requantise", **like(code)
            )
            self.moved[key] = Value(self.add(node), ())
        return self.moved[key].tensor


@dataclass(frozen=True)
class Layer:
    """A group on its way into the graph."""

    lowering: Lowering
    group: Group
    name: str

    @property
    def node(self) -> Node:
        """The head."""
        return self.group.head

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what the group writes, in the network."""
        return self.lowering.shapes[self.group.name]

    @property
    def source_shape(self) -> tuple[int, ...]:
        """Of the first input, in the network."""
        return self.lowering.shapes[self.node.inputs[0]]

    @property
    def code(self) -> Code:
        """Of what the group writes."""
        return self.lowering.network.codes[self.group.name]

    def refuse(self, reason: str, supported: str = "") -> ImportRefused:
        """An error that names the head."""
        return self.lowering.refuse(self.node, reason, supported)

    def constant(self, i: int) -> Array | None:
        """Input i, if it is a constant."""
        inputs = self.node.inputs
        return self.lowering.network.constants.get(inputs[i]) if i < len(inputs) else None

    def input_as_is(self, i: int = 0) -> Value:
        """Input i as it is."""
        name = self.node.inputs[i]
        if name not in self.lowering.values:
            raise self.refuse(f"input {i} ({name!r}) is a constant", "a computed tensor")
        return self.lowering.values[name]

    def input(self, layout: tuple[int, ...], i: int = 0) -> Tensor:
        """Input i in a layout."""
        if self.input_as_is(i).order is not None:
            raise self.refuse("a flat tensor whose elements are in another order")
        return self.lowering.laid_out(self.node.inputs[i], layout).tensor

    def image(self) -> tuple[Tensor, tuple[int, int]]:
        """The first input as (H, W, C), and its height and width; a signal is one row."""
        shape = self.source_shape
        if len(shape) not in (3, 4):
            raise self.refuse(f"an input of shape {shape}", "(1, C, H, W) or (1, C, L)")
        height, width = (1, *shape[2:]) if len(shape) == 3 else shape[2:]
        return self.input(channels_last(len(shape))), (height, width)

    def pair(self, name: str, default: int) -> tuple[int, int]:
        """An attribute of one or two spatial axes."""
        rank = len(self.source_shape) - 2
        values = [int(v) for v in self.node.attributes.get(name) or [default] * rank]
        one = default if name != "kernel_shape" else 1
        down, right = (one, *values) if rank == 1 else values
        return down, right

    def margins(self) -> tuple[int, int, int, int]:
        """The attribute pads: top, left, bottom, right."""
        rank = len(self.source_shape) - 2
        pads = [int(v) for v in self.node.attributes.get("pads") or [0] * (2 * rank)]
        if min(pads) < 0:
            raise self.refuse("negative pads", "pads from 0 on")
        top, left, bottom, right = (0, pads[0], 0, pads[1]) if rank == 1 else pads
        return top, left, bottom, right

    def activation(self, code: Code) -> tuple[int, int]:
        """The clamps behind the head, in codes; the upper limit wins where limits cross."""
        low, high = -128, 127
        scale = np.float64(code.scale)
        for node in self.group.nodes[1:]:
            limits = operator_of(node).limits(node.attributes) or (None, None)
            below, above = (
                end if real is None or math.isinf(real) else int(
                    np.clip(round_half_away(np.float64(real) / scale) + code.zero_point, -128, 127)
                )
                for real, end in zip(limits, (-128, 127), strict=True)
            )  # fmt: skip
            low, high = (min(max(end, below), above) for end in (low, high))
        return low, high

    def add(self, node: Operator) -> Tensor:
        """Add an operator; what it writes."""
        return self.lowering.add(node)

    def finish(self, tensor: Tensor, layout: tuple[int, ...]) -> Value:
        """What the group writes, brought to its shape and code."""
        tensor = self.lowering.reshape(tensor, graph_shape(self.shape, layout))
        return Value(self.lowering.recode(tensor, self.code), layout)

    def scaling(self, source: Tensor, weights: Weights, *, once: bool = False) -> dict[str, Any]:
        """Bias, factors and code of an operator with `weights`, as its fields.

        Args:
            source: what it reads.
            weights: of the operator.
            once: sums are rounded once, as by `FullyConnected`.
        """
        if self.weight_code.even:
            return even_fields(self, source, *weights)
        return self.rescaling(source, *weights[1:], self.code, once=once)

    def rescaling(
        self, source: Tensor, scales: Array, bias: Array, code: Code, *, once: bool = False
    ) -> dict[str, Any]:
        """The same where halves do not go to even.

        Args:
            source: what it reads.
            scales: (O,) of the weights.
            bias: (O,) real.
            code: of the output.
            once: sums are rounded once, as by `FullyConnected`.
        """
        steps = float(np.float32(source.scale)) * scales.astype(np.float64)
        whole = round_half_away(bias.astype(np.float64) / steps)
        if np.any(np.abs(whole) >= 1 << 31):
            channel = int(np.argmax(np.abs(whole)))
            raise self.refuse(
                f"the bias of channel {channel}, {bias[channel]:g}, is {whole[channel]:g} steps of "
                f"the sum, beyond 32 bits",
                "a weight scale that is not that small",
            )
        ratios = steps / float(code.scale)
        if float(ratios.max()) >= 128:
            raise self.refuse(
                f"the output's scale {float(code.scale):g} is less than 1/128 of the sum's",
                "an output scale that a code can hold sums of",
            )
        if once:
            split = [split_factor(float(ratio)) for ratio in ratios]
            fields = {"fraction": np.array([f for _, f, _ in split], np.int32)}
            factors = [(m, s) for m, _, s in split]
        else:
            fields, factors = {}, [factor(float(ratio)) for ratio in ratios]
        return {
            **fields,
            "bias": whole.astype(np.int32),
            "multiplier": np.array([m for m, _ in factors], np.int32),
            "shift": np.array([s for _, s in factors], np.int32),
            "activation": self.activation(code),
            **like(code),
        }

    @property
    def weight_code(self) -> Code:
        """Of the constant weights of a Conv or Gemm."""
        return self.lowering.network.codes[self.node.inputs[1]]

    def weights(self) -> Weights:
        """Integers in units of their scales, scales (O,), bias (O,) of a Conv or Gemm.

        The integers are int8, but for an odd grid of 8 bits, int16: see `weight_fields`. Channels
        that a batch norm behind them turns upside down have the opposite integers and a scale less
        than 0, so that a larger sum always has a larger code.
        """
        weight = self.constant(1)
        if weight is None:
            raise self.refuse("weights that are computed", "constant weights")
        code = self.weight_code
        scales = np.broadcast_to(np.asarray(code.scale, np.float32), (len(weight),))
        if code.zero_point:
            raise self.refuse("weights with a zero point", "symmetric weights")
        if len(self.node.inputs) > 2 and self.node.inputs[2] and self.constant(2) is None:
            raise self.refuse("a bias that is computed", "a constant bias")
        bias = bias_of(self.lowering.network, self.node)
        if bias.shape != (len(weight),):
            raise self.refuse(f"a bias of shape {bias.shape} for {len(weight)} channels")
        levels = integers(weight, code)
        if code.odd:
            levels = 2 * levels.astype(np.int16) + np.int16(1)
        factors = slopes(self, len(weight))[0] if code.even else []
        if any(factor < 0 for factor in factors):
            signs = np.array([-1 if factor < 0 else 1 for factor in factors], np.int16)
            levels = levels * signs.reshape(-1, *(1,) * (levels.ndim - 1))
            scales = scales * signs.astype(np.float32)
        return levels, scales, bias

    def weight_fields(self, levels: Array) -> dict[str, Any]:
        """Integers of `weights` as the fields of an operator that takes any grid."""
        code = self.weight_code
        if code.odd:
            codes = np.ascontiguousarray((levels >> 1).astype(np.int8))
            return {"weight": codes, "bits": code.bits, "odd": True}
        codes = self.as_int8(levels)
        fits = -(1 << (code.bits - 1)) <= codes.min() and codes.max() < 1 << (code.bits - 1)
        return {"weight": codes, "bits": code.bits if fits else 8, "odd": False}

    def as_int8(self, levels: Array) -> Array:
        """Integers of `weights` for an operator that takes int8 only."""
        if levels.min() < -128 or levels.max() > 127:
            raise self.refuse(
                f"weights of {levels.min()} to {levels.max()}",
                "int8; a grid without a zero: those of 4 bits or less",
            )
        return np.ascontiguousarray(levels.astype(np.int8))
