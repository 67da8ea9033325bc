"""Index of the largest value of a row. C twin: firmware/kernels/argmax.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Emitter, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Argmax(Operator):
    """The first index of the largest value of each row, after the last step.

    Reads values (n,) or (..., n) i8, i16 or i32; writes (1,) i32, or (...) one index a row.
    """

    KIND: ClassVar[str] = "argmax"

    _wide: bool = field(init=False, repr=False, default=False)
    _narrow: bool = field(init=False, repr=False, default=False)
    _rows: int = field(init=False, repr=False, default=1)
    _n: int = field(init=False, repr=False, default=1)

    def infer(self, ins: list[Tensor], bounds: dict[str, Interval], steps: int) -> list[Tensor]:
        if ins[0].dtype not in ("i8", "i16", "i32"):
            raise self.error(f"input {ins[0].name} is {ins[0].dtype}, expected i8, i16 or i32")
        self._wide, self._narrow = ins[0].dtype == "i32", ins[0].dtype == "i8"
        self._n = ins[0].shape[-1]
        self._rows = ins[0].size // self._n
        shape = ins[0].shape[:-1] if self._rows > 1 else (1,)
        bounds[self.name] = interval(shape, 0, self._n - 1)
        return [Tensor(self.name, "i32", shape)]

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.ONCE if max(ins) is Phase.ONCE else Phase.END

    def golden(self, env: dict[str, Array], t: int) -> None:
        values = env[self.inputs[0]]
        found = np.argmax(values, axis=-1).astype(np.int32)
        env[self.name] = found if self._rows > 1 else found.reshape(-1, 1)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/argmax.h")
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        if self._narrow:
            return [c.run("spk_argmax_s8", source, self._rows, self._n, to)]
        return [c.run("spk_argmax", source, self._rows, self._n, self._wide, to)]
