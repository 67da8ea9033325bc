"""One frame of a sequence a step. C twin: firmware/kernels/move.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.moving import emit_move
from spikelet.graph.operator import Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Frame(Operator):
    """Reads a sequence (T, ...) i8 or u8, T being the graph's steps; writes (...), frame t."""

    KIND: ClassVar[str] = "frame"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype not in ("i8", "u8") or len(x.shape) < 2 or x.shape[0] != steps:
            raise self.error(
                f"input {x.name} is {x.dtype} of shape {x.shape}, expected i8 or u8 ({steps}, ...)"
            )
        low, high = bounds[x.name]
        bounds[self.name] = (low.min(axis=0), high.max(axis=0))
        return Inferred(
            [Tensor(self.name, x.dtype, x.shape[1:], scale=x.scale, zero_point=x.zero_point)]
        )

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.STEP

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.name] = np.ascontiguousarray(env[self.inputs[0]][:, t])

    def emit(self, em: Emitter) -> list[Statement]:
        frames = c.cast("const int8_t *", em.tensor(self.inputs[0]))
        source, to = frames + c.STEP * self.outs[0].size, c.cast("int8_t *", em.tensor(self.name))
        return emit_move(em, self.name, source, to, (self.outs[0].size,), (0, (1,)), (0, (1,)))
