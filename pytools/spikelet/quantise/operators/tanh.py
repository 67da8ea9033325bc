"""The hyperbolic tangent."""

from __future__ import annotations

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function
from spikelet.quantise.network import Code


class Tanh(Function):
    """`tanh(x)`."""

    OP = "Tanh"
    TORCH = "tanh"

    def value(self, x: Array) -> Array:
        return np.asarray(np.tanh(x))

    def fixed_code(self, measured: bool) -> Code | None:
        return None if measured else Code.of(1 / 128)
