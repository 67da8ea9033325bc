"""The number types of the trainable layers, their arithmetic, and the step of gradient descent.

C twin: firmware/learn/scalar.h. A precision is a family and a stored weight:

=====  ==========  ===================  ======================  ==============
name   weights     values: activations, sums, biases            arithmetic
                   errors, velocities
=====  ==========  ===================  ======================  ==============
f32    float32     float32              float32                 fma, one rounding a step
f16    float16     float32              float32                 the same; weights widened at load
i16    int16       int16                int32                   exact products and sums
i8     int8        int16                int32                   the same
=====  ==========  ===================  ======================  ==============

Integers mean `code * scale`, with the scale of their tensor; any positive number is one. Values
saturate at a limit that is chosen so that no sum of products can overflow: with weights of w bits
and values of a bits beside the sign, `w + a + log2(products) <= 30`. A sum is brought to the scale
of a value once, by a multiplier and a shift, to nearest, halves up.

A step of a weight is PyTorch's for a constant rate, velocity in units of the weight:

    u = momentum * u - rate * (gradient + decay * w);  w = w + u

On integers the whole change is one integer, shifted once: to nearest, or by stochastic rounding
with a random byte, which is placed in the middle of its 256th part, so that no change is no step.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from spikelet.graph.c import Fields
from spikelet.graph.fixed import xorshift32
from spikelet.graph.tensor import Array
from spikelet.learn.numbers import float32

PRECISIONS = ("f32", "f16", "i16", "i8")
Q15 = 1 << 15


def is_float(precision: str) -> bool:
    """Whether it is of the float family."""
    return precision in ("f32", "f16")


def macro(precision: str) -> str:
    """What selects it in C: for `Emitter.define`."""
    return f"SPK_SCALAR_{precision.upper()}"


def value_dtype(precision: str) -> str:
    """The tensor dtype of activations, errors and velocities."""
    return "f32" if is_float(precision) else "i16"


def sum_dtype(precision: str) -> str:
    """The tensor dtype of sums and biases."""
    return "f32" if is_float(precision) else "i32"


# What is calculated with, on the host: exact for every integer that occurs.
def widen(precision: str, stored: Array) -> Array:
    """Stored weights, values or biases as what is calculated with: float32 or int64."""
    return stored.astype(np.float32 if is_float(precision) else np.int64)


def mac(precision: str, acc: Array, a: Array, b: Array) -> Array:
    """`acc + a * b` of widened numbers."""
    return float32.fma(a, b, acc) if is_float(precision) else acc + a * b


def chain(precision: str, start: Array, a: Array, b: Array) -> Array:
    """`acc = start; for k: acc = mac(acc, a[k], b[k])`, vectorised behind the first axis."""
    if is_float(precision):
        return float32.chain(start, a, b)
    total: Array = start + np.einsum("k...,k...->...", a, b)
    return total


# --- scales ---


@dataclass(frozen=True)
class Scale:
    """From the units of a sum to those of a value.

    Attributes:
        multiplier: 1 on floats.
        shift: value = sum * multiplier / 2^shift, 1 to 62.
        limit: a value saturates at +-limit; 0 on floats: no limit.
    """

    multiplier: int = 1
    shift: int = 0
    limit: int = 0

    @classmethod
    def of(cls, ratio: float, limit: int) -> Scale:
        """Of integers: value = sum * ratio; ValueError when ratio is not in [2^-46, 2^14)."""
        multiplier, shift = _mantissa(ratio, 15)
        if not 1 <= shift <= 62:
            raise ValueError(f"a sum cannot be brought to a value's scale: ratio {ratio:g}")
        return cls(multiplier, shift, limit)

    def narrow(self, sums: Array) -> Array:
        """Values from sums: float32, or int64 within +-limit."""
        if self.limit == 0:
            # Cores differ in the bits of what is not a number.
            return np.where(np.isnan(sums), np.float32(np.nan), sums)
        scaled = (sums.astype(np.int64) * self.multiplier + (1 << (self.shift - 1))) >> self.shift
        held: Array = np.clip(scaled, -self.limit, self.limit)
        return held

    def c(self, precision: str) -> Fields:
        """Fields of `struct spk_narrowing`."""
        if is_float(precision):
            return {"multiplier": 1.0}
        return {"multiplier": self.multiplier, "shift": self.shift, "limit": self.limit}


def _mantissa(ratio: float, bits: int) -> tuple[int, int]:
    """(m, s) with m < 2^bits and m / 2^s nearest to ratio, m as small as it can be."""
    if not (ratio > 0 and math.isfinite(ratio)):
        raise ValueError(f"ratio {ratio} is not a positive number")
    fraction, exponent = math.frexp(ratio)
    m, s = round(fraction * (1 << bits)), bits - exponent
    while m % 2 == 0 and s > 1:
        m, s = m // 2, s - 1
    return m, s


# --- formats ---


def weight_bits(precision: str, products: int) -> int:
    """Bits beside the sign that weights may use in sums of `products`."""
    return (
        min(15, 30 - _log2(products) - value_bits(precision, products))
        if (precision == "i16")
        else 7
    )


def value_bits(precision: str, products: int) -> int:
    """Bits beside the sign that values may use in sums of `products`: 8 to 12."""
    room = 30 - _log2(products) - (15 if precision == "i16" else 7)
    return min(12, max(8, room))


def _log2(n: int) -> int:
    return max(0, n - 1).bit_length()


def power_scale(largest: float, bits: int) -> float:
    """The power of two at which `largest` takes at most `bits` bits beside the sign."""
    return 2.0 ** (math.ceil(math.log2(max(largest, 2.0**-60))) - bits)


def limit_of(bits: int) -> int:
    """The largest code of `bits` bits beside the sign."""
    return (1 << bits) - 1


def quantise(real: Array, scale: float, limit: int, dtype: str) -> Array:
    """Nearest codes of `real`, halves to even, saturated: for initial weights and calibration."""
    codes: Array = np.clip(np.rint(np.asarray(real, np.float64) / scale), -limit, limit)
    return codes.astype({"i8": np.int8, "i16": np.int16, "i32": np.int32}[dtype])


# --- the step ---


@dataclass(frozen=True)
class Descent:
    """Stochastic gradient descent, in real numbers.

    Attributes:
        rate: learning rate.
        momentum: 0 to below 1; 0 keeps no velocity.
        decay: weight decay: the gradient of weights, not of biases, gains decay * w.
        batch: samples whose gradients make one step, as their mean.
        rounding: of integer weights: nearest or stochastic.
    """

    rate: float
    momentum: float = 0.0
    decay: float = 0.0
    batch: int = 1
    rounding: str = "nearest"

    def check(self) -> None:
        """ValueError on a number out of range."""
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise ValueError(f"learning rate {self.rate} is not a positive number")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum {self.momentum} is not in [0, 1)")
        if 0 < self.momentum < 1 / Q15:
            raise ValueError(f"momentum {self.momentum} is less than 2^-15; use 0 for none")
        if not 0 <= self.decay < 1:
            raise ValueError(f"weight decay {self.decay} is not in [0, 1)")
        if not 1 <= self.batch <= 64:
            raise ValueError(f"a batch of {self.batch} is not 1 to 64 samples")
        if self.rounding not in ("nearest", "stochastic"):
            raise ValueError(f"rounding {self.rounding!r} is not nearest or stochastic")


@dataclass(frozen=True)
class Sgd:
    """`struct spk_sgd`: the step in the numbers of a precision.

    Attributes:
        rate: -(learning rate) / batch; on integers in 2^-shift of a weight's step.
        decay: -(learning rate) * (weight decay); on integers times 2^shift.
        momentum: on integers Q15; 0 without velocity.
        shift: on integers.
        fraction: bits that an integer velocity has beyond a weight's step.
        limit: integers saturate at +-limit; 0 on floats.
        stochastic: rounding of integers.
    """

    precision: str
    rate: float
    decay: float
    momentum: float
    shift: int = 0
    fraction: int = 0
    limit: int = 0
    stochastic: bool = False

    @classmethod
    def of(
        cls,
        precision: str,
        descent: Descent,
        gradient: tuple[float, float] = (1.0, 1.0),
        weight: tuple[float, float] = (1.0, 0.0),
        fraction: int = 0,
        bits: int = 30,
    ) -> Sgd:
        """The step of a weight.

        Args:
            precision: one of `PRECISIONS`.
            descent: what to do, in real numbers.
            gradient: scale and largest size of the gradient's codes, summed over the batch.
            weight: scale and limit of the weight's codes.
            fraction: of the velocity.
            bits: that rate * gradient + decay * weight may take: 30, or 62 where C has int64.

        Raises ValueError where the format cannot hold the rate.
        """
        descent.check()
        rate, decay = descent.rate / descent.batch, descent.rate * descent.decay
        if is_float(precision):
            # float() of a float32: the number that C has.
            return cls(
                precision,
                float(np.float32(-rate)),
                float(np.float32(-decay)),
                float(np.float32(descent.momentum)),
            )
        limit = int(weight[1])
        ratio = rate * gradient[0] / weight[0]  # of a weight's step, for a gradient of 1
        room = bits - math.ceil(math.log2(max(gradient[1], 1) + 1))
        if decay:
            room -= 1
        stochastic = descent.rounding == "stochastic"
        momentum = round(descent.momentum * Q15)
        least = (9 if stochastic else 1) + (fraction if momentum else 0)
        for mantissa in range(min(15 if bits < 32 else 30, room), 0, -1):
            m, shift = _rate(ratio, mantissa)
            d = round(decay * 2.0**shift) if shift <= 62 else 0
            fits = d * limit < 1 << (bits - 1) and max(m, d) < 1 << 31
            if least <= shift <= bits and fits:
                held = fraction if momentum else 0
                return cls(precision, -m, -d, momentum, shift, held, limit, stochastic)
        raise ValueError(
            f"learning rate {descent.rate:g} gives {ratio:g} steps of a weight for a gradient "
            f"of 1, which {bits} bits do not hold; choose another rate, or finer formats"
        )

    def at_rate(self, schedule: int) -> Sgd:
        """The step at schedule / 2^15 of its rate."""
        if is_float(self.precision):
            part = np.float32(schedule) * np.float32(2.0**-15)
            return dataclasses.replace(
                self,
                rate=float(np.float32(self.rate) * part),
                decay=float(np.float32(self.decay) * part),
            )
        return dataclasses.replace(
            self,
            rate=(int(self.rate) * schedule + (1 << 14)) >> 15,
            decay=(int(self.decay) * schedule + (1 << 14)) >> 15,
        )

    @property
    def resting(self) -> bool:
        """Whether a gradient of zero leaves weight and velocity as they are."""
        return self.momentum == 0 and self.decay == 0

    def begin(self, w: Array, u: Array | None) -> Array:
        """What the chain of rate * error * value starts from; widened numbers."""
        if not is_float(self.precision):
            return w * int(self.decay)
        kept = w if u is None else np.float32(self.momentum) * u
        return float32.fma(np.float32(self.decay), w, kept) if self.decay else kept

    def end(self, w: Array, u: Array | None, d: Array, byte: Array) -> tuple[Array, Array, int]:
        """New weights and velocities, widened, and how many saturated."""
        if is_float(self.precision):
            moved = d if u is None else w + d
            if self.precision == "f16":
                moved = float32.to_half(moved).astype(np.float32)
            return moved, d, 0
        if u is None:
            step = (d.astype(np.int64) + self._dither(byte)) >> self.shift
            moved = w + step
            clipped = np.clip(moved, -self.limit, self.limit)
            return clipped, d, int((clipped != moved).sum())
        shift = self.shift - self.fraction
        change = np.clip((d + (1 << (shift - 1))) >> shift, -(1 << 20), 1 << 20)
        free = ((int(self.momentum) * u + (1 << 14)) >> 15) + change
        held = np.clip(free, -32767, 32767)
        half = 1 << (self.fraction - 1)
        dither = byte.astype(np.int64) >> (8 - self.fraction) if self.stochastic else half
        moved = w + ((held + dither) >> self.fraction)
        clipped = np.clip(moved, -self.limit, self.limit)
        return clipped, held, int((held != free).sum()) + int((clipped != moved).sum())

    def _dither(self, byte: Array) -> Array | int:
        if not self.stochastic:
            return 1 << (self.shift - 1)
        return (2 * byte.astype(np.int64) + 1) << (self.shift - 9)

    def learn(
        self, w: Array, u: Array | None, gradient: Array, byte: Array
    ) -> tuple[Array, Array, int]:
        """`spk_learn`: a step from whole gradients; as `end`."""
        start = self.begin(w, u)
        if is_float(self.precision):
            d = float32.fma(np.float32(self.rate), gradient, start)
        else:
            d = start + gradient * int(self.rate)
            # A change beyond 2^20 steps is one of 2^20.
            most = np.int64(1) << min(62, self.shift + 20 - (0 if u is None else self.fraction))
            d = np.clip(d, -most, most - 1)
        return self.end(w, u, d, byte)

    def learn_bias(
        self, b: Array, u: Array | None, gradient: Array
    ) -> tuple[Array, Array | None, int]:
        """`spk_learn_bias`: new biases, their velocities, and how many saturated."""
        if is_float(self.precision):
            rate = np.float32(self.rate)
            if u is None:
                return float32.fma(rate, gradient, b), None, 0
            u = float32.fma(rate, gradient, np.float32(self.momentum) * u)
            return b + u, u, 0
        change = (gradient * int(self.rate) + (1 << (self.shift - 1))) >> self.shift
        if u is not None:
            u = change + ((int(self.momentum) * u + (1 << 14)) >> 15)
            change = u = np.clip(u, -self.limit, self.limit)
        moved = b + change
        clipped = np.clip(moved, -self.limit, self.limit)
        return clipped, u, int((clipped != moved).sum())

    def c(self) -> Fields:
        """Fields of `struct spk_sgd`."""
        if is_float(self.precision):
            return {"rate": self.rate, "decay": self.decay, "momentum": self.momentum}
        return {
            "rate": int(self.rate),
            "decay": int(self.decay),
            "shift": self.shift,
            "momentum": int(self.momentum),
            "fraction": self.fraction,
            "limit": self.limit,
            "stochastic": self.stochastic,
        }


def _rate(ratio: float, bits: int) -> tuple[int, int]:
    """(m, s) with m of `bits` bits and m / 2^s nearest to ratio."""
    fraction, exponent = math.frexp(ratio)
    m = round(fraction * (1 << bits))
    return (m, bits - exponent) if m < 1 << bits else (m >> 1, bits - 1 - exponent)


# --- random bytes ---


def _jumps(count: int) -> list[Array]:
    """2^0, 2^1, ... steps of xorshift32, which is linear over the bits: each (4, 256) uint32, by
    byte.
    """
    columns = xorshift32(np.uint32(1) << np.arange(32, dtype=np.uint32))
    tables = [_by_byte(columns)]
    while len(tables) < count:
        columns = _apply(tables[-1], columns)
        tables.append(_by_byte(columns))
    return tables


def _by_byte(columns: Array) -> Array:
    taken = np.arange(256)[:, None] >> np.arange(8) & 1  # (256, 8)
    chosen = np.where(taken, columns.reshape(4, 1, 8), np.uint32(0))
    table: Array = np.bitwise_xor.reduce(chosen, axis=2)
    return table


def _apply(table: Array, states: Array) -> Array:
    b = states.astype(np.uint32)
    moved: Array = table[0][b & 255] ^ table[1][b >> 8 & 255]
    high: Array = table[2][b >> 16 & 255] ^ table[3][b >> 24]
    return moved ^ high


_JUMPS = _jumps(20)


def draws(state: int, count: int) -> tuple[Array, int]:
    """`count` draws of xorshift32 after `state`, (count,) uint32, and the state behind them."""
    if count == 0:
        return np.zeros(0, np.uint32), state
    state_ = xorshift32(np.array([state], np.uint32))
    for table in _JUMPS:
        if len(state_) >= count:
            break
        state_ = np.concatenate([state_, _apply(table, state_)])
    return state_[:count], int(state_[count - 1])


def random_bytes(drawn: Array) -> Array:
    """(n,) draws as (n, 4) uint8, lowest byte first: one for each of four weights."""
    return drawn.astype("<u4").view(np.uint8).reshape(-1, 4)
