"""The sum of several layers' sums. C twin: firmware/kernels/sums.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.fixed import pick_int
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Sum(Operator):
    """Element by element. Reads two or more tensors of one shape, i16 or i32 each, in one unit.

    Writes their sum, i16 where it is proved to fit, else i32.
    """

    KIND: ClassVar[str] = "sum"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        if len(self.ins) < 2:
            raise self.error("it has one input, expected two or more")
        for x in self.ins:
            if x.dtype not in ("i16", "i32") or x.shape != self.ins[0].shape:
                raise self.error(
                    f"input {x.name} is {x.dtype} {x.shape}, expected i16 or i32 "
                    f"{self.ins[0].shape}"
                )
        ends = [bounds[x.name] for x in self.ins]
        low, high = (np.sum([end[i] for end in ends], axis=0) for i in (0, 1))
        # Partial sums are held in the type of the whole.
        least = np.sum([np.minimum(end[0], 0) for end in ends], axis=0)
        most = np.sum([np.maximum(end[1], 0) for end in ends], axis=0)
        dtype = pick_int(int(least.min()), int(most.max()))
        if dtype is None:
            raise self.error("a sum may reach beyond 32 bits")
        bounds[self.name] = (low, high)
        return Inferred([Tensor(self.name, dtype, self.ins[0].shape)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        total = sum(env[name].astype(np.int64) for name in self.inputs)
        env[self.name] = np.asarray(total).astype(self.outs[0].numpy_dtype)

    def cost(self) -> Cost:
        return Cost(updates=(len(self.ins) - 1) * self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/sums.h")
        out, n = em.tensor(self.name), self.ins[0].size
        wide = self.outs[0].dtype == "i32"
        calls, first, first_wide = [], em.tensor(self.inputs[0]), self.ins[0].dtype == "i32"
        for x in self.ins[1:]:
            more = em.tensor(x.name), x.dtype == "i32"
            calls.append(c.run("spk_add_sums", first, first_wide, *more, n, wide, out))
            first, first_wide = out, wide
        return calls
