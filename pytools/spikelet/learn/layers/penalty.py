"""Penalties that hold a layer's weights near those of old tasks. C twin: firmware/learn/penalty.h.

`Pull` is the step of a quadratic penalty, `w -= rate * strength * F * (w - anchor)`, beside that of
the loss. The anchor is what the weights were when the last task ended, all of their bits or 8; F is
1 (L2), or an importance that `Gather` counts: squared gradients (elastic weight consolidation), or
products of activities (the local form of memory aware synapses). Squared gradients are the diagonal
of the Fisher information where their labels are drawn from what the network says: `OwnError`.

An importance is a logarithm in a byte: code c stands for a sum of `16 * (2^(c / 8) - 1)`, up to
code 240. What is added goes from code to code as far as it reaches, and the rest of the way to the
next with the probability that it has of it (approximate counting), so that sums are unbiased.

Sources: Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017;
Aljundi et al., "Memory Aware Synapses", ECCV 2018; Morris, "Counting large numbers of events in
small registers", CACM 1978.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement, Value
from spikelet.graph.declared import Held, within
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.numbers.feature import C_TYPES
from spikelet.learn.numbers.fixed import shift_round
from spikelet.learn.numbers.scalar import draws

CODES = 240
NEAR = 32
PRE_BITS, POST_BITS = 13, 15  # of what is multiplied and added at once
_SUM = 16 * (2 ** (np.arange(CODES + 1) / 8) - 1)
STEPS = np.maximum(1, np.rint(np.diff(_SUM))).astype(np.uint32)
REACHED = np.concatenate([[0], np.cumsum(STEPS, dtype=np.int64)])  # sum that a code stands for
JOINED = np.rint(8 * np.log2(1 + 2 ** (-np.arange(NEAR) / 8))).astype(np.uint8)


@dataclass(kw_only=True)
class _OfWeight(Operator):
    """What reads a weight of n elements i16 or i8 within +-2^bits."""

    facts: int = field(init=False, repr=False, compare=False)  # `_coarseness`

    def _coarseness(self, bounds: dict[str, Interval]) -> int:
        """Bits of the weight below the anchor's unit; refuses other weights and anchors."""
        weight, anchor = self.ins[:2]
        if weight.kind != "learned" or weight.dtype not in ("i16", "i8"):
            raise self.error(f"input {weight.name} is no learned weight of type i16 or i8")
        low, high = bounds[weight.name]
        largest = max(-int(low.min()) - 1, int(high.max()))
        coarse = anchor.dtype != weight.dtype
        self._of(anchor, "i8" if coarse else weight.dtype)
        least, most = bounds[anchor.name]
        if anchor.dtype == "i16" and (least.min() < low.max() or most.max() > high.min()):
            raise self.error(f"anchor {anchor.name} may be where weight {weight.name} may not")
        return max(0, largest.bit_length() - 7) if coarse else 0

    def _size_c(self) -> tuple[Value, ...]:
        """Arguments of a kernel: elements, an int8 weight, a coarse anchor, and its bits."""
        weight, anchor = self.ins[:2]
        narrow, coarse = weight.dtype == "i8", anchor.dtype != weight.dtype
        return c.unsigned(weight.size), narrow, coarse, c.unsigned(self.facts)

    def _of(self, tensor: Tensor, dtype: str) -> None:
        if (tensor.kind, tensor.dtype, tensor.size) != ("learned", dtype, self.ins[0].size):
            raise self.error(
                f"input {tensor.name} is {tensor.kind} {tensor.dtype} of {tensor.size} elements, "
                f"expected learned {dtype} of {self.ins[0].size}"
            )


@dataclass(kw_only=True)
class Pull(_OfWeight):
    """`w -= round(parts[F] * rate * (w - anchor) / 2^15)`, nearest, halves up.

    An anchor of the weight's type is that weight. One of 8 bits, of a weight of 16, stands for the
    weights from a * 2^s to (a + 1) * 2^s - 1, s so that it reaches: `w - anchor` is the distance to
    the nearer end, 0 in between.

    Reads weight, anchor i8 or as the weight, a count (1,) i32, then as its attributes say
    importance u8 and schedule i32 (1,), the factor of the rate, Q15. Changes weight and count.

    Attributes:
        parts: (CODES + 1,) int16 by importance, or (1,) of all weights: Q15, 0 to 2^15 - 1.
        every: it runs with the last of so many samples.
        scheduled: whether the last input is a schedule.
    """

    KIND: ClassVar[str] = "penalty_pull"

    parts: Annotated[Array, Held("int16", 1, 0)]
    every: Annotated[int, within(1, (1 << 31) - 1)] = 1
    scheduled: bool = False

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        shift = self._coarseness(bounds)
        if self.parts.dtype != np.int16 or self.parts.shape not in ((1,), (CODES + 1,)):
            raise self.error(f"parts are {self.parts.dtype} of shape {self.parts.shape}")
        if self.parts.min() < 0:
            raise self.error(f"parts of {self.parts.min()} would drive weights away")
        if len(ins) != 3 + self._has_weights + self.scheduled:
            raise self.error(f"{len(ins)} inputs do not fit its attributes")
        _check_count(self, ins[2], self.every, bounds)
        if self._has_weights:
            self._of(ins[3], "u8")
            if int(bounds[ins[3].name][1].max()) > CODES:
                raise self.error(f"importance {ins[3].name} may exceed {CODES}")
        if self.scheduled:
            low, high = (int(end[0]) for end in bounds[ins[-1].name])
            if low < 0 or high > 1 << 15:
                raise self.error(f"schedule {ins[-1].name} may be {low} to {high}, not 0 to 2^15")
        return Inferred([], shift)

    @property
    def _has_weights(self) -> bool:
        return self.parts.size > 1

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        weight, anchor, count = (env[name] for name in self.inputs[:3])
        if not _is_last(count, self.every):
            return
        parts = self.parts.astype(np.int64)
        part = parts[env[self.inputs[3]]] if self._has_weights else parts[0]
        if self.scheduled:
            part = part * int(env[self.inputs[-1]][0, 0]) >> 15
        w = weight.astype(np.int64)
        low = anchor.astype(np.int64) << self.facts
        high = low + (1 << self.facts) - 1
        away = np.where(w < low, w - low, np.where(w > high, w - high, 0))
        weight[...] = w - shift_round(away * part, 15)

    def cost(self) -> Cost:
        return Cost(macs=self.ins[0].size, weight_bits=8)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/penalty.h")
        parts = em.const(f"{self.name}_parts", self.parts, "Q15 by importance")
        weight, anchor, count, *rest = map(em.tensor, self.inputs)
        importance = rest[0] if self._has_weights else 0
        rate = rest[-1] if self.scheduled else 0
        size = self._size_c()
        pull = c.run("spk_penalty_pull", *size, parts, importance, anchor, rate, weight)
        return [c.when(c.call("spk_penalty_last", count, self.every), pull)]


@dataclass(kw_only=True)
class Gather(Operator):
    """Adds `floor(post^p / 2^a) * floor(pre^p / 2^b)` to what each weight has gathered; p = 1, 2.

    The shifts leave 15 bits of the largest power of post and 13 of pre. Each weight whose two
    factors are not 0 takes a draw of xorshift32, row by row.

    Reads pre of I elements u8, i8 or i16 (less its zero point) and post of O elements i16; changes
    gathered (O, I) u8, the random state (1,) u32 and a count (1,) i32.

    Attributes:
        every: it runs with the last of so many samples.
        squared: p = 2 with errors as post: squared gradients; else p = 1, with activities.
    """

    KIND: ClassVar[str] = "penalty_gather"

    squared: bool
    every: Annotated[int, within(1, (1 << 31) - 1)] = 1

    facts: tuple[int, int] = field(init=False, repr=False, compare=False)  # `downs`

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        pre, post, gathered, state, count = self.ins
        _check_count(self, count, self.every, bounds)
        if pre.dtype not in ("u8", "i8", "i16") or post.dtype != "i16" or post.zero_point:
            raise self.error(
                f"inputs are {pre.dtype} {pre.name}, expected u8, i8 or i16, and {post.dtype} "
                f"{post.name}, expected i16"
            )
        if (gathered.kind, gathered.dtype) != ("learned", "u8") or gathered.shape != (
            post.size,
            pre.size,
        ):
            raise self.error(
                f"{gathered.name} is {gathered.dtype} of shape {gathered.shape}, expected u8 "
                f"{(post.size, pre.size)}"
            )
        if int(bounds[gathered.name][1].max()) > CODES:
            raise self.error(f"{gathered.name} may exceed {CODES}")
        _check_random(self, state)
        shifts = downs(
            _largest(bounds[pre.name], pre.zero_point), _largest(bounds[post.name], 0), self.squared
        )
        return Inferred([], shifts)

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        pre, post, gathered, state, count = (env[name] for name in self.inputs)
        if not _is_last(count, self.every):
            return
        v = self._powers(pre, self.ins[0].zero_point, self.facts[0])
        u = self._powers(post, 0, self.facts[1])
        at = np.ix_(np.flatnonzero(u), np.flatnonzero(v))
        codes = gathered[at].astype(np.int64)
        reached = REACHED[codes] + u[at[0]] * v[at[1]]
        codes = np.searchsorted(REACHED, reached, side="right") - 1
        rest = reached - REACHED[codes]
        drawn, state[0] = draws(int(state[0]), codes.size)
        step = np.append(STEPS, np.uint32(0)).astype(np.uint64)[codes]
        lot = (drawn.reshape(codes.shape).astype(np.uint64) * step >> np.uint64(32)).astype(
            np.int64
        )
        gathered[at] = codes + ((lot < rest) & (codes < CODES))

    def _powers(self, values: Array, zero: int, down: int) -> Array:
        size = np.abs(values.reshape(-1).astype(np.int64) - zero)
        powers: Array = (size * size if self.squared else size) >> down
        return powers

    def cost(self) -> Cost:
        return Cost(macs=self.ins[2].size, weight_bits=8)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/penalty.h")
        pre, post, gathered, state, count = map(em.tensor, self.inputs)
        fields: Fields = {
            "in": self.ins[2].shape[1],
            "out": self.ins[2].shape[0],
            "zero": self.ins[0].zero_point,
            "squared": self.squared,
            "pre_down": self.facts[0],
            "post_down": self.facts[1],
            "steps": em.const("penalty_steps", STEPS, f"({CODES},)"),
        }
        config = em.config(self.name, "spk_importance", fields)
        given = (config, pre, C_TYPES[self.ins[0].dtype], post, state, gathered)
        gather = c.run("spk_importance_gather", *given)
        return [c.when(c.call("spk_penalty_last", count, self.every), gather)]


@dataclass(kw_only=True)
class OwnError(Operator):
    """The error of logits, had the label been one that the network draws: `p - one_hot(drawn)`.

    p, the softmax, is `error + one_hot(label)`, and the probability of a class to be drawn, by one
    draw of xorshift32. Squared gradients of such errors have the Fisher information as their mean:
    those of the labels that were given do not. In samples that are not the last of `every`: 0.

    Reads error (C,) i16 of scale 1 / one, one being 2^4 to 2^14, and label (1,) i32; changes the
    random state (1,) u32 and a count (1,) i32; writes (C,) i16.

    Attributes:
        every: it draws with the last of so many samples.
    """

    KIND: ClassVar[str] = "penalty_own_error"

    every: Annotated[int, within(1, (1 << 31) - 1)] = 1

    @property
    def _one(self) -> int:
        """The code of 1."""
        return round(1 / self.ins[0].scale)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        error, label, state, count = self.ins
        _check_count(self, count, self.every, bounds)
        one = round(1 / error.scale)
        if error.dtype != "i16" or len(error.shape) != 1 or error.zero_point:
            raise self.error(
                f"error {error.name} is {error.dtype} {error.shape}, expected i16 (C,)"
            )
        if one * error.scale != 1 or not 1 << 4 <= one <= 1 << 14 or one & (one - 1):
            raise self.error(f"error {error.name} has scale {error.scale}, not 2^-4 to 2^-14")
        if (label.dtype, label.shape) != ("i32", (1,)):
            raise self.error(f"label {label.name} is {label.dtype} of shape {label.shape}")
        low, high = bounds[label.name]
        if int(low.min()) < 0 or int(high.max()) >= error.size:
            raise self.error(
                f"labels are {int(low.min())} to {int(high.max())} for {error.size} classes"
            )
        _check_random(self, state)
        written = Tensor(self.name, "i16", error.shape, scale=error.scale)
        bounds[self.name] = written.interval(-one, one)
        return Inferred([written])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        error, label, state, count = (env[name] for name in self.inputs)
        env[self.name] = np.zeros((1, self.ins[0].size), np.int16)
        if not _is_last(count, self.every):
            return
        p = error[0].astype(np.int64)
        p[int(label[0, 0])] += self._one
        p = np.clip(p, 0, self._one)
        drawn, state[0] = draws(int(state[0]), 1)
        at = int(drawn[0]) * int(p.sum()) >> 32
        p[min(int((np.cumsum(p) <= at).sum()), self.ins[0].size - 1)] -= self._one
        env[self.name] = p[None].astype(np.int16)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/penalty.h")
        error, label, state, count = map(em.tensor, self.inputs)
        fields: Fields = {
            "classes": self.ins[0].size,
            "one": self._one,
            "every": self.every,
        }
        config = em.config(self.name, "spk_own_error", fields)
        given = (config, error, label.dereference(), state, count, em.tensor(self.name))
        return [c.run("spk_penalty_own_error", *given)]


@dataclass(kw_only=True)
class Join(Operator):
    """On commit, what was gathered joins the importance: `log(exp(a) + exp(b))` of the codes.

    The smaller of two codes adds JOINED[difference] to the larger; 0 stands for nothing.

    Changes gathered u8, to 0, and importance u8, both of n elements.
    """

    KIND: ClassVar[str] = "penalty_join"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        for tensor in ins:
            if (tensor.kind, tensor.dtype, tensor.size) != ("learned", "u8", ins[0].size):
                raise self.error(f"input {tensor.name} is no learned u8 of {ins[0].size} elements")
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.COMMIT

    def golden(self, env: dict[str, Array], t: int) -> None:
        gathered, importance = (env[name] for name in self.inputs)
        high = np.maximum(gathered, importance).astype(np.int64)
        low = np.minimum(gathered, importance).astype(np.int64)
        apart = high - low
        more = np.where((low > 0) & (apart < NEAR), JOINED[np.minimum(apart, NEAR - 1)], 0)
        importance[...] = np.minimum(high + more, CODES)
        gathered[...] = 0

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/penalty.h")
        sums = em.const("penalty_sums", JOINED, f"({NEAR},)")
        gathered, importance = map(em.tensor, self.inputs)
        n = c.unsigned(self.ins[0].size)
        return [c.run("spk_importance_join", n, sums, gathered, importance)]


@dataclass(kw_only=True)
class Anchor(_OfWeight):
    """On commit, the anchor becomes `floor(w / 2^s)`, s as in `Pull`.

    Reads the weight, changes the anchor.
    """

    KIND: ClassVar[str] = "penalty_anchor"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        return Inferred([], self._coarseness(bounds))

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.COMMIT

    def golden(self, env: dict[str, Array], t: int) -> None:
        weight, anchor = (env[name] for name in self.inputs)
        anchor[...] = (weight >> self.facts).reshape(anchor.shape)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/penalty.h")
        weight, anchor = map(em.tensor, self.inputs)
        size = self._size_c()
        return [c.run("spk_penalty_anchor", *size, weight, anchor)]


def parts(strength: float) -> Array:
    """(CODES + 1,) int16 for `Pull`: by importance, the part of the distance, Q15, at most 1.

    Args:
        strength: that a sum of 1 in an importance's units gives, as a part of the distance.
    """
    most = (1 << 15) - 1
    powers: Array = np.rint(np.minimum(_SUM * strength * 2**15, most)).astype(np.int16)
    return powers


def downs(pre: int, post: int, squared: bool) -> tuple[int, int]:
    """The shifts of `Gather`, for the largest sizes of pre and post.

    A sum of 1 stands for `2^(a + b)` in codes of pre^p * post^p.
    """
    power = 2 if squared else 1
    return (
        max(0, (pre**power).bit_length() - PRE_BITS),
        max(0, (post**power).bit_length() - POST_BITS),
    )


def _largest(ends: Interval, zero: int) -> int:
    low, high = (end.astype(np.int64) - zero for end in ends)
    return max(1, int(-low.min()), int(high.max()))


def _check_count(node: Operator, count: Tensor, every: int, bounds: dict[str, Interval]) -> None:
    if not 1 <= every <= 1 << 16:
        raise node.error(f"every {every} is not 1 to 65536 samples")
    if (count.kind, count.dtype, count.shape) != ("learned", "i32", (1,)):
        raise node.error(f"input {count.name} is no learned count of type i32, shape (1,)")
    low, high = bounds[count.name]
    if int(low[0]) < 0 or int(high[0]) >= every:
        raise node.error(f"count {count.name} may leave 0 to {every - 1}")


def _check_random(node: Operator, state: Tensor) -> None:
    if (state.kind, state.dtype, state.shape) != ("learned", "u32", (1,)):
        raise node.error(f"{state.name} is no learned u32 of shape (1,)")


def _is_last(count: Array, every: int) -> bool:
    """Counts a sample: whether it is the last of so many."""
    count[0] = (int(count[0]) + 1) % every
    return bool(count[0] == 0)
