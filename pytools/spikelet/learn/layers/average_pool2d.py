"""Average pool on values of a precision, and an image's mean. C twin: firmware/learn/pool2d.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Natural, TensorScale
from spikelet.graph.operator import Emitter, Inferred, Interval
from spikelet.graph.tensor import Array
from spikelet.learn.bases.pooling import Average, PoolForward, PoolInputGradient
from spikelet.learn.numbers import scalar


@dataclass(kw_only=True)
class AveragePool2dForward(Average, PoolForward):
    """The mean of each window's pixels that lie inside; with kernel (H, W) the mean of an image.

    A sum goes through the window's rows and columns in their order, from 0 on, and is then
    multiplied.

    Attributes:
        output_scale: of the outputs, on integers.
        output_limit: outputs saturate at +-limit, on integers.
    """

    KIND: ClassVar[str] = "average_pool2d_forward"

    output_scale: TensorScale = 1.0
    output_limit: Natural = 0

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.expect_values()
        out = self.pooled_shape(x.shape)
        ratio = self.source_scale(x) / self.output_scale
        largest = 0 if self.real else self.largest(x, bounds)
        parts = self.parts(0, largest, ratio, self.output_limit)
        written = self.value(self.name, out, self.output_scale, self.output_limit)
        positive = float(bounds[x.name][0].min()) >= 0
        bounds[self.name] = self.value_bounds(written, self.output_limit, positive)
        return Inferred([written], parts)

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = scalar.widen(self.precision, env[self.inputs[0]])
        sums = np.zeros((len(x), *self.out_image(self._shape), x.shape[3]), x.dtype)
        for tap in self.taps(self._shape):
            sums[(slice(None), *tap.outputs)] += x[(slice(None), *tap.inputs)]
        zero = np.zeros_like(sums)
        made = self.facts.scale.narrow(scalar.mac(self.precision, zero, sums, self.by_output()))
        env[self.name] = made.astype(np.float32 if self.real else np.int16)

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/pool2d.h")
        config = em.config(self.name, "spk_learn_pool2d", self.factor_fields(em))
        x, y = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_learn_average_pool2d_forward", config, x, y)]


@dataclass(kw_only=True)
class AveragePool2dInputGradient(Average, PoolInputGradient):
    """`dx` is the sum of the errors of the windows that a pixel is in, each by its part.

    Reads the error and, with `mask`, x. A sum goes through the taps in their order.
    """

    KIND: ClassVar[str] = "average_pool2d_input_gradient"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        error = self.expect_error(self.mask)
        windows = [-(-k // s) for k, s in zip(self.kernel, self.stride, strict=True)]
        ratio = self.source_scale(error) / self.gradient_scale
        largest = 0 if self.real else self.largest(error, bounds)
        parts = self.parts(windows[0] * windows[1], largest, ratio, self.gradient_limit)
        return Inferred(self.written_gradient(bounds), parts)

    def golden(self, env: dict[str, Array], t: int) -> None:
        error = scalar.widen(self.precision, env[self.inputs[0]])
        sums = np.zeros((len(error), *self.shape), error.dtype)
        part = self.by_output()
        for tap in self.taps(self.shape):
            at = (slice(None), *tap.inputs)
            seen = error[(slice(None), *tap.outputs)]
            sums[at] = scalar.mac(self.precision, sums[at], seen, part[tap.outputs])
        made = self.facts.scale.narrow(sums)
        if self.mask:
            made = np.where(env[self.inputs[1]] > 0, made, made.dtype.type(0))
        env[self.name] = made.astype(np.float32 if self.real else np.int16)

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/pool2d.h")
        config = em.config(self.name, "spk_learn_pool2d", self.factor_fields(em))
        error, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        kept = em.tensor(self.inputs[1]) if self.mask else 0
        return [c.run("spk_learn_average_pool2d_input_gradient", config, error, kept, to)]
