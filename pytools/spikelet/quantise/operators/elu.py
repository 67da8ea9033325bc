"""ELU."""

from __future__ import annotations

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function


class Elu(Function):
    """`x` from 0 on, `alpha * (exp(x) - 1)` below."""

    OP = "Elu"
    TORCH = "nn.functional.elu"

    def value(self, x: Array, alpha: float = 1.0) -> Array:
        return np.where(x < 0, np.float32(alpha) * np.expm1(x), x)
