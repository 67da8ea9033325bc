"""Convolution of signs with signs (XNOR and popcount). C twin: firmware/kernels/binary.h."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.convolution import CHUNK_BYTES, Convolution
from spikelet.graph.declared import Held
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator
from spikelet.graph.quantised import by_fours
from spikelet.graph.target import ANY
from spikelet.graph.tensor import Array, Tensor

WORD = 32  # bits


@dataclass(kw_only=True)
class BinaryConv2d(Convolution):
    """`sum[y, x, o] = bias[o] + sum of weight * input`, weights and inputs -1 or 1.

    Reads bits (H, W, I), I a multiple of 32 or H = W = 1, or (I,); a bit 1 stands for 1, 0 for -1.
    Writes bits, `sum >= threshold`, or without thresholds int8 as `Quantised` tells; (out H, out W,
    O), of bits with O a multiple of 32 or one output pixel, or (O,) for an input (I,).

    Attributes:
        weight: (O, KH, KW, I) int8, a code -1 for -1 and 0 for 1: `bits` 1, `odd`.
        threshold: (O,) int32, or None. With thresholds multiplier and shift are 0.
        outside: what the taps beyond the image see: -1, 1, or 0, where they do not count.
    """

    KIND: ClassVar[str] = "binary_conv2d"

    bits: Literal[1, 2, 4, 8] = 1
    odd: bool = True
    threshold: Annotated[Array, Held("int32", 1)] | None = None
    outside: Literal[-1, 0, 1] = 0

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype != "bit":
            raise self.error(f"input {x.name} is {x.dtype}, expected bit")
        if self.weight.dtype != np.int8 or self.weight.ndim != 4:
            raise self.error(
                f"weight is {self.weight.dtype} of shape {self.weight.shape}, "
                "expected int8 (O, KH, KW, I)"
            )
        if (self.bits, self.odd) != (1, True):
            raise self.error("weights of 1 bit only, odd")
        channels, height, width, depth = self.weight.shape
        image = self._image
        if depth != image.shape[-1] or len(image.shape) != 3:
            raise self.error(f"weight {self.weight.shape} does not fit input {x.shape}")
        if depth % WORD and image.shape[:2] != (1, 1):
            raise self.error(f"{depth} channels in, expected a multiple of {WORD}")
        rows, columns = self.image_shape(image, (height, width))
        if self.threshold is not None and channels % WORD and (rows, columns) != (1, 1):
            raise self.error(f"{channels} channels of bits out, expected a multiple of {WORD}")
        shape = (channels,) if len(x.shape) == 1 else (rows, columns, channels)
        weights = self.levels.reshape(channels, -1)
        inferred = self.infer_int8(shape, weights, bounds, padded=self._has_padding)
        if self.threshold is None:
            return inferred
        if self.threshold.dtype != np.int32 or self.threshold.shape != (channels,):
            raise self.error(f"threshold has shape {self.threshold.shape}, expected ({channels},)")
        if self.multiplier.any() or self.shift.any():
            raise self.error("thresholds and a multiplier or a shift: expected one of them")
        low, high = (end >= self.threshold for end in inferred.facts.reach)
        bounds[self.name] = tuple(  # type: ignore[assignment]
            np.broadcast_to(end.astype(np.int64), shape) for end in (low, high)
        )
        return Inferred([Tensor(self.name, "bit", shape)], inferred.facts)

    @property
    def _image(self) -> Tensor:
        """The input as (H, W, I)."""
        x = self.ins[0]
        return x if len(x.shape) > 1 else Tensor(x.name, "bit", (1, 1, *x.shape))

    def input_levels(self, codes: Array) -> Array:
        return 2 * codes - 1

    def _sums(self, rows: Array, seen: Interval, *, apart: bool, padded: bool) -> Interval:
        if not padded or self.outside == 0:
            return super()._sums(rows, seen, apart=apart, padded=padded)
        wide = np.abs(rows.astype(np.int64)).sum(axis=1)
        return self.bias - wide, self.bias + wide

    def fold_constants(self, bounds: Mapping[str, Interval]) -> Operator:
        return self

    def follows(self) -> list[Array | None]:
        return None  # type: ignore[return-value]

    def golden(self, env: dict[str, Array], t: int) -> None:
        channels, height, width, _ = self.weight.shape
        x = self.centred_input(env).reshape(-1, *self._image.shape)
        top, left, bottom, right = self.padding
        margin = ((0, 0), (top, bottom), (left, right), (0, 0))
        x = np.pad(x, margin, constant_values=self.outside)
        rows = self.levels.reshape(channels, -1)
        out: list[Array] = []
        each = max(1, CHUNK_BYTES // (8 * rows.shape[1] * max(1, self.outs[0].size // channels)))
        for at in range(0, len(x), each):
            view = self.unpadded_windows(x[at : at + each], (height, width))
            seen = view.transpose(0, 1, 2, 4, 5, 3).reshape(len(view), -1, rows.shape[1])
            sums = self.product(seen, rows)
            if self.threshold is None:
                out.append(self.rescale(sums))
            else:
                out.append((sums + self.bias >= self.threshold).astype(np.uint8))
        env[self.name] = np.concatenate(out).reshape(len(x), *self.outs[0].shape)

    def cost(self) -> Cost:
        pixels = self.outs[0].size // len(self.weight)
        return Cost(macs=pixels * self.weight.size, weight_bits=1)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/binary.h")
        channels, height, width, depth = self.weight.shape
        words = -(-depth // WORD)
        signs = np.zeros((channels, height * width, WORD * words), np.uint8)
        signs[..., :depth] = (self.weight == 0).reshape(channels, -1, depth)
        packed = np.packbits(signs, axis=-1, bitorder="little").view("<u4").reshape(channels, -1)
        padded = np.pad(packed, ((0, -channels % 4), (0, 0)))
        note = "(outputs by fours, words)"
        if em.target.has("zbb"):
            padded, note = by_fours(packed, packed.shape[1]), "(outputs / 4, words, 4)"
        taps = height * width * depth  # bits that agree count 1, others -1
        fields: Fields = {
            "weights": em.const(f"{self.name}_weight", padded, note),
            **self._output_fields(em, taps),
            **self.geometry_fields((height, width)),
            "words": words,
            "outside": self.outside,
        }
        config = em.config(self.name, "spk_binary_conv2d", fields)
        masked = self.outside == 0 and self._has_padding
        scratch = em.scratch(self.name, 4 * height * width * words * (1 + masked))
        writes = "bits" if self.threshold is not None else "codes"
        if self.threshold is None and self.far(ANY).any():
            writes = "codes_wide"
        if masked:
            writes += "_masked"
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run(f"spk_binary_conv2d_{writes}", config, source, scratch, to)]

    def _output_fields(self, em: Emitter, taps: int) -> Fields:
        """Of `n` taps whose bits differ in p places the sum is `bias + n - 2p`."""
        if self.threshold is None:
            far = self.far(ANY)
            less = np.full(len(self.weight), -taps, np.int64)  # `_folded_bias` takes it off
            return self.rescale_fields(em, less, far=far)
        most = self.bias.astype(np.int64) + taps - self.threshold
        limit = np.clip(most // 2 + 1, 0, taps + 1).astype(np.int32)
        limit = np.pad(limit, (0, -len(limit) % 4))
        note = f"({len(most)},) 1 where fewer bits differ, padded to fours"
        return {"limits": em.const(f"{self.name}_limit", limit, note)}

    def _folded_bias(self, sums: Array) -> Array:
        return self.bias - sums
