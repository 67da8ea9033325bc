"""Two-dimensional int8 convolution. C twin: firmware/kernels/conv2d.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Expression, Fields, Statement
from spikelet.graph.convolution import CHUNK_BYTES, Convolution
from spikelet.graph.operator import Cost, Emitter, Interval, Overlap
from spikelet.graph.overlap import raster, window_starts
from spikelet.graph.quantised import (
    by_fours,
    by_sixteens,
    two_a_lane,
    two_channels_a_lane,
)
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array, Tensor

SCRATCH_BYTES = 2304  # at most: 3 x 3 windows of 64 channels, two at a time


@dataclass(kw_only=True)
class Conv2d(Convolution):
    """`sum[y, x, o] = bias[o] + sum of weight[o, i, j, c] * in[y * s + i * d, x * s + j * d, c]`.

    Reads (H, W, I) i8; writes (out H, out W, O) i8. Requantised as `Quantised` tells.

    Attributes:
        weight: (O, KH, KW, I) int8.
    """

    KIND: ClassVar[str] = "conv2d"

    def infer(self, ins: list[Tensor], bounds: dict[str, Interval], steps: int) -> list[Tensor]:
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
        rows = self.weight.reshape(channels, -1)
        return self.infer_int8(ins[0], shape, rows, bounds, padded=self._padded)

    def golden(self, env: dict[str, Array], t: int) -> None:
        channels, height, width, _ = self.weight.shape
        view = self.windows(self.centred(env), (height, width)).transpose(0, 1, 2, 4, 5, 3)
        rows = self.weight.reshape(channels, -1)
        samples, out_height, out_width = view.shape[:3]
        out = np.empty((samples, out_height, out_width, channels), np.int8)
        chunk = max(1, CHUNK_BYTES // (8 * out_height * out_width * rows.shape[1]))
        for at in range(0, samples, chunk):
            seen = view[at : at + chunk].reshape(-1, rows.shape[1])
            out[at : at + chunk] = self.rescaled(self.product(seen, rows)).reshape(
                -1, out_height, out_width, channels
            )
        env[self.name] = out

    def cost(self, ins: list[Tensor]) -> Cost:
        pixels = self._output.shape[0] * self._output.shape[1]
        return Cost(macs=pixels * self.weight.size, weight_bits=8)

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        stride, padding = self.stride, (self.padding[0], self.padding[1])
        first = window_starts(self._input.shape, self._output.shape, stride, padding)
        outputs = len(self.weight)
        found = [raster(first, outputs, gathered=True)]
        if target.mve or 4 * (self.weight[0].size + 1) > SCRATCH_BYTES:
            found.append(raster(first, outputs))  # without a scratch, or rows as they lie
        return (max(found, key=lambda overlap: overlap.lead),)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/conv2d.h")
        rows = self.weight.reshape(len(self.weight), -1)
        found = None
        if em.target.mve:
            found = self._mve(em, rows)
        elif em.target.dsp:
            found = self._dsp(em, rows)
        kernel, taps, weights, scratch = found or self._portable(em, rows)
        scales = self.scale_fields if kernel.startswith("dsp") else self.rescale_fields
        fields: Fields = {
            "weights": weights,
            **scales(em, rows.astype(np.int64).sum(axis=1)),
            **self.window_fields(self.weight.shape[1:3]),
            "outputs": len(rows),
            "taps": taps,
            "pointwise": self._pointwise,
        }
        if any(self.padding):
            row = np.full(self.weight.shape[3], self._input.zero_point, np.int8)
            fields["padding"] = em.const(f"{self.name}_padding", row, "input zero point")
        config = em.config(self.name, "spk_conv2d", fields)
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        if scratch == 0:
            return [c.run(f"spk_conv2d_{kernel}", config, source, to)]
        words = em.scratch(self.name, 4 * scratch)
        return [c.run(f"spk_conv2d_{kernel}", config, source, words, to)]

    @property
    def _pointwise(self) -> bool:
        """Whether each output sees one pixel, in the order of the pixels."""
        return self.weight.shape[1:3] == (1, 1) and self.stride == (1, 1) and not any(self.padding)

    def _portable(self, em: Emitter, rows: Array) -> tuple[str, int, Expression, int]:
        """Kernel, taps, weights, words of scratch."""
        taps = rows.shape[1]
        even = taps + taps % 2
        few = em.target.thumb1  # registers
        pixels = 4 if 8 * even <= SCRATCH_BYTES and self.near and not few else 2
        kernel = "any" if not self.near else "four" if pixels == 4 else "two"
        scratch = even * (pixels // 2) + 4 * pixels
        if even * 2 * pixels > SCRATCH_BYTES:
            kernel, even, scratch = "stream_fours", taps, 0
        blocked = by_fours(rows, even)
        name = em.const(f"{self.name}_weight", blocked, f"(outputs / 4, taps {even}, 4)")
        return kernel, even, name, scratch

    def _dsp(self, em: Emitter, rows: Array) -> tuple[str, int, Expression, int] | None:
        """The same for Arm's DSP extension, None where it does not suit."""
        taps = 8 * -(-rows.shape[1] // 8)
        if 4 * taps > SCRATCH_BYTES and self.weight.shape[3] % 8 == 0:
            found = two_channels_a_lane(rows, taps)
            if found is None:
                return None
            note = f"(outputs / 4, taps {taps} / 4, 2, 4 taps) of two channels"
            return "stream_quads", taps, em.const(f"{self.name}_weight", found, note), 0
        lanes = two_a_lane(rows, taps)
        if lanes is None or not self.near or 4 * taps > SCRATCH_BYTES:
            return None
        kernel = "dsp_lanes"
        if self.weight.shape[3] % 4 == 0:
            kernel = "dsp_quads"
            lanes = lanes.reshape(len(lanes), -1, 4)[:, :, [0, 2, 1, 3]]
        words = np.ascontiguousarray(lanes).view("<u4")
        note = f"(outputs / 2, taps {taps}) of two channels, two taps a word"
        return kernel, taps, em.const(f"{self.name}_weight", words, note), taps

    def _mve(self, em: Emitter, rows: Array) -> tuple[str, int, Expression, int] | None:
        """The same for Arm's vector extension, None where it does not suit."""
        taps = rows.shape[1]
        direct = self.weight.shape[1:3] == (1, 1) and not any(self.padding)
        large = taps > SCRATCH_BYTES and not direct
        if (large and self.weight.shape[3] % 16) or not (large or self.near):
            return None
        note = "(outputs / 4, taps / 16, 4, 16)"
        name = em.const(f"{self.name}_weight", by_sixteens(rows), note)
        if large:
            return "stream_vectors", taps, name, 0
        vectors = -(-taps // 16)
        kernel = f"mve_{16 * vectors}" if vectors <= 3 else "mve"  # registers hold the taps
        return kernel, taps, name, 4 * vectors
