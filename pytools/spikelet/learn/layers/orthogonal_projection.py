"""The operators of HLOP: a trace is projected, columns are learned, a task ends or is refused.

Source: Xiao et al., "Hebbian Learning based Orthogonal Projection for Continual Learning of Spiking
Neural Networks", ICLR 2024. C twin: firmware/learn/hlop.h.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Expression, Fields, Statement
from spikelet.graph.declared import Held, Size, within
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.bases.subspace import (
    BEGUN,
    ONE,
    USED,
    SubspaceOperator,
)
from spikelet.learn.numbers.feature import C_TYPES
from spikelet.learn.numbers.fixed import INT32_MAX, shift_round
from spikelet.learn.numbers.scalar import draws

FACTOR, REST = (1 << 19) - 1, (1 << 12) - 1  # their product, rounded, fits 32 bits


@dataclass(kw_only=True)
class HlopProject(SubspaceOperator):
    """`trace = x - H y` with `y = H' x`, H the used columns: what a layer may learn from.

    Each y_j is a sum in 32 bits, rounded to units of 2^shift, the smallest at which |x| fits
    +-limit, the largest at which sums over columns fit 32 bits; H y is rounded to units of x.

    Reads x of n elements u8, i8 or i16 (less its zero point), basis, columns and, if there is a
    fourth input, allowed (K,) u8: where it is not 0 a column is left alone. Writes (n,) i16 of
    the scale of x, saturated at twice the largest x, or where its sums would leave 32 bits.
    """

    KIND: ClassVar[str] = "hlop_project"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        subspace = self.expect_subspace(ins[0], ins[1], ins[2], bounds)
        if len(ins) == 4 and (ins[3].dtype, ins[3].shape) != ("u8", (subspace.capacity,)):
            raise self.error(f"{ins[3].name} is no u8 of shape ({subspace.capacity},)")
        bounds[self.name] = interval((subspace.n,), -subspace.most, subspace.most)
        return Inferred([Tensor(self.name, "i16", (subspace.n,), scale=ins[0].scale)], subspace)

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        x, basis, columns, *allowed = (env[name] for name in self.inputs)
        values = x.reshape(-1).astype(np.int64) - self.facts.zero
        used = basis[:, : int(columns[USED])]
        y = self._coordinates(values, used)
        if allowed:
            y[allowed[0][: len(y)] != 0] = 0
        trace = values - self._back(used, y)
        env[self.name] = np.clip(trace, -self.facts.most, self.facts.most).astype(np.int16)[None]

    def cost(self) -> Cost:
        return Cost(macs=2 * self.facts.n * self.facts.capacity, weight_bits=16)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/hlop.h")
        config = em.config(
            self.name, "spk_hlop_project", {"layer": self._layer(), "most": self.facts.most}
        )
        work = c.cast("int32_t *", em.scratch(self.name, 4 * self.facts.capacity))
        x, basis, columns, *rest = map(em.tensor, self.inputs)
        allowed, to = rest[0] if rest else 0, em.tensor(self.name)
        given = (config, x, C_TYPES[self.ins[0].dtype], basis, columns, allowed, work, to)
        return [c.run("spk_hlop_project", *given)]


@dataclass(kw_only=True)
class HlopLearn(SubspaceOperator):
    """A Hebbian step of the present task's columns H: `H += step y (trace - H y)' / |trace|^2`.

    Oja's subspace rule on what old columns leave of the trace, of unit length. A task's columns
    begin with its first sample, at +-begin, the signs being top bits of xorshift32, row by row.
    The new value is rounded to nearest and stays within +-1.0.

    Reads trace (n,) i16 and, if there is one, a fourth input: the schedule's factor of the step.
    Changes basis and columns.

    Attributes:
        first: columns that the first task may take.
        more: columns that each further task may take.
        step: Q15, 1 to 2^15.
        seed: state before the first sign, 1 to 2^32 - 1.
    """

    KIND: ClassVar[str] = "hlop_learn"

    first: Size
    more: Size
    step: Annotated[int, within(1, 1 << 15)]
    seed: Annotated[int, within(1, (1 << 32) - 1)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        subspace = self.expect_subspace(ins[0], ins[1], ins[2], bounds)
        if subspace.zero:
            raise self.error(f"trace {ins[0].name} has a zero point of {subspace.zero}")
        if ins[0].dtype != "i16":
            raise self.error(f"trace {ins[0].name} is {ins[0].dtype}, expected i16")
        if not (1 <= self.first and 1 <= self.more and 1 <= self.step <= 1 << 15):
            raise self.error(f"first {self.first}, more {self.more} or step {self.step} too small")
        if not 1 <= self.seed < 1 << 32:
            raise self.error(f"seed {self.seed} is not 1 to 2^32 - 1")
        if len(ins) == 4 and (ins[3].dtype, ins[3].shape) != ("i32", (1,)):
            raise self.error(f"schedule {ins[3].name} is no i32 of shape (1,)")
        for rate in ins[3:]:
            low, high = (
                int(end) for end in (bounds[rate.name][0].min(), bounds[rate.name][1].max())
            )
            if not 0 <= low <= high <= 1 << 15:
                raise self.error(f"schedule {rate.name} may be {low} to {high}, not 0 to 2^15")
        return Inferred([], subspace)

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    @property
    def _begin(self) -> int:
        return max(1, ONE // 2 // max(1, math.isqrt(self.facts.n)))

    def golden(self, env: dict[str, Array], t: int) -> None:
        trace, basis, columns = (env[name] for name in self.inputs[:3])
        used = int(columns[USED])
        end = min(used + (self.more if used else self.first), self.facts.capacity)
        if columns[BEGUN] < end:
            drawn, _ = draws(self.seed, self.facts.n * (end - used))
            signs = np.where(drawn >> np.uint32(31), -self._begin, self._begin)
            basis[:, used:end] = signs.reshape(self.facts.n, end - used)
            columns[BEGUN] = end
        values = trace[0].astype(np.int64)
        norm = int((values * values).sum())
        if norm == 0 or used == end:
            return
        down = max(0, norm.bit_length() - 15)
        inverse = (1 << 30) // (norm >> down)
        rate = int(env[self.inputs[3]][0, 0]) if len(self.inputs) == 4 else 1 << 15
        gain = ((self.step * rate >> 15) * inverse) >> 15
        block = basis[:, used:end]
        y = self._coordinates(values, block)
        rest = np.clip(values - self._back(block, y), -REST, REST)
        scaled = shift_round((gain * y) << self.facts.shift, 6 + down)
        factor = np.clip(scaled, -FACTOR, FACTOR)
        moved = block + shift_round(rest[:, None] * factor, 12)
        block[...] = np.clip(moved, -ONE, ONE)

    def cost(self) -> Cost:
        block = max(self.first, self.more)
        return Cost(macs=3 * self.facts.n * min(block, self.facts.capacity), weight_bits=16)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/hlop.h")
        fields: Fields = {
            "layer": self._layer(),
            "first": self.first,
            "more": self.more,
            "step": self.step,
            "seed": c.unsigned(self.seed),
            "begin": self._begin,
        }
        config = em.config(self.name, "spk_hlop_learn", fields)
        work = c.cast("int32_t *", em.scratch(self.name, 8 * self.facts.capacity))
        trace, basis, columns, *rest = map(em.tensor, self.inputs)
        schedule = rest[0] if rest else 0
        return [c.run("spk_hlop_learn", config, trace, schedule, basis, columns, work)]


@dataclass(kw_only=True)
class HlopMerge(Operator):
    """On commit a task ends: used = begun, and the task's columns become orthonormal.

    Column by column, what columns before it hold is taken off, one after the other, and the rest
    is brought to unit length; a rest below 1/8 becomes 0. Without it a task that is much like old
    ones learns columns that lie in their subspace, and projecting twice turns gradients around.

    Changes basis (n, K) i16 and columns (2,) i32.
    """

    KIND: ClassVar[str] = "hlop_merge"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        basis, columns = self.ins
        if (basis.kind, basis.dtype, len(basis.shape)) != ("learned", "i16", 2):
            raise self.error(f"input {basis.name} is no learned i16 of shape (n, columns)")
        if (columns.kind, columns.dtype, columns.shape) != ("learned", "i32", (2,)):
            raise self.error(f"input {columns.name} is no learned i32 of shape (2,)")
        if int(bounds[columns.name][1].max()) > basis.shape[1]:
            raise self.error(f"{columns.name} may exceed the {basis.shape[1]} columns")
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.COMMIT

    def golden(self, env: dict[str, Array], t: int) -> None:
        basis, columns = (env[name] for name in self.inputs)
        for j in range(int(columns[USED]), int(columns[BEGUN])):
            h = basis[:, j].astype(np.int64)
            for before in range(j):
                other = basis[:, before].astype(np.int64)
                part = np.clip(shift_round((other * h).sum(), 12), -(1 << 16), 1 << 16)
                h = np.clip(h - shift_round(part * other, 12), -ONE, ONE)
            length = math.isqrt(int((h * h).sum()))
            unit = (np.abs(h) * ONE + length // 2) // length if length >= ONE // 8 else h * 0
            basis[:, j] = np.sign(h) * np.minimum(unit, ONE)
        columns[USED] = columns[BEGUN]

    def cost(self) -> Cost:
        n, capacity = self.ins[0].shape
        return Cost(macs=n * capacity * capacity, weight_bits=16)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/hlop.h")
        n, capacity = self.ins[0].shape
        basis, columns = map(em.tensor, self.inputs)
        return [c.run("spk_hlop_merge", c.unsigned(n), c.unsigned(capacity), basis, columns)]


@dataclass(kw_only=True)
class HlopGate(Operator):
    """Refuses a task for which no layer's subspace has room: learning ends, the sample is counted.

    A layer is full when its used columns and those of one more task exceed 90 % of its rank, or
    the columns that it has. Reads health (1,) i32, which counts refused samples up to 2^31 - 1,
    and of each layer its columns (2,) i32.

    Attributes:
        room: (layers,) int32, used columns up to which a task may begin.
    """

    KIND: ClassVar[str] = "hlop_gate"

    room: Annotated[Array, Held("int32", 1, 0)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        for tensor, shape in zip(ins, [(1,), *[(2,)] * len(self.room)], strict=False):
            if (tensor.kind, tensor.dtype, tensor.shape) != ("learned", "i32", shape):
                raise self.error(f"input {tensor.name} is no learned i32 of shape {shape}")
        if self.room.dtype != np.int32 or len(ins) != 1 + len(self.room):
            raise self.error(f"{len(ins) - 1} layers, and room is {self.room.dtype} {self.room}")
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        health = env[self.inputs[0]]
        if self.stops(env):
            health[0] = min(int(health[0]) + 1, INT32_MAX)

    def stops(self, env: dict[str, Array]) -> bool:
        used = [int(env[name][USED]) for name in self.inputs[1:]]
        return any(u > room for u, room in zip(used, self.room, strict=True))

    def _full(self, em: Emitter) -> Expression:
        layers = zip(self.inputs[1:], self.room, strict=True)
        used = ((em.tensor(name).at(USED), int(room)) for name, room in layers)
        return c.either(*(columns.compare(">", room) for columns, room in used))

    def emit(self, em: Emitter) -> list[Statement]:
        refused = em.tensor(self.inputs[0]).at(0)
        counted = c.assign(refused, refused.compare("<", c.name("INT32_MAX")), "+=")
        return [c.when(self._full(em), counted)]

    def emit_stop(self, em: Emitter) -> Expression:
        return self._full(em)
