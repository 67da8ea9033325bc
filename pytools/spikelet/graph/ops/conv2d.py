"""Two-dimensional int8 convolution. C twin: firmware/kernels/conv2d.h."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.convolution import CHUNK_BYTES, Convolution
from spikelet.graph.gains import Tables, folded_run, table_bytes
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Overlap
from spikelet.graph.overlap import raster, window_starts
from spikelet.graph.packed_dsp import BLOCK, MOST_TAPS, packed_pairs
from spikelet.graph.packed_mve import HELD, packed_bytes
from spikelet.graph.quantised import (
    PAIR_RUN,
    by_fours,
    by_sixteens,
    fields_by_eights,
    packed_by_fours,
    planes,
    sixteen_bit_run,
    two_a_lane,
    two_channels_a_lane,
)
from spikelet.graph.target import ANY, Target
from spikelet.graph.tensor import Array

SCRATCH_BYTES = 2304  # at most: 3 x 3 windows of 64 channels, two at a time


@dataclass(frozen=True)
class _Choice:
    """A kernel.

    Attributes:
        kernel: what its name ends with.
        taps: as it counts them.
        weights: in its order.
        note: on their shape.
        scratch: words.
        why: it is not the fastest of the target; "" where it is.
        far: (O,) bool, channels that are rounded in the general way.
    """

    kernel: str
    taps: int
    weights: Array
    note: str
    scratch: int
    why: str = ""
    far: Array = field(default_factory=lambda: np.zeros(0, np.bool_))


@dataclass(kw_only=True)
class Conv2d(Convolution):
    """`sum[y, x, o] = bias[o] + sum of weight[o, i, j, c] * in[y * s + i * d, x * s + j * d, c]`.

    Reads (H, W, I) i8; writes (out H, out W, O) i8. Requantised as `Quantised` tells.

    Attributes:
        weight: (O, KH, KW, I) codes.
    """

    KIND: ClassVar[str] = "conv2d"
    GAINS: ClassVar[bool] = True

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_int8(ins[0], (3,))
        if self.weight.dtype != np.int8 or self.weight.ndim != 4:
            raise self.error(
                f"weight is {self.weight.dtype} of shape {self.weight.shape}, "
                "expected int8 (O, KH, KW, I)"
            )
        channels, height, width, depth = self.weight.shape
        if depth != ins[0].shape[2]:
            raise self.error(f"weight {self.weight.shape} does not fit input {ins[0].shape}")
        shape = (*self.image_shape(ins[0], (height, width)), channels)
        rows = self.levels.reshape(channels, -1)
        return self.infer_int8(shape, rows, bounds, padded=self._has_padding)

    def golden(self, env: dict[str, Array], t: int) -> None:
        channels, height, width, _ = self.weight.shape
        view = self.windows(self.centred_input(env), (height, width)).transpose(0, 1, 2, 4, 5, 3)
        rows = self.levels.reshape(channels, -1)
        samples, out_height, out_width = view.shape[:3]
        out = np.empty((samples, out_height, out_width, channels), np.int8)
        chunk = max(1, CHUNK_BYTES // (8 * out_height * out_width * rows.shape[1]))
        for at in range(0, samples, chunk):
            seen = view[at : at + chunk].reshape(-1, rows.shape[1])
            out[at : at + chunk] = self.rescale(self.product(seen, rows), env).reshape(
                -1, out_height, out_width, channels
            )
        env[self.name] = out

    def cost(self) -> Cost:
        pixels = self.outs[0].shape[0] * self.outs[0].shape[1]
        return Cost(macs=pixels * self.weight.size, weight_bits=min(self.bits, self.upper))

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        stride, padding = self.stride, (self.padding[0], self.padding[1])
        first = window_starts(self.ins[0].shape, self.outs[0].shape, stride, padding)
        outputs = len(self.weight)
        claims = [raster(first, outputs, gathered=True)]
        large = 4 * (self.weight[0].size + 1) > SCRATCH_BYTES
        if target.mve or (large and not self.packed):
            claims.append(raster(first, outputs))  # without a scratch, or rows as they lie
        most = max(claims, key=lambda overlap: overlap.lead)
        return (most, *[None] * (len(self.inputs) - 1))

    def general(self, target: Target) -> str:
        return self._choice(target).why

    def _choice(self, target: Target) -> _Choice:
        """The kernel for a target."""
        rows = self.weight.reshape(len(self.weight), -1)
        far, why = self.far(target), ""
        choice: _Choice | str = ""
        if self.bits < 4 and not target.dsp:
            return self._tables(rows)
        if not target.multiplies or (self.bits == 4 and target.thumb1):
            return self._planes(rows)
        if self.packed:
            lanes = self.bits == 4 and not target.arm
            return self._lanes(rows) if lanes else self._packed(rows, target)
        if target.mve:
            choice = self._mve(rows)
        elif target.dsp:
            choice = self._dsp(rows)
        if isinstance(choice, str):
            why, choice = choice, self._portable(rows, target)
            far = self.far(ANY)  # it is plain C
        if choice.kernel.startswith("stream"):
            why = why or f"{rows.shape[1]} taps are too many for {SCRATCH_BYTES} bytes of scratch"
        elif far.any():
            why = "; ".join(filter(None, (why, self.rounding_note(far))))
            choice = replace(choice, kernel=f"{choice.kernel}_wide")
        return replace(choice, why=why, far=far)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/conv2d.h")
        rows = self.weight.reshape(len(self.weight), -1)
        choice = self._choice(em.target)
        kernel, taps, scratch = choice.kernel, choice.taps, choice.scratch
        if kernel.startswith(("lanes", "planes", "tables")):
            em.include(f"kernels/conv2d_{kernel.split('_')[0]}.h")
        weights = em.const(f"{self.name}_weight", choice.weights, choice.note)
        sums = self.levels.reshape(rows.shape).astype(np.int64).sum(axis=1)
        if kernel.startswith("dsp"):
            scales = self.scale_fields(em, sums, choice.far)
        else:
            plain = kernel.startswith(("mve", "stream"))
            scales = self.rescale_fields(em, sums, far=None if plain else choice.far)
        fields: Fields = {
            "weights": weights,
            **scales,
            **self.geometry_fields(self.weight.shape[1:3]),
            "taps": taps,
            "pointwise": self._pointwise,
        }
        if kernel.startswith("tables"):
            fields["run"] = sixteen_bit_run(rows, self.bits)
        if any(self.padding):
            row = np.full(self.weight.shape[3], self.ins[0].zero_point, np.int8)
            fields["padding"] = em.const(f"{self.name}_padding", row, "input zero point")
        config = em.config(self.name, "spk_conv2d", fields)
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        tables: Tables = "scales" if kernel.startswith("dsp") else "twice"
        more = table_bytes(tables, len(rows), halved=self.halved) if self.folded else 0
        function = f"spk_conv2d_{kernel}"
        if scratch + more == 0:
            return [c.run(function, config, source, to)]
        words = em.scratch(self.name, 4 * scratch + more)
        rest = (source, words, to) if scratch else (source, to)
        if not self.folded:
            return [c.run(function, config, *rest)]
        table = words + scratch
        return folded_run(em, self, tables, table, "spk_conv2d", function, config, *rest)

    @property
    def _pointwise(self) -> bool:
        """Whether each output sees one pixel, in the order of the pixels."""
        return self.weight.shape[1:3] == (1, 1) and self.stride == (1, 1) and not any(self.padding)

    def _portable(self, rows: Array, target: Target) -> _Choice:
        taps = rows.shape[1]
        even = taps + taps % 2
        few = target.thumb1  # registers
        pixels = 4 if 8 * even <= SCRATCH_BYTES and not few else 2
        kernel = "four" if pixels == 4 else "two"
        scratch = even * (pixels // 2) + 4 * pixels
        if even * 2 * pixels > SCRATCH_BYTES:
            kernel, even, scratch = "stream_fours", taps, 0
        note = f"(outputs / 4, taps {even}, 4)"
        return _Choice(kernel, even, by_fours(rows, even), note, scratch)

    def _packed(self, rows: Array, target: Target) -> _Choice:
        """Of less than 8 bits, or an odd grid."""
        n = rows.shape[1]
        if target.mve:
            return self._packed_mve(rows, target)
        if target.dsp and (self.bits != 4 or n <= MOST_TAPS):
            return self._packed_dsp(rows, target)
        far, each = self.far(ANY), 32 // self.bits if self.bits < 8 else 2
        taps = each * -(-rows.shape[1] // each)
        pixels = 2 if target.thumb1 or 8 * taps > SCRATCH_BYTES else 4
        if self.bits < 8:
            weights, note = packed_by_fours(rows, self.bits), "(outputs / 4, words of fields, 4)"
        else:
            weights, note = by_fours(rows, taps), f"(outputs / 4, taps {taps}, 4)"
        kernel = ("four" if pixels == 4 else "two") + self._grid + ("_wide" if far.any() else "")
        scratch = taps * (pixels // 2) + 5 * pixels
        return _Choice(kernel, taps, weights, note, scratch, self.rounding_note(far), far)

    def _lanes(self, rows: Array) -> _Choice:
        """Of 4 bits: two channels in the halves of a word."""
        far, taps = self.far(ANY), rows.shape[1] + -rows.shape[1] % 4
        kernel = f"lanes{self._grid}" + ("_wide" if far.any() else "")
        note = f"(outputs / 8, taps {taps}) words of eight channels"
        weights, scratch = fields_by_eights(rows, taps), taps + 34 + 4 * -(-taps // PAIR_RUN)
        return _Choice(kernel, taps, weights, note, scratch, self.rounding_note(far), far)

    def _tables(self, rows: Array) -> _Choice:
        """Of 1 or 2 bits: sums of four taps, chosen by the bits of weights."""
        far, (outputs, taps) = self.far(ANY), rows.shape
        sums = 2 * outputs if taps > 32 * sixteen_bit_run(rows, self.bits) else 0
        pixels = 4 if 8 * (162 + outputs + sums) <= SCRATCH_BYTES else 2
        kernel = ("tables_four" if pixels == 4 else "tables_two") + self._grid
        kernel += "_wide" if far.any() else ""
        note = f"(blocks of 32 taps, outputs {outputs}, {self.bits}) words of bits"
        words = pixels // 2 * (162 + outputs + sums)
        return _Choice(
            kernel, taps, planes(rows, self.bits), note, words, self.rounding_note(far), far
        )

    def _planes(self, rows: Array) -> _Choice:
        """As `_tables`, of 4 or 8 bits."""
        far, (outputs, taps) = self.far(ANY), rows.shape
        kernel = f"planes{self._grid or '_8'}" + ("_wide" if far.any() else "")
        note = f"(blocks of 32 taps, outputs {outputs}, {self.bits}) words of bits"
        words = 160 + 2 * (outputs + 1)
        return _Choice(
            kernel, taps, planes(rows, self.bits), note, words, self.rounding_note(far), far
        )

    def _packed_mve(self, rows: Array, target: Target) -> _Choice:
        """Of less than 8 bits, or an odd grid, for Arm's vector extension."""
        far, taps = self.far(target), rows.shape[1]
        held = self.bits == 4 and 48 < taps <= HELD
        weights = (
            by_sixteens(rows)
            if self.bits == 8
            else packed_bytes(rows, self.bits, HELD if held else taps)
        )
        kernel = "mve" + (f"_{HELD}" if held else "") + self._grid + ("_wide" if far.any() else "")
        note = f"bytes of {8 // self.bits} channels, by sixteen taps"
        scratch = 4 * -(-taps // 16)
        return _Choice(kernel, taps, weights, note, scratch, self.rounding_note(far), far)

    def _packed_dsp(self, rows: Array, target: Target) -> _Choice:
        """Of less than 8 bits, or an odd grid, for Arm's DSP extension."""
        far, taps = self.far(ANY), rows.shape[1] + -rows.shape[1] % BLOCK
        order = "quads" if self.weight.shape[3] % 4 == 0 else "lanes"
        words = packed_pairs(rows, self.bits, taps, quads=order == "quads")
        kernel = f"dsp_{order}{self._grid}" + ("_wide" if far.any() else "")
        note = f"(outputs / 4, 2, words) of two channels, {taps} taps"
        return _Choice(kernel, taps, words, note, taps, self.rounding_note(far), far)

    def _dsp(self, rows: Array) -> _Choice | str:
        """For Arm's DSP extension, or why it does not suit."""
        taps = 8 * -(-rows.shape[1] // 8)
        large = 4 * taps > SCRATCH_BYTES
        if large and self.weight.shape[3] % 8:
            return f"{rows.shape[1]} taps, of channels that are no eights"
        lanes = two_channels_a_lane(rows, taps) if large else two_a_lane(rows, taps)
        if lanes is None:
            return "two weights do not fit 16 bits, or a sum may not fit 24"
        if large:
            note = f"(outputs / 4, taps {taps} / 4, 2, 4 taps) of two channels"
            return _Choice("stream_quads", taps, lanes, note, 0)
        kernel = "dsp_lanes"
        if self.weight.shape[3] % 4 == 0:
            kernel = "dsp_quads"
            lanes = lanes.reshape(len(lanes), -1, 4)[:, :, [0, 2, 1, 3]]
        words = np.ascontiguousarray(lanes).view("<u4")
        note = f"(outputs / 2, taps {taps}) of two channels, two taps a word"
        return _Choice(kernel, taps, words, note, taps)

    def _mve(self, rows: Array) -> _Choice | str:
        """For Arm's vector extension, or why it does not suit."""
        taps = rows.shape[1]
        direct = self.weight.shape[1:3] == (1, 1) and not any(self.padding)
        large = taps > SCRATCH_BYTES and not direct
        if large and self.weight.shape[3] % 16:
            return f"{taps} taps, of channels that are no sixteens"
        weights, note = by_sixteens(rows), "(outputs / 4, taps / 16, 4, 16)"
        if large:
            return _Choice("stream_vectors", taps, weights, note, 0)
        vectors = -(-taps // 16)
        kernel = f"mve_{16 * vectors}" if vectors <= 3 else "mve"  # registers hold the taps
        return _Choice(kernel, taps, weights, note, 4 * vectors)
