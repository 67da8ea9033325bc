"""Bernoulli (rate) coding from a seeded generator. C twin: firmware/kernels/poisson.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.fixed import xorshift32
from spikelet.graph.operator import Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Tensor

# Stands for a seed of 0, which xorshift32 cannot leave.
ZERO_SEED = 0x6D2B79F5


@dataclass(kw_only=True)
class Poisson(Operator):
    """A spike where value + a random byte reaches 256: probability value / 256 in each step.

    Reads values (n,) u8 and seed (1,) u32; writes `name.spikes` (n,) bit and the generator's state
    `name.state` (1,) u32. One xorshift32 draw, lowest byte first, serves four values; every step
    draws ceil(n / 4) times. Generator: Marsaglia, "Xorshift RNGs", J. Statistical Software 8(14),
    2003.
    """

    KIND: ClassVar[str] = "poisson"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        if len(ins) != 2 or ins[1].dtype != "u32" or ins[1].shape != (1,):
            raise self.error("expected two inputs: values (n,) u8 and seed (1,) u32")
        self.expect(ins[0], ("u8",))
        _, high = bounds[self.inputs[0]]
        bounds[f"{self.name}.spikes"] = (np.zeros_like(high), (high > 0).astype(np.int64))
        bounds[f"{self.name}.state"] = (np.array([1]), np.array([0xFFFFFFFF]))
        return Inferred(
            [
                Tensor(f"{self.name}.spikes", "bit", ins[0].shape),
                Tensor(f"{self.name}.state", "u32", (1,), kind="state", persistent=True),
            ]
        )

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.STEP

    def start(self, env: dict[str, Array], samples: int) -> None:
        seed = env[self.inputs[1]]
        env[f"{self.name}.state"] = np.where(seed == 0, np.uint32(ZERO_SEED), seed)

    def golden(self, env: dict[str, Array], t: int) -> None:
        values = env[self.inputs[0]]
        samples, n = values.shape
        state = env[f"{self.name}.state"][:, 0]
        draws = np.empty((samples, -(-n // 4)), "<u4")
        for i in range(draws.shape[1]):
            state = xorshift32(state)
            draws[:, i] = state
        sums = draws.view(np.uint8)[:, :n].astype(np.uint16) + values
        env[f"{self.name}.spikes"] = (sums >> 8).astype(np.uint8)
        env[f"{self.name}.state"] = state[:, None]

    def emit_start(self, em: Emitter) -> list[Statement]:
        em.include("kernels/poisson.h")
        seed, state = em.tensor(self.inputs[1]), em.tensor(f"{self.name}.state")
        return [c.run("spk_poisson_start", seed, state)]

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/poisson.h")
        n = len(em.bounds[f"{self.name}.spikes"][0])
        plain = c.cast("const void *", em.tensor(self.inputs[0]))
        state, spikes = em.tensor(f"{self.name}.state"), em.tensor(f"{self.name}.spikes")
        return [c.run("spk_poisson", c.cast("const uint32_t *", plain), n, state, spikes)]
