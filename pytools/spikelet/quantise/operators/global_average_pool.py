"""Means over all spatial axes."""

from __future__ import annotations

from spikelet.graph.ops.mean import Mean
from spikelet.quantise.operator import Attributes
from spikelet.quantise.reduction import Reduce


class GlobalAveragePool(Reduce):
    """x (N, C, *spatial): (N, C, 1, ...)."""

    OP = "GlobalAveragePool"
    NUMPY = "mean"
    TORCH = "mean"
    INTEGER = Mean
    homogeneous = True

    def axes(self, rank: int, attributes: Attributes) -> tuple[int, ...] | None:
        return tuple(range(2, rank))
