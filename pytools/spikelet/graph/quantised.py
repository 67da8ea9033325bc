"""What the operators with weights of 1 to 8 bits share: sums in int32, requantised by channel."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields
from spikelet.graph.declared import Code, Codes, Held, TensorScale
from spikelet.graph.gains import (
    SHIFT_DOWN,
    SHIFT_UP,
    bias_unit,
    check_values,
    codes_of_half,
    half_shift,
    with_gain,
)
from spikelet.graph.grid import check_codes, levels_of
from spikelet.graph.int8 import by_channel, codes_of, ranges, spread
from spikelet.graph.operator import Emitter, Inferred, Interval, Operator, Role
from spikelet.graph.requantise import requantise
from spikelet.graph.requantise_even import MOST_BITS, half_even, reached
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array, Tensor

INT8 = (-128, 127)
FAR = 95  # SPK_FAR of requantise.h
PAIR_RUN = 32  # SPK_PAIR_RUN of pairs.h
MOST_TAPS = 65520  # kernels count them, padded to sixteens, in 16 bits


@dataclass(frozen=True)
class Sums:
    """What the sums of a layer are proved to be.

    Attributes:
        seen: (I,) int64, the lowest and highest code of each input channel.
        reach: (O,) int64, of each sum with its bias.
        largest: of any channel, the sum with the bias, and of raw products in any order of adding.
    """

    seen: Interval
    reach: Interval
    largest: int


@dataclass(kw_only=True)
class Quantised(Operator):
    """`clamp(zero_point + requantise(bias + sum of weight * (x - input zero point)))`.

    Affine int8 of the TensorFlow Lite quantisation specification; the input's zero point is that of
    its tensor. A weight is a code k of `bits` bits, two's complement. It stands for k itself, a
    grid with a zero (mid-tread), or for 2k + 1 (mid-rise), see `levels`.

    Attributes:
        weight: int8 codes, -2^(bits - 1) to 2^(bits - 1) - 1; the shape is the operator's.
        bias: (O,) int32 at scale input scale * weight scale.
        multiplier: (O,) int32, Q31 factor from sum to output, not negative.
        shift: (O,) int32, -31 to 30, > 0 to the left.
        output_scale: of the output tensor.
        output_zero_point: of the output tensor.
        activation: lowest and highest output code.
        bits: of a weight, in flash; those of less than 8 lie packed.
        odd: a code k stands for 2k + 1.
        upper: of odd codes of 8 bits, how many of the upper bits count, as if the others were half
            of a step: one array serves all widths, in units of the same step.
        steps: (O, highest less lowest code) int32, ascending, or None: the output is the lowest
            code plus how many of its channel's steps a sum reaches. Multiplier and shift are 0.
        offset: (O, 2) int32, low and high word of int64, or None: a sum is multiplied, the offset
            is added, and it is rounded once, halves to even, see `requantise_even`.

    Where `GAINS`, it may read learned values beside x, which are folded into its constants before
    its sums are scaled, see `gains`: gains and biases, (O,) i8; or `half`, (1,) u8.
    """

    OUTPUTS: ClassVar[int] = 0  # the axis of the weights that the output channels lie along
    GAINS: ClassVar[bool] = False

    weight: Annotated[Array, Held("int8")]
    bias: Annotated[Array, Held("int32", 1)]
    multiplier: Annotated[Array, Held("int32", 1, 0)]
    shift: Annotated[Array, Held("int32", 1, -31, 30)]
    output_scale: TensorScale
    output_zero_point: Code
    activation: Codes = INT8
    bits: Literal[1, 2, 4, 8] = 8
    odd: bool = False
    upper: Literal[1, 2, 4, 8] = 8
    steps: Annotated[Array, Held("int32", 2)] | None = None
    offset: Annotated[Array, Held("int32", 2)] | None = None

    facts: Sums = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        low, high = self.activation
        self.activation = (int(low), int(high))

    @property
    def levels(self) -> Array:
        """The weights: what a code stands for, in units of the weight's step; int8 or int16."""
        return levels_of(self.weight, self.odd, self.upper)

    @property
    def packed(self) -> bool:
        """Whether the weights are no plain int8."""
        return self.bits < 8 or self.odd

    @property
    def even(self) -> bool:
        """Whether sums are rounded in the way of `requantise_even`, channel by channel."""
        return self.steps is not None or self.offset is not None

    @property
    def _grid(self) -> str:
        """What the names of kernels say of the weights; "" for plain int8."""
        upper = f"_upper{self.upper}" if self.upper < 8 else ""
        return (f"_{self.bits}" if self.packed else "") + ("_odd" if self.odd else "") + upper

    def infer_int8(
        self,
        shape: tuple[int, ...],
        rows: Array,
        bounds: dict[str, Interval],
        *,
        apart: bool = False,
        padded: bool = False,
    ) -> Inferred:
        """Check constants and sums; the output tensor and what its sums are proved to be.

        Args:
            shape: of the output, channels last.
            rows: (O, n) the weights of each output channel.
            bounds: gets the output's interval, channel by channel.
            apart: an output channel sees one input channel, number `o * I // O`; otherwise all of
                them, which lie side by side in a row.
            padded: some taps may see the zero point instead of the input.
        """
        x, channels = self.ins[0], len(rows)
        if self.folded:
            check_values(self, channels, takes=self.GAINS, even=self.even)
        if rows.shape[1] > MOST_TAPS:
            raise self.error(f"{rows.shape[1]} weights a channel, more than {MOST_TAPS}")
        for name in ("bias", "multiplier", "shift"):
            values = getattr(self, name)
            if values.shape != (channels,):
                raise self.error(f"{name} has shape {values.shape}, expected ({channels},)")
        low, high = self.activation
        if low > high:
            raise self.error(f"activation {self.activation} is not a range")
        self._check_codes()
        widths = np.abs(rows.astype(np.int64)).sum(axis=1)
        most = int(np.abs(self.input_levels(np.array(x.limits))).max())
        added = 128 * bias_unit(self._right_shift) if self.gained else 0
        sums = widths * most + np.abs(self.bias.astype(np.int64)) + added
        largest = int(sums.max())
        if largest >= 1 << 31:
            channel = int(np.argmax(sums))
            raise self.error(f"the sum of channel {channel} may reach {largest}, beyond 32 bits")
        seen = codes_of(x, bounds)
        low_sum, high_sum = self._sums(rows, seen, apart=apart, padded=padded)
        reach = low_sum - added, high_sum + added
        self._check_even(reach)
        ends = [self.rescale(sums - self.bias) for sums in reach]
        if self.halved:
            low, high = INT8
        if self.folded or not self._monotone(reach):
            ends = [np.full(channels, low), np.full(channels, high)]
        bounds[self.name] = spread(shape, *ends)
        written = Tensor(
            self.name, "i8", shape, scale=self.output_scale, zero_point=self.output_zero_point
        )
        return Inferred([written], Sums(seen, reach, largest))

    @property
    def folded(self) -> bool:
        """Whether it reads values of an adapter, which are folded into its constants."""
        return len(self.inputs) > 1

    @property
    def gained(self) -> bool:
        """Whether these are gains and biases."""
        return len(self.inputs) == 3

    @property
    def halved(self) -> bool:
        """Whether it is `half`."""
        return len(self.inputs) == 2

    def _check_even(self, reach: Interval) -> None:
        """Refuse steps that are no steps, and products beyond 62 bits."""
        (low, high), channels = self.activation, len(self.bias)
        if self.steps is not None and self.offset is not None:
            raise self.error("steps and an offset: expected one of them")
        if self.steps is not None:
            if self.steps.shape != (channels, high - low) or np.any(np.diff(self.steps) < 0):
                raise self.error(
                    f"steps of shape {self.steps.shape}, expected ({channels}, {high - low}), "
                    "ascending"
                )
            if self.multiplier.any() or self.shift.any():
                raise self.error("steps and a multiplier or a shift: expected one of them")
        if self.offset is not None:
            if self.offset.shape != (channels, 2):
                raise self.error(f"offset of shape {self.offset.shape}, expected ({channels}, 2)")
            widest = np.maximum(*np.abs(reach)).astype(np.float64)
            products = widest * self.multiplier + np.abs(self._offset.astype(np.float64))
            results = np.ldexp(products, -self._right)
            if np.any(products >= 1 << MOST_BITS) or np.any(results >= 1 << 30):
                channel = int(np.argmax(products))
                raise self.error(f"a product of channel {channel} may leave {MOST_BITS} bits")

    @property
    def _right(self) -> Array:
        return 31 - self.shift.astype(np.int64)

    @property
    def _offset(self) -> Array:
        """(O,) int64."""
        if self.offset is None:
            raise self.error("it has no offset")
        low = self.offset[:, 0].astype(np.uint32).astype(np.int64)
        return low + (self.offset[:, 1].astype(np.int64) << 32)

    def _check_codes(self) -> None:
        """Refuse weights that `bits` do not hold, and a grid of one level and none beside it."""
        check_codes(self.error, self.weight, self.bits, self.odd)
        if self.upper < 8 and not (self.bits == 8 and self.odd):
            raise self.error(f"the upper {self.upper} bits of a code: expected odd codes of 8 bits")

    def expect_bytes(self) -> None:
        """Refuse weights that are no plain int8."""
        if self.packed:
            raise self.error(f"weights of {self.bits} bits, odd={self.odd}: it takes int8 only")

    def _sums(self, rows: Array, seen: Interval, *, apart: bool, padded: bool) -> Interval:
        """`Sums.reach`."""
        channels = len(rows)
        low, high = (self.input_levels(end) for end in seen)
        if padded:
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        if apart:
            read = np.arange(channels) * len(low) // channels
            low, high = low[read, None], high[read, None]
        else:
            times, rest = divmod(rows.shape[1], len(low))
            if rest:  # a row is not of whole pixels
                low, high = low.min(keepdims=True), high.max(keepdims=True)
                times = rows.shape[1]
            low, high = np.tile(low, times), np.tile(high, times)
        weights = rows.astype(np.int64)
        up, down = np.maximum(weights, 0), np.minimum(weights, 0)
        bias = self.bias.astype(np.int64)
        lowest = bias + (up * low + down * high).sum(axis=1)
        return lowest, bias + (up * high + down * low).sum(axis=1)

    def fold_constants(self, bounds: Mapping[str, Interval]) -> Operator:
        """Channels of one code have no weights; inputs of one code are part of the bias.

        A padded layer sees the zero point beside an input, so only a real 0 is left out there. A
        grid without a zero keeps its weights.
        """
        low, high = by_channel(bounds[self.name])
        single = low == high
        weight = np.moveaxis(self.weight.copy(), self.OUTPUTS, 0)
        fields: dict[str, Any] = {n: values.copy() for n, values in self._per_channel().items()}
        first, last = self.facts.seen
        if self._mixing and not self.odd and weight[0].size % len(first) == 0:
            code = np.where(first == last, self.input_levels(first), 0)
            known = (first == last) & ((code == 0) | (not self._has_padding))
            columns = weight.reshape(len(weight), -1, len(first))
            moved = columns.astype(np.int64).sum(axis=1) @ (code * known)
            fields["bias"] += moved.astype(np.int32)
            columns[..., known] = 0
            weight = columns.reshape(weight.shape)
        weight[single] = 0
        for values in fields.values():
            values[single] = 0
        # This sum is its code exactly, however it is rounded.
        fields["bias"][single] = (low[single] - self.output_zero_point) * 8
        if self.steps is not None:
            more = np.arange(self.steps.shape[1]) >= (low - self.activation[0])[:, None]
            constant = np.where(more, (1 << 31) - 1, -(1 << 31)).astype(np.int32)
            fields["steps"][single] = constant[single]
        else:
            fields["multiplier"][single], fields["shift"][single] = 1 << 30, -2
        if self.offset is not None:
            fields["offset"][single, 0] = 1  # a rest: it is no half
        laid = np.ascontiguousarray(np.moveaxis(weight, 0, self.OUTPUTS))
        return dataclasses.replace(self, weight=laid, **fields)

    def _per_channel(self) -> dict[str, Array]:
        """The constants (O, ...), by field."""
        names = ("bias", "multiplier", "shift", "steps", "offset")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def _has_padding(self) -> bool:
        """Whether a tap may see what is no input."""
        return False

    @property
    def _mixing(self) -> bool:
        """Whether an output channel is made of all input channels."""
        return self.follows()[0] is None

    def follows(self) -> list[Array | None]:
        return [None]

    def mixes(self) -> Array:
        channels = self.ins[0].shape[-1]
        rows = self.levels.reshape(len(self.weight), -1)
        if rows.shape[1] % channels:
            return np.ones((len(rows), channels), np.bool_)
        seen: Array = np.any(rows.reshape(len(rows), -1, channels), axis=1)
        return seen

    def with_channels(self, ins: list[Array], out: Array) -> Operator:
        fields: dict[str, Any] = {n: values[out] for n, values in self._per_channel().items()}
        weight = np.take(self.weight, out, self.OUTPUTS)
        channels = self.ins[0].shape[-1]
        if len(ins[0]) < channels and self._mixing:
            columns = weight.reshape(len(weight), -1, channels)[..., ins[0]]
            shape = weight.shape[1:]
            last = columns.shape[1] * len(ins[0]) if len(shape) == 1 else len(ins[0])
            weight = columns.reshape(len(weight), *shape[:-1], last)
        return dataclasses.replace(self, weight=np.ascontiguousarray(weight), **fields)

    def _monotone(self, reach: Interval) -> bool:
        """Whether a larger sum never has a lower code: no left shift wraps."""
        if self.even:
            return True
        largest = np.maximum(*np.abs(reach))
        return bool(np.all(largest << np.maximum(self.shift, 0) < 1 << 31))

    def expect_int8(self, x: Tensor, ranks: tuple[int, ...]) -> None:
        """Refuse an input that is not int8 or has another number of dimensions."""
        if x.dtype != "i8" or len(x.shape) not in ranks:
            raise self.error(
                f"input {x.name} is {x.dtype} of shape {x.shape}, expected i8 with "
                f"{' or '.join(map(str, ranks))} dimensions"
            )

    def tensor_roles(self) -> dict[str, Role]:
        return {self.inputs[0]: Role.WEIGHTED}

    def centred_input(self, env: dict[str, Array]) -> Array:
        """The input's levels, int16."""
        levels: Array = self.input_levels(env[self.inputs[0]].astype(np.int16)).astype(np.int16)
        return levels

    def input_levels(self, codes: Array) -> Array:
        """What codes of the input count: less its zero point."""
        return codes - self.ins[0].zero_point

    def product(self, x: Array, rows: Array) -> Array:
        """(..., n) int16 by (O, n) integers: sums (..., O) int32, exact.

        Floats hold every partial sum exactly: single precision below 2^24, double below 2^53.
        """
        width = np.float32 if self.facts.largest < 1 << 24 else np.float64
        sums: Array = np.matmul(x.astype(width), rows.astype(width).T).astype(np.int32)
        return sums

    def rescale(self, sums: Array, env: Mapping[str, Array] | None = None) -> Array:
        """Output codes of sums (..., O) int32 without bias; `env` holds gains, if any."""
        whole, multiplier, shift = sums + self.bias, self.multiplier, self.shift
        if env is not None and self.gained:
            gain, bias = (env[name] for name in self.inputs[1:])
            whole = whole + bias * bias_unit(self._right_shift)
            multiplier, shift = with_gain(multiplier, self._right_shift, gain)
        if env is not None and self.halved and env[self.inputs[1]][0]:
            return codes_of_half(requantise(whole, multiplier, half_shift(self._right_shift)))
        if self.steps is not None:
            return (self.activation[0] + reached(whole, self.steps)).astype(np.int8)
        if self.offset is not None:
            scaled = half_even(whole, self.multiplier, self._right, self._offset)
        else:
            scaled = requantise(whole, multiplier, shift)
        codes: Array = np.clip(scaled + self.output_zero_point, *self.activation).astype(np.int8)
        return codes

    def far(self, target: Target) -> Array:
        """(O,) bool: the channels that a target's fast rounding does not hold for.

        It is spk_requantise_near, which is proved from the sums that can occur; on cores with
        vectors a shift to the right is enough. Halves to even are none of its business.
        """
        if self.even:
            return np.ones(len(self.bias), np.bool_)
        least, most = self._shifts
        if target.mve:
            return most > -1
        low, high = self.facts.reach
        reach = np.maximum(np.abs(low), np.abs(high))
        return (reach >= 1 << 29) | (most > -1) | (least < -20)

    @property
    def _shifts(self) -> Interval:
        """(O,) least and largest shift that any values of an adapter give."""
        shift = self._right_shift
        return shift - SHIFT_DOWN * self.gained - self.halved, shift + SHIFT_UP * self.gained

    @property
    def _right_shift(self) -> Array:
        """The shift, to the right where it does not matter because the multiplier is 0."""
        return np.where(self.multiplier == 0, -1, self.shift).astype(np.int32)

    def rounding_note(self, far: Array) -> str:
        """Which channels are rounded in the general way, and why; "" for none."""
        if self.even:
            return "halves are rounded to even"
        if not far.any():
            return ""
        shifts = -self.shift[far]
        largest = int(np.maximum(*np.abs(self.facts.reach))[far].max())
        return (
            f"any rounding for channels {ranges(np.flatnonzero(far))}: shifts to the right of "
            f"{shifts.min()} to {shifts.max()}, sums up to {largest}"
        )

    def rescale_fields(
        self, em: Emitter, sums: Array, order: Array | None = None, far: Array | None = None
    ) -> Fields:
        """Fields of a kernel's `struct spk_rescale out`.

        Args:
            em: takes the arrays, padded to a multiple of four channels.
            sums: (O,) of each channel's weights.
            order: the channels as the arrays hold them, by default in order.
            far: (O,) bool, channels that are marked in a kernel called _wide.
        """
        shift = self._right_shift
        if far is not None:
            shift = np.where(far, FAR + shift, shift)
        channels = len(self.bias) if order is None else len(order)
        padding = (0, -channels % 4)
        folded = self._folded_bias(sums)
        arrays = {
            "bias": folded.astype(np.int32),
            "multiplier": self.multiplier,
            "shift": shift.astype(np.int8),
        }
        if self.even:  # vectors have lanes past the last channel, and channels in other orders
            del arrays["multiplier"], arrays["shift"]
            if em.target.mve:
                arrays["multiplier"] = np.arange(len(self.bias), dtype=np.int32)
        if order is not None:
            arrays = {field: values[order] for field, values in arrays.items()}
        note = f"({channels},), padded to fours"
        fields: Fields = {
            f"out.{field}": em.const(f"{self.name}_{field}", np.pad(values, padding), note)
            for field, values in arrays.items()
        }
        return {**fields, **self._even_fields(em), **self._code_fields()}

    def _even_fields(self, em: Emitter) -> Fields:
        """Steps, or lines, of all channels."""
        if self.even:
            em.define("SPK_EVEN")
        if self.steps is not None:
            note = f"({len(self.steps)}, {self.steps.shape[1]}) least sums with a higher code"
            table = em.const(f"{self.name}_steps", self.steps, note)
            return {"out.even": table, "out.levels": self.steps.shape[1]}
        if self.offset is None:
            return {}
        lines = np.column_stack([self.multiplier, self._right, self.offset]).astype(np.int32)
        note = "a channel: multiplier, right shift, low and high word of an offset"
        return {"out.even": em.const(f"{self.name}_lines", lines, note)}

    def _folded_bias(self, sums: Array) -> Array:
        """Bias less the input's zero point; within 32 bits, as what the sums are proved from."""
        return self.bias - sums.astype(np.int64) * self.ins[0].zero_point

    def _code_fields(self) -> Fields:
        low, high = self.activation
        return {"out.zero_point": self.output_zero_point, "out.low": low, "out.high": high}

    def scale_fields(self, em: Emitter, sums: Array, far: Array) -> Fields:
        """The same for kernels that take a `struct spk_scale` a channel; (O,) `far` is marked."""
        right, folded = -self._right_shift.astype(np.int64), self._folded_bias(sums)
        offset = (2 * self.output_zero_point + 1) << np.where(far, 0, right - 1)
        number = np.arange(len(self.bias))
        table = np.stack(
            [
                np.where(far, folded, 2 * folded),
                number if self.even else self.multiplier,
                np.where(far, 0, offset),
                np.where(far, FAR - (0 if self.even else right), right),
            ],
            axis=1,
        )
        note = "a channel: doubled bias, multiplier, offset, right shift; or it is marked"
        name = em.const(f"{self.name}_scale", table.astype(np.int32), note)
        scales = c.cast("const struct spk_scale *", name)
        return {"scales": scales, **self._even_fields(em), **self._code_fields()}


def pack(codes: Array, bits: int) -> Array:
    """(..., n) int8 to (..., ceil(n / (32 / bits))) uint32, the lowest bits first.

    A code k of `bits` bits lies as k + 2^(bits - 1). What lies past the end is 0.
    """
    each = 32 // bits
    raised = codes.astype(np.int64) + (1 << (bits - 1))
    margin = [(0, 0)] * (codes.ndim - 1) + [(0, -codes.shape[-1] % each)]
    fields = np.pad(raised, margin).reshape(*codes.shape[:-1], -1, each)
    words: Array = (fields << (bits * np.arange(each))).sum(axis=-1).astype("<u4")
    return words


def by_fours(rows: Array, taps: int) -> Array:
    """(O, n) to (ceil(O / 4), taps, 4): channels interleaved by fours, taps past n are 0."""
    channels, n = rows.shape
    padded = np.pad(rows, ((0, -channels % 4), (0, taps - n)))
    return padded.reshape(-1, 4, taps).transpose(0, 2, 1)


def packed_by_fours(rows: Array, bits: int) -> Array:
    """(O, n) codes to words (ceil(O / 4), ceil(n / (32 / bits)), 4): channels by fours."""
    words = pack(rows, bits)
    return by_fours(words, words.shape[1])


def planes(rows: Array, bits: int) -> Array:
    """(O, n) codes to bits by planes: words (ceil(n / 32), O, bits), the upper plane first.

    A code k lies as k + 2^(bits - 1); what lies past the end is 0.
    """
    raised = rows.astype(np.int64) + (1 << (bits - 1))
    upper_first = [pack((raised >> bit & 1) - 1, 1) for bit in reversed(range(bits))]
    return np.ascontiguousarray(np.stack(upper_first, axis=-1).transpose(1, 0, 2))


def sixteen_bit_run(rows: Array, bits: int) -> int:
    """How many blocks of 32 taps of (O, n) codes have sums within 16 bits, from any such run on.

    A code k lies as k + 2^(bits - 1); inputs have 8 bits, so that these may add up to 256.
    """
    raised = rows.astype(np.int64) + (1 << (bits - 1))
    blocks = np.pad(raised, ((0, 0), (0, -rows.shape[1] % 32))).reshape(len(rows), -1, 32).sum(2)
    for run in range(min(blocks.shape[1], 255), 1, -1):
        padded = np.pad(blocks, ((0, 0), (0, -blocks.shape[1] % run)))
        if padded.reshape(len(rows), -1, run).sum(axis=2).max() <= 256:
            return run
    return 1


def fields_by_eights(rows: Array, taps: int) -> Array:
    """(O, n) codes of 4 bits to words (ceil(O / 8), taps): one tap of eight channels.

    Channels 0, 2, 4 and 6 lie in the lower half, the lowest first, the others in the upper half; a
    code k as k + 8, what lies past the ends as any.
    """
    margin = ((0, -len(rows) % 8), (0, taps - rows.shape[1]))
    eights = np.pad(rows, margin).reshape(-1, 8, taps).transpose(0, 2, 1)
    return pack(eights[..., [0, 2, 4, 6, 1, 3, 5, 7]], 4).squeeze(-1)


def by_sixteens(rows: Array) -> Array:
    """(O, n) to (ceil(O / 4), ceil(n / 16), 4, 16): what lies past the ends is 0."""
    channels, n = rows.shape
    padded = np.pad(rows, ((0, -channels % 4), (0, -n % 16)))
    blocks: Array = padded.reshape(len(padded) // 4, 4, -1, 16).transpose(0, 2, 1, 3)
    return blocks


def two_a_lane(rows: Array, taps: int) -> Array | None:
    """(O, n) to (ceil(O / 2), taps) int16: `low + 256 * high` of two channels.

    None where a lane overflows, or the sum of a channel may have more than 24 bits.
    """
    channels, n = rows.shape
    if int(np.abs(rows.astype(np.int64)).sum(axis=1).max()) * 128 >= 1 << 23:
        return None
    padded = np.pad(rows.astype(np.int32), ((0, channels % 2), (0, taps - n)))
    lanes = padded[0::2] + 256 * padded[1::2]
    if lanes.min() < -(1 << 15) or lanes.max() >= 1 << 15:
        return None
    pairs: Array = lanes.astype("<i2")
    return pairs


def two_channels_a_lane(rows: Array, taps: int) -> Array | None:
    """(O, n) to words (ceil(O / 4), taps / 4, 2, 2): `two_a_lane`, quads in the order 0, 2, 1, 3.

    None where that is None. taps: a multiple of 4.
    """
    lanes = two_a_lane(np.pad(rows, ((0, -len(rows) % 4), (0, 0))), taps)
    if lanes is None:
        return None
    quads = lanes.reshape(len(lanes) // 2, 2, -1, 4)[..., [0, 2, 1, 3]]
    words: Array = np.ascontiguousarray(quads.transpose(0, 2, 1, 3)).view("<u4")
    return words
