"""Depthwise two-dimensional int8 convolution. C twin: firmware/kernels/depthwise_conv2d.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.convolution import Convolution
from spikelet.graph.declared import Size
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Overlap
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.overlap import raster, window_starts
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array

MOST_TAPS = 512  # of which there is a list, on the stack


@dataclass(kw_only=True)
class DepthwiseConv2d(Convolution):
    """`sum[y, x, o] = bias[o] + sum of weight[i, j, o] * in[y * s + i * d, x * s + j * d, o // m]`.

    Reads (H, W, I) i8; writes (out H, out W, O) i8 with O = I * m. Requantised as `Quantised`
    tells.

    Attributes:
        weight: (KH, KW, O) int8.
        depth_multiplier: m, outputs an input channel.
    """

    KIND: ClassVar[str] = "depthwise_conv2d"
    OUTPUTS: ClassVar[int] = 2

    depth_multiplier: Size = 1

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_int8(ins[0], (3,))
        self.expect_bytes()
        if self.weight.dtype != np.int8 or self.weight.ndim != 3:
            raise self.error(
                f"weight is {self.weight.dtype} of shape {self.weight.shape}, "
                "expected int8 (KH, KW, O)"
            )
        height, width, channels = self.weight.shape
        if self.depth_multiplier < 1 or channels != ins[0].shape[2] * self.depth_multiplier:
            raise self.error(
                f"weight {self.weight.shape} does not fit input {ins[0].shape} with depth "
                f"multiplier {self.depth_multiplier}"
            )
        shape = (*self.image_shape(ins[0], (height, width)), channels)
        rows = self.weight.reshape(-1, channels).T
        return self.infer_int8(shape, rows, bounds, apart=True, padded=self._has_padding)

    def follows(self) -> list[Array | None]:
        return [np.arange(self.weight.shape[2]) // self.depth_multiplier]

    def golden(self, env: dict[str, Array], t: int) -> None:
        height, width, channels = self.weight.shape
        view = self.windows(self.centred_input(env), (height, width))
        sums = np.zeros((*view.shape[:3], channels), np.int32)
        for i in range(height):
            for j in range(width):
                seen = view[..., i, j].astype(np.int32)
                if self.depth_multiplier > 1:
                    seen = np.repeat(seen, self.depth_multiplier, axis=3)
                sums += seen * self.weight[i, j].astype(np.int32)
        env[self.name] = self.rescale(sums)

    def cost(self) -> Cost:
        pixels = self.outs[0].shape[0] * self.outs[0].shape[1]
        return Cost(macs=pixels * self.weight.size, weight_bits=8)

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        if self.ins[0].shape[2] == 1:
            return self._as_conv2d().overlaps(target)
        if self._three and self._variant(target) == "fours":
            return (Overlap(exact=True),)  # a channel is copied before its outputs are written
        padding = (self.padding[0], self.padding[1])
        first = window_starts(self.ins[0].shape, self.outs[0].shape, self.stride, padding)
        return (raster(first, self.outs[0].shape[2]),)

    @property
    def _three(self) -> bool:
        """Whether the kernel for 3 x 3 taps may be taken."""
        return (
            self.weight.shape[:2] == (3, 3)
            and self.dilation == (1, 1)
            and self.depth_multiplier == 1
            and max(self.stride) <= 2
            and max(self.padding) <= 255
        )

    def _variant(self, target: Target) -> str:
        """The kernel that goes by a list of taps, or "" where none does."""
        height, width, channels = self.weight.shape
        if height * width > MOST_TAPS:
            return ""
        one = self.depth_multiplier == 1
        if target.mve:
            if one and channels >= 16 and self.weight.min() > -128:
                return "mve_sixteens"
            return "mve" if one and channels >= 8 else "mve_many"
        if one and channels >= 4:
            return "dsp" if target.dsp else "fours"
        return "many"

    def general(self, target: Target) -> str:
        if self.ins[0].shape[2] == 1:
            return self._as_conv2d().general(target)
        variant = self._variant(target)
        height, width, channels = self.weight.shape
        if not variant:
            return f"{height} x {width} taps are more than {MOST_TAPS}"
        reasons = []
        if variant.endswith("many"):
            many = self.depth_multiplier > 1
            reasons.append(f"{self.depth_multiplier} outputs a channel" if many else
                         f"{channels} channels are fewer than the fast kernel takes")  # fmt: skip
        elif variant == "mve" and channels >= 16:
            reasons.append("a weight is -128")
        return "; ".join(filter(None, (*reasons, self.rounding_note(self.far(target)))))

    def _emit_variant(self, em: Emitter, variant: str) -> list[Statement]:
        mve = variant.startswith("mve")
        header = "mve" if mve else "dsp" if variant == "dsp" else "taps"
        em.include(f"kernels/arch/depthwise_conv2d_{header}.h")
        height, width, channels = self.weight.shape
        rows = self.weight.reshape(-1, channels)
        sums = rows.astype(np.int64).sum(axis=0)
        far = self.far(em.target)
        size = 16 if variant == "mve_sixteens" else 8 if mve else 4
        if size == 16:  # taps by twos
            rows = np.pad(rows, ((0, len(rows) % 2), (0, 0)))
        # The last group ends with the last channel, or repeats it where it is not written.
        starts = np.arange(0, channels, size)
        if not variant.endswith("many"):
            starts = np.minimum(starts, channels - size)
        groups = np.minimum(starts[:, None] + np.arange(size), channels - 1)
        weight = rows[:, groups].transpose(1, 0, 2)
        note = f"(channels / {size}, taps {len(rows)}, {size})"
        if variant == "dsp":
            scales = self.scale_fields(em, sums, far)
            lanes = np.ascontiguousarray(weight[..., [0, 2, 1, 3]], "<i2")
            weight, note = lanes.view("<u4"), f"{note}, two channels a word: 0 2, 1 3"
        else:
            order = None
            if mve:  # as the products of vectors come out
                order = groups.reshape(-1, 4, size // 4)
                if size == 16:
                    order = order[..., [0, 2, 1, 3]]
                order = order.transpose(0, 2, 1).reshape(-1)
            scales = self.rescale_fields(em, sums, order, None if mve else far)
        fields: Fields = {
            "weights": em.const(f"{self.name}_weight", weight, note),
            **scales,
            **self.geometry_fields((height, width)),
        }
        if variant.endswith("many"):
            sources = (groups // self.depth_multiplier).astype(np.uint16)
            fields["sources"] = em.const(f"{self.name}_sources", sources, "input channels")
        if any(self.padding):
            row = np.full(self.ins[0].shape[2], self.ins[0].zero_point, np.int8)
            fields["padding"] = em.const(f"{self.name}_padding", row, "input zero point")
        config = em.config(self.name, "spk_depthwise_taps", fields)
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        pointers = c.declare_array("const int8_t *", "list", len(rows))
        kernel = f"spk_depthwise_conv2d_{variant}{'_wide' if far.any() else ''}"
        return [c.block(pointers, c.run(kernel, config, source, c.name("list"), to))]

    def _emit_lines(self, em: Emitter) -> list[Statement]:
        x, y, channels = self.ins[0].shape, self.outs[0].shape, self.ins[0].shape[2]
        pitch, to = (x[1] * channels, channels), (y[1] * channels, channels)
        far = self.far(em.target)
        along = 0 if y[0] > y[1] else 1  # lines along the longer side start less often
        weight = self.weight.transpose(2, 1, 0) if along == 0 else self.weight.transpose(2, 0, 1)
        fields: Fields = {
            "weights": em.const(f"{self.name}_weight", weight, f"(channels {channels}, 3, 3)"),
            **self.rescale_fields(em, self.weight.astype(np.int64).sum(axis=(0, 1)), far=far),
            "channels": channels,
            "zero_point": self.ins[0].zero_point,
        }
        planes = [1, 1]
        for axis, side in ((along, "along"), (1 - along, "across")):
            fields[f"pitch_{side}"], fields[f"to_{side}"] = pitch[axis], to[axis]
            planes[axis] = (y[axis] - 1) * self.stride[axis] + 3
            fields[side] = max(0, min(x[axis], planes[axis] - self.padding[axis]))
            fields[f"plane_{side}"], fields[f"out_{side}"] = planes[axis], y[axis]
            fields[f"stride_{side}"] = self.stride[axis]
            fields[f"pad_{side}"] = self.padding[axis]
        config = em.config(self.name, "spk_lines", fields)
        suffix = ("" if self.stride[along] == 1 else "_2") + ("_wide" if far.any() else "")
        source, out = em.tensor(self.inputs[0]), em.tensor(self.name)
        size = (planes[along] + self.stride[along] - 1) * planes[1 - along]
        words = em.scratch(self.name, size)
        return [c.run(f"spk_depthwise_conv2d_3x3{suffix}", config, source, words, out)]

    def _as_conv2d(self) -> Conv2d:
        """The same layer where there is one input channel."""
        conv = Conv2d(
            name=self.name,
            inputs=self.inputs,
            weight=np.ascontiguousarray(self.weight.transpose(2, 0, 1)[..., None]),
            bias=self.bias,
            multiplier=self.multiplier,
            shift=self.shift,
            output_scale=self.output_scale,
            output_zero_point=self.output_zero_point,
            activation=self.activation,
            steps=self.steps,
            offset=self.offset,
            stride=self.stride,
            dilation=self.dilation,
            padding=self.padding,
        )
        return conv.place(self.ins, {self.ins[0].name: self.facts.seen}, 1)

    def emit(self, em: Emitter) -> list[Statement]:
        if self.ins[0].shape[2] == 1:
            return self._as_conv2d().emit(em)
        variant = self._variant(em.target)
        if self._three and variant == "fours":
            em.include("kernels/depthwise_conv2d.h")
            return self._emit_lines(em)
        if variant:
            return self._emit_variant(em, variant)
        em.include("kernels/depthwise_conv2d.h")
        height, width, channels = self.weight.shape
        fields: Fields = {
            "weights": em.const(
                f"{self.name}_weight", self.weight, f"({height}, {width}, outputs {channels})"
            ),
            **self.rescale_fields(em, self.weight.astype(np.int64).sum(axis=(0, 1))),
            **self.window_fields((height, width)),
            "multiplier": self.depth_multiplier,
            "zero_point": self.ins[0].zero_point,
        }
        config = em.config(self.name, "spk_depthwise_conv2d", fields)
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_depthwise_conv2d_any", config, source, to)]
