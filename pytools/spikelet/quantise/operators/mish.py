"""Mish."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.formula import ARGUMENT, Formula, apply
from spikelet.quantise.function import Function
from spikelet.quantise.operators.softplus import Softplus


class Mish(Function):
    """`x * tanh(softplus(x))`."""

    OP = "Mish"
    TORCH = "nn.functional.mish"

    def value(self, x: Array) -> Array:
        y: Array = x * np.tanh(Softplus().value(x))
        return y

    def formulas(self) -> list[tuple[dict[str, Any], Formula]]:
        gate = apply("Tanh", apply("Softplus", ARGUMENT))
        return [({}, apply("Mul", ARGUMENT, gate))]
