"""Convolution over spikes or 8-bit values, its sums as they are.

C twin: firmware/kernels/conv2d_sums.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement, Value
from spikelet.graph.convolution import CHUNK_BYTES, Windows
from spikelet.graph.declared import Held, Size
from spikelet.graph.grid import check_spike_weights, lane_fields, levels_of
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Role
from spikelet.graph.ops.dense import LANE_LIMIT, lane_words
from spikelet.graph.quantised import pack
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Conv2dSums(Windows):
    """`sum[y, x, o] = bias[o] + sum of weight * input`; outside of the image the input is 0.

    Reads (H, W, I) bit, or u8 or i8 values; writes sums (out H, out W, O): i16 where all partial
    sums lie within +-24575, else i32. Of spikes only the weights of those that are 1 are added.

    Attributes:
        weight: (O, KH, KW, I / groups) int8 codes of `bits` bits.
        bias: (O,) int32 in the units of the sum, or None.
        groups: channel g of I / groups channels goes into the outputs g of O / groups only.
        bits: of a weight; those of less than 8, for spikes only, lie packed.
        odd: of less than 8 bits, a code k stands for 2k + 1, not for k.
    """

    KIND: ClassVar[str] = "conv2d_sums"

    weight: Annotated[Array, Held("int8", 4)]
    bias: Annotated[Array, Held("int32", 1)] | None = None
    groups: Size = 1
    bits: Literal[1, 2, 4, 8] = 8
    odd: bool = False

    @property
    def levels(self) -> Array:
        """The weights: what a code stands for, in units of the weight's step; int8 or int16."""
        return levels_of(self.weight, self.odd)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        outputs, height, width, depth = self.weight.shape
        if x.dtype not in ("bit", "u8", "i8") or len(x.shape) != 3:
            raise self.error(f"input {x.name} is {x.dtype} {x.shape}, expected bit, u8 or i8 HWC")
        if outputs % self.groups or x.shape[2] != depth * self.groups:
            raise self.error(
                f"weight {self.weight.shape} in {self.groups} groups does not fit input {x.shape}"
            )
        if self.bias is not None and self.bias.shape != (outputs,):
            raise self.error(f"bias has shape {self.bias.shape}, expected ({outputs},)")
        check_spike_weights(self.error, self.weight, self.bits, self.odd, x.dtype)
        shape = (*self.image_shape(x, (height, width)), outputs)
        seen = bounds[x.name]
        least, most = min(int(seen[0].min()), 0), max(int(seen[1].max()), 0)
        rows = self.levels.reshape(outputs, -1).astype(np.int64)
        ends = np.sort(np.stack([rows * least, rows * most]), axis=0).sum(axis=2)
        bias = 0 if self.bias is None else self.bias.astype(np.int64)
        low, high = ends[0] + bias, ends[1] + bias
        worst = max(-int(low.min()), int(high.max()))
        if worst >= 1 << 31:
            raise self.error(f"a sum may reach {worst}, beyond 32 bits")
        bounds[self.name] = (np.broadcast_to(low, shape), np.broadcast_to(high, shape))
        dtype = "i16" if worst <= LANE_LIMIT else "i32"
        return Inferred([Tensor(self.name, dtype, shape)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        outputs, height, width, depth = self.weight.shape
        each = outputs // self.groups
        rows = self.levels.reshape(self.groups, each, -1).astype(np.float64)  # exact: below 2^53
        sums = np.empty((len(x), *self.outs[0].shape), np.int64)
        step = max(1, CHUNK_BYTES // (8 * height * width * depth * self.groups * sums[0].size))
        for at in range(0, len(x), max(step, 1)):
            seen = self.windows(x[at : at + step].astype(np.float64), (height, width))
            seen = seen.transpose(0, 1, 2, 4, 5, 3)
            for g in range(self.groups):
                part = seen[..., g * depth : (g + 1) * depth]
                made = part.reshape(*part.shape[:3], -1) @ rows[g].T
                sums[at : at + step, ..., g * each : (g + 1) * each] = made
        if self.bias is not None:
            sums += self.bias
        env[self.name] = sums.astype(self.outs[0].numpy_dtype)

    def tensor_roles(self) -> dict[str, Role]:
        return {self.inputs[0]: Role.WEIGHTED}

    def exercised_weights(self, moved: Mapping[str, Array]) -> tuple[int, int]:
        kernel = self.weight.shape[1:3]
        taps = self.windows(moved[self.inputs[0]][None], kernel).any(axis=(0, 1, 2))  # (I, KH, KW)
        return len(self.weight) // self.groups * int(taps.sum()), self.weight.size

    def synapses(self) -> dict[str, Array]:
        """How many outputs each input goes into: fewer at the borders, and where a stride skips."""
        x = self.ins[0]
        _, height, width, depth = self.weight.shape
        index = np.arange(x.shape[0] * x.shape[1]).reshape(1, *x.shape[:2], 1) + 1
        seen = self.windows(index, (height, width))[0, :, :, 0]  # (out H, out W, KH, KW)
        each = np.count_nonzero(
            self.levels.reshape(self.groups, -1, height, width, depth), axis=1
        )  # (groups, KH, KW, I / groups)
        counts = np.zeros((x.shape[0] * x.shape[1] + 1, x.shape[2]), np.int64)
        for i in range(height):
            for j in range(width):
                places = np.bincount(seen[:, :, i, j].reshape(-1), minlength=len(counts))
                counts += places[:, None] * each[:, i, j].reshape(-1)
        return {self.inputs[0]: counts[1:].reshape(x.shape)}

    def cost(self) -> Cost:
        pixels = self.outs[0].size // len(self.weight)
        work = pixels * self.weight.size
        if self.ins[0].dtype == "bit":
            return Cost(synaptic_ops=work, weight_bits=self.bits)
        return Cost(macs=work, weight_bits=8)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/conv2d_sums.h")
        outputs = len(self.weight)
        spikes = self.ins[0].dtype == "bit"
        lanes = spikes and self.groups == 1 and self.outs[0].dtype == "i16" and outputs % 2 == 0
        weights, bias = self._weights(em, lanes), self._bias(em, lanes)
        config = em.config(self.name, "spk_conv2d_sums", self._config_fields())
        source, sums = em.tensor(self.inputs[0]), em.tensor(self.name)
        if lanes:
            sums = c.cast("uint32_t *", c.cast("void *", sums))
        kernel = "lanes" if lanes else "spikes" if spikes else "values"
        return [c.run(f"spk_conv2d_sums_{kernel}", config, source, weights, bias, sums)]

    def _config_fields(self) -> Fields:
        return {
            **self.geometry_fields(self.weight.shape[1:3]),
            "groups": self.groups,
            "wide": self.outs[0].dtype == "i32",
            "is_signed": self.ins[0].dtype == "i8",
            "bits": self.bits,
            "odd": self.odd,
        }

    def _weights(self, em: Emitter, lanes: bool) -> Value:
        """All weights of a tap and an input channel side by side; of groups, those of its own."""
        outputs, height, width, _ = self.weight.shape
        taps = self.weight.transpose(1, 2, 3, 0)  # (KH, KW, I / groups, O)
        if lanes:
            columns = taps.reshape(-1, outputs).T
            packed = self.bits < 8
            words = lane_fields(columns, self.bits) if packed else lane_words(columns)
            note = f"(KH, KW, I, words): {32 // self.bits} weights a word"
            return em.const(f"{self.name}_weight", words, note)
        each = outputs // self.groups
        grouped = taps.reshape(height, width, -1, self.groups, each).transpose(0, 1, 3, 2, 4)
        laid, note = np.ascontiguousarray(grouped), "(KH, KW, I, O / groups)"
        if self.bits < 8:
            laid, note = pack(laid, self.bits), f"(KH, KW, I, words of {32 // self.bits} outputs)"
        return em.const(f"{self.name}_weight", laid, note)

    def _bias(self, em: Emitter, lanes: bool) -> Value:
        if self.bias is None:
            return 0
        outputs = len(self.bias)
        if not lanes:
            return em.const(f"{self.name}_bias", self.bias, f"({outputs},) int32")
        pairs = np.zeros(4 * -(-outputs // 4), "<i2")
        pairs[:outputs] = self.bias
        return em.const(
            f"{self.name}_bias", pairs.view("<u4"), f"({outputs},) int16, two to a word"
        )
