"""Whether an answer is sure enough: the lead of its best score. C twin: firmware/kernels/gate.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import within
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Gate(Operator):
    """1 where the largest score leads the second one by less than `lead`, else 0.

    Reads scores (n,) i8, i16 or i32, two or more; writes u8 (1,). What goes on only where the
    answer is not sure has this as its condition.

    Attributes:
        lead: in units of the scores' code.
    """

    KIND: ClassVar[str] = "gate"

    lead: Annotated[int, within(0, (1 << 31) - 1)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        self.expect(self.ins[0], ("i8", "i16", "i32"))
        if self.ins[0].size < 2:
            raise self.error("one score leads no other: expected two or more")
        bounds[self.name] = np.zeros(1, np.int64), np.ones(1, np.int64)
        return Inferred([Tensor(self.name, "u8", (1,))])

    def golden(self, env: dict[str, Array], t: int) -> None:
        top = np.sort(env[self.inputs[0]].astype(np.int64), axis=1)[:, -2:]
        env[self.name] = (top[:, 1:] - top[:, :1] < self.lead).astype(np.uint8)

    def cost(self) -> Cost:
        return Cost(updates=self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/gate.h")
        kind = {"i8": "s8", "i16": "s16", "i32": "s32"}[self.ins[0].dtype]
        scores, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        lead = c.unsigned(self.lead)
        return [c.run(f"spk_gate_{kind}", scores, self.ins[0].size, lead, to)]
