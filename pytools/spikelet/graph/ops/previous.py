"""A tensor of the step before: a recurrence. C twin: firmware/kernels/move.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Int32, Size, TensorName, one_of
from spikelet.graph.moving import emit_move
from spikelet.graph.operator import Emitter, Inferred, Interval, Operator, Phase, Share
from spikelet.graph.tensor import DTYPES, FLOATS, Array, Tensor

INTEGERS = tuple(dtype for dtype in DTYPES if dtype not in FLOATS)


@dataclass(kw_only=True)
class Previous(Operator):
    """What a later operator wrote in the step before; 0 in the first step. It reads nothing else.

    The graph keeps the memory of `of` from step to step. That its values lie in the range that is
    stated here, 0 among them, is proved once the whole graph is known.

    Attributes:
        of: name of a tensor that an operator at or behind this one writes in every step.
        dtype: of it.
        shape: of it.
        low: the lowest value that it may have, by default that of its type.
        high: the highest.
    """

    KIND: ClassVar[str] = "previous"
    KEPT: ClassVar[bool] = True

    inputs: tuple[TensorName, ...] = ()
    of: TensorName
    dtype: Annotated[str, one_of(*INTEGERS)] = "bit"
    shape: Annotated[tuple[Size, ...], Field(min_length=1, max_length=4)]
    low: Int32 | None = None
    high: Int32 | None = None

    @property
    def carried(self) -> str:
        return self.of

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        if self.inputs or self.when is not None:
            raise self.error("it has inputs, or a condition: it reads the step before, always")
        tensor = Tensor(self.name, self.dtype, self.shape)
        low, high = bounds[self.name] = tensor.interval(self.low, self.high)
        if not low.min() <= 0 <= high.max():
            raise self.error(f"its range, {self.low} to {self.high}, lacks 0, where it starts")
        return Inferred([tensor])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.STEP

    def start(self, env: dict[str, Array], samples: int) -> None:
        env[self.of] = np.zeros((samples, *self.shape), self.outs[0].numpy_dtype)

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.name] = env[self.of].copy()

    def shares(self) -> list[Share]:
        return [Share(self.name, self.of)]

    def emit_start(self, em: Emitter) -> list[Statement]:
        em.include("kernels/fixed.h")
        return [c.run("spk_clear", em.tensor(self.of), self.outs[0].nbytes)]

    def emit(self, em: Emitter) -> list[Statement]:
        source, to = (em.tensor(name) for name in (self.of, self.name))
        if em.is_shared(self.shares()[0]):
            return c.unused(source, to)
        source, to = c.cast("const int8_t *", source), c.cast("int8_t *", to)
        return emit_move(em, self.name, source, to, (self.outs[0].nbytes,), (0, (1,)), (0, (1,)))
