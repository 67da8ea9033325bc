"""Logistic function on int8. C twin: firmware/kernels/lookup.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.int8 import CODES, Lookup, clip, round_half_away
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Logistic(Lookup):
    """`1 / (1 + exp(-x))`."""

    KIND: ClassVar[str] = "logistic"


def logistic_table(source: Tensor, scale: float, zero_point: int) -> Array:
    """The table from the code of `source`: single precision, as TensorFlow Lite fills its own."""
    one = np.float32(1)
    x = np.float32(source.scale) * (CODES - source.zero_point).astype(np.float32)
    with np.errstate(over="ignore"):
        exponential = np.exp(-x.astype(np.float64)).astype(np.float32)
    y = one / (one + exponential)
    return clip(round_half_away(y * (one / np.float32(scale))).astype(np.int64) + zero_point)
