"""Sum of one or two tensors of values, each times a number. C twin: firmware/learn/weighted_sum.h.

A residual connection and the sum of its gradients, the step of a ladder, a part of a gradient that
only passes through: all are this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Natural, Real, TensorScale
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Overlap, Phase
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.bases.trainable import INT32_MAX, Trainable
from spikelet.learn.numbers import float32, scalar


@dataclass(frozen=True)
class Factors:
    """The gains on integers: factors by `2^-shift`."""

    factors: tuple[int, ...] = ()
    shift: int = 0


@dataclass(kw_only=True)
class WeightedSum(Trainable):
    """`y = gains[0] * a + gains[1] * b`, then ReLU, or 0 where a kept activation is not positive.

    Reads one or two tensors of the same number of elements (values, or u8 or i8 codes), one for
    each gain, then, with `mask`, the kept values; writes values of the first one's shape. In floats
    it is `fma(gains[1], b, gains[0] * a)`; integers have multipliers of at most 15 bits with one
    shift, and are rounded once, halves up.

    Attributes:
        gains: real factors, one or two.
        relu: negative outputs become 0.
        mask: outputs become 0 where the last input is not positive: it came out of a ReLU.
        output_scale: of the outputs, on integers.
        output_limit: outputs saturate at +-limit, on integers.
        again: computed once more for learning, in place of being kept since the prediction.
    """

    KIND: ClassVar[str] = "weighted_sum"

    gains: tuple[Real, ...] = (1.0, 1.0)
    relu: bool = False
    mask: bool = False
    output_scale: TensorScale = 1.0
    output_limit: Natural = 0
    again: bool = False

    def __post_init__(self) -> None:
        self.gains = tuple(float(np.float32(g)) for g in self.gains)

    facts: Factors = field(init=False, repr=False, compare=False)

    @property
    def _sources(self) -> tuple[Tensor, ...]:
        return self.ins[: len(self.gains)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_precision()
        if len(self.gains) not in (1, 2) or not all(map(math.isfinite, self.gains)):
            raise self.error(f"gains {self.gains} are not one or two numbers")
        if len(ins) != len(self.gains) + self.mask:
            raise self.error(f"reads {len(ins)} tensors, expected {len(self.gains) + self.mask}")
        for x in self._sources:
            self.expect_source(x)
        if any(x.size != ins[0].size for x in ins):
            shapes = ", ".join(f"{x.name} {x.shape}" for x in ins)
            raise self.error(f"its inputs do not have the same number of elements: {shapes}")
        if self.mask and ins[-1].dtype != scalar.value_dtype(self.precision):
            raise self.error(f"the kept {ins[-1].name} is {ins[-1].dtype}, not a tensor of values")
        factors = Factors() if self.real else self._multipliers(bounds)
        written = self.value(self.name, ins[0].shape, self.output_scale, self.output_limit)
        bounds[self.name] = self.value_bounds(written, self.output_limit, self.relu)
        return Inferred([written], factors)

    def _multipliers(self, bounds: dict[str, Interval]) -> Factors:
        """The gains in integers: as many bits as a sum in int32 has room for."""
        pairs = list(zip(self.gains, self._sources, strict=True))
        ratios = [gain * x.scale / self.output_scale for gain, x in pairs]
        sizes = [self.largest(x, bounds) for x in self._sources]
        most = max(map(abs, ratios))
        if most == 0:
            raise self.error("all gains are 0")
        shift = 14 - math.frexp(most)[1]
        while shift >= 1:
            factors = tuple(round(ratio * 2.0**shift) for ratio in ratios)
            total = sum(abs(m) * size for m, size in zip(factors, sizes, strict=True))
            if total + (1 << (shift - 1)) <= INT32_MAX and shift <= 30:
                return Factors(factors, shift)
            shift -= 1
        raise self.error(
            f"output_scale {self.output_scale:g} is too fine for gains {self.gains} of inputs with "
            f"scales {', '.join(f'{x.scale:g}' for x in self._sources)}"
        )

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN if self.again else max(ins)

    def golden(self, env: dict[str, Array], t: int) -> None:
        names = self.inputs[: len(self.gains)]
        shape = env[names[0]].shape
        xs = [
            self.source(x, env[name].reshape(shape))
            for x, name in zip(self._sources, names, strict=True)
        ]
        out: Array
        if self.real:
            out = xs[0] * np.float32(self.gains[0])
            if len(xs) > 1:
                out = float32.fma(np.float32(self.gains[1]), xs[1], out)
        else:
            total = np.sum([x * m for x, m in zip(xs, self.facts.factors, strict=True)], axis=0)
            out = (total + (1 << (self.facts.shift - 1))) >> self.facts.shift
            out = np.clip(out, -self.output_limit, self.output_limit)
        if self.relu:
            out = np.where(out < 0, out.dtype.type(0), out)
        if self.mask:
            out = np.where(env[self.inputs[-1]].reshape(shape) > 0, out, out.dtype.type(0))
        env[self.name] = out.astype(np.float32 if self.real else np.int16)

    def cost(self) -> Cost:
        return Cost(macs=len(self.gains) * self.ins[0].size)

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        value = scalar.value_dtype(self.precision)
        wide = [*(x.dtype == value for x in self._sources), *[True] * self.mask]
        return tuple(Overlap() if same else None for same in wide)

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/weighted_sum.h")
        fields: Fields = {"size": self.ins[0].size}
        for name, x, at in zip("ab", self._sources, range(2), strict=False):
            gain = self.gains[at] if self.real else self.facts.factors[at]
            fields |= {name: self.source_c(x), f"gain_{name}": gain}
        if not self.real:
            fields |= {"shift": self.facts.shift, "limit": self.output_limit}
        fields |= {"two": len(self.gains) == 2, "relu": self.relu}
        config = em.config(self.name, "spk_weighted_sum", fields)
        first, *rest = (em.tensor(name) for name in self.inputs)
        second = rest[0] if len(self.gains) == 2 else 0
        kept = rest[-1] if self.mask else 0
        return [c.run("spk_weighted_sum", config, first, second, kept, em.tensor(self.name))]
