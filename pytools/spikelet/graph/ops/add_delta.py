"""What an adapter adds to a layer's codes. C twin: firmware/kernels/add_delta.h."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.convolution import windows_of
from spikelet.graph.declared import Codes, Margins, Pair, within
from spikelet.graph.int8 import Int8Operator
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Overlap
from spikelet.graph.quantised import INT8, MOST_TAPS
from spikelet.graph.requantise import requantise
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array, Tensor

MOST_RANK = 128
MIDDLE = 127  # between the two matrices, the largest value
WHOLE = 255  # of one matrix, the largest sum: from any code to any other


@dataclass(kw_only=True)
class AddDelta(Int8Operator):
    """`clamp(y + bias + r(up @ clamp(r(down @ (x - zero point)))))`: base(x) + delta(x).

    `r(sum)` is `requantise(sum, gain * 2^16, -shift)`, gain and shift of the sum's row. With
    rank 0 the matrix is whole: `clamp(y + bias + clamp(r(down @ (x - zero point))))`.

    Reads y, i8, what the layer wrote; x, i8, what it read; and the values of the adapter, each of
    which may hold anything: down (rank or outputs, taps); up (outputs, rank), where there is a
    rank; gain, i16, and shift, u8, more than 31 being 31: (rank + 1,), the last one of `up`, or
    (outputs,); bias (outputs,), i8. With zeros in gain and bias it writes y. Matrices of 8 bits are
    i8; of 1 bit a row is whole bytes of u8, the least significant bit first, and a bit is 1 or -1.
    The order of taps is that of `Conv2d.weight`; what lies outside of x counts nothing.

    Attributes:
        rank: rows of `down`; 0 for a whole matrix.
        bits: of an element of the matrices.
        kernel: height and width of what an output sees of x (H, W, C), y being (out H, out W,
            outputs); None: all of x, whatever its shape, and y is (outputs,).
        stride: down, right.
        dilation: down, right.
        padding: top, left, bottom, right.
        activation: lowest and highest code.
    """

    KIND: ClassVar[str] = "add_delta"

    rank: Annotated[int, within(0, MOST_RANK)]
    bits: Literal[1, 8] = 1
    kernel: Pair | None = None
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Margins = (0, 0, 0, 0)
    activation: Codes = INT8

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        if len(self.ins) != len(self.values()) + 2:
            raise self.error(f"{len(self.ins)} inputs, expected {len(self.values()) + 2}")
        y, x, *values = self.ins
        self.activation_input(y)
        self.activation_input(x)
        self.same_code(y)
        if self._taps > MOST_TAPS:
            raise self.error(f"{self._taps} taps, more than {MOST_TAPS}")
        expected = self._image(x)
        if y.shape != expected:
            raise self.error(f"input {y.name} has shape {y.shape}, expected {expected}")
        for tensor, (name, (dtype, shape)) in zip(values, self.values().items(), strict=True):
            if (tensor.dtype, tensor.shape) != (dtype, shape):
                raise self.error(f"{name} is {tensor}, expected {dtype} {shape}")
        low, high = self.activation
        return Inferred(self.output(y.shape, bounds, (low, high)))

    @property
    def _taps(self) -> int:
        x = self.ins[1]
        return x.size if self.kernel is None else math.prod(self.kernel) * x.shape[-1]

    def _image(self, x: Tensor) -> tuple[int, ...]:
        """The shape of y, whose last axis is its own."""
        outputs = self.ins[0].shape[-1]
        if self.kernel is None:
            return (outputs,)
        if len(x.shape) != 3:
            raise self.error(f"input {x.name} has shape {x.shape}, expected three dimensions")
        size = []
        for axis in (0, 1):
            reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
            room = x.shape[axis] + self.padding[axis] + self.padding[axis + 2] - reach
            if room < 0:
                raise self.error(f"kernel {self.kernel} reaches beyond input {x.shape}")
            size.append(room // self.stride[axis] + 1)
        return (*size, outputs)

    def values(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Type and shape of each value of the adapter, in the order of the inputs behind x."""
        outputs = self.ins[0].shape[-1]
        rows = self.rank or outputs
        made = {"down": self._matrix(rows, self._taps)}
        if self.rank:
            made["up"] = self._matrix(outputs, self.rank)
        gains = rows + bool(self.rank)
        return {
            **made,
            "gain": ("i16", (gains,)),
            "shift": ("u8", (gains,)),
            "bias": ("i8", (outputs,)),
        }

    def _matrix(self, rows: int, columns: int) -> tuple[str, tuple[int, ...]]:
        return ("u8", (rows, -(-columns // 8))) if self.bits == 1 else ("i8", (rows, columns))

    def golden(self, env: dict[str, Array], t: int) -> None:
        y, x, *_ = (env[name] for name in self.inputs)
        held = {
            name: env[tensor.name][None] if tensor.kind == "learned" else env[tensor.name]
            for name, tensor in zip(self.values(), self.ins[2:], strict=True)
        }
        centred = x.astype(np.float64) - self.ins[1].zero_point
        if self.kernel is None:
            seen = centred.reshape(len(x), 1, -1)
        else:
            top, left, bottom, right = self.padding
            padded = np.pad(centred, ((0, 0), (top, bottom), (left, right), (0, 0)))
            view = windows_of(padded, self.kernel, self.stride, self.dilation)
            seen = view.transpose(0, 1, 2, 4, 5, 3).reshape(len(x), -1, self._taps)
        gain = held["gain"][:, None].astype(np.int64) << 16
        shift = -np.minimum(held["shift"][:, None].astype(np.int64), 31)
        rows = self.rank or y.shape[-1]
        sums = self._product(seen, self.levels(held["down"], self._taps))
        sums = requantise(sums, gain[..., :rows], shift[..., :rows])
        most = MIDDLE if self.rank else WHOLE
        delta = np.clip(sums, -most, most)
        if self.rank:
            sums = self._product(delta.astype(np.float64), self.levels(held["up"], self.rank))
            delta = requantise(sums, gain[..., rows:], shift[..., rows:])
        whole = y.reshape(len(y), -1, y.shape[-1]) + delta + held["bias"][:, None].astype(np.int64)
        env[self.name] = np.clip(whole, *self.activation).astype(np.int8).reshape(y.shape)

    def levels(self, matrix: Array, columns: int) -> Array:
        """What the elements of a matrix (..., rows, bytes) stand for, (..., rows, columns)."""
        if self.bits == 8:
            return matrix
        bits = np.unpackbits(matrix, axis=-1, bitorder="little")[..., :columns]
        signs: Array = 2 * bits.astype(np.int8) - np.int8(1)
        return signs

    @staticmethod
    def _product(seen: Array, matrix: Array) -> Array:
        """(N, pixels, rows) of (N, pixels, taps) float64, exact below 2^53."""
        sums: Array = (seen @ matrix.astype(np.float64).swapaxes(-1, -2)).astype(np.int64)
        return sums

    def cost(self) -> Cost:
        outputs = self.ins[0].shape[-1]
        pixels = self.ins[0].size // outputs
        rows = self.rank or outputs
        return Cost(macs=pixels * (rows * self._taps + outputs * self.rank), weight_bits=self.bits)

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        return (Overlap(exact=True), *[None] * (len(self.inputs) - 1))

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/add_delta.h")
        x, y = self.ins[1], self.ins[0]
        flat = self.kernel is None
        height, width, channels = (1, 1, x.size) if self.kernel is None else x.shape
        out_height, out_width = (1, 1) if flat else y.shape[:2]
        kernel = self.kernel or (1, 1)
        config = em.config(self.name, "spk_add_delta", {
            "geometry.height": height, "geometry.width": width, "geometry.channels": channels,
            "geometry.out_height": out_height, "geometry.out_width": out_width,
            "geometry.outputs": y.shape[-1],
            "geometry.kernel_height": kernel[0], "geometry.kernel_width": kernel[1],
            "geometry.stride_down": self.stride[0], "geometry.stride_right": self.stride[1],
            "geometry.dilation_down": self.dilation[0],
            "geometry.dilation_right": self.dilation[1],
            "geometry.pad_top": self.padding[0], "geometry.pad_left": self.padding[1],
            "rank": self.rank, "row_bytes": self.values()["down"][1][1],
            "zero_point": x.zero_point, "low": self.activation[0], "high": self.activation[1],
        })  # fmt: skip
        values = {
            name: em.tensor(tensor.name)
            for name, tensor in zip(self.values(), self.ins[2:], strict=True)
        }
        scratch = em.scratch(self.name, 4 * max(1, self.rank))
        kernel_name = f"spk_add_delta_{'signs' if self.bits == 1 else 's8'}"
        up = values.get("up", c.name("NULL"))
        return [
            c.run(
                kernel_name, config, em.tensor(y.name), em.tensor(x.name), values["down"], up,
                values["gain"], values["shift"], values["bias"], scratch, em.tensor(self.name),
            )
        ]  # fmt: skip
