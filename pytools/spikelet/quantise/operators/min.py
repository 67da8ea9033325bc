"""The minimum of tensors, element by element."""

from __future__ import annotations

from spikelet.graph.ops.minimum import Minimum
from spikelet.quantise.arithmetic import Extreme


class Min(Extreme):
    """`min(a, b, ...)`."""

    OP = "Min"
    NUMPY = TORCH = "minimum"
    LIMIT = "max"
    INTEGER = Minimum
