"""Integer codes as values of a precision. C twin: firmware/learn/to_scalar.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Natural, TensorScale
from spikelet.graph.operator import Emitter, Inferred, Interval
from spikelet.graph.tensor import Array
from spikelet.learn.bases.trainable import Scaled, Trainable


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

    facts: Scaled = field(init=False, repr=False, compare=False)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_precision()
        if len(ins) != 1 or ins[0].dtype not in ("u8", "i8", "i16", "i32"):
            raise self.error(f"reads {ins[0].dtype}, expected one tensor u8, i8, i16 or i32")
        self.prove(self.largest(ins[0], bounds), "a code without its zero point")
        scale = self.scale_of(ins[0].scale / self.output_scale, self.output_limit)
        written = self.value(self.name, ins[0].shape, self.output_scale, self.output_limit)
        bounds[self.name] = self.value_bounds(written, self.output_limit)
        return Inferred([written], Scaled(scale))

    def golden(self, env: dict[str, Array], t: int) -> None:
        codes = env[self.inputs[0]].astype(np.int64) - self.ins[0].zero_point
        if self.real:
            env[self.name] = codes.astype(np.float32) * np.float32(self.ins[0].scale)
        else:
            env[self.name] = self.facts.scale.narrow(codes).astype(np.int16)

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/to_scalar.h")
        scale: Fields = {"multiplier": float(np.float32(self.ins[0].scale))}
        fields: Fields = {
            "n": self.ins[0].size,
            "zero_point": self.ins[0].zero_point,
            "scale": scale if self.real else self.facts.scale.c(self.precision),
        }
        config = em.config(self.name, "spk_to_scalar", fields)
        x, y = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run(f"spk_to_scalar_{self.ins[0].dtype}", config, x, y)]
