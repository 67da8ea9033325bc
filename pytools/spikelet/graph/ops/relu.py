"""ReLU and its bounded kin on int8. C twin: firmware/kernels/lookup.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.int8 import CODES, Lookup, clip, code_factor, round_half_away
from spikelet.graph.requantise import requantise
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Relu(Lookup):
    """`min(max(x, low), high)` with a change of scale: RELU, RELU6, RELU_N1_TO_1, RELU_0_TO_1."""

    KIND: ClassVar[str] = "relu"


def relu_table(
    source: Tensor, scale: float, zero_point: int, low: float = 0.0, high: float | None = None
) -> Array:
    """The table from the code of `source` to another scale; real bounds, None for no upper one."""
    to = np.float32(scale)
    ratio = float(np.float32(source.scale) / to)
    codes = requantise(CODES - source.zero_point, *code_factor(ratio)) + zero_point
    floor = zero_point + int(round_half_away(np.float32(low) / to))
    ceiling = 127 if high is None else zero_point + int(round_half_away(np.float32(high) / to))
    return clip(np.minimum(np.maximum(codes, max(floor, -128)), min(ceiling, 127)))
