"""Early exit over time steps: a network stops at the first step whose answer is sure.

After each step the best of the running scores leads the second one by some margin. Where that is at
least the step's threshold, no further step is run. Margins of counts and membranes grow with the
steps, so thresholds do, too: `lead * (t + 1) ** growth` behind step t, both chosen on samples that
were not trained on.

Source of the idea: C. Li, E. Jones, S. Furber, "Unleashing the Potential of Spiking Neural Networks
with Dynamic Confidence", ICCV 2023; there the confidence is a softmax with a temperature, here it
is an integer margin, which needs none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Phase
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.gate import Gate
from spikelet.package import Package

LOSS = 0.003  # of accuracy, on the samples that thresholds are chosen on
GROWTHS = (0.0, 0.5, 1.0)
LEADS = 400  # that are tried, of each growth
NEVER = (1 << 31) - 1
GATE = "unsure"


@dataclass(frozen=True)
class Exit:
    """Thresholds, and what they do on some samples.

    Attributes:
        leads: (T,) int32, of the best score over the second one behind each step.
        growth: exponent of the steps.
        mean_steps: of a sample.
        accuracy: of the answers where samples stop.
        whole: accuracy behind all steps.
    """

    leads: Array
    growth: float
    mean_steps: float
    accuracy: float
    whole: float


def running_scores(graph: Graph, inputs: Mapping[str, Array]) -> Array:
    """(T, N, classes) int64: the scores behind each step that the class is taken from.

    Raises:
        UsageError: the graph names no class, or its scores are known behind the last step only.
    """
    name = _scores(graph)
    parts = [
        graph.run({k: v[part] for k, v in inputs.items()}, trace=True).trace[name]
        for part in graph.parts(graph.check_inputs(inputs), trace=True)
    ]
    whole: Array = np.concatenate(parts, axis=1)
    return whole.reshape(*whole.shape[:2], -1).astype(np.int64)


def margins(scores: Array) -> Array:
    """(T, N) of the best score over the second one."""
    top = np.sort(scores, axis=-1)[..., -2:]
    lead: Array = top[..., 1] - top[..., 0]
    return lead


def stops(margin: Array, leads: Array) -> Array:
    """(N,) steps that each sample takes, 1 to T."""
    sure = margin >= leads[:, None]
    sure[-1] = True
    first: Array = np.argmax(sure, axis=0) + 1
    return first


def judge(scores: Array, labels: Array, leads: Array, growth: float = 0.0) -> Exit:
    """What thresholds do on samples, (T, N, classes) and (N,)."""
    steps = stops(margins(scores), leads)
    right = scores.argmax(axis=-1) == labels
    accuracy = right[steps - 1, np.arange(len(labels))].mean()
    return Exit(leads, growth, float(steps.mean()), float(accuracy), float(right[-1].mean()))


def calibrate(scores: Array, labels: Array, loss: float = LOSS) -> Exit:
    """The thresholds with the fewest steps that lose at most `loss` of accuracy.

    Leads are lowered until the loss is beyond that for the first time, so that one that happens to
    do well below is not taken.

    Args:
        scores: (T, N, classes) behind each step, of samples that were not trained on.
        labels: (N,).
        loss: 0 to 1, against all steps.
    """
    time = np.arange(1, len(scores) + 1)
    margin = margins(scores)
    best = judge(scores, labels, np.full(len(scores), NEVER, np.int32))
    for growth in GROWTHS:
        scaled = np.unique(margin / time[:, None] ** growth)
        for lead in scaled[:: -max(1, len(scaled) // LEADS)]:
            leads = np.minimum(np.ceil(lead * time**growth), NEVER).astype(np.int32)
            found = judge(scores, labels, np.maximum(leads, 1), growth)
            if found.accuracy < best.whole - loss:
                break
            best = found if found.mean_steps < best.mean_steps else best
    return best


def with_exit(graph: Graph, leads: Array) -> Graph:
    """The same graph, which stops behind the first step whose scores lead by enough.

    Args:
        graph: names a class by scores that each step writes.
        leads: (T,) int32, see `Gate`.

    Raises:
        UsageError: see `running_scores`; or the graph has an exit.
    """
    if graph.exit:
        raise UsageError(
            f"package {graph.name} stops early already", next="begin with the one without"
        )
    gate = Gate(name=GATE, inputs=(_scores(graph),), leads=leads)
    return dataclasses.replace(graph, nodes=[*graph.nodes, gate], exit=GATE)


def with_early_exit(
    package: Package, inputs: Mapping[str, Array], labels: Array, loss: float = LOSS
) -> Package:
    """A package that stops where its answer is sure, on thresholds of these samples.

    Args:
        package: of a spiking network.
        inputs: by name, (N, *shape) codes of samples that were not trained on.
        labels: (N,).
        loss: of accuracy on them, 0 to 1.

    Raises:
        UsageError: see `with_exit`.
    """
    found = calibrate(running_scores(package.graph, inputs), labels, loss)
    graph = with_exit(package.graph, found.leads)
    kept = {k: v for k, v in package.vectors.items() if not k.startswith("golden.")}
    noted: dict[str, Any] = {
        **package.manifest,
        "early_exit": {
            "samples": len(labels),
            "loss": loss,
            "growth": found.growth,
            "leads": found.leads.tolist(),
            "mean_steps": found.mean_steps,
            "accuracy": found.accuracy,
            "accuracy_all_steps": found.whole,
        },
    }
    return Package(graph, kept, noted).with_golden()


def _scores(graph: Graph) -> str:
    """The tensor that the answer's class is the largest of."""
    writer = {t.name: node for node in graph.nodes for t in node.outs}
    node = writer[graph.outputs[0]]
    name = node.inputs[0] if isinstance(node, Argmax) else graph.outputs[0]
    source = writer.get(name)
    if source is None or graph.phase(source) is not Phase.STEP or graph.tensors[name].size < 2:
        raise UsageError(
            f"package {graph.name}: its answer is not the largest of scores that each step writes",
            "a regression, or a network without time steps",
            "early exit is for spiking networks that name classes",
        )
    return name
