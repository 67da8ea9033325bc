"""Hard swish."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.formula import ARGUMENT, Formula, apply
from spikelet.quantise.function import Function


class HardSwish(Function):
    """`x * min(max(x + 3, 0), 6) / 6`."""

    OP = "HardSwish"
    TORCH = "nn.functional.hardswish"

    def value(self, x: Array) -> Array:
        y: Array = x * np.clip(x / np.float32(6) + np.float32(0.5), 0, 1)
        return y

    def formulas(self) -> list[tuple[dict[str, Any], Formula]]:
        x = ARGUMENT
        shifted = apply("Clip", apply("Add", x, 3.0), min=0.0, max=6.0)
        gate = apply("HardSigmoid", x, alpha=1 / 6, beta=0.5)
        return [({}, apply("Mul", x, gate)), ({}, apply("Mul", x, shifted, 1 / 6))]
