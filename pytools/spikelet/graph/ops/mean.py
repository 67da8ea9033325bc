"""Mean over axes of an int8 tensor. C twin: firmware/kernels/mean.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c, int8
from spikelet.graph.c import Fields, Statement
from spikelet.graph.operator import Emitter, Inferred, Interval
from spikelet.graph.reduction import Reduction
from spikelet.graph.requantise import requantise
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Mean(Reduction):
    """The mean over neighbouring axes, rescaled; the division goes into the multiplier."""

    KIND: ClassVar[str] = "mean"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        super().infer(bounds, steps)
        if self._view[1] > 1 << 23:
            raise self.error(f"the sum of {self._view[1]} codes may reach beyond 32 bits")
        if 255 * self._view[1] << max(self.factor()[1], 0) >= 1 << 31:
            raise self.error(
                f"output_scale {self.output_scale} is so small that sums reach beyond 32 bits"
            )
        return Inferred(self.reach(bounds))

    def factor(self) -> tuple[int, int]:
        """Multiplier and shift of the sum, the division by the number of codes included."""
        ratio = float(np.float32(self.ins[0].scale)) / float(np.float32(self.output_scale))
        multiplier, shift = int8.factor(ratio)
        count = self._view[1]
        more = min(count.bit_length() - 1, 32, 31 + shift)
        return (multiplier << more) // count, shift - more

    def reduce(self, x: Array) -> Array:
        sums = x.sum(axis=2) - self.ins[0].zero_point * self._view[1]
        return requantise(sums, *self.factor()) + self.output_zero_point

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/mean.h")
        outer, count, inner = self._view
        multiplier, shift = self.factor()
        fields: Fields = {
            "outer": outer,
            "count": count,
            "inner": inner,
            "zeros": self.ins[0].zero_point * count,
            "multiplier": multiplier,
            "shift": shift,
            "zero": self.output_zero_point,
        }
        config = em.config(self.name, "spk_mean", fields)
        return [c.run("spk_mean_s8", config, em.tensor(self.inputs[0]), em.tensor(self.name))]
