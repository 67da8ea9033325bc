"""The three-factor step of a dense spiking layer. C twin: firmware/learn/three_factor.h.

Sources: Xiao, Meng, Zhang, He, Lin, "Online Training Through Time for Spiking Neural Networks",
NeurIPS 2022 (a presynaptic trace, times the surrogate derivative, times the error of this step);
Bellec et al., "A solution to the learning dilemma for recurrent networks of spiking neurons",
Nature Communications 2020 (the error through random feedback).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Q15, Held, Size, one_of, within
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.bases.trainable import LearningOperator
from spikelet.learn.layers.spiking_error import rows_of
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.fixed import add_up
from spikelet.learn.numbers.scalar import PRECISIONS
from spikelet.learn.numbers.traces import WORD, Trace, unpacked

MOST_STEP = 1 << 16  # of a weight, which is its whole range
RATE_BITS = 30


@dataclass(kw_only=True)
class SpikeTrace(LearningOperator):
    """Presynaptic traces in one row: those after the last step, or their mean over all steps.

    Reads history (T, words) u32; writes (n,) i16.

    Attributes:
        size: n.
        keep: Q15, see `Trace`.
        one: see `Trace`.
        mean: over time, rounded down; else those after the last step.
    """

    KIND: ClassVar[str] = "spike_trace"

    precision: Annotated[str, one_of(*PRECISIONS)] = "i16"
    size: Size
    keep: Q15
    one: Annotated[int, within(1, 4095)]
    mean: bool = False

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        expect_history(self, self.ins[0], steps, self.size)
        most = int(Trace(self.keep, self.one).steady(steps).max())
        if most > scalar.Q15 - 1:
            raise self.error(f"a trace may reach {most}, beyond 16 bits")
        bounds[self.name] = interval((self.size,), 0, most)
        return Inferred([Tensor(self.name, "i16", (self.size,))])

    def golden(self, env: dict[str, Array], t: int) -> None:
        traces = Trace(self.keep, self.one).over(unpacked(env[self.inputs[0]][0], self.size))
        row = traces.sum(axis=0) // len(traces) if self.mean else traces[-1]
        env[self.name] = row.astype(np.int16)[None]

    def cost(self) -> Cost:
        return Cost(updates=self.size * self.ins[0].shape[0])

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/three_factor.h")
        fields: Fields = {
            "inputs": self.size,
            "steps": self.ins[0].shape[0],
            "keep": self.keep,
            "one": self.one,
        }
        config = em.config(self.name, "spk_trace", fields)
        history, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_spike_trace", config, history, self.mean, to)]


def expect_history(node: LearningOperator, tensor: Tensor, steps: int, n: int) -> None:
    """Refuse what is no history of n neurons' spikes."""
    node.expect_shape(tensor, ("u32",), (steps, -(-n // WORD)))


@dataclass(frozen=True)
class Span:
    """What an update infers.

    Attributes:
        steps: T.
        bias_limit: how far from 0 a bias may move.
    """

    steps: int
    bias_limit: int = 0


@dataclass(kw_only=True)
class SpikingUpdate(LearningOperator):
    """`weight[i, o] += rate[o] * sum over t of delta[t, o] * trace[t, i]`, of a `SpikingDense`.

    A rate is an integer divided by 2^shift, the change is rounded once, stochastically or to
    nearest. Delta of one row (m,) meets one row of traces: those after the last step, or the values
    x themselves. The bias's trace is that of a spike in every step, and of values 1.

    Order: inputs in their order, those whose traces are all 0 are left out; in each the outputs in
    groups of four, with one draw of xorshift32 a group, its lowest byte for the first one.

    Reads delta (m,) or (T, m) i16; x: history (T, words) u32, or values (n,) u8, i8 or i16 with a
    delta of one row; then, as far as they learn, weight (n, m) i16 and bias (m,) i32; then random
    (1,) u32 where it rounds stochastically, health (1,) i32, which counts what saturated, and, if
    scheduled, the part of the rates to use, (1,) i32 Q15.

    Attributes:
        size: n.
        rates: (m,) int32, -2^30 to 0: minus the learning rates. None: weights do not learn.
        shift: 9 to 62.
        bias_rates: the same, of biases. None: they do not learn.
        bias_shift: 1 to 62.
        keep: Q15, see `Trace`; of histories.
        one: see `Trace`; of histories.
        rounding: of weights: nearest or stochastic.
        scheduled: see above.
    """

    KIND: ClassVar[str] = "spiking_update"

    precision: Annotated[str, one_of(*PRECISIONS)] = "i16"
    size: Size
    rates: Annotated[Array, Held("int32", 1, -(1 << RATE_BITS), 0)] | None = None
    shift: Annotated[int, within(9, 62)] = 9
    bias_rates: Annotated[Array, Held("int32", 1, -(1 << RATE_BITS), 0)] | None = None
    bias_shift: Annotated[int, within(1, 62)] = 1
    keep: Q15 = 0
    one: Annotated[int, within(1, 4095)] = 1
    rounding: Annotated[str, one_of("nearest", "stochastic")] = "stochastic"
    scheduled: bool = False

    facts: Span = field(init=False, repr=False, compare=False)

    @property
    def roles(self) -> tuple[str, ...]:
        """What its inputs are, in order."""
        wanted = {
            "delta": True,
            "x": True,
            "weight": self.rates is not None,
            "bias": self.bias_rates is not None,
            "random": self.rates is not None and self.rounding == "stochastic",
            "health": True,
            "schedule": self.scheduled,
        }
        return tuple(role for role, is_in in wanted.items() if is_in)

    @property
    def _from_history(self) -> bool:
        return self.ins[1].dtype == "u32"

    @property
    def _outputs(self) -> int:
        rates = self.bias_rates if self.rates is None else self.rates
        if rates is None:
            raise self.error("neither weights nor biases learn")
        return len(rates)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        if len(self.ins) != len(self.roles):
            raise self.error(f"reads {len(self.ins)} tensors, expected {', '.join(self.roles)}")
        given = dict(zip(self.roles, self.ins, strict=True))
        delta, x, m = given["delta"], given["x"], self._outputs
        rows = rows_of(delta, m)
        if delta.dtype != "i16" or rows not in (1, steps):
            raise self.error(f"{delta.name} is {delta.dtype} {delta.shape}, expected i16 (., {m})")
        if self._from_history:
            expect_history(self, x, steps, self.size)
            steady = Trace(self.keep, self.one).steady(steps)
            most = int(steady.sum() if rows > 1 else steady.max())
            if int(steady.max()) > scalar.Q15 - 1:
                raise self.error(f"a trace may reach {steady.max()}, beyond 16 bits")
        else:
            self.expect_shape(x, ("u8", "i8", "i16"), x.shape)
            if x.size != self.size or rows != 1 or x.zero_point:
                raise self.error(
                    f"{x.name} has {x.size} values and zero point {x.zero_point}, delta {rows} "
                    f"rows; expected {self.size}, 0 and 1"
                )
            most = max(1, self.largest(x, bounds))
        self.prove(most * self.largest(delta, bounds), "a gradient")
        return Inferred([], Span(steps, self._expect_learned(given, bounds, m)))

    def _expect_learned(self, given: dict[str, Tensor], bounds: dict[str, Interval], m: int) -> int:
        """Refuse learned tensors that are none; how far from 0 biases may move."""
        shapes = {"weight": ("i16", (self.size, m)), "bias": ("i32", (m,)), "health": ("i32", (1,))}
        for role, (dtype, shape) in shapes.items():
            if role in given:
                self.expect_learned(given[role], bounds, dtype, shape)
        ranges = {"random": ("u32", 1, (1 << 32) - 1), "schedule": ("i32", 0, scalar.Q15)}
        for role, (dtype, low, high) in ranges.items():
            if role in given:
                self.expect_shape(given[role], (dtype,), (1,))
                self.expect_range(given[role], bounds, low, high)
        if self.bias_rates is not None and len(self.bias_rates) != m:
            raise self.error(f"{len(self.bias_rates)} rates of biases, expected {m}")
        return self.reach(given["bias"], bounds) if "bias" in given else 0

    def golden(self, env: dict[str, Array], t: int) -> None:
        at = dict(zip(self.roles, self.inputs, strict=True))
        delta = env[at["delta"]].reshape(-1, self._outputs).astype(np.int64)
        traces, steady = self._traces(env[at["x"]][0], len(delta))
        part = int(env[at["schedule"]].flat[0]) if "schedule" in at else scalar.Q15
        saturated = 0
        if self.rates is not None:
            rates = _at_part(self.rates, part)
            saturated += self._step_weights(env, at, delta, traces, rates)
        if self.bias_rates is not None:
            bias = env[at["bias"]]
            change = (steady @ delta) * _at_part(self.bias_rates, part)
            step = (change + (np.int64(1) << (self.bias_shift - 1))) >> self.bias_shift
            held = np.clip(bias + step, -self.facts.bias_limit, self.facts.bias_limit)
            saturated += int((held != bias + step).sum())
            bias[...] = held.astype(np.int32)
        add_up(env[at["health"]], saturated)

    def _traces(self, x: Array, rows: int) -> tuple[Array, Array]:
        """Traces of inputs (rows, n), and of a bias (rows,), int64."""
        if not self._from_history:
            return x.reshape(1, -1).astype(np.int64), np.ones(1, np.int64)
        trace = Trace(self.keep, self.one)
        traces, steady = trace.over(unpacked(x, self.size)), trace.steady(self.facts.steps)
        return traces[-rows:], steady[-rows:]

    def _step_weights(
        self, env: dict[str, Array], at: dict[str, str], delta: Array, traces: Array, rates: Array
    ) -> int:
        active = np.flatnonzero(traces.any(axis=0))
        gradient = traces[:, active].T @ delta
        groups = -(-self._outputs // 4)
        dither: Array | np.int64 = np.int64(1) << (self.shift - 1)
        if "random" in at:
            drawn, state = scalar.draws(int(env[at["random"]][0]), groups * len(active))
            env[at["random"]][0] = state
            random = scalar.random_bytes(drawn).reshape(len(active), 4 * groups)
            byte = random[:, : self._outputs].astype(np.int64)
            dither = (2 * byte + 1) << (self.shift - 9)
        change = np.clip((gradient * rates + dither) >> self.shift, -MOST_STEP, MOST_STEP)
        moved = env[at["weight"]][active] + change
        held = np.clip(moved, -scalar.Q15, scalar.Q15 - 1)
        env[at["weight"]][active] = held.astype(np.int16)
        return int((held != moved).sum())

    def cost(self) -> Cost:
        rows = self.ins[0].size // self._outputs
        return Cost(macs=rows * self.size * self._outputs * (self.rates is not None))

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/three_factor.h")
        m = self._outputs
        fields: Fields = {
            "trace": {
                "inputs": self.size,
                "steps": self.facts.steps,
                "keep": self.keep,
                "one": self.one,
            },
            "outputs": m,
            "rows": self.ins[0].size // m,
            "shift": self.shift,
            "bias_shift": self.bias_shift,
            "bias_limit": self.facts.bias_limit,
            "stochastic": "random" in self.roles,
        }
        for name in ("rates", "bias_rates"):
            values = getattr(self, name)
            if values is not None:
                fields[name] = em.const(f"{self.name}_{name}", values, f"({m},)")
        parts: Fields = {}
        for role, name in zip(self.roles, self.inputs, strict=True):
            if role != "x":
                at = em.tensor(name)
                parts[role] = c.cast("uint32_t *", at) if role == "health" else at
        config = em.config(self.name, "spk_spiking_update", fields)
        rows = c.cast("int32_t *", em.scratch(self.name, 4 * self.facts.steps))
        call = f"spk_spiking_update_{'history' if self._from_history else self.ins[1].dtype}"
        given = c.compound("struct spk_spiking_parts", parts)
        return [c.run(call, config, em.tensor(self.inputs[1]), given, rows)]


def _at_part(rates: Array, part: int) -> Array:
    """Rates of which a part, Q15, is used."""
    return (rates.astype(np.int64) * part + (1 << 14)) >> 15
