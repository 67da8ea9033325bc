"""A function whose 256 values are given. It is not ONNX's, and nothing can train it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function


class Lookup(Function):
    """By the int8 code of x: `values` are those of codes -128 to 127."""

    OP = "Lookup"
    trainable = False

    def value(self, x: Array, scale: float, zero_point: int, values: Sequence[float]) -> Array:
        codes = np.rint(x / np.float32(scale)) + zero_point
        places = np.clip(codes, -128, 127).astype(np.int64) + 128
        y: Array = np.asarray(values, np.float32)[places]
        return y
