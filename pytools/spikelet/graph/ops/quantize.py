"""Change of an int8 tensor's scale and zero point. C twin: firmware/kernels/lookup.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.declared import AnyCode
from spikelet.graph.int8 import CODES, Lookup, clip, code_factor, interval, round_half_away
from spikelet.graph.operator import Inferred, Interval
from spikelet.graph.requantise import requantise
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Quantize(Lookup):
    """The same real value in another code; reads i8 or u8.

    Attributes:
        unsigned: writes u8; the table then holds its bytes, 0 to 255 as 0 to 127 and -128 to -1.
    """

    KIND: ClassVar[str] = "quantize"
    READS: ClassVar[tuple[str, ...]] = ("i8", "u8")

    output_zero_point: AnyCode = 0
    unsigned: bool = False

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        if not self.unsigned:
            return super().infer(bounds, steps)
        self.activation_input(ins[0])
        self.check_table()
        if not 0 <= self.output_zero_point <= 255:
            raise self.error(f"output_zero_point {self.output_zero_point} is not in 0..255")
        codes = self.table.view(np.uint8)
        bounds[self.name] = interval(ins[0].shape, int(codes.min()), int(codes.max()))
        scale, zero_point = self.output_scale, self.output_zero_point
        return Inferred([Tensor(self.name, "u8", ins[0].shape, scale=scale, zero_point=zero_point)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        super().golden(env, t)
        if self.unsigned:
            env[self.name] = env[self.name].view(np.uint8)


def quantize_table(
    source: Tensor, scale: float, zero_point: int, *, unsigned: bool = False
) -> Array:
    """The table from the code of `source`, i8 or u8, to i8 or the bytes of u8."""
    codes = CODES if source.dtype == "i8" else np.arange(256)
    ratio = float(np.float32(source.scale)) / float(np.float32(scale))
    table = requantise(codes - source.zero_point, *code_factor(ratio)) + zero_point
    return np.clip(table, 0, 255).astype(np.uint8).view(np.int8) if unsigned else clip(table)


def dequantized_table(source: Tensor, scale: float, zero_point: int) -> Array:
    """The same by way of real values: a DEQUANTIZE, then a QUANTIZE, in single precision."""
    codes = CODES if source.dtype == "i8" else np.arange(256)
    real = np.float32(source.scale) * (codes - source.zero_point).astype(np.float32)
    return clip(round_half_away(real / np.float32(scale)).astype(np.int64) + zero_point)
