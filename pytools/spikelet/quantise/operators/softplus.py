"""Softplus."""

from __future__ import annotations

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function


class Softplus(Function):
    """`log(1 + exp(x))`."""

    OP = "Softplus"
    TORCH = "nn.functional.softplus"

    def value(self, x: Array) -> Array:
        return np.asarray(np.logaddexp(np.zeros((), x.dtype), x))
