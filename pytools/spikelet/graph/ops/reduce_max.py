"""Largest code over axes of an int8 tensor. C twin: firmware/kernels/reduce_max.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.operator import Emitter, Inferred, Interval
from spikelet.graph.reduction import Reduction
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class ReduceMax(Reduction):
    """The largest code over neighbouring axes; the output has the input's code."""

    KIND: ClassVar[str] = "reduce_max"
    LOWEST: ClassVar[bool] = False

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        self.same_code(self.ins[0])
        super().infer(bounds, steps)
        return Inferred(self.reach(bounds))

    def reduce(self, x: Array) -> Array:
        result: Array = x.min(axis=2) if self.LOWEST else x.max(axis=2)
        return result

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/reduce_max.h")
        outer, count, inner = self._view
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_reduce_max_s8", source, outer, count, inner, self.LOWEST, to)]
