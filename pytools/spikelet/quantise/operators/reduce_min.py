"""Minima along some axes."""

from __future__ import annotations

from spikelet.graph.ops.reduce_min import ReduceMin as IntegerReduceMin
from spikelet.quantise.reduction import Reduce


class ReduceMin(Reduce):
    """The smallest of all elements along `axes`."""

    OP = "ReduceMin"
    NUMPY = "min"
    TORCH = "amin"
    INTEGER = IntegerReduceMin
    keeps_code = True
