"""Element-wise maximum of int8 tensors. C twin: firmware/kernels/elementwise.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.elementwise import Elementwise
from spikelet.graph.operator import Inferred, Interval
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Maximum(Elementwise):
    """The larger code of both operands, which have the output's code."""

    KIND: ClassVar[str] = "maximum"
    C_OP: ClassVar[str] = "SPK_MAXIMUM"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        for tensor in self.operands:
            self.same_code(tensor)
        return super().infer(bounds, steps)

    def factors(self) -> dict[str, int]:
        return {"multiplier": 0, "shift": 0}

    def combine(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)
