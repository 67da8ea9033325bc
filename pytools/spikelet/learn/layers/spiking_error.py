"""Errors of a spiking network, of each time step. C twin: firmware/learn/three_factor.h.

The error of a neuron's spike times its surrogate derivative is what its weights learn from; through
the weights it is the error of the spikes in front.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement, Value
from spikelet.graph.declared import Q15, Held, TensorScale, one_of, within
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Phase
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.bases.trainable import LearningOperator, Scaled
from spikelet.learn.layers.spiking_dense import code_of
from spikelet.learn.layers.spiking_record import PEAK
from spikelet.learn.layers.to_scalar import ToScalar
from spikelet.learn.numbers.scalar import PRECISIONS
from spikelet.learn.numbers.traces import Trace

LIMIT = 32767
Limit = Annotated[int, within(1, LIMIT)]


def rows_of(tensor: Tensor, n: int) -> int:
    """1 for (n,), T for (T, n); 0 for another shape."""
    if tensor.shape[-1] != n or len(tensor.shape) > 2:
        return 0
    return tensor.size // n


@dataclass(kw_only=True)
class SpikingScores(ToScalar):
    """Counts of spikes, or membranes, as logits: `code * gain`; runs once a label is known.

    Reads counts i16 or membranes i32 or i16, (C,); writes (C,) i16.

    Attributes:
        gain: of a logit, for each unit.
    """

    KIND: ClassVar[str] = "spiking_scores"

    precision: Annotated[str, one_of(*PRECISIONS)] = "i16"
    gain: TensorScale = 1.0

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype not in ("i16", "i32"):
            raise self.error(f"reads {x.dtype}, expected counts or membranes, i16 or i32")
        scale = self.scale_of(self.gain / self.output_scale, self.output_limit)
        written = self.value(self.name, (x.size,), self.output_scale, self.output_limit)
        bounds[self.name] = self.value_bounds(written, self.output_limit)
        return Inferred([written], Scaled(scale))

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        super().golden(env, t)
        env[self.name] = env[self.name].reshape(1, -1)


@dataclass(kw_only=True)
class SpikingError(LearningOperator):
    """`delta[t, o] = error[t, o] * surrogate[t, o] * gain[o]`, times `kept[t]` where given.

    With gains of m / 2^shift, rounded to nearest, halves up; saturated at +-limit. An error (m,)
    is that of every step. Reads error (m,) or (T, m) i16 and surrogate (T, m) u8; writes (T, m)
    i16.

    Attributes:
        gains: (m,) int32, 0 to 2^15.
        shift: 1 to 62.
        kept: (T,) int32 Q15; None for 1.0 in every step.
        limit: of what it writes.
    """

    KIND: ClassVar[str] = "spiking_error"

    precision: Annotated[str, one_of(*PRECISIONS)] = "i16"
    gains: Annotated[Array, Held("int32", 1, 0, 1 << 15)]
    shift: Annotated[int, within(1, 62)]
    kept: Annotated[Array, Held("int32", 1, 0, 1 << 15)] | None = None
    limit: Limit = LIMIT

    facts: int = field(init=False, repr=False, compare=False)  # rows of the error

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        m = len(self.gains)
        rows = rows_of(self.ins[0], m) if len(self.ins) == 2 else 0
        if rows not in (1, steps) or self.ins[0].dtype != "i16":
            raise self.error(f"expected error ({m},) or ({steps}, {m}) i16, and surrogate")
        self.expect_shape(self.ins[1], ("u8",), (steps, m))
        self.expect_range(self.ins[1], bounds, 0, PEAK)
        if self.kept is not None and len(self.kept) != steps:
            raise self.error(f"kept has {len(self.kept)} values for {steps} steps")
        bounds[self.name] = interval((steps, m), -self.limit, self.limit)
        return Inferred([Tensor(self.name, "i16", (steps, m))], rows)

    def golden(self, env: dict[str, Array], t: int) -> None:
        error = env[self.inputs[0]].reshape(-1, len(self.gains)).astype(np.int64)
        product = error * env[self.inputs[1]][0] * self.gains
        if self.kept is not None:
            product = product * self.kept[:, None]
        delta = (product + (np.int64(1) << (self.shift - 1))) >> self.shift
        env[self.name] = np.clip(delta, -self.limit, self.limit).astype(np.int16)[None]

    def cost(self) -> Cost:
        return Cost(macs=self.ins[1].size)

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/three_factor.h")
        kept: Value = 0
        steps, m = self.ins[1].shape
        if self.kept is not None:
            kept = em.const(f"{self.name}_kept", self.kept, f"({steps},)")
        fields: Fields = {
            "n": m,
            "rows": self.facts,
            "steps": steps,
            "gains": em.const(f"{self.name}_gains", self.gains, f"({m},)"),
            "kept": kept,
            "shift": self.shift,
            "limit": self.limit,
        }
        config = em.config(self.name, "spk_spiking_error", fields)
        error, surrogate = map(em.tensor, self.inputs)
        return [c.run("spk_spiking_error", config, error, surrogate, em.tensor(self.name))]


@dataclass(kw_only=True)
class SpikingErrorSum(LearningOperator):
    """`sum over t of delta[t, o] * trace[t]`, the trace being that of a spike in every step.

    What a weight learns from whose input is the same in every step. Reads (T, m) i16; writes (m,)
    i16, of the scale `output_scale` where a unit of the products is 1, saturated at +-limit.

    Attributes:
        keep: of the trace, Q15.
        one: of the trace, what a spike adds.
        output_scale: see above.
        limit: of what it writes.
    """

    KIND: ClassVar[str] = "spiking_error_sum"

    precision: Annotated[str, one_of(*PRECISIONS)] = "i16"
    keep: Q15 = 0
    one: Annotated[int, within(1, 4095)] = 1
    output_scale: TensorScale = 1.0
    limit: Limit = LIMIT

    facts: Scaled = field(init=False, repr=False, compare=False)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype != "i16" or len(x.shape) != 2 or x.shape[0] != steps:
            raise self.error(f"{x.name} is {x.dtype} {x.shape}, expected i16 ({steps}, m)")
        total = int(self._trace(steps).sum())
        self.prove(total * self.largest(x, bounds), "a sum over time")
        scale = self.scale_of(1 / self.output_scale, self.limit)
        bounds[self.name] = interval((x.shape[1],), -self.limit, self.limit)
        return Inferred([Tensor(self.name, "i16", (x.shape[1],))], Scaled(scale))

    def _trace(self, steps: int) -> Array:
        return Trace(self.keep, self.one).steady(steps)

    def golden(self, env: dict[str, Array], t: int) -> None:
        delta = env[self.inputs[0]][0].astype(np.int64)
        sums = self._trace(len(delta)) @ delta
        env[self.name] = self.facts.scale.narrow(sums).astype(np.int16)[None]

    def cost(self) -> Cost:
        return Cost(macs=self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/three_factor.h")
        steps, m = self.ins[0].shape
        fields: Fields = {
            "n": m,
            "steps": steps,
            "keep": self.keep,
            "one": self.one,
            "scale": self.facts.scale.c(self.precision),
        }
        config = em.config(self.name, "spk_spiking_error_sum", fields)
        return [
            c.run("spk_spiking_error_sum", config, em.tensor(self.inputs[0]), em.tensor(self.name))
        ]


@dataclass(kw_only=True)
class SpikingInputError(LearningOperator):
    """The error of spikes: `sum over o of code[i, o] * delta[t, o]`, of each step.

    Reads delta (m,) or (T, m) i16, then the learned weight (n, m) i16 unless it is frozen; writes
    (n,) or (T, n) i16, of the scale `output_scale` where a unit of the products is 1.

    Attributes:
        frozen: (n, m) int8 codes of a layer that does not learn, or of direct feedback.
        output_scale: see above.
        limit: saturates at +-limit.
    """

    KIND: ClassVar[str] = "spiking_input_error"

    precision: Annotated[str, one_of(*PRECISIONS)] = "i16"
    frozen: Annotated[Array, Held("int8", 2)] | None = None
    output_scale: TensorScale = 1.0
    limit: Limit = LIMIT

    facts: Scaled = field(init=False, repr=False, compare=False)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        if len(self.ins) != 1 + (self.frozen is None):
            raise self.error(f"reads {len(self.ins)} tensors, expected delta, and weight if any")
        delta = self.ins[0]
        if self.frozen is None:
            n, m = self.ins[1].shape if len(self.ins[1].shape) == 2 else (0, 0)
            self.expect_learned(self.ins[1], bounds, "i16", (n, m))
            most = 128 * m
        else:
            n, m = self.frozen.shape
            most = int(np.abs(self.frozen.astype(np.int64)).sum(axis=1).max())
        rows = rows_of(delta, m)
        if rows not in (1, steps) or delta.dtype != "i16":
            raise self.error(f"{delta.name} is {delta.dtype} {delta.shape}, expected i16 (., {m})")
        self.prove(most * self.largest(delta, bounds), "the error of an input")
        shape = (n,) if len(delta.shape) == 1 else (rows, n)
        bounds[self.name] = interval(shape, -self.limit, self.limit)
        scale = self.scale_of(1 / self.output_scale, self.limit)
        return Inferred([Tensor(self.name, "i16", shape)], Scaled(scale))

    def golden(self, env: dict[str, Array], t: int) -> None:
        codes = code_of(env[self.inputs[1]]) if self.frozen is None else self.frozen
        m = codes.shape[1]
        delta = env[self.inputs[0]].reshape(-1, m)
        sums = (delta.astype(np.float64) @ codes.T.astype(np.float64)).astype(np.int64)
        shape = (1, *self.outs[0].shape)
        env[self.name] = self.facts.scale.narrow(sums).astype(np.int16).reshape(shape)

    def cost(self) -> Cost:
        return Cost(macs=self.outs[0].size * self.ins[0].shape[-1], weight_bits=8)

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/three_factor.h")
        m, n = self.ins[0].shape[-1], self.outs[0].shape[-1]
        fields: Fields = {
            "inputs": n,
            "outputs": m,
            "rows": self.outs[0].size // n,
            "learned": self.frozen is None,
            "scale": self.facts.scale.c(self.precision),
        }
        config = em.config(self.name, "spk_spiking_input_error", fields)
        if self.frozen is None:
            codes: Value = em.tensor(self.inputs[1])
        else:
            codes = em.const(f"{self.name}_frozen", self.frozen, f"({n}, {m})")
        delta, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_spiking_input_error", config, delta, codes, to)]
