"""Maxima along some axes."""

from __future__ import annotations

from spikelet.graph.ops.reduce_max import ReduceMax as IntegerReduceMax
from spikelet.quantise.reduction import Reduce


class ReduceMax(Reduce):
    """The largest of all elements along `axes`."""

    OP = "ReduceMax"
    NUMPY = "max"
    TORCH = "amax"
    INTEGER = IntegerReduceMax
    keeps_code = True
