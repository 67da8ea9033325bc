"""Values rounded to the codes of a deployed int8 layer, and held within its clamp.

A layer that learns begins as the int8 layer that it replaces: with its weights in real numbers, and
with what that layer does to its sums. ReLU, ReLU6 and any other clamp, the ends of int8 included,
are one pair of limits. C twin: firmware/learn/codes.h.

Gradients pass as if nothing were rounded, and are 0 at the limits and beyond (straight-through
estimator). Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Held, TensorScale, within
from spikelet.graph.operator import Emitter, Inferred, Interval, Overlap, Phase
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.bases.trainable import LearningOperator, Scaled, Trainable
from spikelet.learn.numbers import scalar

MOST = 32767


@dataclass(frozen=True)
class Codes(Scaled):
    """How values become codes.

    Attributes:
        moved: the nudge in units of x.
    """

    moved: int


@dataclass(kw_only=True)
class AsCodes(Trainable):
    """`scale * clamp(round(x / scale), low, high)`, to nearest.

    Floats multiply by the inverse of the scale in float32, hold within the limits, add
    `0.5 + nudge` to the size and drop the fraction: halves, and what the nudge makes halves, go
    away from zero, as where a sum is rounded twice. Integers are codes, halves up.

    Attributes:
        low: lowest code, less the zero point of the deployed tensor.
        high: highest code, less the same.
        scale: of a code.
        fraction: bits that integers have below a code, all 0: what reads them needs a finer scale.
        nudge: (C,) or (1,) float32, 0 to 0.25, by channel, the last axis.
        again: computed once more for learning, in place of being kept since the prediction.
    """

    KIND: ClassVar[str] = "as_codes"

    low: Annotated[int, within(-MOST, MOST)]
    high: Annotated[int, within(-MOST, MOST)]
    scale: TensorScale
    fraction: Annotated[int, within(0, 14)] = 0
    nudge: Annotated[Array, Held("float32", 1, 0, 0.25)] = field(
        default_factory=lambda: np.zeros(1, np.float32)
    )
    again: bool = False

    facts: Codes = field(init=False, repr=False, compare=False)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        self.expect_precision()
        x = self.ins[0]
        if x.dtype != scalar.value_dtype(self.precision):
            raise self.error(f"input {x.name} is {x.dtype}, not a tensor of values")
        if not 0 <= self.fraction <= 14:
            raise self.error(f"fraction {self.fraction} is not 0 to 14 bits")
        most = MOST >> self.fraction
        if not -most <= self.low <= self.high <= most:
            raise self.error(f"codes {self.low} to {self.high} are no range of 16 bits")
        if self.nudge.dtype != np.float32 or self.nudge.shape not in ((1,), (x.shape[-1],)):
            raise self.error(f"nudge is {self.nudge.dtype} of shape {self.nudge.shape}")
        if not (np.all(self.nudge >= 0) and np.all(self.nudge <= 0.25)):
            raise self.error("a nudge is not 0 to 0.25")
        least = float(np.finfo(np.float32).tiny)
        if not least <= self.scale <= 1 / least:
            raise self.error(f"scale {self.scale:g} is no number that float32 can invert")
        limit, one = max(-self.low, self.high, 1), 1 << self.fraction
        scale = self.scale_of(x.scale / self.scale, limit)
        moved = min(MOST, round(float(np.median(self.nudge)) * self.scale / x.scale))
        written = self.value(self.name, x.shape, self.scale / one, limit * one)
        bounds[self.name] = (
            written.interval() if self.real else written.interval(self.low * one, self.high * one)
        )
        return Inferred([written], Codes(scale, moved))

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN if self.again else max(ins)

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        if not self.real:
            moved = x.astype(np.int64) + np.sign(x) * self.facts.moved
            codes = np.clip(self.facts.scale.narrow(moved), self.low, self.high)
            env[self.name] = (codes << self.fraction).astype(np.int16)
            return
        inverse = np.float32(1 / self.scale)
        scaled = np.clip(x * inverse, np.float32(self.low), np.float32(self.high))
        size = np.trunc(np.abs(scaled) + self._half)
        rounded = np.where(scaled < 0, -size, size) * np.float32(self.scale)
        env[self.name] = np.where(np.isnan(x), np.float32(np.nan), rounded + np.float32(0))

    @property
    def _half(self) -> Array:
        """What is added before the fraction is dropped, by channel."""
        half: Array = np.float32(0.5) + self.nudge
        return half

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        return (Overlap(),)

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/codes.h")
        fields: Fields = {"size": self.ins[0].size, "low": self.low, "high": self.high}
        if self.real:
            half = em.const(f"{self.name}_half", self._half, f"({len(self._half)},) by channel")
            fields |= {"half": half, "channels": len(self._half)}
            fields |= {"inverse": _single(1 / self.scale), "scale": _single(self.scale)}
        else:
            fields |= {"narrowing": self.facts.scale.c(self.precision), "one": 1 << self.fraction}
            fields["nudge"] = self.facts.moved
        config = em.config(self.name, "spk_as_codes", fields)
        return [c.run("spk_as_codes", config, em.tensor(self.inputs[0]), em.tensor(self.name))]


@dataclass(kw_only=True)
class AsCodesGradient(LearningOperator):
    """The error where a value of `AsCodes` is strictly between its limits, else 0; no fraction.

    Reads the error and the value, of one shape.

    Attributes:
        low: as of the forward pass.
        high: as of the forward pass.
        scale: as of the forward pass.
    """

    KIND: ClassVar[str] = "as_codes_gradient"

    low: Annotated[int, within(-MOST, MOST)]
    high: Annotated[int, within(-MOST, MOST)]
    scale: TensorScale

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_precision()
        for tensor in ins:
            self.expect_shape(tensor, (scalar.value_dtype(self.precision),), ins[0].shape)
        if not -MOST <= self.low <= self.high <= MOST:
            raise self.error(f"codes {self.low} to {self.high} are no range of 16 bits")
        low, high = bounds[ins[0].name]
        bounds[self.name] = (np.minimum(low, 0), np.maximum(high, 0))
        return Inferred([Tensor(self.name, ins[0].dtype, ins[0].shape, scale=ins[0].scale)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        error, y = (env[name] for name in self.inputs)
        low, high = self._ends
        inside = (y > low) & (y < high)
        env[self.name] = np.where(inside, error, error.dtype.type(0))

    @property
    def _ends(self) -> tuple[np.generic, np.generic]:
        """The limits as the values are."""
        if not self.real:
            return np.int16(self.low), np.int16(self.high)
        scale = np.float32(self.scale)
        return np.float32(self.low) * scale, np.float32(self.high) * scale

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        return (Overlap(), Overlap())

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/codes.h")
        low, high = (float(end) if self.real else int(end) for end in self._ends)
        fields: Fields = {"size": self.ins[0].size, "low": low, "high": high}
        config = em.config(self.name, "spk_as_codes_gradient", fields)
        error, y = map(em.tensor, self.inputs)
        return [c.run("spk_as_codes_gradient", config, error, y, em.tensor(self.name))]


def _single(value: float) -> float:
    """The nearest number of single precision."""
    return float(np.float32(value))
