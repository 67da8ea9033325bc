"""What add, sub and mul share: two int8 operands, broadcasting, the clamp.

C twin: firmware/kernels/elementwise.h.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Code, Codes, Held, TensorScale
from spikelet.graph.int8 import Int8Operator, codes_of
from spikelet.graph.operator import Band, Cost, Emitter, Inferred, Interval, Operator, Overlap
from spikelet.graph.requantise_even import MOST_RIGHT, Line
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class Elementwise(Int8Operator):
    """Base of element-wise operators on two int8 tensors, or on one and a constant.

    Shapes are broadcast as in numpy.

    Attributes:
        activation: lowest and highest code that is written.
        constant: int8, the second operand where there is one input.
        constant_scale: real units a code of the constant.
        constant_zero_point: its code of real 0.
        constant_first: the constant is the first operand.
    """

    KIND: ClassVar[str] = ""
    C_OP: ClassVar[str] = ""  # of enum spk_elementwise_op
    # Whether the result is lowest and highest at ends of the operands.
    CORNERS: ClassVar[bool] = True
    LARGEST: ClassVar[int] = 0  # magnitude of what is brought to the output's scale

    activation: Codes = (-128, 127)
    constant: Annotated[Array, Held("int8")] | None = None
    constant_scale: TensorScale = 1.0
    constant_zero_point: Code = 0
    constant_first: bool = False

    @property
    def operands(self) -> tuple[Tensor, ...]:
        """What it computes with, its constant included."""
        if self.constant is None:
            return self.ins
        fixed = Tensor(
            f"{self.name}.constant",
            "i8",
            self.constant.shape,
            scale=self.constant_scale,
            zero_point=self.constant_zero_point,
        )
        return (fixed, *self.ins) if self.constant_first else (*self.ins, fixed)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        for tensor in self.ins:
            self.activation_input(tensor)
        if self.constant is not None and self.constant.dtype != np.int8:
            raise self.error(f"constant is {self.constant.dtype}, expected int8")
        operands = self.operands
        if len(operands) != 2:
            raise self.error(f"{len(operands)} operands, expected 2")
        try:
            shape = np.broadcast_shapes(*(t.shape for t in operands))
        except ValueError as error:
            raise self.error(
                f"shapes {operands[0].shape} and {operands[1].shape} do not broadcast"
            ) from error
        limits = self.activation[0], self.activation[1]
        self.output(shape, bounds, limits)
        self.check_factors()
        return Inferred(self.output(shape, bounds, limits, self._reach(bounds)))

    def _reach(self, bounds: Mapping[str, Interval]) -> Interval | None:
        """(C,) what each channel can become, from the ends of both operands."""
        if not self.CORNERS:
            return None
        fixed = {} if self.constant is None else {f"{self.name}.constant": (self.constant,) * 2}
        ends = []
        for operand in self.operands:
            reach = codes_of(operand, {**bounds, **fixed})
            ends.append([end - operand.zero_point for end in reach])
        (a_low, a_high), (b_low, b_high) = ends
        corners = np.stack([self.combine(a, b) for a in (a_low, a_high) for b in (b_low, b_high)])
        corners += self.output_zero_point
        return corners.min(axis=0), corners.max(axis=0)

    def follows(self) -> list[Array | None] | None:
        channels = self.outs[0].shape[-1]
        if any(t.shape[-1] != channels for t in self.operands if t.name in self.inputs):
            return None
        return [np.arange(channels)] * len(self.inputs)

    def with_channels(self, ins: list[Array], out: Array) -> Operator:
        if self.constant is None or self.constant.shape[-1] != self.outs[0].shape[-1]:
            return self
        return replace(self, constant=np.ascontiguousarray(self.constant[..., out]))

    def factors(self) -> dict[str, int]:
        """Multipliers and shifts by field of the C struct."""
        raise NotImplementedError

    def check_factors(self) -> None:
        """Refuse factors that carry a value beyond 32 bits."""
        if self.LARGEST << max(self.factors()["shift"], 0) >= 1 << 31:
            raise self.error(
                f"output_scale {self.output_scale} is so small that values reach beyond 32 bits"
            )

    def combine(self, a: Array, b: Array) -> Array:
        """The result's codes, unclipped; operands are codes less their zero points, int64."""
        raise NotImplementedError

    def golden(self, env: dict[str, Array], t: int) -> None:
        rank = len(self.outs[0].shape)
        values = [env[name] for name in self.inputs]
        if self.constant is not None:
            values.insert(0 if self.constant_first else 1, self.constant[None])
        a, b = (
            v.reshape(v.shape[:1] + (1,) * (rank + 1 - v.ndim) + v.shape[1:]).astype(np.int64)
            - operand.zero_point
            for v, operand in zip(values, self.operands, strict=True)
        )
        codes = self.combine(a, b) + self.output_zero_point
        env[self.name] = np.clip(codes, *self.activation).astype(np.int8)

    def cost(self) -> Cost:
        return Cost(macs=int(np.prod(self.outs[0].shape)))

    def band(self, first: int, end: int) -> Band | None:
        rows, rank = self.outs[0].shape[0], len(self.outs[0].shape)
        if any(len(t.shape) < rank or t.shape[0] != rows for t in self.operands):
            return None
        fields = {} if self.constant is None else {"constant": self.constant[first:end]}
        return Band(((first, end),) * len(self.inputs), fields)

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        operands = {t.name: t for t in self.operands}
        return tuple(
            Overlap() if operands[n].shape == self.outs[0].shape else None for n in self.inputs
        )

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/elementwise.h")
        pointers = [em.tensor(name) for name in self.inputs]
        if self.constant is not None:
            shape = "x".join(map(str, self.constant.shape))
            placed = em.const(f"{self.name}_constant", self.constant, f"({shape}) int8")
            pointers.insert(0 if self.constant_first else 1, placed)
        dims, *strides = self._strides()
        op, factors, exchanged = self.variant()
        operands = list(zip(pointers, strides, self.operands, strict=True))
        if exchanged:
            operands.reverse()
        fields: Fields = {"dims": tuple(dims)}
        for name, (_, stride, tensor) in zip("ab", operands, strict=True):
            fields[f"{name}_stride"] = tuple(stride)
            fields[f"{name}_zero"] = tensor.zero_point
        fields |= {
            **factors,
            "zero": self.output_zero_point,
            "low": self.activation[0],
            "high": self.activation[1],
        }
        config = em.config(self.name, "spk_elementwise", fields)
        a, b = (operand[0] for operand in operands)
        return [c.run("spk_elementwise_s8", config, c.name(op), a, b, em.tensor(self.name))]

    def variant(self) -> tuple[str, dict[str, int], bool]:
        """The C operation, its factors, and whether it takes the second operand first."""
        return self.C_OP, self.factors(), False

    def _strides(self) -> tuple[list[int], list[int], list[int]]:
        """The output's dimensions, four of them, and the step of each operand in each."""
        if all(t.shape == self.outs[0].shape for t in self.operands):
            return [1, 1, 1, int(np.prod(self.outs[0].shape))], [0, 0, 0, 1], [0, 0, 0, 1]
        steps = []
        for tensor in self.operands:
            shape = (1,) * (4 - len(tensor.shape)) + tensor.shape
            own = [int(np.prod(shape[i + 1 :])) for i in range(4)]
            steps.append([0 if d == 1 else s for d, s in zip(shape, own, strict=True)])
        dims = (1,) * (4 - len(self.outs[0].shape)) + self.outs[0].shape
        return list(dims), steps[0], steps[1]


@dataclass(kw_only=True)
class Joined(Elementwise):
    """Base of sums and products, which files of few bits round once, halves to even.

    Attributes:
        even: (6,) int32 or None: factors of the operands, of a product 1 and 1; then multiplier,
            right shift, low and high word of the offset of `requantise_even.half_even`.
    """

    KIND: ClassVar[str] = ""
    C_EVEN: ClassVar[str] = ""  # of enum spk_elementwise_op

    even: Annotated[Array, Held("int32", 1)] | None = None

    def joined(self, a: Array, b: Array, factors: Sequence[int]) -> Array:
        """What is rounded where halves go to even."""
        raise NotImplementedError

    @property
    def line(self) -> Line:
        """How it is rounded."""
        multiplier, right, low, high = (int(v) for v in self._even[2:])
        return Line(multiplier, right, (low & 0xFFFFFFFF) + (high << 32))

    @property
    def _even(self) -> list[int]:
        if self.even is None:
            raise self.error("its halves do not go to even")
        return [int(value) for value in self.even]

    def check_factors(self) -> None:
        if self.even is None:
            super().check_factors()
            return
        if self.even.dtype != np.int32 or self.even.shape != (6,):
            raise self.error(f"even has shape {self.even.shape}, expected (6,)")
        ends = [np.array([-255, 255], np.int64)] * 2
        most = int(np.abs(np.array([self.joined(a, ends[1], self._even) for a in ends[0]])).max())
        line = self.line
        shifts = 1 <= line.right <= MOST_RIGHT and line.multiplier >= 0
        if most >= 1 << 31 or not shifts or not line.fits((-most, most)):
            raise self.error("its values may reach beyond 32 bits, or their products beyond 62")

    def combine(self, a: Array, b: Array) -> Array:
        if self.even is None:
            return self.combine_twice(a, b)
        return self.line.rounded(self.joined(a, b, self._even))

    def combine_twice(self, a: Array, b: Array) -> Array:
        """The result's codes, rounded as LiteRT does."""
        raise NotImplementedError

    def variant(self) -> tuple[str, dict[str, int], bool]:
        if self.even is None:
            return self.variant_twice()
        names = ("a_one", "b_one", "multiplier", "shift", "a_multiplier", "a_shift")
        return self.C_EVEN, dict(zip(names, self._even, strict=True)), False

    def variant_twice(self) -> tuple[str, dict[str, int], bool]:
        """`variant` where it is rounded as LiteRT does."""
        return super().variant()


def near(shift: int) -> bool:
    """Whether spk_requantise_near has a variant for a factor with this shift."""
    return -20 <= shift <= -1
