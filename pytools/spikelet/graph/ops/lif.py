"""Leaky integrate-and-fire neurons with their whole convention. C twin: firmware/kernels/lif.h."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Expression, Fields, Statement, Value
from spikelet.graph.declared import Held, Int32, one_of, within
from spikelet.graph.fixed import (
    C_ROUNDINGS,
    LEAK_BITS,
    LEAK_INSTRUCTIONS,
    Q15_ONE,
    ROUNDINGS,
    Membranes,
    leak,
    saturate,
)
from spikelet.graph.operator import (
    Cost,
    Emitter,
    Inferred,
    Interval,
    Operator,
    Phase,
    Precision,
    Role,
)
from spikelet.graph.tensor import Array, Tensor
from spikelet.graph.varied import check_leaks, check_length, leak_fields, repeated

COMPARISONS = (">", ">=")
RESETS = ("none", "zero", "value", "subtract")
TIMINGS = ("same_step", "next_step", "next_step_input_lost")


@dataclass(kw_only=True)
class Lif(Operator):
    """Leaky integrate-and-fire, on integers.

    Reads input of n elements, i16 or i32; writes in its shape `name.spikes` bit, `name.membrane`
    and, with a refractory time, `name.refractory` u8. What differs between neurons has n values, or
    k that are repeated: of channels, which lie along the last axis.

    With `fires(v)` the comparison to the threshold and `r` its result on the stored membrane:

    - same_step: `v = leak(v) + x; s = fires(v)`; a spike then sets v to 0, to the reset value, or
      takes the threshold off.
    - next_step: as above, but the stored membrane is the one before the reset, and `r` resets it at
      the start of the next step: `v = leak(0 or value) + x`, or `v = leak(v) + x - r * threshold`.
    - next_step_input_lost: with zero and value, the reset comes after that step's input:
      `v = r ? value : leak(v) + x`. With subtract it is the same as next_step.

    A neuron that waits out its refractory time keeps its membrane, takes no input and does not
    spike. Membranes saturate; every saturation is counted.

    Attributes:
        threshold: (n,), (k,) or (1,) int32, in units of the membrane.
        leak: what the membrane keeps in a step, 0 to 2^leak_bits, which keeps all.
        leaks: (n,) or (k,) uint32 in its place, where it differs between neurons.
        leak_bits: fraction bits of the leak, 15 to 31; with 15, membranes below 2^15 take no 64-bit
            product.
        leak_round: rounding of the leak, one of floor, zero, nearest.
        compare: `>` or `>=`.
        reset: none, zero, value, subtract.
        timing: same_step, next_step, next_step_input_lost.
        reset_value: (n,), (k,) or (1,) int32 for reset to a value.
        input_shift: the input enters as `x << input_shift`: fraction bits of the membrane.
        drift: (n,), (k,) or (1,) int32, what a membrane gets in every step besides its input.
        refractory: steps, 0 to 255.
        initial: membrane before the first step.
        initials: (n,) or (k,) int32 in its place, where it differs between neurons.
        membrane: i16, i32, or auto: the narrowest that is proved never to saturate.
    """

    KIND: ClassVar[str] = "lif"

    threshold: Annotated[Array, Held("int32", 1, 0)]
    leak: Annotated[int, within(0, 1 << 31)] = Q15_ONE
    leaks: Annotated[Array, Held("uint32", 1, 0, 1 << 31)] | None = None
    leak_bits: Annotated[int, within(LEAK_BITS[0], LEAK_BITS[-1])] = 15
    leak_round: Annotated[str, one_of(*ROUNDINGS)] = "zero"
    compare: Annotated[str, one_of(*COMPARISONS)] = ">"
    reset: Annotated[str, one_of(*RESETS)] = "zero"
    timing: Annotated[str, one_of(*TIMINGS)] = "same_step"
    reset_value: Annotated[Array, Held("int32", 1)] | None = None
    input_shift: Annotated[int, within(0, 15)] = 0
    drift: Annotated[Array, Held("int32", 1)] | None = None
    refractory: Annotated[int, within(0, 255)] = 0
    initial: Int32 = 0
    initials: Annotated[Array, Held("int32", 1)] | None = None
    membrane: Annotated[str, one_of("auto", "i16", "i32")] = "auto"

    facts: Membranes = field(init=False, repr=False, compare=False)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        if ins[0].dtype not in ("i16", "i32"):
            raise self.error(f"input {ins[0].name} is {ins[0].dtype}, expected i16 or i32")
        self._check(ins[0].size)
        drift = self._each(self.drift)
        x_low, x_high = (
            (b.astype(np.int64) << self.input_shift) + drift for b in bounds[self.inputs[0]]
        )
        if max(-int(x_low.min()), int(x_high.max())) >= 1 << 31:
            raise self.error("an input may reach beyond 32 bits: lower input_shift")
        (least, most), stored = self._membrane_range(x_low, x_high, steps)
        held = self._held()
        dtype = self.membrane
        if self.membrane == "auto":
            narrow = all(
                -Q15_ONE <= int(np.min(v)) and int(np.max(v)) < Q15_ONE
                for v in (least, most, *held)
            )
            dtype = "i16" if narrow else "i32"
        limit = np.iinfo(np.int16 if dtype == "i16" else np.int32)
        exact = limit.min <= int(least.min()) and int(most.max()) <= limit.max
        low, high = (np.clip(v, limit.min, limit.max) for v in stored)
        leaked = [low, high]  # what the leak is applied to
        if self.reset_value is not None and self.timing == "next_step":
            leaked.append(self.reset_value)
        small = self.leak_bits == 15 and all(
            int(v.min()) > -Q15_ONE and int(v.max()) < Q15_ONE for v in leaked
        )
        zeros = np.zeros_like(low)
        bounds[f"{self.name}.membrane"] = (low, high)
        bounds[f"{self.name}.spikes"] = (zeros, zeros + 1)
        if self.refractory:
            bounds[f"{self.name}.refractory"] = (zeros, zeros + self.refractory)
        written = [
            Tensor(f"{self.name}.spikes", "bit", ins[0].shape),
            Tensor(f"{self.name}.membrane", dtype, ins[0].shape, kind="state", persistent=True),
        ]
        if self.refractory:
            written.append(
                Tensor(f"{self.name}.refractory", "u8", ins[0].shape, kind="state", persistent=True)
            )
        return Inferred(written, Membranes(exact, small))

    def _check(self, n: int) -> None:
        check_leaks(self, n)
        if (self.reset_value is not None) != (self.reset == "value"):
            raise self.error("reset_value goes with reset 'value', and only with it")
        for name in ("threshold", "reset_value", "initials", "drift"):
            check_length(self, name, getattr(self, name), n)
        far = any(np.abs(v.astype(np.int64)).max() >= 1 << 15 for v in self._held())
        if self.membrane == "i16" and far:
            raise self.error("threshold, reset value or initial membrane is beyond int16")
        if np.any(self.threshold < 0):
            raise self.error(f"threshold {int(self.threshold.min())} is negative")

    def tensor_roles(self) -> dict[str, Role]:
        return {f"{self.name}.spikes": Role.SPIKES, f"{self.name}.membrane": Role.MEMBRANE}

    def membrane_precision(self) -> Precision:
        cost = LEAK_INSTRUCTIONS[self.outs[1].dtype, self.leak_bits > 15]
        return Precision(self.input_shift, self.leak_bits, cost)

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.STEP

    def start(self, env: dict[str, Array], samples: int) -> None:
        dtype = np.int16 if self.outs[1].dtype == "i16" else np.int32
        shape = (samples, *self.ins[0].shape)
        env[f"{self.name}.membrane"] = np.broadcast_to(self._start(), shape).astype(dtype)
        if self.refractory:
            env[f"{self.name}.refractory"] = np.zeros(shape, np.uint8)

    def _start(self) -> Array:
        return self._each(np.array([self.initial]) if self.initials is None else self.initials)

    def _held(self) -> list[Array]:
        """What a membrane is compared with or set to."""
        given = (np.array([self.initial]), self.initials, self.threshold, self.reset_value)
        return [values for values in given if values is not None]

    def _each(self, values: Array | None) -> Array:
        """Values of all neurons, int64, in the input's shape; 0 for None."""
        return repeated(np.zeros(1) if values is None else values, self.ins[0].shape)

    def _fires(self, v: Array) -> Array:
        threshold = self._each(self.threshold)
        fires: Array = v > threshold if self.compare == ">" else v >= threshold
        return fires

    def golden(self, env: dict[str, Array], t: int) -> Array:
        stored = env[f"{self.name}.membrane"]
        v = stored.astype(np.int64)
        x = (env[self.inputs[0]].astype(np.int64) << self.input_shift) + self._each(self.drift)
        threshold, value = self._each(self.threshold), self._each(self.reset_value)
        to_value = self.reset in ("zero", "value")
        late = self._fires(v) & (self.timing != "same_step") & (self.reset != "none")

        if to_value and self.timing == "next_step":
            v = np.where(late, value, v)
        v = self._leak(v) + x
        if self.reset == "subtract":
            v = v - late * threshold
        if to_value and self.timing == "next_step_input_lost":
            v = np.where(late, value, v)
        v, clipped = saturate(v, self.outs[1].dtype)
        spikes = self._fires(v)
        if self.timing == "same_step":
            if self.reset == "subtract":
                v = v - spikes * threshold
            elif to_value:
                v = np.where(spikes, value, v)

        if self.refractory:
            waiting = env[f"{self.name}.refractory"]
            idle = waiting > 0
            v, spikes, clipped = np.where(idle, stored, v), spikes & ~idle, clipped & ~idle
            env[f"{self.name}.refractory"] = np.where(
                spikes, self.refractory, np.where(idle, waiting - 1, 0)
            ).astype(np.uint8)
        env[f"{self.name}.membrane"] = v.astype(stored.dtype)
        env[f"{self.name}.spikes"] = spikes.astype(np.uint8)
        saturations: Array = clipped.reshape(len(v), -1).sum(axis=1)
        return saturations

    def _leak(self, v: Array) -> Array:
        factor = self.leak if self.leaks is None else self._each(self.leaks)
        return leak(v, factor, self.leak_round, self.leak_bits)

    def _membrane_range(self, x_low: Array, x_high: Array, steps: int) -> tuple[Interval, Interval]:
        """What the membrane may be before it is clipped, and what may be stored, in any step."""
        threshold, value = self._each(self.threshold), self._each(self.reset_value)
        to_value = self.reset in ("zero", "value")
        now = self.timing == "same_step"
        low = high = self._start()
        least, most = low, high
        for _ in range(steps):
            before = low, high
            fired_low, fired_high = np.maximum(low, threshold), high  # if it fired, late resets
            if not now and self.reset != "none":
                high = np.minimum(high, np.maximum(threshold, low))  # if it did not
            if to_value and self.timing == "next_step":
                low, high = np.minimum(low, value), np.maximum(high, value)
            new_low, new_high = self._leak(low) + x_low, self._leak(high) + x_high
            if self.reset == "subtract" and not now:
                new_low = np.minimum(new_low, self._leak(fired_low) + x_low - threshold)
                new_high = np.maximum(new_high, self._leak(fired_high) + x_high - threshold)
            if to_value and self.timing == "next_step_input_lost":
                new_low, new_high = np.minimum(new_low, value), np.maximum(new_high, value)
            least, most = np.minimum(least, new_low), np.maximum(most, new_high)
            if now and self.reset != "none":
                # What did not fire is at most the threshold; what did was reset.
                after = value if to_value else np.maximum(new_high - threshold, 0)
                low_after = value if to_value else np.zeros_like(value)
                new_high = np.maximum(np.minimum(new_high, threshold), after)
                new_low = np.minimum(new_low, low_after)
            # A membrane may also be held: the union over all steps.
            low = np.clip(np.minimum(before[0], new_low), -(1 << 31), None)
            high = np.clip(np.maximum(before[1], new_high), None, (1 << 31) - 1)
        return (least, most), (low, high)

    def cost(self) -> Cost:
        return Cost(updates=self.ins[0].size)

    def _config(self, em: Emitter) -> Expression:
        wide = self.outs[1].dtype == "i32"
        fields: Fields = {
            "n": self.ins[0].size,
            **leak_fields(self, em),
            "leak_bits": self.leak_bits,
            "rounding": c.name(C_ROUNDINGS[self.leak_round]),
            "inclusive": self.compare == ">=",
            "reset": c.name(f"SPK_RESET_{self.reset.upper()}"),
            "timing": c.name(f"SPK_{self.timing.upper()}"),
            "input_shift": self.input_shift,
            "refractory": self.refractory,
            "initial": self.initial,
            "input_wide": self.ins[0].dtype == "i32",
            "wide": wide,
            "exact": self.facts.exact,
            "small": self.facts.small,
        }
        for name, uniform in (
            ("threshold", "threshold_all"),
            ("reset_value", "reset_all"),
            ("initials", "initial"),
            ("drift", "drift_all"),
        ):
            values = getattr(self, name)
            if values is None:
                continue
            if len(np.unique(values)) == 1:
                fields[uniform] = int(values[0])
            else:
                fields[name] = self._placed(em, name, values)
                fields[f"{name}_each"] = len(values)
        return em.config(self.name, "spk_lif", fields)

    def _placed(self, em: Emitter, name: str, values: Array) -> Expression:
        """Values of neurons in flash; thresholds of 16 bits are also read by the word."""
        symbol, note = f"{self.name}_{name}", f"({len(values)},)"
        if self.outs[1].dtype == "i32" or name == "drift":
            return em.const(symbol, values.astype(np.int32), note)
        if name != "threshold" or len(values) != self.ins[0].size:
            return em.const(symbol, values.astype(np.int16), note)
        pairs = np.zeros(2 * -(-len(values) // 2), "<i2")
        pairs[: len(values)] = values
        return em.const(symbol, pairs.view("<u4"), f"{note} int16, two to a word")

    def _state(self, em: Emitter) -> tuple[Value, Value]:
        waiting = em.tensor(f"{self.name}.refractory") if self.refractory else 0
        return em.tensor(f"{self.name}.membrane"), waiting

    def emit_start(self, em: Emitter) -> list[Statement]:
        em.include("kernels/lif.h")
        return [c.run("spk_lif_start", self._config(em), *self._state(em))]

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/lif.h")
        source, spikes = em.tensor(self.inputs[0]), em.tensor(f"{self.name}.spikes")
        config, state = self._config(em), self._state(em)
        return [c.run("spk_lif", config, source, *state, spikes, c.SATURATIONS)]
