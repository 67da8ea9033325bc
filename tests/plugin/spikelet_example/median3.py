"""Median of three neighbours. C twin: firmware/example/median3.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Median3(Operator):
    """`y[i]` is the median of `x[i-1], x[i], x[i+1]`; both ends stay. It drops single spikes.

    Reads i8 (n,), n at least 3, and writes the same type, shape and code.
    """

    KIND: ClassVar[str] = "example_median3"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        self.expect(x, ("i8",))
        if x.size < 3:
            raise self.error(f"input {x.name} has {x.size} elements, expected 3 at least")
        low, high = bounds[x.name]
        bounds[self.name] = np.full(x.shape, low.min()), np.full(x.shape, high.max())
        return Inferred([Tensor(self.name, "i8", x.shape, scale=x.scale, zero_point=x.zero_point)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        y = x.copy()
        y[:, 1:-1] = np.median(np.stack([x[:, :-2], x[:, 1:-1], x[:, 2:]]), axis=0)
        env[self.name] = y

    def cost(self) -> Cost:
        return Cost(macs=self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("example/median3.h")
        size = em.bounds[self.name][0].size
        return [
            c.run("spk_example_median3_s8", em.tensor(self.inputs[0]), size, em.tensor(self.name))
        ]
