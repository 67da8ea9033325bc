"""What reductions over axes of an int8 tensor share: the tensor as (outer, count, inner)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.declared import Axis
from spikelet.graph.int8 import Int8Operator, codes_of
from spikelet.graph.operator import Cost, Inferred, Interval, Overlap
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Reduction(Int8Operator):
    """Base of operators that make one code of all codes along neighbouring axes.

    Attributes:
        axes: ascending and without a gap, such as (0, 1) for height and width.
        keep_dims: the axes stay, with length 1.
    """

    KIND: ClassVar[str] = ""

    axes: tuple[Axis, ...]
    keep_dims: bool = False

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        self.activation_input(self.ins[0])
        shape, axes = self.ins[0].shape, tuple(self.axes)
        if not axes or axes != tuple(range(axes[0], axes[0] + len(axes))):
            raise self.error(f"axes {axes} are not neighbours in ascending order")
        if axes[0] < 0 or axes[-1] >= len(shape):
            raise self.error(f"axes {axes} are outside of input {shape}")
        return Inferred(self.output(self._shape, bounds))

    @property
    def _view(self) -> tuple[int, int, int]:
        """The input as (outer, count, inner), where the reduced axes are one."""
        shape, first, last = self.ins[0].shape, self.axes[0], self.axes[-1] + 1
        outer, count, inner = (
            math.prod(part) for part in (shape[:first], shape[first:last], shape[last:])
        )
        return outer, count, inner

    @property
    def _shape(self) -> tuple[int, ...]:
        """Of the output."""
        shape = self.ins[0].shape
        kept = (1,) * len(self.axes) if self.keep_dims else ()
        return (*shape[: self.axes[0]], *kept, *shape[self.axes[-1] + 1 :]) or (1,)

    def reach(self, bounds: dict[str, Interval]) -> list[Tensor]:
        """`output` again, with the interval of each channel."""
        if not self._by_channel:
            return self.output(self._shape, bounds)
        view = (1, 1, self._view[1], self._view[2])
        low, high = (
            self.reduce(np.broadcast_to(end, view))[0, 0] for end in codes_of(self.ins[0], bounds)
        )
        return self.output(self._shape, bounds, reach=(low, high))

    @property
    def _by_channel(self) -> bool:
        """Whether the channels, the last axis, stay."""
        return self._view[2] == self._shape[-1] > 1

    def follows(self) -> list[Array | None] | None:
        return [np.arange(self._shape[-1])] if self._by_channel else None

    def reduce(self, x: Array) -> Array:
        """The codes of (N, outer, count, inner) int64, (N, outer, inner), unclipped."""
        raise NotImplementedError

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]].astype(np.int64)
        codes = np.clip(self.reduce(x.reshape(len(x), *self._view)), -128, 127)
        env[self.name] = codes.astype(np.int8).reshape(len(x), *self._shape)

    def cost(self) -> Cost:
        return Cost(macs=self.ins[0].size)

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        # Of each element of `inner` all is read before its mean, which lies at or before it.
        return (Overlap(),)
