"""Mean over axes of an int8 tensor. C twin: firmware/kernels/mean.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from spikelet.graph.int8 import Int8Operator, factor
from spikelet.graph.operator import Cost, Emitter, Interval, Overlap
from spikelet.graph.requantise import requantise
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Mean(Int8Operator):
    """The mean over neighbouring axes, rescaled; the division goes into the multiplier.

    Attributes:
        axes: ascending and without a gap, such as (0, 1) for the mean over height and width.
        keep_dims: the axes stay, with length 1.
    """

    KIND: ClassVar[str] = "mean"

    axes: tuple[int, ...]
    keep_dims: bool = False

    _view: tuple[int, int, int] = field(init=False, repr=False, default=(1, 1, 1))
    _shape: tuple[int, ...] = field(init=False, repr=False, default=())
    _source: tuple[float, int] = field(init=False, repr=False, default=(1.0, 0))

    def infer(self, ins: list[Tensor], bounds: dict[str, Interval], steps: int) -> list[Tensor]:
        self.activation_input(ins[0])
        shape, axes = ins[0].shape, tuple(self.axes)
        if not axes or axes != tuple(range(axes[0], axes[0] + len(axes))):
            raise self.error(f"axes {axes} are not neighbours in ascending order")
        if axes[0] < 0 or axes[-1] >= len(shape):
            raise self.error(f"axes {axes} are outside of input {shape}")
        first, last = axes[0], axes[-1] + 1
        outer, inner = int(np.prod(shape[:first])), int(np.prod(shape[last:]))
        self._view = (outer, int(np.prod(shape[first:last])), inner)
        if self._view[1] > 1 << 23:
            raise self.error(f"the sum of {self._view[1]} codes may reach beyond 32 bits")
        kept = (1,) * len(axes) if self.keep_dims else ()
        self._shape = (*shape[:first], *kept, *shape[last:]) or (1,)
        self._source = (ins[0].scale, ins[0].zero_point)
        if 255 * self._view[1] << max(self._factor()[1], 0) >= 1 << 31:
            raise self.error(
                f"output_scale {self.output_scale} is so small that sums reach beyond 32 bits"
            )
        return self.output(self._shape, bounds)

    def _factor(self) -> tuple[int, int]:
        """Multiplier and shift of the sum, the division by the number of codes included."""
        ratio = float(np.float32(self._source[0])) / float(np.float32(self.output_scale))
        multiplier, shift = factor(ratio)
        count = self._view[1]
        more = min(count.bit_length() - 1, 32, 31 + shift)
        return (multiplier << more) // count, shift - more

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]].astype(np.int64)
        sums = x.reshape(len(x), *self._view).sum(axis=2) - self._source[1] * self._view[1]
        codes = requantise(sums, *self._factor()) + self.output_zero_point
        clipped = np.clip(codes, -128, 127).astype(np.int8)
        env[self.name] = clipped.reshape(len(x), *self._shape)

    def cost(self, ins: list[Tensor]) -> Cost:
        return Cost(macs=ins[0].size)

    def overlaps(self, isa: str) -> tuple[Overlap | None, ...]:
        return (Overlap(),)

    def emit(self, em: Emitter) -> list[str]:
        em.include("kernels/mean.h")
        outer, count, inner = self._view
        multiplier, shift = self._factor()
        fields: dict[str, object] = {
            "outer": outer,
            "count": count,
            "inner": inner,
            "zeros": self._source[1] * count,
            "multiplier": multiplier,
            "shift": shift,
            "zero": self.output_zero_point,
        }
        config = em.config(self.name, "spk_mean", fields)
        return [f"spk_mean_s8({config}, {em.tensor(self.inputs[0])}, {em.tensor(self.name)});"]
