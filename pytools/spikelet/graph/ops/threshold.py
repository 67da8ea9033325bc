"""The sign of each element, a bit. C twin: firmware/kernels/binary.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Held
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Threshold(Operator):
    """`bit = x >= threshold`, channel by channel: 1 stands for +1, 0 for -1.

    Reads (..., C) i8; writes bits of the same shape. A sign of real values has the code of real 0
    as its threshold, so the sign of 0 is +1.

    Attributes:
        threshold: (C,) int16, -128 to 128; at 128 a bit is never set.
    """

    KIND: ClassVar[str] = "threshold"

    threshold: Annotated[Array, Held("int16", 1, -128, 128)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype != "i8":
            raise self.error(f"input {x.name} is {x.dtype}, expected i8")
        if self.threshold.dtype != np.int16 or self.threshold.shape != x.shape[-1:]:
            raise self.error(
                f"threshold is {self.threshold.dtype} of shape {self.threshold.shape}, expected "
                f"int16 {x.shape[-1:]}"
            )
        low, high = bounds[x.name]
        bounds[self.name] = tuple(  # type: ignore[assignment]
            (end >= self.threshold).astype(np.int64) for end in (low, high)
        )
        return Inferred([Tensor(self.name, "bit", x.shape)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.name] = (env[self.inputs[0]] >= self.threshold).astype(np.uint8)

    def cost(self) -> Cost:
        return Cost(updates=self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/binary.h")
        channels = len(self.threshold)
        table = em.const(f"{self.name}_threshold", self.threshold, f"({channels},) int16")
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_threshold", source, self.ins[0].size, table, channels, to)]
