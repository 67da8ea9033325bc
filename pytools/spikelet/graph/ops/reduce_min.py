"""Lowest code over axes of an int8 tensor. C twin: firmware/kernels/reduce_max.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spikelet.graph.ops.reduce_max import ReduceMax


@dataclass(kw_only=True)
class ReduceMin(ReduceMax):
    """The lowest code over neighbouring axes; the output has the input's code."""

    KIND: ClassVar[str] = "reduce_min"
    LOWEST: ClassVar[bool] = True
