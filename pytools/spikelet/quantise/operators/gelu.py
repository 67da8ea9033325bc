"""GELU, and its approximation by a hyperbolic tangent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.formula import ARGUMENT, Formula, applied
from spikelet.quantise.function import Function
from spikelet.quantise.operators.erf import Erf


class Gelu(Function):
    """`x * (1 + erf(x / sqrt(2))) / 2`."""

    OP = "Gelu"
    TORCH = "nn.functional.gelu"

    def value(self, x: Array, approximate: str = "none") -> Array:
        if approximate == "tanh":
            inner = math.sqrt(2 / math.pi) * (x + np.float32(0.044715) * x**3)
            return np.asarray(np.float32(0.5) * x * (1 + np.tanh(inner)))
        erf = Erf().value(x / np.float32(math.sqrt(2)))
        return np.asarray(np.float32(0.5) * x * (1 + erf))

    def formulas(self) -> list[tuple[dict[str, Any], Formula]]:
        x = ARGUMENT
        cubic = applied("Add", x, applied("Mul", 0.044715, x, x, x))
        tanh = applied("Tanh", applied("Mul", math.sqrt(2 / math.pi), cubic))
        erf = applied("Erf", applied("Mul", x, 1 / math.sqrt(2)))
        return [
            ({}, applied("Mul", 0.5, x, applied("Add", erf, 1.0))),
            ({"approximate": "tanh"}, applied("Mul", 0.5, x, applied("Add", tanh, 1.0))),
        ]
