"""Spikes of each neuron over the whole inference. C twin: firmware/kernels/spike_count.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class SpikeCount(Operator):
    """`count += spike`, from 0. Reads spikes (n,), bit or u8; writes counts (n,) i16."""

    KIND: ClassVar[str] = "spike_count"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        self.expect(self.ins[0], ("bit", "u8"))
        low, high = bounds[self.inputs[0]]
        if int(high.max()) * steps >= 1 << 15:
            raise self.error(f"{int(high.max())} spikes in each of {steps} steps: beyond 16 bits")
        bounds[self.name] = (low * steps, high * steps)
        return Inferred(
            [Tensor(self.name, "i16", self.ins[0].shape, kind="state", persistent=True)]
        )

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.STEP

    def start(self, env: dict[str, Array], samples: int) -> None:
        env[self.name] = np.zeros((samples, self.ins[0].size), np.int16)

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.name] = env[self.name] + env[self.inputs[0]].astype(np.int16)

    def cost(self) -> Cost:
        return Cost(updates=self.ins[0].size)

    def emit_start(self, em: Emitter) -> list[Statement]:
        em.include("kernels/spike_count.h")
        n = len(em.bounds[self.name][0])
        return [c.run("spk_clear", em.tensor(self.name), 2 * n)]

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/spike_count.h")
        n = len(em.bounds[self.name][0])
        bits = self.ins[0].dtype == "bit"
        kernel = "spk_spike_count" if bits else "spk_spike_count_u8"
        return [c.run(kernel, em.tensor(self.inputs[0]), n, em.tensor(self.name))]
