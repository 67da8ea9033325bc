"""Leaky ReLU on int8. C twin: firmware/kernels/lookup.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.int8 import CODES, Lookup, clip, code_factor
from spikelet.graph.requantise import requantise
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class LeakyRelu(Lookup):
    """`x if x >= 0 else alpha * x`, each side with its own multiplier."""

    KIND: ClassVar[str] = "leaky_relu"


def leaky_relu_table(source: Tensor, scale: float, zero_point: int, alpha: float) -> Array:
    """The table from the code of `source` to another scale."""
    real, to = np.float32(source.scale), np.float32(scale)
    x = CODES - source.zero_point
    above = requantise(x, *code_factor(float(real / to)))
    slope, shift = code_factor(abs(float(real * np.float32(alpha) / to)))
    below = requantise(x, -slope if alpha < 0 else slope, shift)
    return clip(np.where(x >= 0, above, below) + zero_point)
