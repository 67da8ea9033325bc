"""A router over three domains: clothing upright, turned by 90 degrees, and inverted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate
from _shifts import EPOCHS, predicted
from _turned_sensor import codes

from spikelet.graph import Array, Graph
from spikelet.graph.adapted import Adapter
from spikelet.learn.delta import prepared
from spikelet.learn.router import ROUTE, routed
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.train.adapt import Training, adapt
from spikelet.train.data import load

TITLE = "Router of fashion_cnn's deltas: images upright, turned by 90 degrees, inverted"
WHERE = "golden; that devices route alike is tests/learn/test_router.py's"
FORM = Adapter("low_rank", 2, 1, head=True)
LABELLED, KNOWN, TESTED = 500, 5000, 2000  # samples of a delta, of the router, of the test part
GATES = (
    Gate("points below the right delta, worst domain", "<=", 2, lambda f: np.max(f["below"])),
    Gate("points lost upright", "<=", 0.5, lambda f: np.max(f["lost"])),
)
TUNED_ON = "training part: grid, ridge and share of the router"


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Of each seed, accuracy by domain with the right delta, and with the one that is routed.

    `below`: the largest distance in points of three domains; `lost`: that of the first one.
    """
    data = load("fashion_mnist")
    graph = Package.load(models_dir() / "fashion_cnn" / "fashion_cnn.spk").graph
    name = graph.inputs[0].name
    found: dict[str, list[Any]] = {"below": [], "lost": [], "right": [], "routed": [], "oracle": []}
    tests = [codes(graph, data, x)[name] for x in domains(data.x_test[:TESTED])]
    wanted = data.y_test[:TESTED]
    for seed in seeds:
        rows = np.random.default_rng(seed).permutation(len(data.x_train))[:KNOWN]
        known = [codes(graph, data, x)[name] for x in domains(data.x_train[rows])]
        labels, training = data.y_train[rows[:LABELLED]], Training(epochs=EPOCHS, seed=seed)
        made = [adapt(graph, FORM, x[:LABELLED], labels, training) for x in known[1:]]
        package = prepared(Package(graph, {name: known[0][:1]}, {}), FORM)
        whole = routed(package, known[1:], known[0]).graph
        values = [whole.initial(), *(each.values for each in made)]
        oracle, through, right = [], [], []
        for number, x in enumerate(tests):
            route, said = _routes(whole, x), predicted(whole, values[number], x)
            oracle.append(float(np.mean(said == wanted)))
            for other, each in enumerate(values):
                if other != number and np.any(route == other):
                    said[route == other] = predicted(whole, each, x[route == other])
            through.append(float(np.mean(said == wanted)))
            right.append(float(np.mean(route == number)))
        found["below"].append(100 * max(o - t for o, t in zip(oracle, through, strict=True)))
        found["lost"].append(100 * (oracle[0] - through[0]))
        for key, value in (("right", right), ("routed", through), ("oracle", oracle)):
            found[key].append(value)
    shown = {key: np.mean(found[key], axis=0) for key in ("right", "oracle", "routed")}
    texts = [f"{key} {' '.join(f'{v:.3f}' for v in row)}" for key, row in shown.items()]
    return {"figure": f"upright, turned, inverted: {'; '.join(texts)}", **found}


def domains(x: Array) -> list[Array]:
    """Images (N, 28, 28, 1) u8 as they are, turned by 90 degrees, and inverted."""
    turned = np.ascontiguousarray(np.rot90(x, axes=(1, 2)))
    return [x, turned, 255 - x]


def _routes(graph: Graph, x: Array) -> Array:
    """(N,) what the router says: 0 for no delta."""
    name = graph.inputs[0].name
    made = [graph.run({name: x[part]}).outputs[ROUTE].reshape(-1) for part in graph.parts(len(x))]
    whole: Array = np.concatenate(made)
    return whole
