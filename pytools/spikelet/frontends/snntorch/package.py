"""A package of an snnTorch network: its neurons' state chosen, its spikes compared with the module.

The state is chosen by what it costs. Of each layer those spikes are counted that differ from the
module's: with an exact state they are the cost of the rounded weights alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import snntorch
import torch
from torch import Tensor, nn

from spikelet.frontends.snntorch.graph import ChainGraph, Plan
from spikelet.frontends.snntorch.layers import ExportError
from spikelet.frontends.snntorch.module import (
    Behaviour,
    Samples,
    errors,
    graph_behaviour,
    module_behaviour,
)
from spikelet.frontends.spiking.encoders import Poisson
from spikelet.graph import Array
from spikelet.graph.states import neuron_states
from spikelet.package import Package
from spikelet.seeds import sample_seeds
from spikelet.version import __version__

State = Literal["auto", "narrow", "exact"]
STATES: tuple[State, ...] = ("auto", "narrow", "exact")
Codes = Tensor | np.ndarray[Any, Any]

# A state may add this part of what the rounding of the weights costs.
STATE_SHARE = 0.2
CHOICE_SAMPLES = 256  # of the test samples, that the state is chosen on at first


@dataclass(frozen=True)
class _Figures:
    """Sums over samples, by stage.

    Attributes:
        chosen, exact: `errors` of the graph with the chosen state, and with an exact one.
        spikes: of the module; 0 for a readout that does not spike.
        power: sum of the squares of the module's scores.
        float_labels, labels: (N,) that the module and the graph predict.
    """

    chosen: Array
    exact: Array
    spikes: Array
    power: float
    float_labels: Array
    labels: Array


def make_package(
    network: nn.Module | Mapping[str, nn.Module],
    plan: Plan,
    state: State,
    test: Codes,
    labels: Codes | None,
    seed: int,
) -> Package:
    """See `snntorch.export`."""
    samples = Samples(plan.encoder, _inputs(plan, test, seed))
    classes = None if labels is None else _labels(labels, plan, len(samples))
    judge = _Judge(network, plan)
    exact = [state != "narrow"] * len(plan.chain)
    if state == "auto":
        exact = judge.choice(samples)
    built = plan.build(exact)
    figures = judge.figures(built, samples)
    vectors = {**samples.inputs, **({} if classes is None else {"y": classes})}
    manifest: dict[str, Any] = {
        "name": plan.name,
        "created_by": f"spikelet {__version__}",
        "versions": {
            "torch": torch.__version__,
            "snntorch": snntorch.__version__,
            "numpy": np.__version__,
            "spikelet": __version__,
        },
        "seed": seed,
        "vectors": f"{len(samples)} samples of test",
        "samples": len(samples),
        **_agreement(plan, built, figures),
    }
    if classes is not None:
        integer, real = (
            float(np.mean(p == classes)) for p in (figures.labels, figures.float_labels)
        )
        manifest["float_accuracy"], manifest["integer_accuracy"] = real, integer
        manifest["drift"] = integer - real
    return Package(built.graph, vectors, manifest).with_golden()


def agreement(
    network: nn.Module | Mapping[str, nn.Module], plan: Plan, inputs: Mapping[str, Array]
) -> dict[str, Any]:
    """What a manifest says of the graph with narrow states, which training chose, on its inputs."""
    built = plan.build([False] * len(plan.chain))
    figures = _Judge(network, plan).figures(built, Samples(plan.encoder, inputs))
    return _agreement(plan, built, figures)


def _agreement(plan: Plan, built: ChainGraph, figures: _Figures) -> dict[str, Any]:
    units = {} if built.unit == 1 else {"units": {built.graph.outputs[1]: built.unit}}
    return {
        **units,
        "state": [row.to_json() for row in neuron_states(built.graph)],
        "spike_agreement": _rows(plan, figures),
        "label_agreement": float(np.mean(figures.float_labels == figures.labels)),
    }


class _Judge:
    """Compares graphs of a plan with the module."""

    def __init__(self, network: nn.Module | Mapping[str, nn.Module], plan: Plan) -> None:
        self.network = network
        self.plan = plan
        self.exact = plan.build([True] * len(plan.chain))

    def choice(self, samples: Samples) -> list[bool]:
        """By stage, whether its state has to be exact."""
        exact = [True] * len(self.plan.chain)
        few = samples.first(min(CHOICE_SAMPLES, samples.at_once(self.exact.graph)))
        module = self._module(few)
        limit = self._limit(self._errors(module, self.exact, few))
        for i, exact_weights in enumerate(self.exact.exact_weights):
            if exact_weights:
                continue
            tried = [*exact[:i], False, *exact[i + 1 :]]
            built = self.plan.build(tried)
            if not self._is_narrow(built, i):
                continue
            if (self._errors(module, built, few) <= limit).all():
                exact = tried
        if len(few) < len(samples) and not all(exact):
            figures = self.figures(self.plan.build(exact), samples)
            if not (figures.chosen <= self._limit(figures.exact)).all():
                return [True] * len(exact)
        return exact

    def figures(self, built: ChainGraph, samples: Samples) -> _Figures:
        """Sums over all samples, in parts that fit the memory."""
        parts = []
        for part in samples.chunks(self.exact.graph):
            module, chosen = self._module(part), graph_behaviour(built.graph, part)
            exact = chosen if built.graph is self.exact.graph else None
            exact = exact or graph_behaviour(self.exact.graph, part)
            count = len(self.plan.chain)
            spikes = [float(s.sum()) for s in module.spikes[: len(chosen.spikes)]]
            parts.append(
                _Figures(
                    errors(module, chosen, count, built.unit),
                    errors(module, exact, count, self.exact.unit),
                    np.array(spikes),
                    float(np.sum(module.scores**2)),
                    module.labels,
                    chosen.labels,
                )
            )
        return _Figures(
            np.sum([p.chosen for p in parts], axis=0),
            np.sum([p.exact for p in parts], axis=0),
            np.sum([p.spikes for p in parts], axis=0),
            sum(p.power for p in parts),
            np.concatenate([p.float_labels for p in parts]),
            np.concatenate([p.labels for p in parts]),
        )

    def _module(self, samples: Samples) -> Behaviour:
        return module_behaviour(self.network, self.plan.readout, self.plan.steps, samples)

    def _errors(self, module: Behaviour, built: ChainGraph, samples: Samples) -> Array:
        behaviour = graph_behaviour(built.graph, samples)
        return errors(module, behaviour, len(self.plan.chain), built.unit)

    def _limit(self, exact: Array) -> Array:
        """What a state may cost; a squared error of scores grows with the square."""
        share = np.full(len(exact), 1 + STATE_SHARE)
        if self.plan.readout != "spike_count":
            share[-1] **= 2
        limit: Array = exact * share
        return limit

    def _is_narrow(self, built: ChainGraph, stage: int) -> bool:
        """Whether a narrow state saves anything; in int32 it costs no less than an exact one."""
        rows = {row.layer: row for row in neuron_states(built.graph)}
        return rows[self.plan.chain[stage].neurons_name].membrane == "i16"


def _rows(plan: Plan, figures: _Figures) -> list[dict[str, Any]]:
    """How a layer differs from the module's, with the chosen state and by the weights alone."""
    rows: list[dict[str, Any]] = []
    for i, stage in enumerate(plan.chain):
        chosen, exact = float(figures.chosen[i]), float(figures.exact[i])
        row: dict[str, Any] = {"layer": stage.neurons_name}
        if i < len(figures.spikes):
            spikes = float(figures.spikes[i])
            row |= {"spikes": int(spikes), "differing": int(chosen)}
            row["share"] = chosen / spikes if spikes else None
            row["weights_share"] = exact / spikes if spikes else None
        else:  # root mean square error of the scores, as a part of their root mean square
            power = figures.power
            for key, error in (("share", chosen), ("weights_share", exact)):
                row[key] = math.sqrt(error / power) if power else None
        rows.append(row)
    return rows


def _inputs(plan: Plan, test: Codes, seed: int) -> dict[str, Array]:
    """The graph's inputs of `test`, checked."""
    x = np.asarray(test.detach().cpu().numpy() if isinstance(test, Tensor) else test)
    n = plan.chain[0].linear.in_features
    count = len(x) if x.ndim else 0
    if not count or x.size != count * n or x.dtype != np.uint8:
        raise ExportError(
            f"test is {x.dtype} of shape {x.shape}, expected uint8 codes (N, {n})",
            "real values, or samples of another network" if x.dtype != np.uint8 else "",
            "code = round(x / scale) + zero_point with the encoder's, round(256 x) for spikes",
        )
    inputs: dict[str, Array] = {"x": np.ascontiguousarray(x.reshape(count, n))}
    if isinstance(plan.encoder, Poisson):
        inputs["seed"] = sample_seeds(seed, count)
    return inputs


def _labels(labels: Codes, plan: Plan, count: int) -> Array:
    flat = np.asarray(labels.cpu().numpy() if isinstance(labels, Tensor) else labels).reshape(-1)
    classes = plan.chain[-1].linear.out_features
    if not np.issubdtype(flat.dtype, np.integer) or len(flat) != count:
        raise ExportError(
            f"labels are {len(flat)} {flat.dtype} for {count} samples of test",
            "labels of other samples, one-hot labels, or targets: a spiking network names a class",
            "give one integer a sample",
        )
    if flat.min() < 0 or flat.max() >= classes:
        raise ExportError(
            f"labels reach from {flat.min()} to {flat.max()}, the network has {classes} classes",
            "labels that count from 1, or of another task",
            f"number the classes from 0 to {classes - 1}",
        )
    return flat.astype(np.int64)
