"""An int8 tensor with a margin. C twin: firmware/kernels/move.h."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Code, Margin
from spikelet.graph.int8 import Int8Operator, codes_of
from spikelet.graph.moving import emit_move, row_major
from spikelet.graph.operator import Emitter, Inferred, Interval
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Pad(Int8Operator):
    """The input inside of a margin that holds one code.

    Attributes:
        before: elements before the first of each axis.
        after: elements behind the last of each axis.
        value: the margin's code.
    """

    KIND: ClassVar[str] = "pad"

    before: tuple[Margin, ...]
    after: tuple[Margin, ...]
    value: Code

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.activation_input(ins[0])
        self.same_code(ins[0])
        if not len(self.before) == len(self.after) == len(ins[0].shape):
            raise self.error(f"margins {self.before}, {self.after} do not fit {ins[0].shape}")
        if min(*self.before, *self.after) < 0 or not -128 <= self.value <= 127:
            raise self.error(f"margins {self.before}, {self.after} of {self.value} are not valid")
        shape = tuple(
            b + n + a for b, n, a in zip(self.before, ins[0].shape, self.after, strict=True)
        )
        if not self._by_channel:
            return Inferred(self.output(shape, bounds))
        low, high = codes_of(ins[0], bounds)
        reach = np.minimum(low, self.value), np.maximum(high, self.value)
        return Inferred(self.output(shape, bounds, reach=reach))

    @property
    def _by_channel(self) -> bool:
        """Whether no channel is added."""
        return self.before[-1] == self.after[-1] == 0

    def follows(self) -> list[Array | None] | None:
        return [np.arange(self.outs[0].shape[-1])] if self._by_channel else None

    def golden(self, env: dict[str, Array], t: int) -> None:
        widths = [(0, 0), *zip(self.before, self.after, strict=True)]
        env[self.name] = np.pad(env[self.inputs[0]], widths, constant_values=self.value)

    def emit(self, em: Emitter) -> list[Statement]:
        own = row_major(self.outs[0].shape)
        first = sum(b * s for b, s in zip(self.before, own, strict=True))
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        reads, writes = (0, row_major(self.ins[0].shape)), (first, own)
        move = emit_move(em, self.name, source, to, self.ins[0].shape, reads, writes)
        return [c.run("spk_fill_s8", to, math.prod(self.outs[0].shape), self.value), *move]
