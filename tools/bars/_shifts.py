"""Adapters against the head alone and the whole network, on shifts that happen to sensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from _full import fine_tune, named
from _gate import Gate

from spikelet.graph import Array, Graph
from spikelet.graph.adapted import Adapter, with_places
from spikelet.train.adapt import Training, adapt

EPOCHS = 20
WHOLE_RATE = 1e-3
HEAD = Adapter("head")
GAP = 0.02  # between head and whole network, below which there is nothing to close
KEPT = 200  # samples that the network with places, and no delta, is compared on


@dataclass(frozen=True)
class Shift:
    """Samples to adapt to, and others of the same kind, as codes of the input."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


def compare(
    graph: Graph,
    form: Adapter,
    shifts: Sequence[Shift],
    seeds: Sequence[int],
    score: Callable[[Array, Array], float],
) -> dict[str, Any]:
    """Scores by method, a mean over the shifts for each seed, and the delta's bytes.

    `kept` is the share of output codes that the network with places and no delta has as before.
    """
    found: dict[str, list[float]] = {"base": [], "head": [], "delta": [], "whole": []}
    size = 0
    for seed in seeds:
        rows: dict[str, list[float]] = {name: [] for name in found}
        for shift in shifts:
            rows["base"].append(score(predicted(graph, {}, shift.x_test), shift.y_test))
            for name, kind in (("head", HEAD), ("delta", form)):
                made = adapt(graph, kind, shift.x, shift.y, Training(epochs=EPOCHS, seed=seed))
                places = with_places(graph, kind)
                rows[name].append(score(predicted(places, made.values, shift.x_test), shift.y_test))
                size = sum(v.nbytes for v in made.values.values())
            model = fine_tune(graph, shift.x, shift.y, EPOCHS, WHOLE_RATE, seed)
            rows["whole"].append(score(named(model, shift.x_test), shift.y_test))
        for name, values in rows.items():
            found[name].append(float(np.mean(values)))
    kept = min(_kept(graph, form, shift.x_test[:KEPT]) for shift in shifts)
    return {**found, "bytes": size, "kept": kept}


def _kept(graph: Graph, form: Adapter, x: Array) -> float:
    inputs = {graph.inputs[0].name: x}
    placed = with_places(graph, form).run(inputs).outputs
    return float(np.mean([np.mean(placed[n] == v) for n, v in graph.run(inputs).outputs.items()]))


def predicted(graph: Graph, values: dict[str, Array], x: Array) -> Array:
    """(N,) classes that golden names."""
    made = []
    for part in graph.parts(len(x)):
        outputs = graph.run({graph.inputs[0].name: x[part]}, learned=values).outputs
        made.append(graph.predicted(outputs[graph.outputs[0]]))
    whole: Array = np.concatenate(made)
    return whole


def share(found: dict[str, Any]) -> float:
    """The part of the gap between head and whole network that the delta closes; 1 of none."""
    head, delta, whole = (float(np.mean(found[name])) for name in ("head", "delta", "whole"))
    return (delta - head) / (whole - head) if whole - head >= GAP else 1.0


GATES = (
    Gate("bytes, head included", "<=", 1024, lambda f: f["bytes"]),
    Gate("share of the gap from head to whole network, if it is 2 points", ">=", 0.5, share),
    Gate("share of old outputs unchanged without a delta", ">=", 1, lambda f: f["kept"]),
)


def told(found: dict[str, Any]) -> str:
    """The figures, in words."""
    parts = (f"{name} {np.mean(found[name]):.3f}" for name in ("base", "head", "delta", "whole"))
    return f"{', '.join(parts)}; {found['bytes']} B"
