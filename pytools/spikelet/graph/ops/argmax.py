"""Index of the largest value of a row. C twin: firmware/kernels/argmax.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Argmax(Operator):
    """The first index of the largest value of each row, after the last step.

    Reads values (n,) or (..., n) i8, i16 or i32; writes (1,) i32, or (...) one index a row.
    """

    KIND: ClassVar[str] = "argmax"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        if ins[0].dtype not in ("i8", "i16", "i32"):
            raise self.error(f"input {ins[0].name} is {ins[0].dtype}, expected i8, i16 or i32")
        shape = ins[0].shape[:-1] if self._rows > 1 else (1,)
        bounds[self.name] = interval(shape, 0, ins[0].shape[-1] - 1)
        return Inferred([Tensor(self.name, "i32", shape)])

    @property
    def _rows(self) -> int:
        return self.ins[0].size // self.ins[0].shape[-1]

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.ONCE if max(ins) is Phase.ONCE else Phase.END

    def golden(self, env: dict[str, Array], t: int) -> None:
        values = env[self.inputs[0]]
        largest = np.argmax(values, axis=-1).astype(np.int32)
        env[self.name] = largest if self._rows > 1 else largest.reshape(-1, 1)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/argmax.h")
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        dtype = self.ins[0].dtype
        if dtype == "i8":
            return [c.run("spk_argmax_s8", source, self._rows, self.ins[0].shape[-1], to)]
        return [c.run("spk_argmax", source, self._rows, self.ins[0].shape[-1], dtype == "i32", to)]
