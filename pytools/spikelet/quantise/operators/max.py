"""The maximum of tensors, element by element."""

from __future__ import annotations

from spikelet.graph.ops.maximum import Maximum
from spikelet.quantise.arithmetic import Extreme


class Max(Extreme):
    """`max(a, b, ...)`."""

    OP = "Max"
    NUMPY = TORCH = "maximum"
    LIMIT = "min"
    INTEGER = Maximum
