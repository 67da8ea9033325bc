"""Change of an int8 tensor's scale and zero point. C twin: firmware/kernels/lookup.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.int8 import CODES, Lookup, clipped, code_factor
from spikelet.graph.operator import Interval
from spikelet.graph.requantise import requantise
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Quantize(Lookup):
    """The same real value in another code; reads i8 or u8."""

    KIND: ClassVar[str] = "quantize"

    def infer(self, ins: list[Tensor], bounds: dict[str, Interval], steps: int) -> list[Tensor]:
        if ins[0].dtype != "u8":
            return super().infer(ins, bounds, steps)
        written = self.output(ins[0].shape, bounds)
        self._size = ins[0].size
        return written


def quantize_table(source: Tensor, scale: float, zero_point: int) -> Array:
    """The table from the code of `source`, i8 or u8."""
    codes = CODES if source.dtype == "i8" else np.arange(256)
    ratio = float(np.float32(source.scale)) / float(np.float32(scale))
    return clipped(requantise(codes - source.zero_point, *code_factor(ratio)) + zero_point)
