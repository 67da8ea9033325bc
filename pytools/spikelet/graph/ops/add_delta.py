"""What an adapter adds to a layer's codes. C twin: firmware/kernels/add_delta.h."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.convolution import geometry_fields, window_count, window_fields, windows_of
from spikelet.graph.declared import Codes, Margins, Pair, within
from spikelet.graph.fixed import xorshift32
from spikelet.graph.int8 import Int8Operator
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Overlap
from spikelet.graph.quantised import INT8, MOST_TAPS
from spikelet.graph.requantise import requantise
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array, Tensor

MOST_RANK = 128
MIDDLE = 127  # between the two matrices, the largest value
GAIN_BITS = 15  # a gain is a fraction of 2^15
WHOLE = 255  # of one matrix, the largest sum: from any code to any other


@dataclass(kw_only=True)
class AddDelta(Int8Operator):
    """`clamp(y + bias + r(up @ clamp(r(down @ (x - zero point)))))`: base(x) + delta(x).

    `r(sum)` is `requantise(sum, gain * 2^16, -shift)`, gain and shift of the sum's row. With
    rank 0 the matrix is whole: `clamp(y + bias + clamp(r(down @ (x - zero point))))`.

    Reads y, i8, what the layer wrote; x, i8, what it read; and the values of the adapter, each of
    which may hold anything: down (rank or outputs, taps); up (rank, outputs), where there is a
    rank; gain, i16, and shift, u8, more than 31 being 31: (rank + 1,), the last one of `up`, or
    (outputs,); bias (outputs,), i8; seed (1,), u32, where taps are drawn; half (1,), u8, where
    `halved`. With zeros in gain, bias and half it writes y. Matrices of 8 bits are i8; of 1 bit a
    row is whole bytes of u8, the least significant bit first, and a bit is 1 or -1. The order of
    taps is that of `Conv2d.weight`; what lies outside of x counts nothing.

    Attributes:
        rank: rows of `down`; 0 for a whole matrix.
        bits: of an element of the matrices.
        own: output o sees channel o of x only, a row has kernel height * kernel width taps; no
            rank.
        kept: a row has this many taps of all, number `taps * (s >> 16) >> 16` for successive s of
            xorshift32 from the seed on, row by row; 0 for all of them; no rank.
        kernel: height and width of what an output sees of x (H, W, C), y being (out H, out W,
            outputs); None: all of x, whatever its shape, and y is (outputs,).
        stride: down, right.
        dilation: down, right.
        padding: top, left, bottom, right.
        activation: lowest and highest code.
        halved: y may be of half the resolution and less its zero point, as `Quantised` writes it
            where `half` is not 0: `2 y + zero point` stands for it.
    """

    KIND: ClassVar[str] = "add_delta"

    rank: Annotated[int, within(0, MOST_RANK)]
    bits: Literal[1, 8] = 1
    own: bool = False
    kept: Annotated[int, within(0, MOST_TAPS)] = 0
    kernel: Pair | None = None
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Margins = (0, 0, 0, 0)
    activation: Codes = INT8
    halved: bool = False

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        if len(self.ins) != len(self.values()) + 2:
            raise self.error(f"{len(self.ins)} inputs, expected {len(self.values()) + 2}")
        y, x, *values = self.ins
        self.activation_input(y)
        self.activation_input(x)
        self.same_code(y)
        if self.taps > MOST_TAPS:
            raise self.error(f"{self.taps} taps, more than {MOST_TAPS}")
        if self.kept > self.taps or (self.own or self.kept > 0) + (self.rank > 0) > 1:
            raise self.error(
                f"rank {self.rank}, own {self.own} and {self.kept} of {self.taps} taps: expected "
                "one of them, and no more taps than there are"
            )
        if self.own and (self.kept or x.shape[-1] != y.shape[-1] or self.kernel is None):
            raise self.error(f"own channels of {x.shape} for {y.shape}, {self.kept} taps drawn")
        expected = self._image(x)
        if y.shape != expected:
            raise self.error(f"input {y.name} has shape {y.shape}, expected {expected}")
        for tensor, (name, (dtype, shape)) in zip(values, self.values().items(), strict=True):
            if (tensor.dtype, tensor.shape) != (dtype, shape):
                raise self.error(f"{name} is {tensor}, expected {dtype} {shape}")
        low, high = self.activation
        return Inferred(self.output(y.shape, bounds, (low, high)))

    @property
    def taps(self) -> int:
        """That a row of `down` chooses from."""
        x = self.ins[1]
        if self.own:
            return math.prod(self.kernel or ())
        return x.size if self.kernel is None else math.prod(self.kernel) * x.shape[-1]

    def _image(self, x: Tensor) -> tuple[int, ...]:
        """The shape of y, whose last axis is its own."""
        outputs = self.ins[0].shape[-1]
        if self.kernel is None:
            return (outputs,)
        if len(x.shape) != 3:
            raise self.error(f"input {x.name} has shape {x.shape}, expected three dimensions")
        size = window_count(x.shape, self.kernel, self.stride, self.dilation, self.padding)
        if min(size) < 1:
            raise self.error(f"kernel {self.kernel} reaches beyond input {x.shape}")
        return (*size, outputs)

    def values(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Type and shape of each value of the adapter, in the order of the inputs behind x."""
        outputs = self.ins[0].shape[-1]
        rows = self.rank or outputs
        made = {"down": self._matrix(rows, self.kept or self.taps)}
        if self.rank:
            made["up"] = self._matrix(self.rank, outputs)
        gains = rows + bool(self.rank)
        return {
            **made,
            "gain": ("i16", (gains,)),
            "shift": ("u8", (gains,)),
            "bias": ("i8", (outputs,)),
            **({"seed": ("u32", (1,))} if self.kept else {}),
            **({"half": ("u8", (1,))} if self.halved else {}),
        }

    def _matrix(self, rows: int, columns: int) -> tuple[str, tuple[int, ...]]:
        return ("u8", (rows, -(-columns // 8))) if self.bits == 1 else ("i8", (rows, columns))

    def golden(self, env: dict[str, Array], t: int) -> None:
        y, x, *_ = (env[name] for name in self.inputs)
        held = {
            name: env[tensor.name][None] if tensor.kind == "learned" else env[tensor.name]
            for name, tensor in zip(self.values(), self.ins[2:], strict=True)
        }
        gain = held["gain"][:, None].astype(np.int64) << 16
        shift = -np.minimum(held["shift"][:, None].astype(np.int64), 31)
        rows = self.rank or y.shape[-1]
        sums = requantise(self._sums(x, held), gain[..., :rows], shift[..., :rows])
        most = MIDDLE if self.rank else WHOLE
        delta = np.clip(sums, -most, most)
        if self.rank:
            up = self.levels(held["up"], y.shape[-1]).astype(np.float64)
            sums = (delta.astype(np.float64) @ up).astype(np.int64)
            delta = requantise(sums, gain[..., rows:], shift[..., rows:])
        base = y.reshape(len(y), -1, y.shape[-1]).astype(np.int64)
        if self.halved:
            half = held["half"][:, None] != 0
            base = np.where(half, 2 * base + self.ins[0].zero_point, base)
        whole = base + delta + held["bias"][:, None].astype(np.int64)
        env[self.name] = np.clip(whole, *self.activation).astype(np.int8).reshape(y.shape)

    def _sums(self, x: Array, held: dict[str, Array]) -> Array:
        """(N, pixels, rows) of `down`, exact: below 2^53."""
        centred = x.astype(np.float64) - self.ins[1].zero_point
        down = self.levels(held["down"], self.kept or self.taps).astype(np.float64)
        if self.kept:
            down = self.spread(down, held["seed"])
        if self.kernel is None:
            seen = centred.reshape(len(x), 1, -1)
        else:
            top, left, bottom, right = self.padding
            padded = np.pad(centred, ((0, 0), (top, bottom), (left, right), (0, 0)))
            view = windows_of(padded, self.kernel, self.stride, self.dilation)
            if self.own:
                own = view.reshape(len(x), -1, x.shape[-1], self.taps)
                sums: Array = (own * down[:, None]).sum(-1)
                return sums.astype(np.int64)
            seen = view.transpose(0, 1, 2, 4, 5, 3).reshape(len(x), -1, self.taps)
        product: Array = (seen @ down.swapaxes(-1, -2)).astype(np.int64)
        return product

    def spread(self, down: Array, seeds: Array) -> Array:
        """Rows of kept taps (N, rows, kept), at their places among all (N, rows, taps)."""
        whole = np.zeros((*down.shape[:2], self.taps))
        rows = np.arange(down.shape[1])[:, None]
        for sample, seed in enumerate(seeds[:, 0]):
            np.add.at(whole[sample], (rows, self.drawn(int(seed))), down[sample])
        return whole

    def drawn(self, seed: int) -> Array:
        """(rows, kept) the taps that a seed draws."""
        rows, state = self.ins[0].shape[-1], np.array([seed], np.uint32)
        taps = np.empty(rows * self.kept, np.int64)
        for i in range(len(taps)):
            state = xorshift32(state)
            taps[i] = int(state[0] >> 16) * self.taps >> 16
        return taps.reshape(rows, self.kept)

    def levels(self, matrix: Array, columns: int) -> Array:
        """What the elements of a matrix (..., rows, bytes) stand for, (..., rows, columns)."""
        if self.bits == 8:
            return matrix
        bits = np.unpackbits(matrix, axis=-1, bitorder="little")[..., :columns]
        signs: Array = 2 * bits.astype(np.int8) - np.int8(1)
        return signs

    def cost(self) -> Cost:
        outputs = self.ins[0].shape[-1]
        pixels = self.ins[0].size // outputs
        rows = self.rank or outputs
        seen = self.kept or self.taps
        return Cost(macs=pixels * (rows * seen + outputs * self.rank), weight_bits=self.bits)

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        in_place = None if self.inputs[0] == self.inputs[1] else Overlap(exact=True)
        return (in_place, *[None] * (len(self.inputs) - 1))

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/add_delta.h")
        x, y = self.ins[1], self.ins[0]
        shape, kernel = (x.shape, self.kernel) if self.kernel else ((1, 1, x.size), (1, 1))
        windows = window_fields(shape, kernel, self.stride, self.dilation, self.padding)
        config = em.config(self.name, "spk_add_delta", {
            **geometry_fields(windows, y.shape[-1]),
            "rank": self.rank, "row_bytes": self.values()["down"][1][1],
            "kept": self.kept, "own": self.own,
            "zero_point": x.zero_point, "base": y.zero_point,
            "low": self.activation[0], "high": self.activation[1],
        })  # fmt: skip
        values = {
            name: em.tensor(tensor.name)
            for name, tensor in zip(self.values(), self.ins[2:], strict=True)
        }
        scratch = em.scratch(self.name, 4 * max(1, self.rank))
        kernel_name = f"spk_add_delta_{'signs' if self.bits == 1 else 's8'}"
        up, seed, half = (values.get(name, c.name("NULL")) for name in ("up", "seed", "half"))
        return [
            c.run(
                kernel_name, config, em.tensor(y.name), em.tensor(x.name), values["down"], up,
                values["gain"], values["shift"], values["bias"], seed, half, scratch,
                em.tensor(self.name),
            )
        ]  # fmt: skip


def fractions(gains: Array) -> tuple[Array, Array]:
    """Gain, i16, and shift, u8, of real factors: `gain / 2^(15 + shift)`."""
    shift = np.clip(-np.frexp(gains)[1], 0, 31)
    gain = np.rint(np.ldexp(gains, GAIN_BITS + shift))
    return np.clip(gain, 0, (1 << GAIN_BITS) - 1).astype(np.int16), shift.astype(np.uint8)
