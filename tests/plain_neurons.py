"""Neurons in plain Python integers, from the definition of their conventions."""

from __future__ import annotations

import math
from fractions import Fraction

from spikelet.graph.ops.lif import Lif


def exact_leak(v: int, factor: int, rounding: str, bits: int) -> int:
    exact = Fraction(v * factor, 1 << bits)
    if rounding == "floor":
        return math.floor(exact)
    if rounding == "zero":
        return math.trunc(exact)
    return math.floor(exact + Fraction(1, 2))


class Neuron:
    """One neuron in plain Python integers, from the definition of the conventions."""

    def __init__(self, layer: Lif, i: int) -> None:
        self.layer = layer
        self.threshold = int(layer.threshold[i % len(layer.threshold)])
        values = layer.reset_value
        self.value = 0 if values is None else int(values[i % len(values)])
        self.leak = layer.leak if layer.leaks is None else int(layer.leaks[i % len(layer.leaks)])
        self.drift = 0 if layer.drift is None else int(layer.drift[i % len(layer.drift)])
        self.v, self.wait = layer.initial, 0
        if layer.initials is not None:
            self.v = int(layer.initials[i % len(layer.initials)])
        self.limit = 1 << (15 if layer.membrane == "i16" else 31)
        self.late, self.clips = False, 0

    def fires(self) -> bool:
        return self.v > self.threshold if self.layer.compare == ">" else self.v >= self.threshold

    def step(self, x: int) -> tuple[bool, int]:
        if self.wait:
            self.wait -= 1
            return False, 0
        self.clips = 0
        self.take(x)
        spike = self.fires()
        self.reset(int(spike))
        return spike, self.clips

    def clip(self, v: int) -> int:
        clipped = max(-self.limit, min(self.limit - 1, v))
        self.clips += clipped != v
        return clipped

    def take(self, x: int, w: int = 0) -> None:
        """The step's input, less w."""
        layer = self.layer
        late = self.late = layer.timing != "same_step" and self.fires()
        resets = layer.reset in ("zero", "value")
        v = self.v
        if late and resets and layer.timing in ("next_step", "both_steps"):
            v = self.value
        v = exact_leak(v, self.leak, layer.leak_round, layer.leak_bits) + x * 2**layer.input_shift
        v += self.drift - w
        if late and layer.reset == "subtract":
            v -= self.threshold
        if late and resets and layer.timing == "next_step_input_lost":
            v = self.value
        self.v = self.clip(v)

    def reset(self, spikes: int) -> None:
        layer = self.layer
        times = spikes
        if layer.timing == "both_steps":
            times -= self.late
        elif layer.timing != "same_step":
            times = 0
        if layer.reset == "subtract":
            self.v = self.clip(self.v - times * self.threshold)
        elif layer.reset != "none" and times:
            self.v = self.value if times == 1 else self.clip(2 * self.v - self.value)
        if spikes:
            self.wait = layer.refractory


class Layer:
    """Neurons with the switches: adaptation, inhibition, several spikes a step."""

    def __init__(self, layer: Lif, n: int) -> None:
        self.layer = layer
        self.neurons = [Neuron(layer, i) for i in range(n)]
        self.adaptation = [0] * n

    def step(self, currents: list[int]) -> tuple[list[int], int]:
        """How often each neuron spikes, and how many states were clipped."""
        layer, spikes = self.layer, [0] * len(currents)
        awake = []
        for i, neuron in enumerate(self.neurons):
            neuron.clips = 0
            if neuron.wait:
                neuron.wait -= 1
                continue
            awake.append(i)
            neuron.take(currents[i], self.adaptation[i] if layer.adapts == "input" else 0)
        over = {i: self.neurons[i].v - self.level(i) for i in awake}
        least = 1 if layer.compare == ">" else 0
        winner = max(awake, key=lambda i: (over[i], -i)) if awake else -1
        for i in awake:
            may = not layer.inhibition or i == winner
            while may and spikes[i] < layer.most and over[i] >= least:
                spikes[i] += 1
                over[i] -= self.neurons[i].threshold
            self.neurons[i].reset(spikes[i])
        for i, neuron in enumerate(self.neurons):
            if layer.adapts != "nothing":
                self.adaptation[i] = neuron.clip(self.adapted(i, spikes[i]))
        return spikes, sum(neuron.clips for neuron in self.neurons)

    def level(self, i: int) -> int:
        raised = self.adaptation[i] if self.layer.adapts == "threshold" else 0
        return self.neurons[i].threshold + raised

    def adapted(self, i: int, spikes: int) -> int:
        layer = self.layer
        leaks, jump, coupling = layer.adaptation_leaks, layer.jump, layer.coupling
        factor = layer.adaptation_leak if leaks is None else int(leaks[i % len(leaks)])
        w = exact_leak(self.adaptation[i], factor, layer.leak_round, layer.leak_bits)
        if coupling is not None:
            product = Fraction(
                int(coupling[i % len(coupling)]) * self.neurons[i].v, 1 << layer.coupling_bits
            )
            w += math.floor(product + Fraction(1, 2))
        return w + spikes * (0 if jump is None else int(jump[i % len(jump)]))
