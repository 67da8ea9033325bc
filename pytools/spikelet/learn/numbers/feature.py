"""Integer features as learners read them: any shape, one of four types. See learn/feature.h."""

from __future__ import annotations

import numpy as np

from spikelet.graph import c
from spikelet.graph.operator import Interval, Operator
from spikelet.graph.tensor import Tensor

C_TYPES = {dtype: c.name(f"SPK_{dtype.upper()}") for dtype in ("u8", "i8", "i16", "i32")}


def extent(node: Operator, features: Tensor, bounds: dict[str, Interval]) -> int:
    """The largest sum of magnitudes that features can have; refuses another type of features."""
    if features.dtype not in C_TYPES:
        raise node.error(
            f"input {features.name} is {features.dtype}, expected one of {', '.join(C_TYPES)}"
        )
    low, high = bounds[features.name]
    return int(np.maximum(np.abs(low), np.abs(high)).sum())
