"""What int8 operators share: the affine code of an output, intervals, element-wise tables.

`real = (code - zero_point) * scale`. Scales are float32 values; where TensorFlow Lite computes a
factor in single precision, so does the operator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Code, Held, TensorScale
from spikelet.graph.operator import Band, Emitter, Inferred, Interval, Operator, Overlap
from spikelet.graph.requantise import quantize_multiplier
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array, GraphError, Tensor


def interval(shape: tuple[int, ...], low: int = -128, high: int = 127) -> Interval:
    """The same limits for every element, in no memory."""
    return (
        np.broadcast_to(np.int64(low), shape),
        np.broadcast_to(np.int64(high), shape),
    )


def spread(shape: tuple[int, ...], low: Array, high: Array) -> Interval:
    """An interval of `shape` whose ends are those of the channels, the last axis."""
    ends = (np.broadcast_to(end.astype(np.int64), shape) for end in (low, high))
    lowest, highest = ends
    return lowest, highest


def by_channel(reach: Interval) -> Interval:
    """An interval's ends of each channel, the last axis: (C,) int64."""
    low, high = (_once(end).reshape(-1, end.shape[-1]).astype(np.int64) for end in reach)
    return low.min(axis=0), high.max(axis=0)


def codes_of(tensor: Tensor, bounds: Mapping[str, Interval]) -> Interval:
    """`by_channel` of a tensor; all codes of its type where nothing is known of it."""
    return by_channel(bounds[tensor.name] if tensor.name in bounds else tensor.interval())


def _once(values: Array) -> Array:
    """The same values without the repetitions of `np.broadcast_to`, but of the last axis."""
    kept: Array = values[tuple(slice(None) if step else slice(0, 1) for step in values.strides)]
    return np.broadcast_to(kept, (*kept.shape[:-1], values.shape[-1]))


def ranges(numbers: Array) -> str:
    """Ascending numbers as 0-3,7,9-12."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-2) != 1)
    ends = [*(starts[1:] - 1), len(numbers) - 1]
    pairs = [(int(numbers[a]), int(numbers[b])) for a, b in zip(starts, ends, strict=True)]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in pairs)


def round_half_away(x: Array | np.floating[Any]) -> Array:
    """To the nearest integer, halves away from zero, in the type of `x`."""
    x = np.asarray(x)
    whole: Array = np.trunc(x + np.copysign(np.asarray(0.5, x.dtype), x))
    # An x just below a half must not be carried over it by the addition.
    return np.where(np.abs(np.trunc(x) - x) < np.asarray(0.5, x.dtype), np.trunc(x), whole)


def factor(real: float) -> tuple[int, int]:
    """(multiplier, shift) of a ratio of scales; raises GraphError where 32 bits cannot hold it."""
    if not (math.isfinite(real) and 0 <= real < 1 << 30):
        raise GraphError(f"a ratio of scales of {real:g} is not in 0..2^30")
    return quantize_multiplier(float(real))


def code_factor(real: float) -> tuple[int, int]:
    """The same for the factor of a code: its left shift must keep 9 bits within 32."""
    multiplier, shift = factor(real)
    if shift > 22:
        raise GraphError(f"a ratio of scales of {real:g} carries codes beyond 32 bits")
    return multiplier, shift


@dataclass(kw_only=True)
class Int8Operator(Operator):
    """Base of operators whose output has an affine int8 code.

    Attributes:
        output_scale: real units a code.
        output_zero_point: the code of real 0.
    """

    READS: ClassVar[tuple[str, ...]] = ("i8",)  # types of its activations

    output_scale: TensorScale = 1.0
    output_zero_point: Code = 0

    def activation_input(self, tensor: Tensor, rank: int | None = None) -> None:
        """Refuse what is no activation of `READS`, or has not `rank` dimensions."""
        if tensor.dtype not in self.READS:
            raise self.error(
                f"input {tensor.name} is {tensor.dtype}, expected {' or '.join(self.READS)}"
            )
        if rank is not None and len(tensor.shape) != rank:
            raise self.error(
                f"input {tensor.name} has shape {tensor.shape}, expected {rank} dimensions"
            )

    def same_code(self, tensor: Tensor, tolerance: float = 0.0) -> None:
        """Refuse an input whose code is not the output's: values are moved, not rescaled."""
        code, own = (tensor.scale, tensor.zero_point), (self.output_scale, self.output_zero_point)
        if code[1] != own[1] or abs(code[0] - own[0]) > tolerance:
            raise self.error(
                f"input {tensor.name} has scale and zero point {code}, the output {own}; "
                "expected the same"
            )

    def output(
        self,
        shape: tuple[int, ...],
        bounds: dict[str, Interval],
        limits: tuple[int, int] = (-128, 127),
        reach: Interval | None = None,
    ) -> list[Tensor]:
        """The one tensor that it writes, its interval noted.

        Args:
            shape: of it.
            bounds: gets the interval.
            limits: lowest and highest code that may be written.
            reach: (C,) of each channel, unclipped; None for the limits.
        """
        low, high = limits
        if not -128 <= low <= high <= 127:
            raise self.error(f"activation {low}..{high} is not a range of int8")
        written = Tensor(
            self.name, "i8", shape, scale=self.output_scale, zero_point=self.output_zero_point
        )
        if reach is None:
            bounds[self.name] = interval(shape, low, high)
        else:
            bounds[self.name] = spread(shape, *(np.clip(end, low, high) for end in reach))
        return [written]


@dataclass(kw_only=True)
class Lookup(Int8Operator):
    """Base of functions of one code: `output = table[code]`, whatever the function is.

    The table is made when the network is imported and is a constant of the package, so that golden
    and device do not depend on anybody's exp. C twin: firmware/kernels/lookup.h.

    Attributes:
        table: (256,) int8, by the code's byte: codes 0 to 127, then -128 to -1.
    """

    KIND: ClassVar[str] = ""

    table: Annotated[Array, Held("int8", 1)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.activation_input(ins[0])
        self.check_table()
        limits = int(self.table.min()), int(self.table.max())
        reach = self._reach(codes_of(ins[0], bounds))
        return Inferred(self.output(ins[0].shape, bounds, limits, reach))

    def _reach(self, codes: Interval) -> Interval:
        """(C,) lowest and highest entry of the table that each channel's codes lead to."""
        pairs, where = np.unique(np.stack(codes), axis=1, return_inverse=True)
        seen = [self.table[np.arange(low, high + 1) & 255] for low, high in pairs.T]
        ends = (np.array([end(codes) for codes in seen], np.int64) for end in (np.min, np.max))
        lowest, highest = (end[where.reshape(-1)] for end in ends)
        return lowest, highest

    def follows(self) -> list[Array | None] | None:
        return [np.arange(self.ins[0].shape[-1])]

    def check_table(self) -> None:
        """Refuse a table of another type or size."""
        if self.table.dtype != np.int8 or self.table.shape != (256,):
            raise self.error(
                f"table is {self.table.dtype} of shape {self.table.shape}, expected int8 (256,)"
            )

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.name] = self.table[env[self.inputs[0]].view(np.uint8)]

    def band(self, first: int, end: int) -> Band | None:
        return Band(((first, end),))

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        return (Overlap(),)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/lookup.h")
        table = em.const(f"{self.name}_table", self.table, "(256,) by the code's byte")
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_lookup", source, self.ins[0].size, table, to)]


# Every int8 code in the order of a table: 0 to 127, then -128 to -1.
CODES = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64)


def clip(codes: Array) -> Array:
    """Saturated to int8."""
    saturated: Array = np.clip(codes, -128, 127).astype(np.int8)
    return saturated
