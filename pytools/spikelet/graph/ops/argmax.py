"""Index of the largest value. C twin: firmware/kernels/argmax.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from spikelet.graph.operator import Emitter, Interval, Operator, Phase, c_bool
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Argmax(Operator):
    """The first index of the largest value, after the last step.

    Reads values (n,) i8, i16 or i32, leading axes of 1 allowed; writes index (1,) i32.
    """

    KIND: ClassVar[str] = "argmax"

    _wide: bool = field(init=False, repr=False, default=False)
    _narrow: bool = field(init=False, repr=False, default=False)

    def infer(self, ins: list[Tensor], bounds: dict[str, Interval], steps: int) -> list[Tensor]:
        if ins[0].dtype not in ("i8", "i16", "i32") or ins[0].size != ins[0].shape[-1]:
            raise self.error(
                f"input {ins[0].name} is {ins[0].dtype} of shape {ins[0].shape}, "
                "expected a vector of i8, i16 or i32"
            )
        self._wide, self._narrow = ins[0].dtype == "i32", ins[0].dtype == "i8"
        bounds[self.name] = (np.array([0]), np.array([ins[0].size - 1]))
        return [Tensor(self.name, "i32", (1,))]

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.ONCE if max(ins) is Phase.ONCE else Phase.END

    def golden(self, env: dict[str, Array], t: int) -> None:
        values = env[self.inputs[0]]
        flat = values.reshape(len(values), -1)
        env[self.name] = np.argmax(flat, axis=1).astype(np.int32)[:, None]

    def emit(self, em: Emitter) -> list[str]:
        em.include("kernels/argmax.h")
        n = em.bounds[self.inputs[0]][0].size
        if self._narrow:
            return [f"spk_argmax_s8({em.tensor(self.inputs[0])}, {n}, {em.tensor(self.name)});"]
        return [
            f"spk_argmax({em.tensor(self.inputs[0])}, {n}, {c_bool(self._wide)}, "
            f"{em.tensor(self.name)});"
        ]
