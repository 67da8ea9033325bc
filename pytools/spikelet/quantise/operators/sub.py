"""Subtraction."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.sub import Sub as IntegerSub
from spikelet.quantise.arithmetic import Arithmetic, lower_elementwise
from spikelet.quantise.fold import Folding
from spikelet.quantise.formula import Formula, row
from spikelet.quantise.layers import Layer, Value
from spikelet.quantise.network import Node
from spikelet.quantise.operator import Attributes


class Sub(Arithmetic):
    """`a - b`."""

    OP = "Sub"
    TORCH = "sub"
    clamped = True

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        return np.asarray(inputs[0] - inputs[1])

    def formula(self, attributes: Attributes, parts: list[Formula]) -> Formula:
        return row("Add", [parts[0], row("Mul", [-1.0, parts[1]])])

    def constant_first(self, folding: Folding, node: Node, values: Array) -> bool:
        """Mul by -1 and Add."""
        constant, x = node.inputs
        if constant in folding.network.codes:
            return False
        product = folding.fresh(node.name)
        minus = folding.constant(f"{node.name}.minus", np.full((), -1, np.float32))
        first = Node("Mul", product, (x, minus), {}, node.source)
        return folding.replace(node, first, node.replace(op="Add", inputs=(product, constant)))

    def constant_second(self, folding: Folding, node: Node, values: Array) -> bool:
        """Add."""
        x, constant = node.inputs
        if constant in folding.network.codes:
            return False
        made = folding.constant(constant, (-values).astype(np.float32))
        return folding.replace(node, node.replace(op="Add", inputs=(x, made)))

    def lower(self, layer: Layer) -> Value:
        return lower_elementwise(layer, IntegerSub)
