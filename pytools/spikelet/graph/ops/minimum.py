"""Element-wise minimum of int8 tensors. C twin: firmware/kernels/elementwise.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.ops.maximum import Maximum
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Minimum(Maximum):
    """The lower code of both operands, which have the output's code."""

    KIND: ClassVar[str] = "minimum"
    C_OP: ClassVar[str] = "SPK_MINIMUM"

    def combine(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)
