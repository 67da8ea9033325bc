"""Latency coding: one spike, the earlier the larger. C twin: firmware/kernels/latency.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.operator import Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Latency(Operator):
    """One spike in step `floor((255 - value) * T / 256)`; a value of 0 never spikes.

    Reads values (n,) u8; writes spikes (n,) bit.
    """

    KIND: ClassVar[str] = "latency"

    facts: int = field(init=False, repr=False, compare=False)  # the graph's steps

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        self.expect(self.ins[0], ("u8",))
        _, high = bounds[self.inputs[0]]
        bounds[self.name] = (np.zeros_like(high), (high > 0).astype(np.int64))
        return Inferred([Tensor(self.name, "bit", self.ins[0].shape)], steps)

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.STEP

    def golden(self, env: dict[str, Array], t: int) -> None:
        values = env[self.inputs[0]].astype(np.int64)
        when = ((255 - values) * self.facts) >> 8
        env[self.name] = ((values != 0) & (when == t)).astype(np.uint8)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/latency.h")
        n = len(em.bounds[self.name][0])
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_latency", source, n, c.STEP, self.facts, to)]
