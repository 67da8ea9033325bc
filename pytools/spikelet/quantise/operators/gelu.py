"""GELU, and its approximation by a hyperbolic tangent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.formula import ARGUMENT, Formula, apply
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
        cubic = apply("Add", x, apply("Mul", 0.044715, x, x, x))
        tanh = apply("Tanh", apply("Mul", math.sqrt(2 / math.pi), cubic))
        erf = apply("Erf", apply("Mul", x, 1 / math.sqrt(2)))
        return [
            ({}, apply("Mul", 0.5, x, apply("Add", erf, 1.0))),
            ({"approximate": "tanh"}, apply("Mul", 0.5, x, apply("Add", tanh, 1.0))),
        ]
