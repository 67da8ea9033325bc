"""Elements along one axis by index. C twin: firmware/kernels/gather.h."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Axis, Held
from spikelet.graph.int8 import Int8Operator
from spikelet.graph.operator import Emitter, Inferred, Interval
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Gather(Int8Operator):
    """`y[..., i, ...] = x[..., indices[i], ...]` along one axis; indices are constants.

    Attributes:
        axis: 0 the first.
        indices: (n,) uint16.
    """

    KIND: ClassVar[str] = "gather"

    axis: Axis
    indices: Annotated[Array, Held("uint16", 1)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.activation_input(ins[0])
        self.same_code(ins[0])
        shape = ins[0].shape
        if not 0 <= self.axis < len(shape):
            raise self.error(f"axis {self.axis} is outside of input {shape}")
        if self.indices.dtype != np.uint16 or self.indices.ndim != 1 or not len(self.indices):
            raise self.error(
                f"indices is {self.indices.dtype} {self.indices.shape}, expected uint16 (n,)"
            )
        if int(self.indices.max()) >= shape[self.axis]:
            raise self.error(f"indices reach {int(self.indices.max())} of {shape[self.axis]}")
        n = len(self.indices)
        return Inferred(self.output((*shape[: self.axis], n, *shape[self.axis + 1 :]), bounds))

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.name] = np.take(env[self.inputs[0]], self.indices, axis=self.axis + 1)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/gather.h")
        indices = em.const(f"{self.name}_indices", self.indices, f"({len(self.indices)},)")
        outer, inner = (
            math.prod(self.ins[0].shape[: self.axis]),
            math.prod(self.ins[0].shape[self.axis + 1 :]),
        )
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        size, count = self.ins[0].shape[self.axis], len(self.indices)
        return [c.run("spk_gather_s8", source, outer, size, inner, indices, count, to)]
