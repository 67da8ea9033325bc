"""Running sums along one axis of an int8 tensor. C twin: firmware/kernels/cumsum.h."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c, int8
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Axis
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Overlap
from spikelet.graph.requantise import requantise
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class Cumsum(int8.Int8Operator):
    """`y[..., i, ...]` is the sum of `x[..., j, ...]` of all j up to i, rescaled.

    Attributes:
        axis: 0 the first.
        exclusive: j = i does not count.
        reverse: j from i on count, in place of those up to it.
    """

    KIND: ClassVar[str] = "cumsum"

    axis: Axis
    exclusive: bool = False
    reverse: bool = False

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        source = self.ins[0]
        self.activation_input(source)
        if not 0 <= self.axis < len(source.shape):
            raise self.error(f"axis {self.axis} is outside of input {source.shape}")
        count, (_, shift, left) = source.shape[self.axis], self.factor()
        if 255 * count << left + max(shift, 0) >= 1 << 31:
            raise self.error(
                f"output_scale {self.output_scale} is so small that sums of {count} codes reach "
                "beyond 32 bits"
            )
        return Inferred(self.output(source.shape, bounds, reach=self._reach(bounds)))

    def _reach(self, bounds: dict[str, Interval]) -> Interval:
        """(C,) lowest and highest code of each channel, unclipped."""
        source = self.ins[0]
        low, high = (end - source.zero_point for end in int8.codes_of(source, bounds))
        if self.axis == len(source.shape) - 1:  # each sum is of several channels
            low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
        most = source.shape[self.axis] - self.exclusive
        least = 1 - self.exclusive
        return (
            self._codes(np.minimum(low * least, low * most)),
            self._codes(np.maximum(high * least, high * most)),
        )

    @property
    def _view(self) -> tuple[int, int, int]:
        """The input as (outer, count, inner); sums run along `count`."""
        shape = self.ins[0].shape
        outer, inner = math.prod(shape[: self.axis]), math.prod(shape[self.axis + 1 :])
        return outer, shape[self.axis], inner

    def factor(self) -> tuple[int, int, int]:
        """Multiplier and shift of a sum that was shifted to the left by the third.

        The first of the two roundings is then far below a code: without it, a quarter of all codes
        would not be the nearest where the scales are alike.
        """
        ratio = float(np.float32(self.ins[0].scale)) / float(np.float32(self.output_scale))
        multiplier, shift = int8.factor(ratio)
        room = 31 - (255 * self.ins[0].shape[self.axis]).bit_length()
        left = max(min(room, 31 + shift), 0)
        return multiplier, shift - left, left

    def _codes(self, sums: Array) -> Array:
        """Of sums without zero points, unclipped."""
        multiplier, shift, left = self.factor()
        return requantise(sums << left, multiplier, shift) + self.output_zero_point

    def follows(self) -> list[Array | None] | None:
        shape = self.ins[0].shape
        return [np.arange(shape[-1])] if self.axis < len(shape) - 1 else None

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]].astype(np.int64) - self.ins[0].zero_point
        axis = self.axis + 1
        sums = np.cumsum(x, axis=axis)
        if self.reverse:
            sums = np.flip(np.cumsum(np.flip(x, axis), axis=axis), axis)
        env[self.name] = int8.clip(self._codes(sums - x if self.exclusive else sums))

    def cost(self) -> Cost:
        return Cost(macs=self.ins[0].size)

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        # Each place is read, then written; the order of the places is ascending in one case only.
        return (Overlap(exact=self.reverse or self._view[2] > 1),)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/cumsum.h")
        outer, count, inner = self._view
        multiplier, shift, left = self.factor()
        fields: Fields = {
            "outer": outer,
            "count": count,
            "inner": inner,
            "from": self.ins[0].zero_point,
            "left": left,
            "multiplier": multiplier,
            "shift": shift,
            "zero": self.output_zero_point,
            "exclusive": int(self.exclusive),
            "reverse": int(self.reverse),
        }
        config = em.config(self.name, "spk_cumsum", fields)
        return [c.run("spk_cumsum_s8", config, em.tensor(self.inputs[0]), em.tensor(self.name))]
