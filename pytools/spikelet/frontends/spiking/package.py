"""A package of a spiking network: its neurons' state chosen, its spikes compared with the network.

The state is chosen by what it costs. Of each layer those spikes are counted that differ from the
network's in real numbers: with an exact state they are the cost of the rounded weights alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikelet.frontends.spiking.encoders import (
    DirectCurrent,
    Encoder,
    Frames,
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

STATE_SHARE = 0.2  # of what the rounding of the weights costs, that a narrow state may add
CHOICE_SAMPLES = 64  # that the state is chosen on
AT_ONCE = 32  # samples that are simulated together


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

    def build(self, narrow: bool) -> Lowered:
        """The graph."""
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
        if isinstance(self.encoder, Frames):
            shape, axes = (self.steps, *shape), [1, *(axis + 1 for axis in axes)]
        return {"name": "x", "shape": list(shape), "axes": axes, "dtype": "float32"}


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
    state: str,
    test: Array,
    labels: Array | None,
    seed: int,
    versions: Mapping[str, str],
) -> Package:
    """A package with the figures of a test.

    Args:
        plan: of the graph.
        state: of the neurons: `exact`, `narrow`, or `auto`: narrow where that adds at most a fifth
            to the spikes of each layer that differ because weights were rounded.
        test: (N, *shape) real values, as the program takes them.
        labels: (N,) of them.
        seed: of random encoders.
        versions: of what made the network, by name.
    """
    judge = _Judge(plan, test, seed)
    lowered = judge.chosen(state)
    rows, integer, real = judge.figures(lowered)
    manifest: dict[str, Any] = {
        "name": plan.network.name,
        "created_by": f"spikelet {__version__}",
        "versions": {"numpy": np.__version__, "spikelet": __version__, **versions},
        "seed": seed,
        "vectors": f"{len(test)} samples of test",
        "samples": len(test),
        "layouts": {"x": plan.layout()},
        "state": [row.to_json() for row in neuron_states(lowered.graph)],
        "spike_agreement": rows,
        "label_agreement": float(np.mean(integer == real)),
    }
    if lowered.unit != 1:
        manifest["units"] = {lowered.graph.outputs[1]: lowered.unit}
    if labels is not None:
        manifest["float_accuracy"] = float(np.mean(real == labels))
        manifest["integer_accuracy"] = float(np.mean(integer == labels))
        manifest["drift"] = manifest["integer_accuracy"] - manifest["float_accuracy"]
    vectors = {**judge.inputs(lowered), **({} if labels is None else {"y": labels})}
    return Package(lowered.graph, vectors, manifest).with_golden()


class _Judge:
    """Compares graphs of a plan with the network."""

    def __init__(self, plan: Plan, test: Array, seed: int) -> None:
        self.plan, self.test, self.seed = plan, test, seed
        self._exact: Lowered | None = None
        self._inputs: dict[str, Array] = {}

    @property
    def exact(self) -> Lowered:
        """The graph with exact states."""
        if self._exact is None:
            self._exact = self.plan.build(narrow=False)
        return self._exact

    def inputs(self, lowered: Lowered) -> dict[str, Array]:
        """The graph's inputs of all samples."""
        if not self._inputs:
            package = Package(lowered.graph, {}, {"layouts": {"x": self.plan.layout()}})
            highest = lowered.graph.highest_prediction
            stream = array_stream(package, {"x": self.test}, "samples", "", highest)
            self._inputs = {"x": stream.inputs["x"]}
            if "seed" in {t.name for t in lowered.graph.inputs}:
                self._inputs["seed"] = sample_seeds(self.seed, len(self.test))
        return self._inputs

    def chosen(self, state: str) -> Lowered:
        """The graph with the state that is asked for, or that costs little."""
        if state != "auto":
            return self.plan.build(narrow=state == "narrow")
        narrow = self.plan.build(narrow=True)
        few = {k: v[:CHOICE_SAMPLES] for k, v in self.inputs(narrow).items()}
        wanted = self.network_behaviour(few)
        costs = [
            _differing(wanted, self.graph_behaviour(lowered, few))
            for lowered in (narrow, self.exact)
        ]
        if all(c <= e * (1 + STATE_SHARE) for c, e in zip(*costs, strict=True)):
            return narrow
        return self.exact

    def figures(self, lowered: Lowered) -> tuple[list[dict[str, Any]], Array, Array]:
        """Rows of agreement by layer, and what graph and network predict, (N,)."""
        inputs, names = self.inputs(lowered), _spiking(self.plan.network)
        sums = np.zeros((3, len(names)))  # the network's spikes, differing, differing if exact
        power, errors = 0.0, 0.0
        labels: tuple[list[Array], list[Array]] = ([], [])
        for at in range(0, len(self.test), AT_ONCE):
            part = {k: v[at : at + AT_ONCE] for k, v in inputs.items()}
            wanted, made = self.network_behaviour(part), self.graph_behaviour(lowered, part)
            exact = made
            if lowered is not self.exact:
                exact = self.graph_behaviour(self.exact, part)
            sums[0] += [wanted.spikes[name].sum() for name in names]
            sums[1] += _differing(wanted, made)
            sums[2] += _differing(wanted, exact)
            power += float(np.sum(wanted.scores**2))
            errors += float(np.sum((made.scores - wanted.scores) ** 2))
            labels[0].append(made.scores.argmax(axis=1))
            labels[1].append(wanted.scores.argmax(axis=1))
        rows: list[dict[str, Any]] = []
        for name, (spikes, differing, least) in zip(names, sums.T, strict=True):
            row = {"layer": name, "spikes": int(spikes), "differing": int(differing)}
            for key, count in (("share", differing), ("weights_share", least)):
                row[key] = float(count / spikes) if spikes else None
            rows.append(row)
        if self.plan.readout != "spike_count":
            share = math.sqrt(errors / power) if power else None
            output = lowered.graph.outputs[1]
            rows.append({"layer": output, "share": share, "weights_share": share})
        return rows, np.concatenate(labels[0]), np.concatenate(labels[1])

    def graph_behaviour(self, lowered: Lowered, inputs: Mapping[str, Array]) -> Behaviour:
        """What golden computes."""
        run = lowered.graph.run(inputs, trace=True)
        spikes = {}
        for name in _spiking(self.plan.network):
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
        names, spikes = _spiking(plan.network), dict[str, list[Array]]()
        scores: Any = 0
        for x in seen:
            values = simulation.step({name_of_input: x})
            for name in names:
                spikes.setdefault(name, []).append(values[name].reshape(len(x), -1))
            output = values[plan.network.output].reshape(len(x), -1)
            scores = output if plan.readout == "membrane" else scores + output
        return Behaviour({k: np.stack(v).astype(np.uint8) for k, v in spikes.items()}, scores)

    def _steps(self, inputs: Mapping[str, Array]) -> list[Array]:
        """What the network reads in each step, (N, *shape) channels first."""
        encoder, steps, x = self.plan.encoder, self.plan.steps, inputs["x"]
        ((_, shape),) = self.plan.network.inputs.items()
        last = channels_last(shape)
        if isinstance(encoder, DirectCurrent):
            real = (x.astype(np.float64) - encoder.zero_point) * encoder.scale
            frames = [real[:, t] if isinstance(encoder, Frames) else real for t in range(steps)]
        else:
            assert isinstance(encoder, Poisson | Latency)
            flat = x.reshape(len(x), -1)
            spikes = encode(flat, encoder, steps, inputs.get("seed")).numpy()
            frames = [each.reshape(len(x), *last) for each in spikes]
        return [np.moveaxis(f, -1, 1) if len(shape) == 3 else f for f in frames]


def _spiking(network: SpikingNetwork) -> list[str]:
    """Its layers of neurons that spike, in order."""
    return [
        layer.name
        for layer in network.layers
        if isinstance(layer, Neurons) and layer.rule.threshold is not None
    ]


def _differing(wanted: Behaviour, made: Behaviour) -> list[int]:
    """By layer, spikes that differ."""
    return [int((wanted.spikes[name] != made.spikes[name]).sum()) for name in wanted.spikes]
