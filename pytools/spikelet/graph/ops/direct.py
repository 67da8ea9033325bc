"""Direct coding: a value is injected as a constant current. C twin: firmware/kernels/direct.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import AnyCode, Int32
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Direct(Operator):
    """`current = (value - zero_point) * gain`, the same in every step.

    Reads values (n,) u8; writes current (n,) i16.

    Attributes:
        gain: current units a code, 1 to 128.
        zero_point: the code that injects nothing, 0 to 255.
    """

    KIND: ClassVar[str] = "direct"

    gain: Int32 = 1
    zero_point: AnyCode = 0

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        self.expect(self.ins[0], ("u8",))
        if not 1 <= self.gain <= 128 or not 0 <= self.zero_point <= 255:
            raise self.error(f"gain {self.gain} or zero point {self.zero_point} is out of range")
        low, high = bounds[self.inputs[0]]
        bounds[self.name] = (
            (low - self.zero_point) * self.gain,
            (high - self.zero_point) * self.gain,
        )
        return Inferred([Tensor(self.name, "i16", self.ins[0].shape)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        values = env[self.inputs[0]].astype(np.int16)
        env[self.name] = (values - self.zero_point) * np.int16(self.gain)

    def cost(self) -> Cost:
        return Cost(macs=self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/direct.h")
        n = len(em.bounds[self.name][0])
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_direct", source, n, self.zero_point, self.gain, to)]
