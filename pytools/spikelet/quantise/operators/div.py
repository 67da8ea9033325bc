"""Division. Folding leaves that of two computed tensors alone, which the graph cannot carry."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.arithmetic import Arithmetic
from spikelet.quantise.fold import Folding
from spikelet.quantise.formula import Formula, row
from spikelet.quantise.layers import Layer, Value
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes


class Div(Arithmetic):
    """`a / b`; of integers, rounded toward zero."""

    OP = "Div"
    TORCH = "div"

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        a, b = inputs
        if np.issubdtype(np.asarray(a).dtype, np.integer):
            return np.asarray(np.trunc(a / b)).astype(a.dtype)
        return np.asarray(a / b)

    def formula(self, attributes: Attributes, parts: list[Formula]) -> Formula:
        if isinstance(parts[1], float) and parts[1] != 0:
            return row("Mul", [parts[0], 1 / parts[1]])
        return super().formula(attributes, parts)

    def constant_first(self, folding: Folding, node: Node, values: Array) -> bool:
        """Reciprocal and Mul."""
        constant, x = node.inputs
        if constant in folding.network.codes:
            return False
        inverse = folding.fresh(node.name)
        first = Node("Reciprocal", inverse, (x,), {}, node.source)
        return folding.replace(node, first, node.replace(op="Mul", inputs=(inverse, constant)))

    def constant_second(self, folding: Folding, node: Node, values: Array) -> bool:
        """Mul by the inverse."""
        x, constant = node.inputs
        if constant in folding.network.codes:
            return False
        inverse = (1 / np.asarray(values, np.float64)).astype(np.float32)
        made = folding.constant(constant, inverse)
        return folding.replace(node, node.replace(op="Mul", inputs=(x, made)))

    def lower(self, layer: Layer) -> Value:
        raise layer.refuse("a computed divisor", "a constant one; or Reciprocal, then Mul")
