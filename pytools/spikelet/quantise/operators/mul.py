"""Multiplication."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.mul import Mul as IntegerMul
from spikelet.quantise.arithmetic import Arithmetic, lower_elementwise, put_constant_second
from spikelet.quantise.fold import Folding
from spikelet.quantise.formula import Formula, row
from spikelet.quantise.layers import Layer, Value
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes
from spikelet.quantise.weighted import as_layer, into_writer, per_channel


class Mul(Arithmetic):
    """`a * b`."""

    OP = "Mul"
    TORCH = "mul"
    clamped = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        return np.asarray(inputs[0] * inputs[1])

    def formula(self, attributes: Attributes, parts: list[Formula]) -> Formula:
        return row(self.OP, parts)

    def affine(
        self, attributes: Attributes, constants: list[Array], shape: tuple[int, ...], axis: int
    ) -> tuple[Array, Array] | None:
        values = per_channel(constants[0], len(shape), axis, shape[axis])
        return None if values is None else (values, np.zeros(len(values)))

    def fold(self, folding: Folding, node: Node) -> bool:
        return super().fold(folding, node) or into_writer(folding, node)

    def constant_first(self, folding: Folding, node: Node, values: Array) -> bool:
        return put_constant_second(folding, node)

    def stand_alone(self, folding: Folding, node: Node) -> bool:
        return as_layer(folding, node)

    def lower(self, layer: Layer) -> Value:
        return lower_elementwise(layer, IntegerMul)
