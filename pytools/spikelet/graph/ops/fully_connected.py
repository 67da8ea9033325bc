"""Fully connected int8 layer. C twin: firmware/kernels/fully_connected.h."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Held
from spikelet.graph.gains import (
    Tables,
    bias_unit,
    codes_of_half,
    folded_run,
    half_shift,
    table_bytes,
    with_gain_once,
)
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval
from spikelet.graph.packed_dsp import packed_vector
from spikelet.graph.packed_mve import packed_bytes
from spikelet.graph.quantised import (
    PAIR_RUN,
    Quantised,
    by_fours,
    by_sixteens,
    fields_by_eights,
    packed_by_fours,
    planes,
    two_channels_a_lane,
)
from spikelet.graph.requantise_once import requantise_once
from spikelet.graph.target import ANY, Target
from spikelet.graph.tensor import Array

BLOCK_INPUTS = 128  # whose tables are made at a time: 1 KB
SMALL_BLOCK_INPUTS = 32  # the same on cores that have little RAM


@dataclass(kw_only=True)
class FullyConnected(Quantised):
    """`sum[o] = bias[o] + sum over i of weight[o, i] * in[i]`, for each row of I inputs.

    Reads i8 of any shape with I elements, or a multiple of them; writes (O,) or (rows, O) i8.
    Requantised as `Quantised` tells.

    Attributes:
        weight: (O, I) codes.
        fraction: (O,) int32, 22 more bits of the multiplier: the sum is rounded once, as LiteRT's
            reference kernel does it; None for the two roundings of `Quantised`.
    """

    KIND: ClassVar[str] = "fully_connected"
    GAINS: ClassVar[bool] = True

    fraction: Annotated[Array, Held("int32", 1, 0, (1 << 22) - 1)] | None = None

    @property
    def _rows(self) -> int:
        return self.ins[0].size // int(self.weight.shape[1])

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_int8(ins[0], (1, 2, 3, 4))
        if self.weight.dtype != np.int8 or self.weight.ndim != 2:
            raise self.error(
                f"weight is {self.weight.dtype} of shape {self.weight.shape}, expected int8 (O, I)"
            )
        if ins[0].size % self.weight.shape[1]:
            raise self.error(f"weight {self.weight.shape} does not fit input {ins[0].shape}")
        if self.fraction is not None and self.even:
            raise self.error("a fraction beside steps or an offset: expected one of them")
        if self.fraction is not None and (
            self.fraction.dtype != np.int32
            or self.fraction.shape != (len(self.weight),)
            or np.any(self.fraction >> 22)
        ):
            raise self.error("fraction is not (O,) int32 of 0 to 2^22 - 1")
        if self.folded and self._rows > 1:
            raise self.error(f"{self._rows} rows: values of an adapter are of one")
        channels = len(self.weight)
        shape = (channels,) if self._rows == 1 else (self._rows, channels)
        return self.infer_int8(shape, self.levels, bounds)

    def rescale(self, sums: Array, env: Mapping[str, Array] | None = None) -> Array:
        if self.fraction is None:
            return super().rescale(sums, env)
        whole, factor = sums + self.bias, (self.multiplier, self.fraction, self._right_shift)
        if env is not None and self.gained:
            gain, bias = (env[name] for name in self.inputs[1:])
            whole = whole + bias * bias_unit(self._right_shift)
            factor = with_gain_once(*factor, gain)
        if env is not None and self.halved and env[self.inputs[1]][0]:
            halved = (*factor[:2], half_shift(self._right_shift))
            return codes_of_half(requantise_once(whole, *halved))
        scaled = requantise_once(whole, *factor)
        codes: Array = np.clip(scaled + self.output_zero_point, *self.activation).astype(np.int8)
        return codes

    def _per_channel(self) -> dict[str, Array]:
        once = {} if self.fraction is None else {"fraction": self.fraction}
        return {**super()._per_channel(), **once}

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = self.centred_input(env)
        rows = self.rescale(self.product(x.reshape(-1, self.weight.shape[1]), self.levels), env)
        env[self.name] = rows.reshape(len(x), *self.outs[0].shape)

    def exercised_weights(self, moved: Mapping[str, Array]) -> tuple[int, int]:
        taps = moved[self.inputs[0]].reshape(-1, self.weight.shape[1]).any(axis=0)
        return len(self.weight) * int(taps.sum()), self.weight.size

    def cost(self) -> Cost:
        return Cost(macs=self._rows * self.weight.size, weight_bits=min(self.bits, self.upper))

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/fully_connected.h")
        channels, n = self.weight.shape
        kernel, weight, note = self._variant(em.target)
        sums = self.levels.astype(np.int64).sum(axis=1)
        fields: Fields = {
            "weights": em.const(f"{self.name}_weight", weight, note),
            **self.rescale_fields(em, sums, far=self.far(em.target)),
            "inputs": n,
            "outputs": channels,
        }
        if self.fraction is not None:
            note = f"({channels},), 22 more bits of the multiplier"
            fields["fraction"] = em.const(f"{self.name}_fraction", self.fraction, note)
        if kernel.startswith("tables"):
            fields["block"] = _block(em.target)
        config = em.config(self.name, "spk_fully_connected", fields)
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        function = f"spk_fully_connected_{kernel}_{self._rounding(em.target)}"
        row = c.name("row")
        if self._rows > 1:
            source, to = source + row * n, to + row * channels
        call = c.run(function, config, source, to)
        words = self._scratch_words(kernel, em.target)
        if self.folded:
            tables: Tables = "twice" if self.fraction is None else "once"
            more = table_bytes(tables, channels, halved=self.halved)
            memory = em.scratch(self.name, 4 * words + more)
            called = (source, memory, to) if words else (source, to)
            if words:
                em.include(f"kernels/fully_connected_{kernel.split('_')[0]}.h")
            return folded_run(
                em, self, tables, memory + words, "spk_fully_connected", function, config, *called
            )
        if words > 0:
            em.include(f"kernels/fully_connected_{kernel.split('_')[0]}.h")
            call = c.run(function, config, source, em.scratch(self.name, 4 * words), to)
        if self._rows == 1:
            return [call]
        if n % 8 == 0 or words > 0:
            return [c.repeat("row", self._rows, call)]
        # A row is read to the next multiple of 8 bytes.
        whole = em.scratch(self.name, n + -n % 8)
        copied = c.run("__builtin_memcpy", whole, source, n)
        call = c.run(function, config, c.cast("const int8_t *", whole), to)
        return [c.repeat("row", self._rows, copied, call)]

    def _scratch_words(self, kernel: str, target: Target) -> int:
        """What a kernel asks for; such a kernel reads no input past the last."""
        channels, n = map(int, self.weight.shape)
        if kernel.startswith("tables"):
            return channels + -channels % 4 + 64 * -(-min(n, _block(target)) // 32)
        return -(-n // PAIR_RUN) if kernel.startswith("pairs") else 0

    @property
    def _right_shift(self) -> Array:
        if self.fraction is None:
            return super()._right_shift
        nothing = (self.multiplier == 0) & (self.fraction == 0)
        return np.where(nothing, -1, self.shift).astype(np.int32)

    def far(self, target: Target) -> Array:
        if self.fraction is None:
            return super().far(ANY)  # its rounding is plain C everywhere
        least, most = self._shifts if self.folded else (self.shift, self.shift)
        return (most > -2) | (least < -20)

    def general(self, target: Target) -> str:
        why, plain = "", target.dsp and not (target.mve or self.packed)
        if plain and self._variant(target)[0] == "fours":
            why = "two weights do not fit 16 bits, or a sum may not fit 24"
        return "; ".join(filter(None, (why, self.rounding_note(self.far(target)))))

    def _rounding(self, target: Target) -> str:
        """How the kernel rounds."""
        if self.far(target).any():
            return "wide"
        return "twice" if self.fraction is None else "once"

    def _variant(self, target: Target) -> tuple[str, Array, str]:
        """The order of the weights, the weights in it, and a note on their shape."""
        n = self.weight.shape[1]
        if self.packed and target.mve:
            note = f"bytes of {8 // self.bits} channels, by sixteen inputs"
            held = by_sixteens if self.bits == 8 else partial(packed_bytes, bits=self.bits)
            return f"bytes{self._grid}", held(self.weight), note
        if self.packed and target.dsp:
            note = "(outputs / 4, words) of two or four channels"
            return f"lanes{self._grid}", packed_vector(self.weight, self.bits), note
        if (self.bits < 8 if target.thumb1 else self.bits < 4 and not target.dsp) or (
            not target.multiplies
        ):
            block = _block(target)
            parts = np.split(self.weight, range(block, n, block), axis=1)
            bits = [planes(part, self.bits).transpose(1, 0, 2).ravel() for part in parts]
            note = f"by blocks of {block} inputs: (outputs, words, {self.bits}) of bits"
            return f"tables{self._grid or '_8'}", np.concatenate(bits), note
        if self.bits == 4:
            note = f"(outputs / 8, inputs {n}) words of eight channels"
            return f"pairs{self._grid}", fields_by_eights(self.weight, n), note
        if self.bits < 8:
            fields = packed_by_fours(self.weight, self.bits)
            return f"packed{self._grid}", fields, "(outputs / 4, words of fields, 4)"
        if self.odd:
            return f"fours{self._grid}", by_fours(self.weight, n + -n % 4), "(outputs / 4, n, 4)"
        if target.mve:
            return "vectors", by_sixteens(self.weight), "(outputs / 4, inputs / 16, 4, 16)"
        if target.dsp and (words := two_channels_a_lane(self.weight, n + -n % 8)) is not None:
            return "quads", words, "(outputs / 4, inputs / 4, 2, 4 inputs) of two channels"
        taps = n + -n % 4
        return "fours", by_fours(self.weight, taps), f"(outputs / 4, inputs {taps}, 4)"


def _block(target: Target) -> int:
    """How many inputs have their tables made at a time."""
    return SMALL_BLOCK_INPUTS if target.has("e") else BLOCK_INPUTS
