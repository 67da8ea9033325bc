"""The inverse."""

from __future__ import annotations

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function


class Reciprocal(Function):
    """`1 / x`."""

    OP = "Reciprocal"
    TORCH = "reciprocal"

    def value(self, x: Array) -> Array:
        return np.asarray(1 / x)
