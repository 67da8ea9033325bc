"""Projection of weight updates off the subspace that old tasks used (HLOP).

Lateral Hebbian weights learn the subspace of a layer's presynaptic traces, one block of columns a
task; the weights of the layer then learn from the trace less its part in the blocks of old tasks,
so that what old tasks compute stays as it is. The forward pass is unchanged. Source: Xiao et al.,
"Hebbian Learning based Orthogonal Projection for Continual Learning of Spiking Neural Networks",
ICLR 2024. C twin: firmware/learn/hlop.h.

A trace is whatever the layer's weights are multiplied with: activations here, in a layer of spikes
the filtered spikes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Graph, c
from spikelet.graph.c import Expression, Fields, Statement
from spikelet.graph.declared import Held, Size, within
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Learned, Tensor
from spikelet.learn.choices import RATES, Within
from spikelet.learn.learner import Learner, Setting
from spikelet.learn.networks.dense_layer import DenseLayer
from spikelet.learn.networks.dense_network import SCHEDULE, DenseNetwork, widths
from spikelet.learn.numbers.feature import C_TYPES
from spikelet.learn.numbers.fixed import ema, shift_round
from spikelet.learn.numbers.scalar import draws

ONE = 1 << 12  # 1.0 of a basis
USED, BEGUN = 0, 1  # places in `columns`
FULL = 0.9  # of a layer's rank: no task begins beyond
FACTOR, REST = (1 << 19) - 1, (1 << 12) - 1  # their product, rounded, fits 32 bits
_INT32 = (1 << 31) - 1


def _fits(n: int) -> int:
    """The largest x of n elements: sums of basis * x and of x * x fit 32 bits, and x itself 16."""
    squares = math.isqrt(((1 << 32) - 1) // n)
    return min(_INT32 // (ONE * n), squares, (1 << 15) - 1)


@dataclass(frozen=True)
class Subspace:
    """What an input and its basis are proved to be.

    Attributes:
        n: elements of x.
        capacity: columns of the basis.
        zero: of x.
        shift: a coordinate is a sum by 2^-shift.
        limit: a coordinate stays within +-limit.
        largest: size of an element of x less its zero point.
    """

    n: int
    capacity: int
    zero: int
    shift: int
    limit: int
    largest: int

    @property
    def most(self) -> int:
        """The largest element of a trace that is written."""
        return min(2 * self.largest, _fits(self.n))


@dataclass(frozen=True)
class Gradients(Subspace):
    """The same with the fraction bits of a gradient.

    Attributes:
        fraction: bits of an element.
    """

    fraction: int


@dataclass(kw_only=True)
class _Subspace(Operator):
    """What reads a basis (n, K) i16, Q12 within +-1.0, and its columns (2,) i32: used, begun."""

    facts: Subspace = field(init=False, repr=False, compare=False)

    def _check(
        self, x: Tensor, basis: Tensor, columns: Tensor, bounds: dict[str, Interval]
    ) -> Subspace:
        """What x and its basis are; refuses others, and sums beyond 32 bits."""
        if x.dtype not in ("u8", "i8", "i16"):
            raise self.error(f"input {x.name} is {x.dtype}, expected u8, i8 or i16")
        low, high = bounds[basis.name]
        if (
            (basis.kind, basis.dtype, basis.shape[:1]) != ("learned", "i16", (x.size,))
            or len(basis.shape) != 2
            or int(low.min()) < -ONE
            or int(high.max()) > ONE
        ):
            raise self.error(
                f"basis {basis.name} is {basis.kind} {basis.dtype} of shape {basis.shape}, "
                f"expected learned i16 ({x.size}, columns) within +-{ONE}"
            )
        n, capacity = basis.shape
        first, last = bounds[columns.name]
        if (
            (columns.kind, columns.dtype, columns.shape) != ("learned", "i32", (2,))
            or int(first.min()) < 0
            or int(last.max()) > capacity
        ):
            raise self.error(
                f"{columns.name} is {columns.kind} {columns.dtype} of shape {columns.shape}, "
                f"expected learned i32 (2,) within 0 and {capacity}"
            )
        low, high = (ends.astype(np.int64) - x.zero_point for ends in bounds[x.name])
        largest = max(1, int(-low.min()), int(high.max()))
        fits = _fits(n)
        if largest > fits:
            raise self.error(
                f"input {x.name} reaches {largest}, and sums of {n} products fit 32 bits up "
                f"to {fits}: give it fewer bits"
            )
        limit = _INT32 // (ONE * capacity) - 1
        reach = math.isqrt(largest * largest * n)
        shift = max(0, ((reach - 1) // max(limit, 1)).bit_length())
        if limit < 1 or shift > 12:
            raise self.error(f"a basis of {capacity} columns is too large for 32 bits")
        return Subspace(n, capacity, x.zero_point, shift, limit, largest)

    def _coordinates(self, x: Array, basis: Array) -> Array:
        """(K,) of x (n,) in the columns of a basis (n, K)."""
        sums = x.astype(np.float64) @ basis.astype(np.float64)  # exact: below 2^31
        rounded = shift_round(sums.astype(np.int64), 12 + self.facts.shift)
        return np.clip(rounded, -self.facts.limit, self.facts.limit)

    def _back(self, basis: Array, y: Array) -> Array:
        sums = basis.astype(np.float64) @ y.astype(np.float64)
        return shift_round(sums.astype(np.int64), 12 - self.facts.shift)

    def _layer(self) -> Fields:
        return {
            "n": self.facts.n,
            "capacity": self.facts.capacity,
            "zero": self.facts.zero,
            "shift": self.facts.shift,
            "limit": self.facts.limit,
        }


@dataclass(kw_only=True)
class HlopProject(_Subspace):
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
        found = self._check(ins[0], ins[1], ins[2], bounds)
        if len(ins) == 4 and (ins[3].dtype, ins[3].shape) != ("u8", (found.capacity,)):
            raise self.error(f"{ins[3].name} is no u8 of shape ({found.capacity},)")
        bounds[self.name] = interval((found.n,), -found.most, found.most)
        return Inferred([Tensor(self.name, "i16", (found.n,), scale=ins[0].scale)], found)

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
class HlopLearn(_Subspace):
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
        found = self._check(ins[0], ins[1], ins[2], bounds)
        if found.zero:
            raise self.error(f"trace {ins[0].name} has a zero point of {found.zero}")
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
        return Inferred([], found)

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
class CuberCompare(_Subspace):
    """Allows the columns of old tasks whose gradient this task's agrees with.

    In each sample the gradient `error y'`, y = H' x, of the weights in all columns joins its mean,
    `m += (g - m) / 2^mean`. With the task's sample number `probe`, each old task is compared: where
    the cosine of its last mean gradient and this one's, in its columns, is at least `cosine`, this
    task may change what the weights are there, for that lowers the old loss, too. Sums of means
    less 14 bits, 64-bit. Source: Lin et al., "Beyond Not-Forgetting: Continual Learning with
    Backward Knowledge Transfer", NeurIPS 2022; without its penalty on the change.

    Reads error (O,) i16, x, basis, columns; changes now (O, K) i32, reads then (O, K) i32, changes
    allowed (K,) u8 and count (1,) i32, 0 to probe.

    Attributes:
        first: columns of the first task.
        more: columns of each further task.
        probe: samples, 1 or more.
        cosine: Q15, above 0.
        mean: 1 to 16.
    """

    KIND: ClassVar[str] = "cuber_compare"

    first: Size
    more: Size
    probe: Annotated[int, within(1, (1 << 31) - 1)]
    cosine: Annotated[int, within(1, 1 << 15)]
    mean: Annotated[int, within(1, 16)] = 8

    facts: Gradients = field(init=False, repr=False, compare=False)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        error, x, basis, columns, now, then, allowed, count = self.ins
        found = self._check(x, basis, columns, bounds)
        kept = ("i32", (error.size, found.capacity))
        shapes = (("i16", (error.size,)), kept, kept, ("u8", (found.capacity,)), ("i32", (1,)))
        for tensor, (dtype, shape) in zip((error, now, then, allowed, count), shapes, strict=True):
            if (tensor.dtype, tensor.shape) != (dtype, shape):
                raise self.error(
                    f"input {tensor.name} is {tensor.dtype} of shape {tensor.shape}, expected "
                    f"{dtype} of shape {shape}"
                )
        if not (self.first >= 1 and self.more >= 1 and self.probe >= 1 and 1 <= self.mean <= 16):
            raise self.error(f"first, more, probe or mean {self.mean} is out of range")
        if not 1 <= self.cosine <= 1 << 15:
            raise self.error(f"cosine {self.cosine} is not 1 to 2^15")
        low, high = bounds[error.name]
        product = found.limit * max(1, -int(low.min()), int(high.max()))
        fraction = 31 - product.bit_length() - 1
        if fraction < 0:
            raise self.error(f"gradients reach {product}: give the error fewer bits")
        return Inferred([], Gradients(**vars(found), fraction=fraction))

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        error, x, basis, columns, now, then, allowed, count = (env[k] for k in self.inputs)
        used, begun = int(columns[USED]), int(columns[BEGUN])
        values = x.reshape(-1).astype(np.int64) - self.facts.zero
        y = self._coordinates(values, basis[:, :begun])
        gradient = error[0].astype(np.int64)[:, None] * y << self.facts.fraction
        now[:, :begun] = ema(now[:, :begun], gradient, self.mean)
        if count[0] >= self.probe:
            return
        count[0] += 1
        if count[0] < self.probe:
            return
        start = 0
        while start < used:
            end = min(used, start + (self.more if start else self.first))
            allowed[start:end] = self._agree(now[:, start:end], then[:, start:end])
            start = end

    def _agree(self, now: Array, then: Array) -> bool:
        u, v = now.astype(np.int64) >> 14, then.astype(np.int64) >> 14
        dot, a, b = int((u * v).sum()), int((u * u).sum()), int((v * v).sum())
        down = max(0, max(a, b).bit_length() - 30)
        dot >>= down
        return dot > 0 and dot * dot >= ((a >> down) * (b >> down) >> 15) * self._squared

    @property
    def _squared(self) -> int:
        return self.cosine * self.cosine >> 15

    def cost(self) -> Cost:
        return Cost(macs=(self.facts.n + self.ins[0].size) * self.facts.capacity, weight_bits=16)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/hlop.h")
        fields: Fields = {
            "layer": self._layer(),
            "outputs": self.ins[0].size,
            "first": self.first,
            "more": self.more,
            "mean": self.mean,
            "fraction": self.facts.fraction,
            "probe": self.probe,
            "squared": self._squared,
        }
        config = em.config(self.name, "spk_cuber", fields)
        work = c.cast("int32_t *", em.scratch(self.name, 4 * self.facts.capacity))
        error, x, *rest = map(em.tensor, self.inputs)
        return [c.run("spk_cuber", config, error, x, C_TYPES[self.ins[1].dtype], *rest, work)]


@dataclass(kw_only=True)
class CuberKeep(Operator):
    """On commit a task's mean gradient is kept, and the next one starts: before `HlopMerge`.

    Reads columns (2,) i32; changes now and then (O, K) i32, allowed (K,) u8 and count (1,) i32.
    """

    KIND: ClassVar[str] = "cuber_keep"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        _, now, then, allowed, _ = self.ins
        if now.shape != then.shape or allowed.shape != now.shape[1:]:
            raise self.error(f"shapes {now.shape}, {then.shape} and {allowed.shape} do not fit")
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.COMMIT

    def golden(self, env: dict[str, Array], t: int) -> None:
        columns, now, then, allowed, count = (env[name] for name in self.inputs)
        block = slice(int(columns[USED]), int(columns[BEGUN]))
        then[:, block] = now[:, block]
        now[...], allowed[...], count[...] = 0, 0, 0

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/hlop.h")
        outputs, capacity = self.ins[1].shape
        size = (c.unsigned(outputs), c.unsigned(capacity))
        return [c.run("spk_cuber_keep", *size, *map(em.tensor, self.inputs))]


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
            health[0] = min(int(health[0]) + 1, _INT32)

    def stops(self, env: dict[str, Array]) -> bool:
        used = [int(env[name][USED]) for name in self.inputs[1:]]
        return any(u > room for u, room in zip(used, self.room, strict=True))

    def _full(self, em: Emitter) -> Expression:
        layers = zip(self.inputs[1:], self.room, strict=True)
        used = ((em.tensor(name).at(USED), int(room)) for name, room in layers)
        return c.either(*(columns.compared(">", room) for columns, room in used))

    def emit(self, em: Emitter) -> list[Statement]:
        refused = em.tensor(self.inputs[0]).at(0)
        counted = c.assign(refused, refused.compared("<", c.name("INT32_MAX")), "+=")
        return [c.when(self._full(em), counted)]

    def emit_stop(self, em: Emitter) -> Expression:
        return self._full(em)


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
class Hlop(Learner):
    """Dense layers that learn task after task, each beside the subspace of those before.

    A commit ends a task: its columns join the subspace that no later task may disturb. Hidden
    layers have no bias, because a bias has no trace to project. A task for which a layer has no
    room is refused: its samples are counted as skipped, and the network goes on predicting.

    Attributes:
        hidden: widths of the layers, such as 100; 0 for a linear head.
        first: columns that the first task may take in each layer, such as 60-50; auto for half of
            the layer's inputs, at most 64.
        more: columns that each further task may take; auto for a share of what is left up to 90 %
            of the inputs, at most 16.
        tasks: for which there is memory.
        step: of the Hebbian rule, relative to the largest stable one: above 0, at most 1.
        cuber: samples after which a task may use columns of old ones that it agrees with, 0 for
            never (see CuberCompare).
        cosine: of two tasks' gradients from which on they agree.
        precision: of weights.
        rate: learning rate.
        samples: of a task, along which both rates fall to 0; 0 for constant rates.
        rounding: of integer weights.
    """

    NAME: ClassVar[str] = "hlop"
    AFTER: ClassVar[str] = (
        "HLOP (Xiao et al., ICLR 2024); with cuber CUBER (Lin et al., NeurIPS 2022)"
    )
    DIFFERS: ClassVar[str] = (
        "activations, not spikes; one Hebbian step a sample, relative to the trace's length, "
        "without momentum; CUBER asks once a task, and its penalty on the change is left out"
    )

    hidden: str = "100"
    first: str = "auto"
    more: str = "auto"
    tasks: Annotated[int, Within(1, 1000)] = 5
    step: Annotated[float, Within(2.0**-15, 1)] = 1.0
    cuber: Annotated[int, Within(0, (1 << 31) - 1)] = 0
    cosine: Annotated[float, Within(2.0**-15, 1)] = 0.1
    precision: Literal["i16", "i8"] = "i16"
    rate: Annotated[float, RATES] = 0.03
    samples: Annotated[int, Within(0, (1 << 31) - 1)] = 0
    rounding: Literal["nearest", "stochastic"] = "stochastic"

    def __post_init__(self) -> None:
        super().__post_init__()
        layers = len(widths(self.hidden)) + 1
        for text in (self.first, self.more):
            if text != "auto" and len(widths(text)) != layers:
                raise ValueError(
                    f"first {self.first} and more {self.more} are not for the {layers} layers of "
                    f"hidden {self.hidden} and the scores"
                )

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        net = DenseNetwork(
            backbone, setting, self.precision, self.rate, self.rounding, self.samples
        )
        layers = net.classifier(widths(self.hidden), bias=False)
        blocks = {layer.name: self._block(i, layer.x.size) for i, layer in enumerate(layers)}
        spaces, room = [], []
        for layer in layers:
            first, more = blocks[layer.name]
            full = int(FULL * layer.x.size)
            if first > full or more < 1:
                raise UsageError(
                    f"hlop: {first} columns for the first task in layer {layer.name}, and {more} "
                    f"for each other one; it has {layer.x.size} inputs",
                    "tasks would take more than 90 % of the layer's rank",
                    f"give the first task at most {full}, or learn fewer tasks",
                )
            capacity = min(first + more * (self.tasks - 1), full)
            net.learned += [
                Learned.of(
                    f"{layer.name}.basis", "i16", (layer.x.size, capacity),
                    low=-ONE, high=ONE, scale=1 / ONE,
                ),
                Learned.of(f"{layer.name}.columns", "i32", (2,), low=0, high=capacity),
            ]  # fmt: skip
            spaces.append(f"{layer.name}.columns")
            room.append(capacity - more if self.tasks > 1 else 0)
        net.learned.append(Learned.of("hlop.health", "i32", (1,)))
        net.nodes.insert(
            0,
            HlopGate(
                name="hlop_gate",
                inputs=("hlop.health", *spaces),
                room=np.array(room, np.int32),
            ),
        )

        def project(layer: DenseLayer, error: Tensor) -> Tensor:
            basis, columns = f"{layer.name}.basis", f"{layer.name}.columns"
            first, more = blocks[layer.name]
            trace = Tensor(f"{layer.name}_trace", "i16", (layer.x.size,), scale=layer.x.scale)
            net.nodes += [
                HlopProject(name=trace.name, inputs=(layer.x.name, basis, columns)),
                HlopLearn(
                    name=f"{layer.name}_hebb",
                    inputs=(trace.name, basis, columns, *([SCHEDULE] if self.samples else [])),
                    first=first,
                    more=more,
                    step=round(self.step * (1 << 15)),
                    seed=net.seed(),
                ),
            ]
            return self._cuber(net, layer, error, blocks[layer.name]) if self.cuber else trace

        net.descend(layers, project)
        net.nodes += [
            HlopMerge(name=f"{k.name}_merge", inputs=(f"{k.name}.basis", f"{k.name}.columns"))
            for k in layers
        ]
        return net.graph(["scores"])

    def _cuber(
        self, net: DenseNetwork, layer: DenseLayer, error: Tensor, block: tuple[int, int]
    ) -> Tensor:
        """A trace with what lies in allowed columns."""
        name = layer.name
        learned = {k.tensor.name: k for k in net.learned}
        capacity = learned[f"{name}.basis"].tensor.shape[1]
        shape = (layer.y.size, capacity)
        own = [
            Learned.of(f"{name}.now", "i32", shape),
            Learned.of(f"{name}.then", "i32", shape),
            Learned.of(f"{name}.allowed", "u8", (capacity,), high=1),
            Learned.of(f"{name}.probed", "i32", (1,), low=0, high=self.cuber),
        ]
        net.learned += own
        names = [k.tensor.name for k in own]
        read = (layer.x.name, f"{name}.basis", f"{name}.columns")
        trace = Tensor(f"{name}_path", "i16", (layer.x.size,), scale=layer.x.scale)
        net.nodes += [
            CuberCompare(
                name=f"{name}_cuber",
                inputs=(error.name, *read, *names),
                first=block[0],
                more=block[1],
                probe=self.cuber,
                cosine=round(self.cosine * (1 << 15)),
            ),
            HlopProject(name=trace.name, inputs=(*read, names[2])),
            CuberKeep(name=f"{name}_keep", inputs=(read[2], *names)),
        ]
        return trace

    def _block(self, i: int, inputs: int) -> tuple[int, int]:
        """Columns of the first and of each further task in layer i."""
        first = min(64, -(-inputs // 2)) if self.first == "auto" else widths(self.first)[i]
        if self.more != "auto":
            return first, widths(self.more)[i]
        left = int(FULL * inputs) - first
        return first, min(16, left // max(1, self.tasks - 1))

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        """Refused samples, saturations, and of each layer the part of its rank that is free."""
        found = {
            "skipped": float(learned["hlop.health"][0]),
            "saturations": float(
                sum(int(v[0]) for k, v in learned.items() if k.endswith("_update.health"))
            ),
        }
        for name, basis in learned.items():
            layer, part = name.split(".")
            if part == "basis":
                used = int(learned[f"{layer}.columns"][USED])
                found[f"free_rank.{layer}"] = 1 - used / len(basis)
        return found
