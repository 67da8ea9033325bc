"""Sums or membranes as int8 codes. C twin: firmware/kernels/codes.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Codes as Range
from spikelet.graph.declared import Held, TensorScale
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator
from spikelet.graph.requantise import requantise
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Codes(Operator):
    """`clip(x * multiplier * 2^(shift - 31))`, rounded as int8 layers round: what 8 bits hold of x.

    Reads (..., C) i16 or i32; writes i8 with zero point 0.

    Attributes:
        multiplier: (C,) or (1,) int32, 0 or 2^30 to 2^31 - 1.
        shift: (C,) or (1,) int32, -31 to 30, > 0 to the left, where no value may leave 32 bits.
        limits: lowest and highest code.
        output_scale: real units a code.
    """

    KIND: ClassVar[str] = "codes"

    multiplier: Annotated[Array, Held("int32", 1, 0)]
    shift: Annotated[Array, Held("int32", 1, -31, 30)]
    limits: Range = (-127, 127)
    output_scale: TensorScale = 1.0

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype not in ("i16", "i32"):
            raise self.error(f"input {x.name} is {x.dtype}, expected i16 or i32")
        for name in ("multiplier", "shift"):
            count = len(getattr(self, name))
            if count not in (1, x.shape[-1]):
                raise self.error(f"{name} has {count} values for {x.shape[-1]} channels")
        low, high = (end.astype(np.int64) for end in bounds[x.name])
        left = np.maximum(self.shift, 0)
        if int((low << left).min()) < -(1 << 31) or int((high << left).max()) >= 1 << 31:
            raise self.error("a shift to the left may carry values beyond 32 bits")
        bounds[self.name] = self._codes(low), self._codes(high)
        return Inferred([Tensor(self.name, "i8", x.shape, scale=self.output_scale)])

    def _codes(self, x: Array) -> Array:
        scaled = requantise(x, self.multiplier, self.shift)
        codes: Array = np.clip(scaled, *self.limits)
        return codes

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.name] = self._codes(env[self.inputs[0]]).astype(np.int8)

    def cost(self) -> Cost:
        return Cost(updates=self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/codes.h")
        channels = max(len(self.multiplier), len(self.shift))
        pairs = {
            name: np.resize(getattr(self, name), channels).astype(dtype)
            for name, dtype in (("multiplier", np.int32), ("shift", np.int8))
        }
        fields: Fields = {
            "n": self.ins[0].size,
            "channels": channels,
            "low": self.limits[0],
            "high": self.limits[1],
            "wide": self.ins[0].dtype == "i32",
            **{
                name: em.const(f"{self.name}_{name}", values, f"({channels},)")
                for name, values in pairs.items()
            },
        }
        config = em.config(self.name, "spk_codes", fields)
        return [c.run("spk_codes_s8", config, em.tensor(self.inputs[0]), em.tensor(self.name))]
