"""Values of an adapter, folded into a layer's requantisation. C twin: kernels/gains.h.

A gain g of a channel is a factor of `(128 + g) / 128`, 0 to almost 2, on what its multiplier and
shift stand for. A bias b adds b times `bias_unit` to its sum: half an output code to one each.
The new multiplier is rounded to the nearest one, halves up, as `quantize_multiplier` rounds it.

Another value is `half`. Where it is not 0, a layer writes codes of half the resolution, with zero
point 0 and no activation, so that they hold what the activation would cut off.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Expression, Statement, Value
from spikelet.graph.operator import Emitter, Operator
from spikelet.graph.requantise_once import FRACTION_BITS
from spikelet.graph.tensor import Array

GAIN_BITS = 7  # a gain is a fraction of 2^7
MOST_UNIT = 16  # logarithm of the largest unit of a bias
SHIFT_DOWN, SHIFT_UP = GAIN_BITS, 1  # how far a gain may move a shift
NOTHING = -2  # the shift of a factor of 0, which every fast rounding takes


def bias_unit(shift: Array) -> Array:
    """(O,) int64, what one of a bias adds to the sums of channels with these shifts."""
    unit: Array = np.int64(1) << np.clip(-shift.astype(np.int64), 0, MOST_UNIT)
    return unit


def with_gain(multiplier: Array, shift: Array, gain: Array) -> tuple[Array, Array]:
    """Multiplier and shift (O,) int64 of a factor `multiplier * 2^(shift - 31)` with a gain.

    Args:
        multiplier: (O,) int32, not negative.
        shift: (O,) int32, -31 to 30.
        gain: (O,) int8.
    """
    mantissa, moved = _scaled(multiplier.astype(np.int64), 31, shift, gain)
    return mantissa, moved


def with_gain_once(
    multiplier: Array, fraction: Array, shift: Array, gain: Array
) -> tuple[Array, Array, Array]:
    """The same of a factor `(multiplier + fraction / 2^22) * 2^(shift - 31)`, its fraction second.

    Args: as `with_gain`; fraction: (O,) int32, 0 to 2^22 - 1.
    """
    whole = (multiplier.astype(np.int64) << FRACTION_BITS) + fraction
    mantissa, moved = _scaled(whole, 31 + FRACTION_BITS, shift, gain)
    return mantissa >> FRACTION_BITS, mantissa & ((1 << FRACTION_BITS) - 1), moved


def half_shift(shift: Array) -> Array:
    """Shifts (O,) int64 of half of a factor; the least shift stands, of sums that come to 0."""
    halved: Array = np.maximum(shift.astype(np.int64) - 1, -31)
    return halved


def codes_of_half(scaled: Array) -> Array:
    """int8 codes of sums that are scaled by half of a factor."""
    codes: Array = np.clip(scaled, -128, 127).astype(np.int8)
    return codes


def check_values(node: Operator, channels: int, *, takes: bool, even: bool) -> None:
    """Refuse inputs behind the first that are no values to fold, and layers that have no factor.

    Args:
        node: the layer.
        channels: of its output.
        takes: its kind takes such values.
        even: it rounds halves to even.
    """
    given = node.ins[1:]
    wanted = [("u8", (1,))] if len(given) == 1 else [("i8", (channels,))] * 2
    good = all(t.kind == "learned" for t in given)
    if not takes or [(t.dtype, t.shape) for t in given] != wanted or not good:
        raise node.error(
            f"reads {', '.join(map(str, given))} beside its input: expected nothing, or learned "
            f"gains and biases, i8 ({channels},), or a learned half, u8 (1,), of a convolution or "
            "a linear layer"
        )
    if even:
        raise node.error("halves are rounded to even: it takes no values of an adapter")


def _scaled(mantissa: Array, bits: int, shift: Array, gain: Array) -> tuple[Array, Array]:
    """A mantissa of so many bits and its shift, with gains; int64."""
    times = gain.astype(np.int64) + (1 << GAIN_BITS)
    product = mantissa * times  # below 2^61
    right = np.frexp(times.astype(np.float64))[1].astype(np.int64)  # bits of `times`
    right -= (product >> right < 1 << (bits - 1)) & (right > 0)
    scaled = (product + (np.int64(1) << right >> 1)) >> right
    carry = scaled >> bits
    moved = shift.astype(np.int64) - GAIN_BITS + right + carry
    gone = (product == 0) | (moved < -31)
    return np.where(gone, 0, scaled >> carry), np.where(gone, NOTHING, moved)


Tables = Literal["twice", "once", "scales"]  # how a kernel holds a layer's factors


def table_bytes(tables: Tables, channels: int, *, halved: bool = False) -> int:
    """What the folded tables of a layer take; `halved`: shifts alone, or scales."""
    padded = channels + -channels % 4
    if halved and tables != "scales":
        return padded
    return {"twice": 9 * padded, "once": 13 * padded, "scales": 16 * channels}[tables]


def folded_run(
    em: Emitter, node: Operator, tables: Tables, table: Expression,
    struct: str, kernel: str, config: Expression, *rest: Value,
) -> list[Statement]:  # fmt: skip
    """A kernel called with a copy of its configuration that reads folded tables.

    Args:
        em: takes the header.
        node: reads gains and biases, or `half`, behind its input.
        tables: how the kernel holds factors.
        table: memory of `table_bytes`.
        struct: the type of the configuration.
        kernel: the function.
        config: pointer to the configuration.
        rest: what the kernel takes behind it.
    """
    em.include("kernels/gains.h")
    values = [em.tensor(name) for name in node.inputs[1:]]
    channels, out = node.outs[0].shape[-1], c.address("gained.out")
    scales = c.address("gained.scales")
    if len(values) == 1:
        given = [out, scales] if tables == "scales" else [out]
        name = "spk_halve_scales" if tables == "scales" else "spk_halve"
        fold = c.run(name, *given, channels, *values, table)
    elif tables == "scales":
        fold = c.run("spk_fold_scales", scales, channels, *values, table)
    else:
        fraction = c.address("gained.fraction") if tables == "once" else c.name("NULL")
        fold = c.run("spk_fold_gains", out, fraction, channels, *values, table)
    return [
        c.block(
            c.declare(f"struct {struct}", "gained", config.dereference()),
            fold,
            c.run(kernel, c.address("gained"), *rest),
        )
    ]
