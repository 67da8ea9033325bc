"""An error through a dense layer and the ReLU in front. C twin: firmware/learn/dense_backward.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Natural, TensorScale
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval
from spikelet.graph.tensor import Array
from spikelet.learn.bases.trainable import LearningOperator, Scaled
from spikelet.learn.numbers import scalar


@dataclass(kw_only=True)
class DenseBackward(LearningOperator):
    """`to[i] = sum over o of weight[o, i] * error[o]`, 0 where x is not positive: it left a ReLU.

    The input gradient of `DenseUpdate`, of an error that the layer does not learn from. Sums go
    through the rows in their order; an error that is 0 throughout costs nothing.

    Reads error (O,) values, weight (O, I) and x (I,) values; writes (I,) values.

    Attributes:
        output_scale: of what it writes, on integers.
        output_limit: what it writes saturates at +-limit, on integers.
    """

    KIND: ClassVar[str] = "dense_backward"

    output_scale: TensorScale = 1.0
    output_limit: Natural = 0

    facts: Scaled = field(init=False, repr=False, compare=False)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        self.expect_precision()
        error, weight, x = self.ins
        values = (scalar.value_dtype(self.precision),)
        shape = (error.size, x.size)
        self.expect_shape(error, values, (error.size,))
        self.expect_shape(weight, (self.precision,), shape)
        self.expect_shape(x, values, (x.size,))
        if not self.real:
            sizes = self.largest(weight, bounds) * self.largest(error, bounds)
            self.prove(error.size * sizes, "the sum of an input gradient")
        ratio = error.scale * weight.scale / self.output_scale
        scale = self.scale_of(ratio, self.output_limit)
        written = self.value(self.name, x.shape, self.output_scale, self.output_limit)
        bounds[self.name] = self.value_bounds(written, self.output_limit)
        return Inferred([written], Scaled(scale))

    def golden(self, env: dict[str, Array], t: int) -> None:
        error, x = (scalar.widen(self.precision, env[self.inputs[i]][0]) for i in (0, 2))
        weight = scalar.widen(self.precision, env[self.inputs[1]])
        sums = np.zeros(len(x), np.float32 if self.real else np.int64)
        if error.any():
            sums = scalar.chain(self.precision, sums, error[:, None], weight)
        out = self.facts.scale.narrow(sums)
        out = np.where(x <= 0, out.dtype.type(0), out)
        env[self.name] = out[None].astype(np.float32 if self.real else np.int16)

    def cost(self) -> Cost:
        bits = 8 * self.ins[1].numpy_dtype.itemsize
        return Cost(macs=self.ins[1].size, weight_bits=bits)

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/dense_backward.h")
        rows, inputs = self.ins[1].shape
        fields: Fields = {
            "inputs": inputs,
            "rows": rows,
            "scale": self.facts.scale.c(self.precision),
        }
        config = em.config(self.name, "spk_dense_backward", fields)
        error, weight, x = map(em.tensor, self.inputs)
        return [c.run("spk_dense_backward", config, error, weight, x, em.tensor(self.name))]
