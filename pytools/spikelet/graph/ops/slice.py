"""A regular part of an int8 tensor. C twin: firmware/kernels/move.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Margin, Size, within
from spikelet.graph.int8 import Int8Operator
from spikelet.graph.moving import emit_move, row_major
from spikelet.graph.operator import Emitter, Inferred, Interval, Overlap, Share
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Slice(Int8Operator):
    """In each axis `size` elements from `begin` on, `stride` apart; a stride may be negative.

    Attributes:
        begin: first element of each axis.
        size: elements of each axis.
        stride: step of each axis, not 0.
    """

    KIND: ClassVar[str] = "slice"

    begin: tuple[Margin, ...]
    size: tuple[Size, ...]
    stride: tuple[Annotated[int, within(-65535, 65535)], ...]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.activation_input(ins[0])
        self.same_code(ins[0])
        if not len(self.begin) == len(self.size) == len(self.stride) == len(ins[0].shape):
            raise self.error(f"begin {self.begin} does not fit input {ins[0].shape}")
        for length, begin, size, stride in zip(
            ins[0].shape, self.begin, self.size, self.stride, strict=True
        ):
            last = begin + (size - 1) * stride
            if size < 1 or stride == 0 or not (0 <= begin < length and 0 <= last < length):
                raise self.error(
                    f"{size} elements from {begin} on in steps of {stride} are not in {length}"
                )
        return Inferred(self.output(tuple(self.size), bounds))

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        for axis, (begin, size, stride) in enumerate(
            zip(self.begin, self.size, self.stride, strict=True), start=1
        ):
            x = np.take(x, begin + stride * np.arange(size), axis=axis)
        env[self.name] = np.ascontiguousarray(x)

    def shares(self) -> list[Share]:
        size = tuple(self.size)
        cut = next((i for i, n in enumerate(size) if n > 1), 0)  # before it only one element each
        neighbours = all(s == 1 for s, n in zip(self.stride, size, strict=True) if n > 1)
        if not neighbours or size[cut + 1 :] != self.ins[0].shape[cut + 1 :]:
            return []
        return [Share(self.name, self.inputs[0], self._first())]

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        return (Overlap() if min(self.stride) > 0 else None,)

    def _first(self) -> int:
        own = row_major(self.ins[0].shape)
        return sum(b * s for b, s in zip(self.begin, own, strict=True))

    def emit(self, em: Emitter) -> list[Statement]:
        if any(em.is_shared(share) for share in self.shares()):
            return c.unused(em.tensor(self.inputs[0]), em.tensor(self.name))
        own = row_major(self.ins[0].shape)
        strides = [step * s for step, s in zip(self.stride, own, strict=True)]
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        reads, writes = (self._first(), strides), (0, row_major(self.size))
        return emit_move(em, self.name, source, to, self.size, reads, writes)
