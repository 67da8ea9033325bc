"""What all trainable layers share: a precision, what they read, and proofs for integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields
from spikelet.graph.declared import one_of
from spikelet.graph.operator import Emitter, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Learned, Tensor
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.scalar import PRECISIONS

INT32_MAX = (1 << 31) - 1
NOTHING = Tensor("nothing", "i32", (1,))  # before an operator knows what it reads


@dataclass(frozen=True)
class Scaled:
    """What an operator infers that brings sums to its output.

    Attributes:
        scale: from the units of a sum to those of the output.
    """

    scale: scalar.Scale


@dataclass(kw_only=True)
class Trainable(Operator):
    """Base of the operators that calculate in a precision of `learn/numbers/scalar.py`.

    Attributes:
        precision: one of `scalar.PRECISIONS`, the same in a whole graph.
    """

    precision: Annotated[str, one_of(*PRECISIONS)] = "f32"

    @property
    def real(self) -> bool:
        """Whether it calculates with floats."""
        return scalar.is_float(self.precision)

    def expect_precision(self) -> None:
        """Refuse an unknown precision."""

    def expect_shape(self, tensor: Tensor, dtypes: tuple[str, ...], shape: tuple[int, ...]) -> None:
        """Refuse a tensor of another type or shape."""
        if tensor.dtype not in dtypes or tensor.shape != shape:
            raise self.error(
                f"input {tensor.name} is {tensor.dtype} of shape {tensor.shape}, expected "
                f"{' or '.join(dtypes)} of shape {shape}"
            )

    def expect_source(self, x: Tensor) -> None:
        """Refuse what is neither a value of the precision nor a code of 8 bits."""
        allowed = (scalar.value_dtype(self.precision), "u8", "i8")
        if x.dtype not in allowed:
            raise self.error(f"input {x.name} is {x.dtype}, expected {' or '.join(allowed)}")

    def source(self, x: Tensor, values: Array) -> Array:
        """What is calculated with, for an input's elements: `spk_source`."""
        if x.dtype == scalar.value_dtype(self.precision):
            return scalar.widen(self.precision, values)
        codes = values.astype(np.int64) - x.zero_point
        if not self.real:
            return codes
        scaled: Array = codes.astype(np.float32) * np.float32(x.scale)
        return scaled

    def source_name(self, x: Tensor) -> str:
        """The end of the name of a kernel that knows what it reads: value, u8 or i8."""
        return "value" if x.dtype == scalar.value_dtype(self.precision) else x.dtype

    def source_c(self, x: Tensor) -> Fields:
        """Fields of `struct spk_source`."""
        if x.dtype == scalar.value_dtype(self.precision):
            return {"code": c.name("SPK_CODE_VALUE")}
        fields: Fields = {
            "code": c.name(f"SPK_CODE_{x.dtype.upper()}"),
            "zero_point": x.zero_point,
        }
        return {**fields, "scale": float(np.float32(x.scale))} if self.real else fields

    def source_scale(self, x: Tensor) -> float:
        """The scale of what is calculated with; floats have none."""
        return 1.0 if self.real else x.scale

    def largest(self, tensor: Tensor, bounds: dict[str, Interval]) -> int:
        """The largest size of an integer input without its zero point."""
        low, high = bounds[tensor.name]
        zero = tensor.zero_point
        return max(abs(int(low.min()) - zero), abs(int(high.max()) - zero))

    def reach(self, tensor: Tensor, bounds: dict[str, Interval]) -> int:
        """How far from 0 a learned integer may move in either direction."""
        low, high = bounds[tensor.name]
        reach = min(-int(low.max()), int(high.min()))
        if reach < 1:
            raise self.error(
                f"input {tensor.name} learns, but may only be {int(low.max())} to {int(high.min())}"
            )
        return reach

    def value(self, name: str, shape: tuple[int, ...], scale: float, limit: int) -> Tensor:
        """A tensor of values that it writes; refuses a limit that is none on integers."""
        dtype = scalar.value_dtype(self.precision)
        if self.real:
            return Tensor(name, dtype, shape)
        if not 1 <= limit <= 32767:
            raise self.error(f"a limit of {limit} is not 1 to 32767")
        return Tensor(name, dtype, shape, scale=scale)

    def value_bounds(self, tensor: Tensor, limit: int, positive: bool = False) -> Interval:
        """The interval of values that it writes."""
        return tensor.interval() if self.real else tensor.interval(0 if positive else -limit, limit)

    def prove(self, largest: int, what: str) -> None:
        """Refuse a sum that may overflow int32."""
        if largest > INT32_MAX:
            raise self.error(
                f"{what} may reach {largest}, beyond 32 bits: give values or weights fewer bits"
            )

    def scale_of(self, ratio: float, limit: int) -> scalar.Scale:
        """How sums become values."""
        if self.real:
            return scalar.Scale()
        try:
            return scalar.Scale.of(ratio, limit)
        except ValueError as e:
            raise self.error(str(e)) from e

    def select(self, em: Emitter, header: str) -> None:
        """Include a kernel in this precision; raises GraphError where an image has two."""
        for precision in PRECISIONS:
            em.define(scalar.macro(precision), int(precision == self.precision))
        em.include(header)


@dataclass(kw_only=True)
class LearningOperator(Trainable):
    """A trainable operator that runs once a label or target is known."""

    def phase(self, ins: list[Phase]) -> Phase:
        """After the prediction."""
        return Phase.LEARN

    def largest_kept(self, role: str, given: dict[str, Tensor], bounds: dict[str, Interval]) -> int:
        """The largest size of integer x or error, of samples that are kept for a batch, too."""
        now = given[role]
        sizes = [self.largest(now, bounds)]
        if f"kept_{role}" in given:
            before = replace(given[f"kept_{role}"], zero_point=now.zero_point)
            sizes.append(self.largest(before, bounds))
        return max(sizes)

    def expect_ranges(
        self, given: dict[str, Tensor], bounds: dict[str, Interval], kept: int
    ) -> None:
        """Refuse samples that are kept, random states and schedules that may not be what they are.

        Args:
            given: inputs by their roles: those of an update.
            bounds: of all tensors.
            kept: samples that there is memory for.
        """
        ranges = {"count": (0, kept), "random": (1, (1 << 32) - 1), "schedule": (0, scalar.Q15)}
        for role, (low, high) in ranges.items():
            if role in given:
                self.expect_range(given[role], bounds, low, high)


def kept_samples(name: str, like: Tensor, shape: tuple[int, ...], limit: int | None) -> Learned:
    """Samples of a tensor that are kept for a batch; integer values are within +-limit."""
    held = limit if like.dtype == "i16" else None
    low = None if held is None else -held
    return Learned.of(name, like.dtype, shape, low=low, high=held, scale=like.scale)
