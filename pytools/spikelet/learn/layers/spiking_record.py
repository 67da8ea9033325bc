"""What a spiking network keeps of its time steps until a label comes. C twin: learn/spiking.h.

An eligibility for each synapse would take as much memory as the weights, and more work in every
step. Of what it is made, a step leaves a bit for each presynaptic neuron and a byte for each
postsynaptic one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement, Value
from spikelet.graph.declared import Held
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.numbers.traces import WORD, packed

PEAK = 255  # of the surrogate derivative, at the threshold
SLOPE_BITS = 23


@dataclass(kw_only=True)
class SpikeHistory(Operator):
    """Keeps the spikes of every step, in words whose bit 0 comes first.

    Reads n spikes, bit; writes (T, ceil(n / 32)) u32, persistent.
    """

    KIND: ClassVar[str] = "spike_history"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype != "bit":
            raise self.error(f"input {x.name} is {x.dtype}, expected bit")
        shape = (steps, -(-x.size // WORD))
        return Inferred([Tensor(self.name, "u32", shape, kind="state", persistent=True)])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.STEP

    def start(self, env: dict[str, Array], samples: int) -> None:
        env[self.name] = np.zeros((samples, *self.outs[0].shape), np.uint32)

    def golden(self, env: dict[str, Array], t: int) -> None:
        x, rows = env[self.inputs[0]], env[self.name].copy()
        rows[:, t] = packed(x.reshape(len(x), -1))
        env[self.name] = rows

    def cost(self) -> Cost:
        return Cost(updates=self.outs[0].shape[1])

    def emit_start(self, em: Emitter) -> list[Statement]:
        em.include("learn/spiking.h")
        return [c.run("spk_clear", em.tensor(self.name), self.outs[0].nbytes)]

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/spiking.h")
        spikes, rows = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_spike_history", spikes, self.outs[0].shape[1], c.STEP, rows)]


@dataclass(kw_only=True)
class Surrogate(Operator):
    """Keeps of every step the surrogate derivative of each neuron's spike by its membrane.

    A triangle: 255 at the threshold, `255 - (distance * slope >> 23)` within `width` of it, else 0.
    Source of the method: Neftci, Mostafa, Zenke, "Surrogate Gradient Learning in Spiking Neural
    Networks", IEEE Signal Processing Magazine 2019.

    Reads a membrane of m neurons, i16 or i32, as it was before a reset; of neurons that take the
    threshold off at once their spikes, bit, too: then the threshold is added again. Writes (T, m)
    u8, persistent.

    Attributes:
        threshold: (m,) int32, in units of the membrane.
        width: (m,) int32, at least 1, in the same units.
    """

    KIND: ClassVar[str] = "surrogate"

    threshold: Annotated[Array, Held("int32", 1, 0)]
    width: Annotated[Array, Held("int32", 1, 1)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        membrane = self.ins[0]
        shape = (membrane.size,)
        if membrane.dtype not in ("i16", "i32"):
            raise self.error(f"input {membrane.name} is {membrane.dtype}, expected i16 or i32")
        if (self.threshold.shape, self.width.shape) != (shape, shape):
            raise self.error(f"thresholds and widths are not those of {membrane.size} neurons")
        if len(self.ins) > 2 or any(
            (t.dtype, t.size) != ("bit", membrane.size) for t in self.ins[1:]
        ):
            raise self.error(f"expected a membrane, and perhaps spikes, of {shape}")
        bounds[self.name] = interval((steps, *shape), 0, PEAK)
        written = Tensor(self.name, "u8", (steps, *shape), kind="state", persistent=True)
        return Inferred([written])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.STEP

    def start(self, env: dict[str, Array], samples: int) -> None:
        env[self.name] = np.zeros((samples, *self.outs[0].shape), np.uint8)

    @property
    def _slope(self) -> Array:
        """(m,) uint32: PEAK * 2^23 / width, below 2^31."""
        return ((PEAK << SLOPE_BITS) // self.width.astype(np.int64)).astype(np.uint32)

    def golden(self, env: dict[str, Array], t: int) -> None:
        v = env[self.inputs[0]].astype(np.int64)
        v = v.reshape(len(v), -1)
        if len(self.inputs) == 2:
            v = v + env[self.inputs[1]].reshape(len(v), -1) * self.threshold.astype(np.int64)
        distance = np.minimum(np.abs(v - self.threshold), self.width)
        down = (distance * self._slope) >> SLOPE_BITS
        rows = env[self.name].copy()
        rows[:, t] = np.where(distance < self.width, PEAK - down, 0)
        env[self.name] = rows

    def cost(self) -> Cost:
        return Cost(updates=self.ins[0].size)

    def emit_start(self, em: Emitter) -> list[Statement]:
        em.include("learn/spiking.h")
        return [c.run("spk_clear", em.tensor(self.name), self.outs[0].nbytes)]

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/spiking.h")
        n = self.ins[0].size
        config = em.config(
            self.name,
            "spk_surrogate",
            {
                "n": n,
                "wide": self.ins[0].dtype == "i32",
                "threshold": em.const(f"{self.name}_threshold", self.threshold, f"({n},)"),
                "width": em.const(f"{self.name}_width", self.width, f"({n},)"),
                "slope": em.const(f"{self.name}_slope", self._slope, f"({n},)"),
            },
        )
        membrane, rows = em.tensor(self.inputs[0]), em.tensor(self.name)
        spikes: Value = em.tensor(self.inputs[1]) if len(self.inputs) == 2 else 0
        return [c.run("spk_surrogate", config, membrane, spikes, c.STEP, rows)]
