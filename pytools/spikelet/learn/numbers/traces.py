"""Presynaptic traces: spikes of a neuron, each forgotten as a membrane forgets. int16 codes.

`trace = (trace * keep) >> 15` plus `one` where there was a spike. `one` is chosen so that a spike
in every step stays within `TRACE_LIMIT`. C twin: firmware/learn/three_factor.h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikelet.graph.tensor import Array
from spikelet.learn.numbers.scalar import Q15

TRACE_LIMIT = 4095  # 12 bits: sums of products with errors over time have 32
WORD = 32


@dataclass(frozen=True)
class Trace:
    """How spikes become traces.

    Attributes:
        keep: Q15, of a trace from step to step, 0 to 2^15.
        one: what a spike adds.
    """

    keep: int
    one: int

    @classmethod
    def of(cls, keep: int, steps: int, limit: int = TRACE_LIMIT) -> Trace:
        """The finest trace of so many steps within a limit; ValueError where there is none."""
        total, weight = 0.0, 1.0
        for _ in range(steps):
            total, weight = total + weight, weight * keep / Q15
        one = int(limit / total)
        if one < 1:
            raise ValueError(f"{steps} time steps, a trace holds {limit} spikes")
        return cls(keep, one)

    def over(self, spikes: Array) -> Array:
        """Traces after each step, int64, of spikes (T, ...)."""
        held = np.zeros(spikes.shape[1:], np.int64)
        rows = []
        for row in spikes.astype(np.int64):
            held = ((held * self.keep) >> 15) + row * self.one
            rows.append(held)
        return np.stack(rows)

    def steady(self, steps: int) -> Array:
        """Traces of a spike in every step, (T,) int64."""
        return self.over(np.ones((steps, 1)))[:, 0]


def packed(spikes: Array) -> Array:
    """Spikes (..., n) as words (..., ceil(n / 32)) uint32, the first one in bit 0."""
    n = spikes.shape[-1]
    padding = [(0, 0)] * (spikes.ndim - 1) + [(0, -n % WORD)]
    bits = np.packbits(np.pad(spikes.astype(np.uint8), padding), axis=-1, bitorder="little")
    return np.ascontiguousarray(bits).view("<u4")


def unpacked(words: Array, n: int) -> Array:
    """The inverse of `packed`, (..., n) uint8."""
    bytes_ = np.ascontiguousarray(words.astype("<u4")).view(np.uint8)
    bits: Array = np.unpackbits(bytes_, axis=-1, bitorder="little")
    return bits[..., :n]
