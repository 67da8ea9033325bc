"""Max pool on values of a precision. C twin: firmware/learn/pool2d.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.operator import Emitter, Inferred, Interval
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.bases.pooling import Pool2d, PoolForward, PoolInputGradient
from spikelet.learn.bases.trainable import Scaled
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.scalar import Scale


def largest(node: Pool2d, x: Array) -> tuple[Array, Array]:
    """The largest value of each window (N, out H, out W, C), and the number of its tap."""
    shape = (len(x), *node.out_image(x.shape[1:]), x.shape[3])
    best = np.zeros(shape, x.dtype)
    position = np.full(shape, -1)
    for number, tap in enumerate(node.taps(x.shape[1:])):
        at = (slice(None), *tap.outputs)
        seen = x[(slice(None), *tap.inputs)]
        better = (position[at] < 0) | (seen > best[at])
        best[at] = np.where(better, seen, best[at])
        position[at] = np.where(better, number, position[at])
    return best, position


@dataclass(kw_only=True)
class MaxPool2dForward(PoolForward):
    """The largest of each window's pixels; scale and limits are those of x."""

    KIND: ClassVar[str] = "max_pool2d_forward"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.expect_values()
        written = Tensor(self.name, x.dtype, self.pooled_shape(x.shape), scale=x.scale)
        low, high = bounds[x.name]
        bounds[self.name] = (
            np.full(written.shape, low.min()),
            np.full(written.shape, high.max()),
        )
        return Inferred([written], Scaled(Scale()))

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.name] = largest(self, env[self.inputs[0]])[0]

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/pool2d.h")
        config = em.config(self.name, "spk_learn_pool2d", self.fields())
        x, y = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_learn_max_pool2d_forward", config, x, y)]


@dataclass(kw_only=True)
class MaxPool2dInputGradient(PoolInputGradient):
    """Each error is added to the gradient of the first of its window's largest pixels.

    Reads the error and x. Errors are added in the order of the windows, row by row; on integers
    each addition saturates, and the gradient has the scale of the error.
    """

    KIND: ClassVar[str] = "max_pool2d_input_gradient"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        error = self.expect_error(True)
        if not self.real and error.scale != self.gradient_scale:
            raise self.error(
                f"gradient_scale {self.gradient_scale} is not the error's {error.scale}"
            )
        scale = Scale() if self.real else Scale(1, 1, self.gradient_limit)
        return Inferred(self.written_gradient(bounds), Scaled(scale))

    def golden(self, env: dict[str, Array], t: int) -> None:
        error, x = env[self.inputs[0]], env[self.inputs[1]]
        _, position = largest(self, x)
        made = np.zeros(x.shape, np.float32 if self.real else np.int64)
        # A pixel meets the windows in their order by its taps from the last to the first.
        for number, tap in reversed(list(enumerate(self.taps(self.shape)))):
            at, to = (slice(None), *tap.outputs), (slice(None), *tap.inputs)
            chosen = position[at] == number
            if self.mask:
                chosen = chosen & (x[to] > 0)
            added = made[to] + scalar.widen(self.precision, error[at])
            if not self.real:
                added = np.clip(added, -self.gradient_limit, self.gradient_limit)
            made[to] = np.where(chosen, added, made[to])
        env[self.name] = made.astype(np.float32 if self.real else np.int16)

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/pool2d.h")
        config = em.config(self.name, "spk_learn_pool2d", self.fields())
        error, x = em.tensor(self.inputs[0]), em.tensor(self.inputs[1])
        to = em.tensor(self.name)
        return [c.run("spk_learn_max_pool2d_input_gradient", config, error, x, self.mask, to)]
