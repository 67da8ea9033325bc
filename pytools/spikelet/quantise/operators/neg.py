"""The negative."""

from __future__ import annotations

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.formula import Formula, row
from spikelet.quantise.function import Function
from spikelet.quantise.operator import Attributes


class Neg(Function):
    """`-x`."""

    OP = "Neg"
    TORCH = "neg"

    def value(self, x: Array) -> Array:
        return np.asarray(-x)

    def formula(self, attributes: Attributes, parts: list[Formula]) -> Formula:
        return row("Mul", [-1.0, parts[0]])
