"""Another shape for the same elements. It costs nothing: the memory plan shares the place."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Size
from spikelet.graph.operator import Emitter, Inferred, Interval, Operator, Share
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Reshape(Operator):
    """The input's elements in row-major order, in another shape; any type.

    Attributes:
        shape: of the output.
    """

    KIND: ClassVar[str] = "reshape"

    shape: tuple[Size, ...]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        shape = tuple(self.shape)
        if ins[0].persistent:
            raise self.error(f"input {ins[0].name} is a state, expected an activation")
        if math.prod(shape) != ins[0].size:
            raise self.error(f"input {ins[0].shape} does not have the elements of {shape}")
        low, high = bounds[self.inputs[0]]
        bounds[self.name] = (low.reshape(shape), high.reshape(shape))
        return Inferred(
            [dataclasses.replace(ins[0], name=self.name, shape=shape, kind="activation")]
        )

    def follows(self) -> list[Array | None] | None:
        if self.shape[-1] == self.ins[0].shape[-1]:
            return [np.arange(self.ins[0].shape[-1])]
        return [np.arange(self.shape[0]) % self.ins[0].shape[-1]] if len(self.shape) == 1 else None

    def with_channels(self, ins: list[Array], out: Array) -> Operator:
        return dataclasses.replace(self, shape=(*self.shape[:-1], len(out)))

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        env[self.name] = x.reshape(len(x), *self.shape)

    def shares(self) -> list[Share]:
        return [Share(self.name, self.inputs[0])]

    def emit(self, em: Emitter) -> list[Statement]:
        # One of the two names may be used nowhere else.
        return c.unused(em.tensor(self.inputs[0]), em.tensor(self.name))
