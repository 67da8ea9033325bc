"""Another shape for the same elements. It costs nothing: the memory plan shares the place."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.operator import Emitter, Interval, Operator, Share
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Reshape(Operator):
    """The input's elements in row-major order, in another shape; any type but bit.

    Attributes:
        shape: of the output.
    """

    KIND: ClassVar[str] = "reshape"

    shape: tuple[int, ...]

    def infer(self, ins: list[Tensor], bounds: dict[str, Interval], steps: int) -> list[Tensor]:
        shape = tuple(self.shape)
        if ins[0].dtype == "bit" or ins[0].persistent:
            raise self.error(f"input {ins[0].name} is {ins[0].dtype}, expected an activation")
        if math.prod(shape) != ins[0].size:
            raise self.error(f"input {ins[0].shape} does not have the elements of {shape}")
        low, high = bounds[self.inputs[0]]
        bounds[self.name] = (low.reshape(shape), high.reshape(shape))
        return [dataclasses.replace(ins[0], name=self.name, shape=shape, kind="activation")]

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        env[self.name] = x.reshape(len(x), *self.shape)

    def shares(self) -> list[Share]:
        return [Share(self.name, self.inputs[0])]

    def emit(self, em: Emitter) -> list[Statement]:
        # One of the two names may be used nowhere else.
        return c.unused(em.tensor(self.inputs[0]), em.tensor(self.name))
