"""Integer codes as values of a precision. C twin: firmware/learn/to_scalar.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Natural, TensorScale
from spikelet.graph.operator import Emitter, Interval
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.bases.trainable import NOTHING, Trainable
from spikelet.learn.numbers.scalar import Scale


@dataclass(kw_only=True)
class ToScalar(Trainable):
    """`(code - zero point) * scale` in the precision's numbers; any shape.

    Reads u8, i8, i16 or i32; writes values of the same shape. On floats the difference is rounded
    to float32, and so is the product.

    Attributes:
        output_scale: of the values, on integers.
        output_limit: they saturate at +-limit, on integers.
    """

    KIND: ClassVar[str] = "to_scalar"

    output_scale: TensorScale = 1.0
    output_limit: Natural = 0

    _x: Tensor = field(init=False, repr=False, default=NOTHING)
    _scale: Scale = field(init=False, repr=False, default=Scale())

    def infer(self, ins: list[Tensor], bounds: dict[str, Interval], steps: int) -> list[Tensor]:
        self.expect_precision()
        if len(ins) != 1 or ins[0].dtype not in ("u8", "i8", "i16", "i32"):
            raise self.error(f"reads {ins[0].dtype}, expected one tensor u8, i8, i16 or i32")
        self._x = ins[0]
        self.prove(self.largest(ins[0], bounds), "a code without its zero point")
        self._scale = self.scale_of(ins[0].scale / self.output_scale, self.output_limit)
        written = self.value(self.name, ins[0].shape, self.output_scale, self.output_limit)
        bounds[self.name] = self.value_bounds(written, self.output_limit)
        return [written]

    def golden(self, env: dict[str, Array], t: int) -> None:
        codes = env[self.inputs[0]].astype(np.int64) - self._x.zero_point
        if self.real:
            env[self.name] = codes.astype(np.float32) * np.float32(self._x.scale)
        else:
            env[self.name] = self._scale.narrow(codes).astype(np.int16)

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/to_scalar.h")
        scale: Fields = {"multiplier": float(np.float32(self._x.scale))}
        fields: Fields = {
            "n": self._x.size,
            "zero_point": self._x.zero_point,
            "scale": scale if self.real else self._scale.c(self.precision),
        }
        config = em.config(self.name, "spk_to_scalar", fields)
        x, y = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run(f"spk_to_scalar_{self._x.dtype}", config, x, y)]
