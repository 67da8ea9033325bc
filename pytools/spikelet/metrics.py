"""Work and size of a network by NeuroBench's definitions, from counts of a device or of golden.

Source: J. Yik et al., "The NeuroBench framework for benchmarking neuromorphic computing algorithms
and systems", Nature Communications 16, 2025, and the harness github.com/NeuroBench/neurobench
(benchmarks/metrics): biases are no synaptic operations; a readout that does not spike counts as
neurons in the membrane updates, but not in the sparsity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from spikelet.graph import Array, Execution, Graph
from spikelet.graph.counters import Counted, Counter, counters, counts, executions


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
        counted_by: "device", whose counts are golden's, or "golden".
    """

    activation_sparsity: float
    connection_sparsity: float
    effective_acs: float
    effective_macs: float
    dense: float
    membrane_updates: float
    footprint_bytes: int
    layer_operations: dict[str, float]
    counted_by: str = "golden"

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
    kept = counters(graph)
    return of_counts(graph, kept, counts(graph, kept, execution, inputs), execution.steps)


def of_counts(
    graph: Graph, kept: Sequence[Counter], values: Array, steps: Array, counted_by: str = "golden"
) -> NeuroBench:
    """The metrics from counts, a device's or golden's.

    Args:
        graph: the network.
        kept: its counters.
        values: (N, counters) int64 of N samples.
        steps: (N,) steps that were executed.
        counted_by: see `NeuroBench`.
    """
    totals = [int(total) for total in values.sum(axis=0)]
    samples, outputs = len(steps), 0
    sums = dict.fromkeys(Counted, 0)
    operations: dict[str, float] = {}
    acs = macs = 0.0
    for counter, total in zip(kept, totals, strict=True):
        sums[counter.counted] += total
        if counter.counted is Counted.OPERATIONS:
            effective = total / samples
            operations[counter.node.name] = operations.get(counter.node.name, 0.0) + effective
            if counter.tensor.dtype == "bit":
                acs += effective
            else:
                macs += effective
        if counter.counted is Counted.SPIKES:
            outputs += counter.tensor.size * int(executions(graph, counter.node, steps).sum())
    dense, zeros, weights = 0.0, 0, 0
    for node in (node for node in graph.nodes if node.name in operations):
        weight, cost = node.arrays().get("weight", np.zeros(0)), node.cost()
        zeros, weights = zeros + int(np.sum(weight == 0)), weights + weight.size
        dense += float(executions(graph, node, steps).mean()) * (cost.synaptic_ops + cost.macs)
    states = sum(t.nbytes for t in graph.tensors.values() if t.persistent)
    constants = sum(math.prod(v.shape) * v.itemsize for v in graph.constants().values())
    return NeuroBench(
        activation_sparsity=1 - sums[Counted.SPIKES] / outputs if outputs else 0.0,
        connection_sparsity=zeros / weights if weights else 0.0,
        effective_acs=acs,
        effective_macs=macs,
        dense=dense,
        membrane_updates=sums[Counted.UPDATES] / samples,
        footprint_bytes=states + constants,
        layer_operations=operations,
        counted_by=counted_by,
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
