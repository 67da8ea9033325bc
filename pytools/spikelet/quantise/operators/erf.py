"""The error function."""

from __future__ import annotations

import math

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function

_erf = np.frompyfunc(math.erf, 1, 1)


class Erf(Function):
    """`erf(x)`."""

    OP = "Erf"
    TORCH = "erf"

    def value(self, x: Array) -> Array:
        y: Array = np.asarray(_erf(x)).astype(x.dtype)
        return y
