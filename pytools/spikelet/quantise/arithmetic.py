"""Base of operators on two operands. With one of them a constant number, they are functions."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from spikelet.graph import Array
from spikelet.graph.elementwise import Elementwise, Joined
from spikelet.quantise.calibrate import activation_code, integers
from spikelet.quantise.even import joined_fields
from spikelet.quantise.fold import Folding
from spikelet.quantise.formula import Formula, recognise, row
from spikelet.quantise.layers import Layer, Value, graph_shape, like
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes, NetworkOperator, operator_of
from spikelet.quantise.weighted import as_layer, into_writer

if TYPE_CHECKING:
    from torch import Tensor


class Arithmetic(NetworkOperator):
    """Two operands, with broadcasting.

    Attributes:
        TORCH: the function of `torch` that computes it.
    """

    TORCH: ClassVar[str] = ""

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        import torch

        result: Tensor = getattr(torch, self.TORCH)(*inputs)
        return result

    def fold(self, folding: Folding, node: Node) -> bool:
        return self.with_constant(folding, node) or recognise(folding, node)

    def with_constant(self, folding: Folding, node: Node) -> bool:
        """Write it in another way where one operand is a constant; whether anything changed."""
        if len(node.inputs) != 2:
            return False
        first, second = (folding.values(name) for name in node.inputs)
        if first is not None and second is None:
            return self.constant_first(folding, node, first)
        if first is None and second is not None:
            return self.constant_second(folding, node, second)
        return False

    def constant_first(self, folding: Folding, node: Node, values: Array) -> bool:
        """Where the first operand is a constant."""
        return False

    def constant_second(self, folding: Folding, node: Node, values: Array) -> bool:
        """Where the second operand is a constant."""
        return False

    def is_pointwise(self, sizes: list[int]) -> bool:
        return all(size == 1 for size in sizes)

    def is_function(self, node: Node, constants: Mapping[str, Array]) -> bool:
        constants_ = [constants[name] for name in node.inputs if name in constants]
        return len(node.inputs) == 2 and [values.size for values in constants_].count(1) == 1


class Commutative(Arithmetic):
    """A sum or a product of two: a constant comes second, and goes into the weights before it.

    Attributes:
        INTEGER: the graph's operator.
    """

    INTEGER: ClassVar[type[Elementwise]]
    clamped = True

    def formula(self, attributes: Attributes, parts: list[Formula]) -> Formula:
        return row(self.OP, parts)

    def fold(self, folding: Folding, node: Node) -> bool:
        return super().fold(folding, node) or into_writer(folding, node)

    def constant_first(self, folding: Folding, node: Node, values: Array) -> bool:
        return put_constant_second(folding, node)

    def stand_alone(self, folding: Folding, node: Node) -> bool:
        return as_layer(folding, node)

    def lower(self, layer: Layer) -> Value:
        return lower_elementwise(layer, self.INTEGER)


class Extreme(Arithmetic):
    """The largest or smallest of tensors, element by element; of one number it is a Clip.

    Attributes:
        NUMPY: the function of numpy that computes it for two.
        LIMIT: the attribute of Clip that a constant becomes.
        INTEGER: the graph's operator.
    """

    NUMPY: ClassVar[str]
    LIMIT: ClassVar[str]
    INTEGER: ClassVar[type[Elementwise]]
    clamped = True
    joins_codes = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        return np.asarray(functools.reduce(getattr(np, self.NUMPY), inputs))

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        import torch

        result: Tensor = functools.reduce(getattr(torch, self.TORCH), inputs)
        return result

    def constant_first(self, folding: Folding, node: Node, values: Array) -> bool:
        return put_constant_second(folding, node)

    def constant_second(self, folding: Folding, node: Node, values: Array) -> bool:
        """Clip, where it is one number."""
        if values.size != 1 or not np.all(np.isfinite(values)):
            return False
        attributes = {self.LIMIT: float(values.reshape(()))}
        clip = node.replace(op="Clip", inputs=node.inputs[:1], attributes=attributes)
        return folding.replace(node, clip)

    def lower(self, layer: Layer) -> Value:
        return lower_elementwise(layer, self.INTEGER)


def put_constant_second(folding: Folding, node: Node) -> bool:
    """Put the constant second, where the order does not matter."""
    return folding.replace(node, node.replace(inputs=node.inputs[::-1]))


def lower_elementwise(layer: Layer, integer: type[Elementwise]) -> Value:
    """An operator on two tensors, or on one and a constant.

    Args:
        layer: the group.
        integer: the graph's operator.
    """
    fixed = [i for i in (0, 1) if layer.constant(i) is not None]
    rank = len(layer.shape)
    read = [i for i in (0, 1) if i not in fixed]
    if any(len(layer.lowering.shapes[layer.node.inputs[i]]) != rank for i in read):
        shapes = [layer.lowering.shapes[name] for name in layer.node.inputs]
        raise layer.refuse(f"operands of shape {shapes}", "operands with as many axes")
    layout = layer.input_as_is(read[0]).layout
    chosen = operator_of(layer.node).joins_codes  # the operands have the output's code
    fields: dict[str, Any] = {}
    for i in fixed:
        values = np.asarray(layer.constant(i))
        if values.ndim > rank or (values.ndim == rank and values.shape[0] != 1):
            raise layer.refuse(f"a constant of shape {values.shape} on {layer.shape}")
        code = layer.lowering.network.codes.get(layer.node.inputs[i])
        code = code or activation_code(float(values.min()), float(values.max()))
        code = layer.code if chosen else code
        full = values.reshape((1,) * (rank - values.ndim) + values.shape)
        laid = full.transpose(0, *layout).reshape(graph_shape(full.shape, layout))
        fields = {
            "constant": integers(np.ascontiguousarray(laid), code),
            "constant_scale": float(code.scale),
            "constant_zero_point": code.zero_point,
            "constant_first": i == 0,
        }
    sources = [layer.input(layout, i) for i in read]
    if chosen:
        sources = [layer.lowering.recode(source, layer.code) for source in sources]
    if issubclass(integer, Joined) and layer.code.even and not fixed:
        fields["even"] = joined_fields(integer, sources, layer.code)
    made = integer(
        name=layer.name,
        inputs=tuple(source.name for source in sources),
        activation=layer.activation(layer.code),
        **fields,
        **like(layer.code),
    )
    return layer.finish(layer.add(made), layout)
