"""Transposed int8 convolution. C twin: firmware/kernels/transpose_conv.h."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Margin, Pair
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval
from spikelet.graph.quantised import Quantised
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class TransposeConv(Quantised):
    """`sum[y * s + i - top, x * s + j - left, o] += weight[o, i, j, c] * in[y, x, c]`.

    Reads (H, W, I) i8; writes (*size, O) i8. What lies outside of the output is left out.
    Requantised as `Quantised` tells.

    Attributes:
        weight: (O, KH, KW, I) int8.
        size: height and width of the output.
        stride: down, right.
        padding: top, left: rows and columns that are cut off.
    """

    KIND: ClassVar[str] = "transpose_conv"

    size: Pair
    stride: Pair = (1, 1)
    padding: tuple[Margin, Margin] = (0, 0)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_int8(ins[0], (3,))
        self.expect_bytes()
        if self.weight.dtype != np.int8 or self.weight.ndim != 4:
            raise self.error(
                f"weight is {self.weight.dtype} of shape {self.weight.shape}, "
                "expected int8 (O, KH, KW, I)"
            )
        if self.weight.shape[3] != ins[0].shape[2]:
            raise self.error(f"weight {self.weight.shape} does not fit input {ins[0].shape}")
        channels = len(self.weight)
        shape = (*self.size, channels)
        rows = self.weight.reshape(channels, -1)
        return self.infer_int8(shape, rows, bounds, padded=self._has_padding)

    @property
    def _has_padding(self) -> bool:
        return True  # not every tap has an input

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = self.centred_input(env)
        samples, height, width, _ = x.shape
        channels, rows, columns, depth = self.weight.shape
        full = np.zeros(
            (
                samples,
                max((height - 1) * self.stride[0] + rows, self.padding[0] + self.size[0]),
                max((width - 1) * self.stride[1] + columns, self.padding[1] + self.size[1]),
                channels,
            ),
            np.int64,
        )
        for i in range(rows):
            for j in range(columns):
                part = self.product(x.reshape(-1, depth), self.weight[:, i, j])
                full[
                    :,
                    i : i + (height - 1) * self.stride[0] + 1 : self.stride[0],
                    j : j + (width - 1) * self.stride[1] + 1 : self.stride[1],
                ] += part.reshape(samples, height, width, channels)
        top, left = self.padding
        env[self.name] = self.rescale(full[:, top : top + self.size[0], left : left + self.size[1]])

    def exercised_weights(self, moved: Mapping[str, Array]) -> tuple[int, int]:
        image = moved[self.inputs[0]]  # (H, W, I)
        channels, rows, columns, _ = self.weight.shape
        taps = 0
        for i in range(rows):
            for j in range(columns):
                seen = image
                for axis, at in enumerate((i, j)):
                    places = np.arange(image.shape[axis]) * self.stride[axis] + at
                    places -= self.padding[axis]
                    inside = (places >= 0) & (places < self.size[axis])
                    seen = np.compress(inside, seen, axis=axis)
                taps += int(seen.any(axis=(0, 1)).sum())
        return channels * taps, self.weight.size

    def cost(self) -> Cost:
        return Cost(
            macs=self.weight.size * self.ins[0].shape[0] * self.ins[0].shape[1], weight_bits=8
        )

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/transpose_conv.h")
        channels, rows, columns, depth = self.weight.shape
        note = f"({channels}, {rows}, {columns}, {depth})"
        fields: Fields = {
            "weights": em.const(f"{self.name}_weight", self.weight, note),
            # Taps that fall between the inputs have no code: zero points cannot go into the bias.
            **self.rescale_fields(em, np.zeros(channels, np.int64)),
            "height": self.ins[0].shape[0],
            "width": self.ins[0].shape[1],
            "channels": depth,
            "out_height": self.size[0],
            "out_width": self.size[1],
            "outputs": channels,
            "kernel_height": rows,
            "kernel_width": columns,
            "stride_down": self.stride[0],
            "stride_right": self.stride[1],
            "pad_top": self.padding[0],
            "pad_left": self.padding[1],
            "input_zero": self.ins[0].zero_point,
        }
        config = em.config(self.name, "spk_transpose_conv", fields)
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_transpose_conv_s8", config, source, to)]
