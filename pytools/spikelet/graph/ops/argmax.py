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

    Reads values (n,) i16 or i32; writes index (1,) i32.
    """

    KIND: ClassVar[str] = "argmax"

    _wide: bool = field(init=False, repr=False, default=False)

    def infer(self, ins: list[Tensor], bounds: dict[str, Interval], steps: int) -> list[Tensor]:
        self.expect(ins[0], ("i16", "i32"))
        self._wide = ins[0].dtype == "i32"
        bounds[self.name] = (np.array([0]), np.array([ins[0].size - 1]))
        return [Tensor(self.name, "i32", (1,))]

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.ONCE if max(ins) is Phase.ONCE else Phase.END

    def golden(self, env: dict[str, Array], t: int) -> None:
        values = env[self.inputs[0]]
        env[self.name] = np.argmax(values, axis=1).astype(np.int32)[:, None]

    def emit(self, em: Emitter) -> list[str]:
        em.include("kernels/argmax.h")
        n = len(em.bounds[self.inputs[0]][0])
        return [
            f"spk_argmax({em.tensor(self.inputs[0])}, {n}, {c_bool(self._wide)}, "
            f"{em.tensor(self.name)});"
        ]
