"""ReLU."""

from __future__ import annotations

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.formula import Formula, apply
from spikelet.quantise.function import Clamp
from spikelet.quantise.operator import Attributes


class Relu(Clamp):
    """`max(x, 0)`."""

    OP = "Relu"
    TORCH = "relu"
    homogeneous = True

    def value(self, x: Array) -> Array:
        return np.maximum(x, np.zeros((), x.dtype))

    def limits(self, attributes: Attributes) -> tuple[float | None, float | None] | None:
        return 0.0, None

    def formula(self, attributes: Attributes, parts: list[Formula]) -> Formula:
        return apply("Clip", *parts, min=0.0)
