"""The logistic function."""

from __future__ import annotations

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function
from spikelet.quantise.network import Code
from spikelet.quantise.operator import UNIT


class Sigmoid(Function):
    """`1 / (1 + exp(-x))`."""

    OP = "Sigmoid"
    TORCH = "sigmoid"

    def value(self, x: Array) -> Array:
        y: Array = 1 / (1 + np.exp(-x))
        return y

    def fixed_code(self, measured: bool) -> Code | None:
        return None if measured else UNIT
