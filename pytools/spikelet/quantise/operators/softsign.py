"""Softsign."""

from __future__ import annotations

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function


class Softsign(Function):
    """`x / (1 + abs(x))`."""

    OP = "Softsign"
    TORCH = "nn.functional.softsign"

    def value(self, x: Array) -> Array:
        y: Array = x / (1 + np.abs(x))
        return y
