"""Softmax on int8, in gemmlowp's fixed point. C twin: firmware/kernels/softmax.h."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Code, TensorScale
from spikelet.graph.int8 import Int8Operator, factor
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Overlap
from spikelet.graph.requantise import rounding_divide_by_pot, rounding_doubling_high_mul
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array

DIFFERENCE_BITS = 5  # integer bits of a difference to the maximum: Q5.26
TOLERANCE = 1e-3  # of the output's scale, which is 1/256 whatever the file says
SUM_BITS = 12  # integer bits of the sum of exponentials: Q12.19
_MOST = (1 << 31) - 1
_EIGHTH = 1895147668  # exp(-1/8), Q0.31
_THIRD = 715827883  # 1/3, Q0.31
# exp(-2^k), Q0.31, for k = -2 to 4
_EXP_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)


@dataclass(kw_only=True)
class Softmax(Int8Operator):
    """`exp(beta * x) / sum of exp(beta * x)` over the last axis; writes scale 1/256, zero at -128.

    Differences to the row's maximum are scaled to Q5.26, exponentials are Taylor polynomials about
    -1/8 times a product of exp(-2^k), the reciprocal of the sum comes from three Newton steps, as
    in TensorFlow Lite's reference kernel. Where 512 classes or more are so much alike that no share
    reaches half a code, that kernel ends at an assertion; here all codes are -128.

    Attributes:
        beta: inverse temperature.
    """

    KIND: ClassVar[str] = "softmax"

    beta: TensorScale = 1.0
    output_scale: TensorScale = 1 / 256
    output_zero_point: Code = -128

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.activation_input(ins[0])
        near = abs(self.output_scale * 256 - 1) <= TOLERANCE
        if not near or self.output_zero_point != -128:
            raise self.error("expected an output scale of 1/256 and a zero point of -128")
        if ins[0].shape[-1] >= 1 << SUM_BITS:
            raise self.error(f"a row of {ins[0].shape[-1]}, expected at most {(1 << SUM_BITS) - 1}")
        real = self._real()
        if not (math.isfinite(real) and real > 1):
            raise self.error(f"beta {self.beta} with input scale {ins[0].scale} is out of range")
        return Inferred(self.output(ins[0].shape, bounds))

    def _real(self) -> float:
        return min(
            float(np.float32(self.beta)) * self.ins[0].scale * (1 << (31 - DIFFERENCE_BITS)),
            float(_MOST),
        )

    def _factor(self) -> tuple[int, int, int]:
        """Multiplier and left shift of a difference, and the lowest difference that counts."""
        real = self._real()
        if real >= 1 << 30:  # its shift is 31
            mantissa = math.floor(real + 0.5)
            multiplier, shift = min(mantissa, _MOST), 31
        else:
            multiplier, shift = factor(real)
        top = ((1 << DIFFERENCE_BITS) - 1) << (31 - DIFFERENCE_BITS)
        return multiplier, shift, -(top >> shift)

    def golden(self, env: dict[str, Array], t: int) -> None:
        multiplier, shift, lowest = self._factor()
        x = env[self.inputs[0]].astype(np.int64)
        difference = x - x.max(axis=-1, keepdims=True)
        counts = difference >= lowest
        scaled = _high_mul(np.where(counts, difference, 0) << shift, multiplier)
        power = _exp(scaled)
        parts = _divide(power, SUM_BITS)
        total = np.where(counts, parts, 0).sum(axis=-1, keepdims=True)
        headroom = 32 - np.floor(np.log2(total.astype(np.float64))).astype(np.int64) - 1
        reciprocal = _reciprocal((total << headroom) - (1 << 31))
        exponent = SUM_BITS - headroom + 31 - 8
        codes = _divide(_high_mul(reciprocal, power), exponent) - 128
        codes = np.where(counts, np.clip(codes, -128, 127), -128)
        env[self.name] = codes.astype(np.int8)

    def cost(self) -> Cost:
        return Cost(macs=self.ins[0].size)

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        return (Overlap(),)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/softmax.h")
        multiplier, shift, lowest = self._factor()
        fields: Fields = {
            "rows": math.prod(self.ins[0].shape[:-1]),
            "length": self.ins[0].shape[-1],
            "multiplier": multiplier,
            "shift": shift,
            "lowest": lowest,
        }
        config = em.config(self.name, "spk_softmax", fields)
        return [c.run("spk_softmax_s8", config, em.tensor(self.inputs[0]), em.tensor(self.name))]


def _high_mul(a: Array, b: Array | int) -> Array:
    return rounding_doubling_high_mul(a, np.asarray(b, np.int64))


def _divide(x: Array, exponent: Array | int) -> Array:
    return rounding_divide_by_pot(x, np.asarray(exponent, np.int64))


def _exp(x: Array) -> Array:
    """exp of Q5.26 values not above 0, as Q0.31."""
    quarter = 1 << 24
    part = (x & (quarter - 1)) - quarter  # in [-1/4, 0)
    rest = part - x
    a = (part << DIFFERENCE_BITS) + (1 << 28)  # Q0.31, about -1/8
    a2 = _high_mul(a, a)
    a3, a4 = _high_mul(a2, a), _high_mul(a2, a2)
    series = _high_mul(_divide(a4, 2) + a3, _THIRD) + a2
    series = _divide(series, 1)
    result = _EIGHTH + _high_mul(a + series, _EIGHTH)
    for bit, power in enumerate(_EXP_POWERS, start=24):
        result = np.where(rest & (1 << bit), _high_mul(result, power), result)
    return np.where(x == 0, _MOST, result)


def _reciprocal(x: Array) -> Array:
    """1 / (1 + x) of Q0.31 values in [0, 1), as Q0.31."""
    half = (x + _MOST + 1) >> 1  # (1 + x) / 2
    y = 1515870810 + _high_mul(half, -1010580540)  # 48/17 - 32/17 * half, Q2.29
    for _ in range(3):
        error = (1 << 29) - _high_mul(half, y)
        y = y + np.clip(_high_mul(y, error) << 2, -(1 << 31), _MOST)
    result: Array = np.clip(y << 1, -(1 << 31), _MOST)
    return result
