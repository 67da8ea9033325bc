"""Axes in another order. C twin: firmware/kernels/move.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.c import Statement
from spikelet.graph.declared import Axis
from spikelet.graph.int8 import Int8Operator
from spikelet.graph.moving import emit_move, row_major
from spikelet.graph.operator import Emitter, Inferred, Interval
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Transpose(Int8Operator):
    """Axis i of the output is axis `order[i]` of the input.

    Attributes:
        order: each axis once.
    """

    KIND: ClassVar[str] = "transpose"

    order: tuple[Axis, ...]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.activation_input(ins[0])
        self.same_code(ins[0])
        if sorted(self.order) != list(range(len(ins[0].shape))):
            raise self.error(f"order {self.order} does not fit input {ins[0].shape}")
        return Inferred(self.output(tuple(ins[0].shape[axis] for axis in self.order), bounds))

    def golden(self, env: dict[str, Array], t: int) -> None:
        order = (0, *(axis + 1 for axis in self.order))
        env[self.name] = np.ascontiguousarray(env[self.inputs[0]].transpose(order))

    def emit(self, em: Emitter) -> list[Statement]:
        own = row_major(self.ins[0].shape)
        dims = [self.ins[0].shape[axis] for axis in self.order]
        strides = [own[axis] for axis in self.order]
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return emit_move(em, self.name, source, to, dims, (0, strides), (0, row_major(dims)))
