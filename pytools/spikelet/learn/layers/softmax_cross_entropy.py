"""Softmax cross-entropy: the error that learning starts from. C twin of the same name."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Expression, Fields, Statement
from spikelet.graph.declared import within
from spikelet.graph.operator import Emitter, Inferred, Interval, Overlap
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array
from spikelet.learn.bases.trainable import LearningOperator, Scaled
from spikelet.learn.numbers import fixed, float32, scalar

_FINITE = np.float32(2.0**64)


@dataclass(kw_only=True)
class SoftmaxCrossEntropy(LearningOperator):
    """The gradient of the cross-entropy by the logits: `softmax(logits) - one_hot(label)`.

    Reads logits (C,) values, label (1,) i32 and its health (1,) i32; writes the error (C,). Floats:
    exp of `learn/numbers/float32.py`, summed in order, times 1 / sum. Integers: powers of two by
    table (`learn/numbers/fixed.py`), times floor(2^32 / sum) in 32 bits; the probability is within
    2^-12.

    Float logits that are not within +-2^64 mean that learning diverged: the sample is skipped, and
    counted in health, so that the weights stay finite.

    Attributes:
        error_bits: on integers the error's scale is 2^-error_bits, 4 to 14.
        health: the learned tensor that counts is its last input.
    """

    KIND: ClassVar[str] = "softmax_cross_entropy"

    error_bits: Annotated[int, within(4, 14)] = 11

    facts: Scaled = field(init=False, repr=False, compare=False)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_precision()
        value = scalar.value_dtype(self.precision)
        if len(ins) != 2 + self.real or ins[0].dtype != value or len(ins[0].shape) != 1:
            health = ", health (1,) i32" if self.real else ""
            raise self.error(f"expected logits (C,) {value}, label (1,) i32{health}")
        for tensor in ins[1:]:
            self.expect_shape(tensor, ("i32",), (1,))
        low, high = bounds[ins[1].name]
        if int(low.min()) < 0 or int(high.max()) >= ins[0].size:
            raise self.error(
                f"labels are {int(low.min())} to {int(high.max())} for {ins[0].size} logits"
            )
        if not 4 <= self.error_bits <= 14:
            raise self.error(f"error_bits {self.error_bits} is not 4 to 14")
        limit = 1 << self.error_bits
        # Logits as exponents of two, in Q16; a difference of 17 is a probability of 0.
        scale = self.scale_of(ins[0].scale * math.log2(math.e) * 65536, 1 << 22)
        written = self.value(self.name, ins[0].shape, 2.0**-self.error_bits, limit)
        bounds[self.name] = self.value_bounds(written, limit)
        return Inferred([written], Scaled(scale))

    def golden(self, env: dict[str, Array], t: int) -> None:
        logits = env[self.inputs[0]][0]
        label = int(env[self.inputs[1]][0, 0])
        if not self.real:
            env[self.name] = self._fixed_point_error(logits.astype(np.int64), label)[None].astype(
                np.int16
            )
            return
        if self.stops(env):
            fixed.add_up(env[self.inputs[2]], 1)
            env[self.name] = np.zeros((1, self.ins[0].size), np.float32)
            return
        powers = float32.exp(logits - logits.max())
        total = np.float32(0)
        for power in powers:
            total = total + power
        error = powers * (np.float32(1) / total)
        error[label] -= np.float32(1)
        env[self.name] = error[None]

    def _fixed_point_error(self, logits: Array, label: int) -> Array:
        powers = fixed.exp2(self.facts.scale.narrow(logits - logits.max()))
        inverse = ((1 << 32) - 1) // int(powers.sum())
        shift = 32 - self.error_bits
        error: Array = (powers * inverse + (1 << (shift - 1))) >> shift
        error[label] -= 1 << self.error_bits
        return error

    def stops(self, env: dict[str, Array]) -> bool:
        logits = env[self.inputs[0]][0]
        return self.real and not bool((np.abs(logits) < _FINITE).all())

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        return (Overlap(), *(None for _ in self.inputs[1:]))

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/softmax_cross_entropy.h")
        logits, label, *health = (em.tensor(name) for name in self.inputs)
        to = em.tensor(self.name)
        if self.real:
            given = (self.ins[0].size, logits, label.dereference(), health[0], to)
            call = c.call("spk_softmax_cross_entropy", *given)
            return [c.declare("const bool", f"{self.name}_diverged", call)]
        fields: Fields = {
            "classes": self.ins[0].size,
            "scale": self.facts.scale.c(self.precision),
            "error_bits": self.error_bits,
        }
        config = em.config(self.name, "spk_softmax_cross_entropy", fields)
        return [c.run("spk_softmax_cross_entropy", config, logits, label.dereference(), to)]

    def emit_stop(self, em: Emitter) -> Expression | None:
        return c.name(f"{self.name}_diverged") if self.real else None
