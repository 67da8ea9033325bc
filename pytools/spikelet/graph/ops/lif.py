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
from spikelet.graph.membranes import reach
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
from spikelet.graph.varied import Leaks, check_leaks, check_length, leak_fields, repeated

COMPARISONS = (">", ">=")
RESETS = ("none", "zero", "value", "subtract")
TIMINGS = ("same_step", "next_step", "next_step_input_lost", "both_steps")
ADAPTS = ("nothing", "threshold", "input")
MOST_SPIKES = 255


@dataclass(kw_only=True)
class Lif(Operator):
    """Leaky integrate-and-fire, on integers.

    Reads input of n elements, i16 or i32; writes in its shape `name.spikes` bit, `name.membrane`
    and, where they are used, `name.refractory` u8 and `name.adaptation`, of the membrane's type.
    What differs between neurons has n values, or k that are repeated: of channels, which lie along
    the last axis.

    With `fires(v)` the comparison to the threshold and `r` its result on the stored membrane:

    - same_step: `v = leak(v) + x; s = fires(v)`; a spike then sets v to 0, to the reset value, or
      takes the threshold off.
    - next_step: as above, but the stored membrane is the one before the reset, and `r` resets it at
      the start of the next step: `v = leak(0 or value) + x`, or `v = leak(v) + x - r * threshold`.
    - next_step_input_lost: with zero and value, the reset comes after that step's input:
      `v = r ? value : leak(v) + x`. With subtract it is the same as next_step.
    - both_steps: as next_step, and then `d = s - r` takes `d * threshold` or `d * (v - value)` off:
      what the start of the step took off is not taken twice, and is given back without a spike.

    A neuron that waits out its refractory time keeps its membrane, takes no input and does not
    spike. Membranes and adaptations saturate; every saturation is counted.

    Adaptation: at the end of each step `w = leak_w(w) + coupling * v + jump * s`, v as it is stored
    and w from 0. It raises the threshold of the next step or is taken off its input. A subtracting
    reset takes the threshold off without it.

    Inhibition: of all neurons only the one that is farthest above its threshold may spike, the
    first of equals; those that wait take no part. `r` is of each neuron for itself.

    Attributes:
        threshold: (n,), (k,) or (1,) int32, in units of the membrane.
        leak: what the membrane keeps in a step, 0 to 2^leak_bits, which keeps all.
        leaks: (n,) or (k,) uint32 in its place, where it differs between neurons.
        leak_bits: fraction bits of the leak, 15 to 31; with 15, membranes below 2^15 take no 64-bit
            product.
        leak_round: rounding of the leak, one of floor, zero, nearest.
        compare: `>` or `>=`.
        reset: none, zero, value, subtract.
        timing: same_step, next_step, next_step_input_lost, both_steps.
        reset_value: (n,), (k,) or (1,) int32 for reset to a value.
        input_shift: the input enters as `x << input_shift`: fraction bits of the membrane.
        drift: (n,), (k,) or (1,) int32, what a membrane gets in every step besides its input.
        refractory: steps, 0 to 255.
        initial: membrane before the first step.
        initials: (n,) or (k,) int32 in its place, where it differs between neurons.
        membrane: i16, i32, or auto: the narrowest that is proved never to saturate.
        most: spikes of a neuron in a step, 1 to 255. With more than one, which takes a subtracting
            reset in the same step, thresholds are taken off as long as it fires, and the spikes are
            counts, u8.
        inhibition: see above.
        adapts: nothing, threshold or input; threshold goes with the timing same_step.
        adaptation_leak: as leak, with the same fraction bits and rounding.
        adaptation_leaks: as leaks.
        jump: (n,), (k,) or (1,) int32, what a spike adds to the adaptation.
        coupling: (n,), (k,) or (1,) int32, what the membrane adds, in 2^-coupling_bits; the product
            is rounded to the nearest, halves up.
        coupling_bits: fraction bits of the coupling, 0 to 31.
    """

    KIND: ClassVar[str] = "lif"
    KEPT: ClassVar[bool] = True

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
    most: Annotated[int, within(1, MOST_SPIKES)] = 1
    inhibition: bool = False
    adapts: Annotated[str, one_of(*ADAPTS)] = "nothing"
    adaptation_leak: Annotated[int, within(0, 1 << 31)] = 0
    adaptation_leaks: Annotated[Array, Held("uint32", 1, 0, 1 << 31)] | None = None
    jump: Annotated[Array, Held("int32", 1)] | None = None
    coupling: Annotated[Array, Held("int32", 1)] | None = None
    coupling_bits: Annotated[int, within(0, 31)] = 0

    facts: Membranes = field(init=False, repr=False, compare=False)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        if ins[0].dtype not in ("i16", "i32"):
            raise self.error(f"input {ins[0].name} is {ins[0].dtype}, expected i16 or i32")
        self._check(ins[0].size)
        drift = self.each(self.drift)
        x_low, x_high = (
            (b.astype(np.int64) << self.input_shift) + drift for b in bounds[self.inputs[0]]
        )
        if max(-int(x_low.min()), int(x_high.max())) >= 1 << 31:
            raise self.error("an input may reach beyond 32 bits: lower input_shift")
        found = reach(self, (x_low, x_high), steps)
        held = self._held()
        dtype = self.membrane
        if self.membrane == "auto":
            narrow = all(
                -Q15_ONE <= int(np.min(v)) and int(np.max(v)) < Q15_ONE
                for v in (*found.before, *found.far, *held)
            )
            dtype = "i16" if narrow else "i32"
        limit = np.iinfo(np.int16 if dtype == "i16" else np.int32)
        exact = all(
            limit.min <= int(low.min()) and int(high.max()) <= limit.max
            for low, high in (found.before, found.far)
        )
        low, high = (np.clip(v, limit.min, limit.max) for v in found.membrane)
        leaked = [low, high]  # what the leak is applied to
        if self.reset_value is not None and self.timing in ("next_step", "both_steps"):
            leaked.append(self.reset_value)
        leaked += [np.clip(v, limit.min, limit.max) for v in found.adaptation]
        small = self.leak_bits == 15 and all(
            int(v.min()) > -Q15_ONE and int(v.max()) < Q15_ONE for v in leaked
        )
        zeros = np.zeros_like(low)
        bounds[f"{self.name}.membrane"] = (low, high)
        bounds[f"{self.name}.spikes"] = (zeros, zeros + self.most)
        if self.refractory:
            bounds[f"{self.name}.refractory"] = (zeros, zeros + self.refractory)
        if self.adapts != "nothing":
            bounds[f"{self.name}.adaptation"] = (leaked[-2], leaked[-1])
        return Inferred(self._written(dtype), Membranes(exact, small))

    def _written(self, dtype: str) -> list[Tensor]:
        shape = self.ins[0].shape
        states = {"membrane": dtype}
        if self.refractory:
            states["refractory"] = "u8"
        if self.adapts != "nothing":
            states["adaptation"] = dtype
        return [
            Tensor(f"{self.name}.spikes", "bit" if self.most == 1 else "u8", shape),
            *(
                Tensor(f"{self.name}.{state}", each, shape, kind="state", persistent=True)
                for state, each in states.items()
            ),
        ]

    def _check(self, n: int) -> None:
        check_leaks(self, n)
        check_leaks(self._adaptation_leaks, n)
        if (self.reset_value is not None) != (self.reset == "value"):
            raise self.error("reset_value goes with reset 'value', and only with it")
        for name in ("threshold", "reset_value", "initials", "drift", "jump", "coupling"):
            check_length(self, name, getattr(self, name), n)
        far = any(np.abs(v.astype(np.int64)).max() >= 1 << 15 for v in self._held())
        if self.membrane == "i16" and far:
            raise self.error("threshold, reset value or initial membrane is beyond int16")
        if np.any(self.threshold < 0):
            raise self.error(f"threshold {int(self.threshold.min())} is negative")
        if self.adapts == "threshold" and self.timing != "same_step":
            raise self.error(
                f"an adapting threshold with timing {self.timing}, expected same_step: the stored "
                "membrane does not say whether it fired"
            )
        if self.most > 1 and (self.reset, self.timing) != ("subtract", "same_step"):
            raise self.error("several spikes a step go with reset subtract, timing same_step")
        if self.most > 1 and (self.inhibition or np.any(self.threshold == 0)):
            raise self.error("several spikes a step, with inhibition or with a threshold of 0")

    @property
    def _adaptation_leaks(self) -> Leaks:
        leaks = self.adaptation_leaks
        name = f"{self.name}_adaptation"
        return Leaks(name, self.adaptation_leak, leaks, self.leak_bits, self.error)

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
        start = self.each(np.array([self.initial]) if self.initials is None else self.initials)
        env[f"{self.name}.membrane"] = np.broadcast_to(start, shape).astype(dtype)
        if self.refractory:
            env[f"{self.name}.refractory"] = np.zeros(shape, np.uint8)
        if self.adapts != "nothing":
            env[f"{self.name}.adaptation"] = np.zeros(shape, dtype)

    def _held(self) -> list[Array]:
        """What a membrane is compared with or set to."""
        given = (np.array([self.initial]), self.initials, self.threshold, self.reset_value)
        return [values for values in given if values is not None]

    def each(self, values: Array | None) -> Array:
        """Values of all neurons, int64, in the input's shape; 0 for None."""
        return repeated(np.zeros(1) if values is None else values, self.ins[0].shape)

    def _fires(self, v: Array, threshold: Array) -> Array:
        fires: Array = v > threshold if self.compare == ">" else v >= threshold
        return fires

    def golden(self, env: dict[str, Array], t: int) -> Array:
        stored, dtype = env[f"{self.name}.membrane"], self.outs[1].dtype
        w: Array | int = 0
        if self.adapts != "nothing":
            w = env[f"{self.name}.adaptation"].astype(np.int64)
        threshold = self.each(self.threshold)
        late = self._fires(stored, threshold) & (self.timing != "same_step")
        late = late & (self.reset != "none")
        x = (env[self.inputs[0]].astype(np.int64) << self.input_shift) + self.each(self.drift)
        x = x - w if self.adapts == "input" else x
        v, clipped = saturate(self._integrated(stored, late, x), dtype)
        level = threshold + w if self.adapts == "threshold" else threshold
        waiting = env.get(f"{self.name}.refractory")
        spikes = self._spikes(v, level, None if waiting is None else waiting > 0)
        saturations = clipped.astype(np.int64)
        v = self._reset(v, spikes, late)
        if self.timing == "both_steps":
            v, again = saturate(v, dtype)
            saturations += again
        if waiting is not None:
            idle = waiting > 0
            v, saturations = np.where(idle, stored, v), np.where(idle, 0, saturations)
            left = np.where(spikes > 0, self.refractory, np.where(idle, waiting - 1, 0))
            env[f"{self.name}.refractory"] = left.astype(np.uint8)
        if self.adapts != "nothing":
            w = self.adaptation_kept(np.asarray(w)) + self.coupled(v)
            w, far = saturate(w + self.each(self.jump) * spikes, dtype)
            saturations += far
            env[f"{self.name}.adaptation"] = w.astype(stored.dtype)
        env[f"{self.name}.membrane"] = v.astype(stored.dtype)
        env[f"{self.name}.spikes"] = spikes.astype(np.uint8)
        total: Array = saturations.reshape(len(v), -1).sum(axis=1)
        return total

    def _integrated(self, stored: Array, late: Array, x: Array) -> Array:
        """The membrane with a step's input, not yet clipped."""
        value = self.each(self.reset_value)
        to_value = self.reset in ("zero", "value")
        v = stored.astype(np.int64)
        if to_value and self.timing in ("next_step", "both_steps"):
            v = np.where(late, value, v)
        v = self.leaked(v) + x
        if self.reset == "subtract":
            v = v - late * self.each(self.threshold)
        if to_value and self.timing == "next_step_input_lost":
            v = np.where(late, value, v)
        return v

    def _spikes(self, v: Array, level: Array, idle: Array | None) -> Array:
        """How often each neuron fires."""
        fires = self._fires(v, level)
        if idle is not None:
            fires = fires & ~idle
        if self.inhibition:
            lowest = np.iinfo(np.int64).min
            over = v - level if idle is None else np.where(idle, lowest, v - level)
            over = over.reshape(len(v), -1)
            first = np.zeros(over.shape, bool)
            first[np.arange(len(over)), over.argmax(axis=1)] = True
            fires = fires & first.reshape(fires.shape)
        if self.most == 1:
            return fires
        above = v - level - (self.compare == ">")
        spikes = np.minimum(above // self.each(self.threshold) + 1, self.most)
        return np.where(fires, spikes, 0)

    def _reset(self, v: Array, spikes: Array, late: Array) -> Array:
        """What is stored, not yet clipped."""
        value, threshold = self.each(self.reset_value), self.each(self.threshold)
        if self.reset == "none" or self.timing not in ("same_step", "both_steps"):
            return v
        if self.timing == "same_step":
            return (
                v - spikes * threshold if self.reset == "subtract" else np.where(spikes, value, v)
            )
        times = spikes.astype(np.int64) - late
        return v - times * (threshold if self.reset == "subtract" else v - value)

    def leaked(self, v: Array) -> Array:
        """What a step keeps of membranes, int64."""
        factor = self.leak if self.leaks is None else self.each(self.leaks)
        return leak(v, factor, self.leak_round, self.leak_bits)

    def adaptation_kept(self, w: Array) -> Array:
        """What a step keeps of adaptations, int64."""
        leaks = self.adaptation_leaks
        factor = self.adaptation_leak if leaks is None else self.each(leaks)
        return leak(w, factor, self.leak_round, self.leak_bits)

    def coupled(self, v: Array) -> Array:
        """What membranes add to their adaptations, int64."""
        half = (1 << self.coupling_bits) >> 1
        added: Array = (v.astype(np.int64) * self.each(self.coupling) + half) >> self.coupling_bits
        return added

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
            fields |= self._varied(em, name, uniform)
        return em.config(self.name, "spk_lif", fields)

    def _switches(self, em: Emitter) -> Expression:
        """What most neurons do not have."""
        fields: Fields = {"most": self.most, "inhibition": self.inhibition}
        if self.adapts != "nothing":
            fields["adapts"] = c.name(f"SPK_ADAPTS_{self.adapts.upper()}")
            leaks = leak_fields(self._adaptation_leaks, em)
            fields |= {f"adaptation_{name}": value for name, value in leaks.items()}
            fields |= self._varied(em, "jump", "jump_all")
            fields |= self._varied(em, "coupling", "coupling_all")
            fields["coupling_bits"] = self.coupling_bits
        return em.config(f"{self.name}_switches", "spk_lif_switches", fields)

    def _varied(self, em: Emitter, name: str, uniform: str) -> Fields:
        """Fields of values that may differ between neurons."""
        values = getattr(self, name)
        if values is None:
            return {}
        if len(np.unique(values)) == 1:
            return {uniform: int(values[0])}
        return {name: self._placed(em, name, values), f"{name}_each": len(values)}

    def _placed(self, em: Emitter, name: str, values: Array) -> Expression:
        """Values of neurons in flash; thresholds of 16 bits are also read by the word."""
        symbol, note = f"{self.name}_{name}", f"({len(values)},)"
        if self.outs[1].dtype == "i32" or name in ("drift", "jump", "coupling"):
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
        starts = [c.run("spk_lif_start", self._config(em), *self._state(em))]
        if self.adapts != "nothing":
            adaptation = f"{self.name}.adaptation"
            starts.append(c.run("spk_clear", em.tensor(adaptation), self.outs[-1].nbytes))
        return starts

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/lif.h")
        source, spikes = em.tensor(self.inputs[0]), em.tensor(f"{self.name}.spikes")
        config, state = self._config(em), self._state(em)
        if self.most == 1 and not self.inhibition and self.adapts == "nothing":
            return [c.run("spk_lif", config, source, *state, spikes, c.SATURATIONS)]
        adaptation: Value = 0
        if self.adapts != "nothing":
            adaptation = em.tensor(f"{self.name}.adaptation")
        states = *state, adaptation
        switches = self._switches(em)
        return [c.run("spk_lif_switched", config, switches, source, *states, spikes, c.SATURATIONS)]
