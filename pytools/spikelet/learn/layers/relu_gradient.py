"""An error through a ReLU. C twin: firmware/learn/relu_gradient.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.operator import Emitter, Inferred, Interval, Overlap
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.bases.trainable import LearningOperator
from spikelet.learn.numbers import scalar


@dataclass(kw_only=True)
class ReluGradient(LearningOperator):
    """The error where the output of the ReLU is positive, else 0.

    For layers whose gradient is not taken at the ReLU's output, and so not masked there: they
    learn from a projected trace. Reads the error and the ReLU's output, values of one shape.
    """

    KIND: ClassVar[str] = "relu_gradient"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_precision()
        for tensor in ins:
            self.expect_shape(tensor, (scalar.value_dtype(self.precision),), ins[0].shape)
        low, high = bounds[ins[0].name]
        bounds[self.name] = (np.minimum(low, 0), np.maximum(high, 0))
        return Inferred([Tensor(self.name, ins[0].dtype, ins[0].shape, scale=ins[0].scale)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        error, y = (env[name] for name in self.inputs)
        env[self.name] = np.where(y > 0, error, error.dtype.type(0))

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        return (Overlap(), Overlap())

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/relu_gradient.h")
        error, y = map(em.tensor, self.inputs)
        n = c.unsigned(self.ins[0].size)
        return [c.run("spk_relu_gradient", n, error, y, em.tensor(self.name))]
