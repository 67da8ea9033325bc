"""Spikes that arrive later, each by its neuron's own time. C twin: firmware/kernels/delay.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Held
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Tensor

WORD = 32


@dataclass(kw_only=True)
class Delay(Operator):
    """`y[i]` in step t is `x[i]` of step t - steps[i], 0 before there was one.

    Reads spikes of n neurons, bit; writes them in their shape, and keeps `name.ring` (D + 1, n) bit
    with n rounded up to words and D the longest delay, and `name.at` (1,) i32, the row of now. A
    spike is written where it will be read: the work is the spikes.

    Attributes:
        steps: (n,) uint8.
    """

    KIND: ClassVar[str] = "delay"
    KEPT: ClassVar[bool] = True

    steps: Annotated[Array, Held("uint8", 1)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype != "bit" or x.size != len(self.steps):
            raise self.error(
                f"input {x.name} is {x.dtype} {x.shape}, expected {len(self.steps)} bits"
            )
        at = f"{self.name}.at"
        bounds[self.name] = x.interval()
        bounds[at] = np.zeros(1, np.int64), np.full(1, self._rows - 1, np.int64)
        ring = (self._rows, self._words * WORD)
        return Inferred(
            [
                Tensor(self.name, "bit", x.shape),
                Tensor(f"{self.name}.ring", "bit", ring, kind="state", persistent=True),
                Tensor(at, "i32", (1,), kind="state", persistent=True),
            ]
        )

    @property
    def _rows(self) -> int:
        return int(self.steps.max()) + 1

    @property
    def _words(self) -> int:
        return -(-len(self.steps) // WORD)

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.STEP

    def start(self, env: dict[str, Array], samples: int) -> None:
        ring = (samples, self._rows, self._words * WORD)
        env[f"{self.name}.ring"] = np.zeros(ring, np.uint8)
        env[f"{self.name}.at"] = np.zeros((samples, 1), np.int32)

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        ring, at = env[f"{self.name}.ring"].copy(), env[f"{self.name}.at"][:, 0]
        samples, neurons = np.nonzero(x.reshape(len(x), -1))
        rows = (at[samples] + self.steps[neurons]) % self._rows
        ring[samples, rows, neurons] = 1
        each = np.arange(len(x))
        env[self.name] = ring[each, at, : len(self.steps)].reshape(x.shape)
        ring[each, at] = 0
        env[f"{self.name}.ring"] = ring
        env[f"{self.name}.at"] = ((at + 1) % self._rows).astype(np.int32)[:, None]

    def cost(self) -> Cost:
        return Cost(updates=self.ins[0].size)

    def emit_start(self, em: Emitter) -> list[Statement]:
        em.include("kernels/delay.h")
        ring, at = (em.tensor(f"{self.name}.{part}") for part in ("ring", "at"))
        clear = c.run("spk_clear", ring, 4 * self._rows * self._words)
        return [clear, c.run("spk_clear", at, 4)]

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/delay.h")
        n = len(self.steps)
        steps = em.const(f"{self.name}_steps", self.steps, f"({n},)")
        ring, at = (em.tensor(f"{self.name}.{part}") for part in ("ring", "at"))
        given = em.tensor(self.inputs[0]), self._words, steps, self._rows
        return [c.run("spk_delay", *given, ring, at, em.tensor(self.name))]
