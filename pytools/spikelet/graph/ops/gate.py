"""Whether an answer is sure enough: the lead of its best score. C twin: firmware/kernels/gate.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Held, within
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Gate(Operator):
    """1 where the largest score leads the second one by less than `lead`, else 0.

    Reads scores (n,) i8, i16 or i32, two or more; writes u8 (1,). What goes on only where the
    answer is not sure has this as its condition.

    Attributes:
        lead: in units of the scores' code.
        leads: (T,) int32 in its place, one a step: scores that grow with the steps need more.
    """

    KIND: ClassVar[str] = "gate"

    lead: Annotated[int, within(0, (1 << 31) - 1)] = 0
    leads: Annotated[Array, Held("int32", 1, 0)] | None = None

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        self.expect(self.ins[0], ("i8", "i16", "i32"))
        if self.ins[0].size < 2:
            raise self.error("one score leads no other: expected two or more")
        if self.leads is not None and (self.lead or self.leads.shape != (steps,)):
            raise self.error(
                f"{len(self.leads)} leads beside a lead of {self.lead}, expected either {steps} of "
                "them, one a step, or one lead"
            )
        bounds[self.name] = np.zeros(1, np.int64), np.ones(1, np.int64)
        return Inferred([Tensor(self.name, "u8", (1,))])

    def golden(self, env: dict[str, Array], t: int) -> None:
        top = np.sort(env[self.inputs[0]].astype(np.int64), axis=1)[:, -2:]
        lead = self.lead if self.leads is None else self.leads[t]
        env[self.name] = (top[:, 1:] - top[:, :1] < lead).astype(np.uint8)

    def phase(self, ins: list[Phase]) -> Phase:
        return max(ins) if self.leads is None else max(Phase.STEP, *ins)

    def cost(self) -> Cost:
        return Cost(updates=self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/gate.h")
        kind = {"i8": "s8", "i16": "s16", "i32": "s32"}[self.ins[0].dtype]
        scores, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        lead: c.Value = c.unsigned(self.lead)
        if self.leads is not None:
            lead = em.const(f"{self.name}_leads", self.leads.astype(np.uint32), "(steps,)")
            lead = lead.at(c.STEP)
        return [c.run(f"spk_gate_{kind}", scores, self.ins[0].size, lead, to)]
