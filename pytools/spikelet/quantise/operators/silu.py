"""SiLU, or swish."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.formula import ARGUMENT, Formula, apply
from spikelet.quantise.function import Function


class Silu(Function):
    """`x * sigmoid(x)`."""

    OP = "Silu"
    TORCH = "nn.functional.silu"

    def value(self, x: Array) -> Array:
        y: Array = x / (1 + np.exp(-x))
        return y

    def formulas(self) -> list[tuple[dict[str, Any], Formula]]:
        return [({}, apply("Mul", ARGUMENT, apply("Sigmoid", ARGUMENT)))]
