"""What pools share: the window. C twin: firmware/kernels/pool.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.convolution import window_band, window_count
from spikelet.graph.declared import Codes, Margins, Pair
from spikelet.graph.int8 import Int8Operator, codes_of
from spikelet.graph.operator import Band, Cost, Emitter, Inferred, Interval, Operator, Overlap
from spikelet.graph.overlap import raster, window_starts
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array

# How far TensorFlow Lite lets the scales of input and output be apart, which are the same.
SCALE_TOLERANCE = 1e-6


@dataclass(kw_only=True)
class Pool(Operator):
    """Base of pools over windows of (height, width) of an (H, W, C) tensor.

    Cells outside of the input do not count.

    Attributes:
        window: height and width.
        stride: rows and columns from window to window.
        padding: cells beyond the top, left, bottom and right edge; less than the window.
    """

    KIND: ClassVar[str] = ""

    window: Pair
    stride: Pair = (1, 1)
    padding: Margins = (0, 0, 0, 0)

    def pooled_shape(self) -> tuple[int, int, int]:
        """Of the output; refuses a window that leaves the input."""
        top, left, bottom, right = self.padding
        rows, columns = self.window
        if max(top, bottom) >= rows or max(left, right) >= columns:
            raise self.error(f"padding {self.padding} is not less than the window {self.window}")
        x = self.ins[0].shape
        size = window_count(x, self.window, self.stride, (1, 1), self.padding)
        if min(size) < 1:
            raise self.error(f"window {self.window} is larger than input {x}")
        return (*size, x[2])

    def follows(self) -> list[Array | None] | None:
        return [np.arange(self.outs[0].shape[2])]

    def windows(self, x: Array, outside: int) -> list[Array]:
        """For each cell of the window its value at every output, (N, OH, OW, C)."""
        top, left, bottom, right = self.padding
        padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=outside)
        high, wide = self.outs[0].shape[0], self.outs[0].shape[1]
        down, over = self.stride
        return [
            padded[:, i : i + (high - 1) * down + 1 : down, j : j + (wide - 1) * over + 1 : over]
            for i in range(self.window[0])
            for j in range(self.window[1])
        ]

    def largest(self, x: Array, least: int) -> Array:
        """Of each window, (N, OH, OW, C); `least` is no larger than any element."""
        best: Array = np.full((len(x), *self.outs[0].shape), least, x.dtype)
        for cell in self.windows(x, least):
            np.maximum(best, cell, out=best)
        return best

    def window_fields(self, channels: int) -> Fields:
        """Fields of `struct spk_pool` but for limits; `channels` of what a kernel counts."""
        return {
            "height": self.ins[0].shape[0],
            "width": self.ins[0].shape[1],
            "channels": channels,
            "rows": self.outs[0].shape[0],
            "columns": self.outs[0].shape[1],
            "window_height": self.window[0],
            "window_width": self.window[1],
            "stride_height": self.stride[0],
            "stride_width": self.stride[1],
            "top": self.padding[0],
            "left": self.padding[1],
        }


@dataclass(kw_only=True)
class Pool2d(Pool, Int8Operator):
    """Base of pools of codes, which are not rescaled.

    Attributes:
        activation: lowest and highest code that is written.
    """

    KIND: ClassVar[str] = ""
    C_NAME: ClassVar[str] = ""

    activation: Codes = (-128, 127)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.activation_input(ins[0], rank=3)
        self.same_code(ins[0], SCALE_TOLERANCE)
        shape = self.pooled_shape()
        if self.window[0] * self.window[1] > 1 << 23:
            raise self.error(f"the sum of a window {self.window} may reach beyond 32 bits")
        limits = self.activation[0], self.activation[1]
        return Inferred(self.output(shape, bounds, limits, codes_of(ins[0], bounds)))

    def band(self, first: int, end: int) -> Band | None:
        top, left, _, right = self.padding
        padding = (top, left, right)
        return window_band(
            self.ins[0].shape[0], self.window[0], self.stride[0], padding, first, end
        )

    def cost(self) -> Cost:
        return Cost(macs=int(np.prod(self.outs[0].shape)) * self.window[0] * self.window[1])

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        padding = (self.padding[0], self.padding[1])
        first = window_starts(self.ins[0].shape, self.outs[0].shape, self.stride, padding)
        return (raster(first, self.outs[0].shape[2]),)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/pool.h")
        low, high = self.activation
        fields: Fields = {**self.window_fields(self.ins[0].shape[2]), "low": low, "high": high}
        config = em.config(self.name, "spk_pool", fields)
        return [c.run(self.C_NAME, config, em.tensor(self.inputs[0]), em.tensor(self.name))]
