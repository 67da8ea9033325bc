"""A package of a spiking network: its neurons' state chosen, its spikes compared with the network.

The state is chosen by what it costs. Of each layer those spikes are counted that differ from the
network's in real numbers: with an exact state they are the cost of the rounded weights alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from spikelet.frontends.spiking.encoders import (
    PER_STEP,
    DirectCurrent,
    Encoder,
    EventBits,
    Latency,
    Poisson,
    encode,
)
from spikelet.frontends.spiking.held import channels_last
from spikelet.frontends.spiking.lower import Lowered, Readout, lower
from spikelet.frontends.spiking.network import Neurons, SpikingNetwork
from spikelet.frontends.spiking.simulate import Simulation
from spikelet.graph import Array
from spikelet.graph.states import neuron_states
from spikelet.package import Package
from spikelet.seeds import sample_seeds
from spikelet.streams import array_stream
from spikelet.version import __version__

State = Literal["auto", "narrow", "exact"]
STATES: tuple[State, ...] = ("auto", "narrow", "exact")
STATE_SHARE = 0.2  # of what the rounding of the weights costs, that a narrow state may add
CHOICE_SAMPLES = 64  # that the state is chosen on at first
CHUNK_ELEMENTS = 1 << 24  # of a trace, that are held at once


@dataclass(frozen=True)
class Plan:
    """A network and how it is to become a graph.

    Attributes:
        network: in real numbers.
        steps: of an inference.
        encoder: of its input.
        readout: of its output.
        fraction_bits: of membranes, or of some by layer; None for what serves best.
        units: of sums by layer of weights, where they were chosen before; see `lower`.
    """

    network: SpikingNetwork
    steps: int
    encoder: Encoder
    readout: Readout
    fraction_bits: int | Mapping[str, int] | None = None
    units: Mapping[str, Array] | None = None

    @cached_property
    def exact(self) -> Lowered:
        """The graph with exact states."""
        return self.build(narrow=False)

    def build(self, narrow: bool | Collection[str]) -> Lowered:
        """The graph; for `narrow` see `lower`."""
        return lower(
            self.network,
            self.steps,
            self.encoder,
            self.readout,
            narrow=narrow,
            fraction_bits=self.fraction_bits,
            units=self.units,
        )

    def layout(self) -> dict[str, Any]:
        """How a sample looks for its author: channels first, frames in front of all."""
        ((_, shape),) = self.network.inputs.items()
        axes = [*range(2, len(shape) + 1), 1] if len(shape) == 3 else [1]
        if isinstance(self.encoder, PER_STEP):
            shape, axes = (self.steps, *shape), [1, *(axis + 1 for axis in axes)]
        return {"name": "x", "shape": list(shape), "axes": axes, "dtype": "float32"}

    def codes(self, samples: Array) -> Array:
        """The graph's input x of real samples (N, *shape)."""
        graph = self.exact.graph
        package = Package(graph, {}, {"layouts": {"x": self.layout()}})
        stream = array_stream(package, {"x": samples}, "samples", "", graph.highest_prediction)
        return stream.inputs["x"]


@dataclass(frozen=True)
class Behaviour:
    """What N samples cause.

    Attributes:
        spikes: by layer of neurons that spikes, (T, N, neurons) of 0 and 1, channels first.
        scores: (N, classes), real values.
    """

    spikes: dict[str, Array]
    scores: Array


def make_package(
    plan: Plan,
    state: State,
    x: Array,
    labels: Array | None,
    seed: int,
    versions: Mapping[str, str],
) -> Package:
    """A package with the figures of a test.

    Args:
        plan: of the graph.
        state: of the neurons: `exact`, `narrow`, or `auto`: narrow in each layer where that adds at
            most a fifth to the spikes that differ because weights were rounded.
        x: (N, *shape) codes of the graph's input.
        labels: (N,) of them.
        seed: of random encoders.
        versions: of what made the network, by name.
    """
    judge = _Judge(plan, x, seed)
    lowered = judge.chosen(state)
    figures = judge.figures(lowered)
    manifest: dict[str, Any] = {
        "name": plan.network.name,
        "created_by": f"spikelet {__version__}",
        "versions": {"numpy": np.__version__, "spikelet": __version__, **versions},
        "seed": seed,
        "vectors": f"{len(x)} samples of test",
        "samples": len(x),
        **figures.entries(lowered),
    }
    if labels is not None:
        real, integer = (float(np.mean(p == labels)) for p in (figures.real, figures.labels))
        manifest |= {"float_accuracy": real, "integer_accuracy": integer}
        manifest["drift"] = integer - real
    vectors = {**judge.inputs, **({} if labels is None else {"y": labels})}
    return Package(lowered.graph, vectors, manifest).with_golden()


def agreement(plan: Plan, x: Array, seed: int, narrow: bool = True) -> dict[str, Any]:
    """What a manifest says of a graph whose states are all narrow, or exact; see `make_package`."""
    lowered = plan.build(narrow)
    return _Judge(plan, x, seed).figures(lowered).entries(lowered)


@dataclass(frozen=True)
class _Figures:
    """Of a graph on all samples.

    Attributes:
        rows: of agreement by layer.
        labels, real: (N,) that the graph and the network predict.
    """

    rows: list[dict[str, Any]]
    labels: Array
    real: Array

    def entries(self, lowered: Lowered) -> dict[str, Any]:
        """Of a manifest."""
        units = {} if lowered.unit == 1 else {"units": {lowered.graph.outputs[1]: lowered.unit}}
        return {
            **units,
            "state": [row.to_json() for row in neuron_states(lowered.graph)],
            "spike_agreement": self.rows,
            "label_agreement": float(np.mean(self.labels == self.real)),
        }


@dataclass(frozen=True)
class _Totals:
    """Over samples.

    Attributes:
        spikes: of the network, by layer of neurons that spikes.
        scores: (N, classes) of the network, real values.
        labels: (N,) that a graph predicts.
    """

    spikes: Array
    scores: Array
    labels: Array


class _Judge:
    """Compares graphs of a plan with the network."""

    def __init__(self, plan: Plan, x: Array, seed: int) -> None:
        self.plan = plan
        self.exact = plan.exact
        self.inputs = {"x": x}
        if isinstance(plan.encoder, Poisson):
            self.inputs["seed"] = sample_seeds(seed, len(x))
        self.spiking = [
            layer.name
            for layer in plan.network.layers
            if isinstance(layer, Neurons) and layer.rule.threshold is not None
        ]

    def chosen(self, state: State) -> Lowered:
        """The graph with the state that is asked for, or narrow where it costs little."""
        if state == "narrow":
            return self.plan.build(narrow=True)
        if state == "exact":
            return self.exact
        few = {k: v[:CHOICE_SAMPLES] for k, v in self.inputs.items()}
        wanted = self.network_behaviour(few)

        def costs(lowered: Lowered) -> Array:
            return self.errors(wanted, self.graph_behaviour(lowered, few))

        limit = self._limit(costs(self.exact))
        narrow: list[str] = []
        best = self.exact
        for name, weights in self.exact.neurons.items():
            if all(self.exact.exact_weights[each] for each in weights):
                continue
            tried = self.plan.build([*narrow, name])
            saves = any(
                row.layer == name and row.membrane == "i16" for row in neuron_states(tried.graph)
            )
            if saves and (costs(tried) <= limit).all():
                narrow, best = [*narrow, name], tried
        if narrow and len(self.inputs["x"]) > CHOICE_SAMPLES:
            chosen, exact, _ = self._sums(best)
            if not (chosen <= self._limit(exact)).all():
                return self.exact
        return best

    def figures(self, lowered: Lowered) -> _Figures:
        """Rows of agreement by layer, and what graph and network predict, (N,)."""
        chosen, exact, sums = self._sums(lowered)
        rows: list[dict[str, Any]] = []
        for name, spikes, count, least in zip(
            self.spiking, sums.spikes, chosen, exact, strict=False
        ):
            row: dict[str, Any] = {"layer": name, "spikes": int(spikes), "differing": int(count)}
            for key, part in (("share", count), ("weights_share", least)):
                row[key] = float(part / spikes) if spikes else None
            rows.append(row)
        if self.plan.readout != "spike_count":  # root mean squares
            power = float(np.sum(sums.scores**2))
            row = {"layer": lowered.graph.outputs[1]}
            for key, part in (("share", chosen[-1]), ("weights_share", exact[-1])):
                row[key] = math.sqrt(part / power) if power else None
            rows.append(row)
        return _Figures(rows, sums.labels, sums.scores.argmax(axis=1))

    def _sums(self, lowered: Lowered) -> tuple[Array, Array, _Totals]:
        """Over all samples: errors of a graph, those of the exact one, and what there is."""
        errors, least = [], []
        parts: list[_Totals] = []
        count = len(self.inputs["x"])
        size = sum(t.size * lowered.graph.steps for t in lowered.graph.tensors.values())
        at_once = max(1, CHUNK_ELEMENTS // size)
        for at in range(0, count, at_once):
            part = {k: v[at : at + at_once] for k, v in self.inputs.items()}
            wanted, made = self.network_behaviour(part), self.graph_behaviour(lowered, part)
            exact = made
            if lowered is not self.exact:
                exact = self.graph_behaviour(self.exact, part)
            errors.append(self.errors(wanted, made))
            least.append(self.errors(wanted, exact))
            spikes = np.array([wanted.spikes[name].sum() for name in self.spiking], np.int64)
            parts.append(_Totals(spikes, wanted.scores, made.scores.argmax(axis=1)))
        return (
            np.sum(errors, axis=0),
            np.sum(least, axis=0),
            _Totals(
                np.sum([p.spikes for p in parts], axis=0),
                np.concatenate([p.scores for p in parts]),
                np.concatenate([p.labels for p in parts]),
            ),
        )

    def errors(self, wanted: Behaviour, made: Behaviour) -> Array:
        """By layer, spikes that differ; of scores that are no counts the sum of squared errors."""
        found = [float(np.sum(wanted.spikes[k] != made.spikes[k])) for k in self.spiking]
        if self.plan.readout != "spike_count":
            found.append(float(np.sum((made.scores - wanted.scores) ** 2)))
        return np.array(found)

    def _limit(self, exact: Array) -> Array:
        """What a state may cost; a squared error of scores grows with the square."""
        share = np.full(len(exact), 1 + STATE_SHARE)
        if self.plan.readout != "spike_count":
            share[-1] **= 2
        limit: Array = exact * share
        return limit

    def graph_behaviour(self, lowered: Lowered, inputs: Mapping[str, Array]) -> Behaviour:
        """What golden computes."""
        run = lowered.graph.run(inputs, trace=True)
        spikes = {}
        for name in self.spiking:
            values = run.trace[lowered.held[name].name]
            image = lowered.held[name].image
            if image is not None:  # flattened: still channels last in memory
                values = values.reshape(*values.shape[:2], *image[1:], image[0])
            if values.ndim == 5:
                values = np.moveaxis(values, -1, 2)
            spikes[name] = values.reshape(*values.shape[:2], -1)
        scores = run.outputs[lowered.graph.outputs[1]] * lowered.unit
        return Behaviour(spikes, scores.reshape(len(scores), -1))

    def network_behaviour(self, inputs: Mapping[str, Array]) -> Behaviour:
        """What the network computes of the values that the codes stand for."""
        plan = self.plan
        seen = list(self._steps(inputs))
        (name_of_input,) = plan.network.inputs
        simulation = Simulation(plan.network, len(inputs["x"]))
        spikes: dict[str, list[Array]] = {}
        heights = {
            each.name: each.rule.height for each in plan.network.layers if isinstance(each, Neurons)
        }
        scores: Any = 0
        for x in seen:
            values = simulation.step({name_of_input: x})
            for name in self.spiking:
                fired = np.rint(values[name].reshape(len(x), -1) / heights[name])
                spikes.setdefault(name, []).append(fired.astype(np.uint8))
            output = values[plan.network.output].reshape(len(x), -1)
            scores = output if plan.readout == "membrane" else scores + output
        return Behaviour({k: np.stack(v) for k, v in spikes.items()}, scores)

    def _steps(self, inputs: Mapping[str, Array]) -> list[Array]:
        """What the network reads in each step, (N, *shape) channels first."""
        encoder, steps, x = self.plan.encoder, self.plan.steps, inputs["x"]
        ((_, shape),) = self.plan.network.inputs.items()
        last = channels_last(shape)
        if isinstance(encoder, DirectCurrent):
            real = (x.astype(np.float64) - encoder.zero_point) * encoder.scale
            frames = [real[:, t] if isinstance(encoder, PER_STEP) else real for t in range(steps)]
        elif isinstance(encoder, EventBits):
            frames = [x[:, t].astype(np.float64) for t in range(steps)]
        else:
            assert isinstance(encoder, Poisson | Latency)
            flat = x.reshape(len(x), -1)
            spikes = encode(flat, encoder, steps, inputs.get("seed")).numpy()
            frames = [each.reshape(len(x), *last) for each in spikes]
        return [np.moveaxis(f, -1, 1) if len(shape) == 3 else f for f in frames]
