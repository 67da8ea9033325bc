"""Axes in another order. C twin: firmware/kernels/move.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from spikelet.graph.c import Statement
from spikelet.graph.declared import Axis
from spikelet.graph.int8 import Int8Operator
from spikelet.graph.moving import emit_move, row_major
from spikelet.graph.operator import Emitter, Interval
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Transpose(Int8Operator):
    """Axis i of the output is axis `order[i]` of the input.

    Attributes:
        order: each axis once.
    """

    KIND: ClassVar[str] = "transpose"

    order: tuple[Axis, ...]

    _input: tuple[int, ...] = field(init=False, repr=False, default=())

    def infer(self, ins: list[Tensor], bounds: dict[str, Interval], steps: int) -> list[Tensor]:
        self.activation_input(ins[0])
        self.same_code(ins[0])
        self._input = ins[0].shape
        if sorted(self.order) != list(range(len(self._input))):
            raise self.error(f"order {self.order} does not fit input {self._input}")
        return self.output(tuple(self._input[axis] for axis in self.order), bounds)

    def golden(self, env: dict[str, Array], t: int) -> None:
        order = (0, *(axis + 1 for axis in self.order))
        env[self.name] = np.ascontiguousarray(env[self.inputs[0]].transpose(order))

    def emit(self, em: Emitter) -> list[Statement]:
        own = row_major(self._input)
        dims = [self._input[axis] for axis in self.order]
        strides = [own[axis] for axis in self.order]
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return emit_move(em, self.name, source, to, dims, (0, strides), (0, row_major(dims)))
