"""Int8 tensors one behind the other along an axis. C twin: firmware/kernels/move.h."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Axis
from spikelet.graph.int8 import Int8Operator, codes_of
from spikelet.graph.moving import emit_move, row_major
from spikelet.graph.operator import Emitter, Inferred, Interval, Share
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Concatenate(Int8Operator):
    """The inputs in order; all have the output's code.

    Attributes:
        axis: along which they differ, 0 the first.
    """

    KIND: ClassVar[str] = "concatenate"

    axis: Axis

    @property
    def _shapes(self) -> list[tuple[int, ...]]:
        return [tensor.shape for tensor in self.ins]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        for tensor in self.ins:
            self.activation_input(tensor)
            self.same_code(tensor)
        first = self._shapes[0]
        if not 0 <= self.axis < len(first):
            raise self.error(f"axis {self.axis} is outside of input {first}")
        rests = {(*s[: self.axis], 0, *s[self.axis + 1 :]) for s in self._shapes}
        if len(rests) != 1:
            raise self.error(f"inputs {self._shapes} differ in more than axis {self.axis}")
        ends = zip(*(codes_of(tensor, bounds) for tensor in self.ins), strict=True)
        if self.axis == len(first) - 1:
            low, high = (np.concatenate(end) for end in ends)
        else:
            lows, highs = ends
            low, high = np.min(lows, axis=0), np.max(highs, axis=0)
        return Inferred(self.output(self._output_shape(), bounds, reach=(low, high)))

    def follows(self) -> list[Array | None] | None:
        shape = self._output_shape()
        if self.axis != len(shape) - 1:
            return [np.arange(shape[-1])] * len(self.inputs)
        parts: list[Array | None] = []
        at = 0
        for part in self._shapes:
            own = np.full(shape[-1], -1)
            own[at : at + part[-1]] = np.arange(part[-1])
            parts.append(own)
            at += part[-1]
        return parts

    def _output_shape(self) -> tuple[int, ...]:
        total = sum(s[self.axis] for s in self._shapes)
        first = self._shapes[0]
        return (*first[: self.axis], total, *first[self.axis + 1 :])

    def golden(self, env: dict[str, Array], t: int) -> None:
        parts = [env[name] for name in self.inputs]
        env[self.name] = np.concatenate(parts, axis=self.axis + 1)

    def shares(self) -> list[Share]:
        if any(d != 1 for d in self._shapes[0][: self.axis]):
            return []
        parts, at = [], 0
        for name, shape in zip(self.inputs, self._shapes, strict=True):
            parts.append(Share(name, self.name, at))
            at += math.prod(shape)
        return parts

    def emit(self, em: Emitter) -> list[Statement]:
        strides = row_major(self._output_shape())
        there = [em.is_shared(share) for share in self.shares()] or [False] * len(self.inputs)
        lines, at = c.unused(*map(em.tensor, (*self.inputs, self.name))), 0
        for i, (name, shape) in enumerate(zip(self.inputs, self._shapes, strict=True)):
            writes = (at * strides[self.axis], strides)
            source, to = em.tensor(name), em.tensor(self.name)
            reads = (0, row_major(shape))
            if not there[i]:
                lines += emit_move(em, f"{self.name}_part{i}", source, to, shape, reads, writes)
            at += shape[self.axis]
        return lines
