"""Firing rates as codes of 8 bits: what learners read of spikes. C twin: learn/spike_rate.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Tensor

SHIFT = 16


@dataclass(kw_only=True)
class SpikeRate(Operator):
    """`rate = (count * multiplier + 2^15) >> 16`, with a multiplier of 127 * 2^16 / steps, rounded.

    Runs after the last time step. Reads the counts of `SpikeCount`, i16 of any shape; writes i8 of
    that shape, where 127 is a spike in every step. Exact integers; up to 127 steps, different
    counts have different codes.
    """

    KIND: ClassVar[str] = "spike_rate"

    facts: int = field(init=False, repr=False, compare=False)  # multiplier of a count

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        if len(ins) != 1 or ins[0].dtype != "i16":
            raise self.error(f"reads {', '.join(t.dtype for t in ins)}, expected counts of i16")
        low, high = bounds[self.inputs[0]]
        if (low < 0).any() or (high > steps).any():
            raise self.error(f"reads {ins[0].name}, which is no count of 0 to {steps} spikes")
        multiplier = round(127 * 2**SHIFT / steps)
        bounds[self.name] = (_codes(low, multiplier), _codes(high, multiplier))
        return Inferred([Tensor(self.name, "i8", ins[0].shape, scale=1 / 127)], multiplier)

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.END

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.name] = _codes(env[self.inputs[0]], self.facts).astype(np.int8)

    def cost(self) -> Cost:
        return Cost(updates=self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/spike_rate.h")
        counts, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_spike_rate", counts, self.ins[0].size, self.facts, to)]


def _codes(counts: Array, multiplier: int) -> Array:
    """At most 127 * 2^16 + steps / 2 + 2^15 before the shift: 24 bits."""
    codes: Array = (counts.astype(np.int64) * multiplier + 2 ** (SHIFT - 1)) >> SHIFT
    return codes
