"""Work and size of a network by NeuroBench's definitions, from a golden trace.

Source: J. Yik et al., "The NeuroBench framework for benchmarking neuromorphic computing algorithms
and systems", Nature Communications 16, 2025, and the harness github.com/NeuroBench/neurobench
(benchmarks/metrics): biases are no synaptic operations; a readout that does not spike counts as
neurons in the membrane updates, but not in the sparsity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from spikelet.graph import Array, Execution, Graph, Phase, Role


@dataclass(frozen=True)
class NeuroBench:
    """Means over samples, each for one inference of T steps.

    Attributes:
        activation_sparsity: part of all neuron outputs, over layers and steps, that are no spike.
        connection_sparsity: part of the weights that are 0, of layers with synaptic operations.
        effective_acs: accumulates where the input is a spike and the weight is not 0.
        effective_macs: multiply-accumulates where neither factor is 0; a layer whose input is
            constant is executed, and counted, once.
        dense: all synaptic operations, zeros included.
        membrane_updates: membranes that changed in a step; in the first step all of them.
        footprint_bytes: constants and states in the types that a device holds.
        layer_operations: effective ACs or MACs of each layer with weights.
    """

    activation_sparsity: float
    connection_sparsity: float
    effective_acs: float
    effective_macs: float
    dense: float
    membrane_updates: float
    footprint_bytes: int
    layer_operations: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def neurobench(graph: Graph, execution: Execution, inputs: Mapping[str, Array]) -> NeuroBench:
    """The metrics of a traced execution.

    Args:
        graph: the network.
        execution: what `graph.run(inputs, trace=True)` gave.
        inputs: by name, (N, *shape).
    """
    samples = len(execution.saturations)
    operations: dict[str, float] = {}
    acs = macs = dense = updates = 0.0
    spikes = outputs = zeros = weights = 0
    for node in graph.nodes:
        roles = node.tensor_roles()
        for source, met in node.synapses().items():
            values = graph.seen(source, execution, inputs)
            active = np.count_nonzero(values, axis=(0, 1))
            effective = float(np.vdot(active, met)) / samples
            operations[node.name] = operations.get(node.name, 0.0) + effective
            if graph.tensors[source].dtype == "bit":
                acs += effective
            else:
                macs += effective
        if node.synapses():
            weight = node.arrays().get("weight", np.zeros(0))
            zeros, weights = zeros + int(np.sum(weight == 0)), weights + weight.size
            cost = node.cost()
            times = graph.steps if graph.phase(node) is Phase.STEP else 1
            dense += times * (cost.synaptic_ops + cost.macs)
        for tensor in node.outs:
            rows = execution.trace[tensor.name]
            role = roles.get(tensor.name)
            if role is Role.SPIKES:
                spikes += int(np.count_nonzero(rows))
                outputs += rows.size
            if role is Role.MEMBRANE:
                changed = int(np.count_nonzero(rows[1:] != rows[:-1]))
                updates += tensor.size + changed / samples
    states = sum(t.nbytes for t in graph.tensors.values() if t.persistent)
    constants = sum(math.prod(v.shape) * v.itemsize for v in graph.constants().values())
    return NeuroBench(
        activation_sparsity=1 - spikes / outputs if outputs else 0.0,
        connection_sparsity=zeros / weights if weights else 0.0,
        effective_acs=acs,
        effective_macs=macs,
        dense=dense,
        membrane_updates=updates,
        footprint_bytes=states + constants,
        layer_operations=operations,
    )


def mean(parts: Sequence[tuple[int, NeuroBench]]) -> NeuroBench:
    """The metrics of all samples, from those of some at a time.

    Args:
        parts: how many samples, and their metrics; of the same network.
    """
    total = sum(samples for samples, _ in parts)
    shares, metrics_ = [samples / total for samples, _ in parts], [metrics for _, metrics in parts]

    def of(values: Iterable[float]) -> float:
        return sum(share * value for share, value in zip(shares, values, strict=True))

    return NeuroBench(
        activation_sparsity=of(n.activation_sparsity for n in metrics_),
        connection_sparsity=metrics_[0].connection_sparsity,
        effective_acs=of(n.effective_acs for n in metrics_),
        effective_macs=of(n.effective_macs for n in metrics_),
        dense=metrics_[0].dense,
        membrane_updates=of(n.membrane_updates for n in metrics_),
        footprint_bytes=metrics_[0].footprint_bytes,
        layer_operations={
            name: of(n.layer_operations[name] for n in metrics_)
            for name in metrics_[0].layer_operations
        },
    )


def regression_error(absolute: Array, squared: Array) -> dict[str, float]:
    """`mae` and `rmse`, in the unit of the values, from the errors of samples or of elements."""
    return {"mae": float(np.mean(absolute)), "rmse": math.sqrt(float(np.mean(squared)))}


def error_text(error: Mapping[str, float] | None) -> str | None:
    """A regression's error for people."""
    return None if error is None else f"MAE {error['mae']:.4g}, RMSE {error['rmse']:.4g}"


@dataclass(frozen=True)
class Scores:
    """How well labels were predicted.

    Attributes:
        accuracy: share of samples that were.
        macro_f1: mean over classes of the harmonic mean of precision and recall, 0 where a class
            was never hit.
        recall: by class, the share of its samples that were; 0 for a class without samples.
    """

    accuracy: float
    macro_f1: float
    recall: tuple[float, ...]


def scores(predicted: Array, labels: Array, classes: int) -> Scores:
    """Scores of predictions (N,) for labels (N,) of 0 to classes - 1."""
    hits = np.bincount(labels[predicted == labels], minlength=classes)[:classes]
    there = np.bincount(labels, minlength=classes)[:classes]
    said = np.bincount(predicted, minlength=classes)[:classes]
    f1 = 2 * hits / np.maximum(there + said, 1)
    recall = hits / np.maximum(there, 1)
    return Scores(float(hits.sum() / len(labels)), float(f1.mean()), tuple(map(float, recall)))
