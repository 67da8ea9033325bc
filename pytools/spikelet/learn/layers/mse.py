"""Mean squared error: the error that regression starts from. C twin: firmware/learn/mse.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Expression, Statement
from spikelet.graph.declared import Natural, TensorScale
from spikelet.graph.operator import Emitter, Inferred, Interval, Overlap
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array
from spikelet.learn.bases.trainable import LearningOperator, Scaled
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.fixed import add_up

_FINITE = np.float32(2.0**64)


@dataclass(kw_only=True)
class Mse(LearningOperator):
    """The gradient of `mean((y - target)^2)` by y: `(y - target) * 2 / n`.

    Reads y and a target of the same shape and scale, values both, and on floats its health (1,)
    i32; writes the error. Float outputs that are not within +-2^64 mean that learning diverged: the
    sample is skipped, and counted in health.

    Attributes:
        error_scale: of the error, on integers.
        error_limit: it saturates at +-limit, on integers.
    """

    KIND: ClassVar[str] = "mse"

    error_scale: TensorScale = 1.0
    error_limit: Natural = 0

    facts: Scaled = field(init=False, repr=False, compare=False)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_precision()
        if len(ins) != 2 + self.real:
            raise self.error(
                f"reads {len(ins)} tensors, expected y, target" + ", health" * self.real
            )
        value = scalar.value_dtype(self.precision)
        self.expect_shape(ins[0], (value,), ins[0].shape)
        self.expect_shape(ins[1], (value,), ins[0].shape)
        if not self.real and ins[1].scale != ins[0].scale:
            raise self.error(f"target has scale {ins[1].scale}, its outputs {ins[0].scale}")
        for tensor in ins[2:]:
            self.expect_shape(tensor, ("i32",), (1,))
        scale = self.scale_of(2 / ins[0].size * ins[0].scale / self.error_scale, self.error_limit)
        written = self.value(self.name, ins[0].shape, self.error_scale, self.error_limit)
        bounds[self.name] = self.value_bounds(written, self.error_limit)
        return Inferred([written], Scaled(scale))

    def golden(self, env: dict[str, Array], t: int) -> None:
        y, target = env[self.inputs[0]], env[self.inputs[1]]
        if not self.real:
            apart = y.astype(np.int64) - target
            env[self.name] = self.facts.scale.narrow(apart).astype(np.int16)
        elif self.stops(env):
            add_up(env[self.inputs[2]], 1)
            env[self.name] = np.zeros_like(y)
        else:
            env[self.name] = (y - target) * np.float32(2 / self.ins[0].size)

    def stops(self, env: dict[str, Array]) -> bool:
        return self.real and not bool((np.abs(env[self.inputs[0]]) < _FINITE).all())

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        return (Overlap(), *(None for _ in self.inputs[1:]))

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/mse.h")
        y, target, *health = (em.tensor(name) for name in self.inputs)
        n, to = self.ins[0].size, em.tensor(self.name)
        if self.real:
            factor = float(np.float32(2 / n))
            call = c.call("spk_mse", n, factor, y, target, health[0], to)
            return [c.declare("const bool", f"{self.name}_diverged", call)]
        config = em.config(
            self.name, "spk_mse", {"n": n, "scale": self.facts.scale.c(self.precision)}
        )
        return [c.run("spk_mse", config, y, target, to)]

    def emit_stop(self, em: Emitter) -> Expression | None:
        return c.name(f"{self.name}_diverged") if self.real else None
