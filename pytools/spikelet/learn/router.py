"""A router: which delta serves an input, by one int8 vector a delta on the first frozen feature.

It is two operators beside the network, a linear layer and an argmax, and an output `route`: 0 for
no delta, or the number of one. What it reads no delta changes, so it may be asked in any state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Operator
from spikelet.graph.adapted import adapted_layers
from spikelet.graph.int8 import factor
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.average_pool2d import AveragePool2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.quantised import Quantised
from spikelet.package import Package

ROUTE = "route"
GRID = 7  # an image is averaged to so many by so many places
RIDGE = 1e-3  # of the mean variance: how weights are held back
ROUNDS = 60  # of logistic regression
REACH = 100  # codes of the largest score
LOST = 0.001  # share of the generic samples that may get a delta


def routed(package: Package, domains: Sequence[Array], generic: Array) -> Package:
    """A package with places, and a router that tells its deltas apart.

    The vectors are those of logistic regression. The score of none is then raised until at most
    `LOST` of the generic samples get a delta. Thousands of samples, which need no labels, tell
    domains apart better than hundreds.

    Args:
        package: with places.
        domains: of each delta, (N, *shape) codes of inputs that it serves.
        generic: (N, *shape) codes of inputs that the base serves.

    Raises:
        UsageError: the package has no places, or several inputs.
    """
    graph = package.graph
    if package.manifest.get("adapter") is None or len(graph.inputs) != 1:
        raise UsageError(
            f"package {graph.name}: it has no places for deltas, or several inputs",
            "a router chooses between deltas",
            "give the package that `spikelet adapt --places` wrote",
        )
    nodes, feature = _feature(graph)
    seen = [_values(graph, nodes, feature, x) for x in (generic, *domains)]
    weight, bias = _vectors(seen)
    whole = [np.concatenate([x, np.ones((len(x), 1))], axis=1) for x in seen]
    largest = max(np.abs(x @ np.column_stack([weight, bias]).T).max() for x in whole)
    multiplier, shift = factor(float(REACH / largest))
    scores = FullyConnected(
        name=f"{ROUTE}_scores", inputs=(feature,), weight=weight.astype(np.int8),
        bias=np.rint(bias).astype(np.int32),
        multiplier=np.full(len(weight), multiplier, np.int32),
        shift=np.full(len(weight), shift, np.int32),
        output_scale=1.0, output_zero_point=0,
    )  # fmt: skip
    made = Graph(
        graph.name, graph.steps, graph.inputs,
        [*graph.nodes, *nodes, scores, Argmax(name=ROUTE, inputs=(scores.name,))],
        [*graph.outputs, ROUTE], graph.learned,
    )  # fmt: skip
    vectors = {n: v for n, v in package.vectors.items() if not n.startswith("golden.")}
    return Package(made, vectors, package.manifest)


def _feature(graph: Graph) -> tuple[list[Operator], str]:
    """What is computed of the first layer, and the tensor that the router reads."""
    layer = adapted_layers(graph)[0]
    nodes: list[Operator] = []
    (y,) = layer.outs
    if isinstance(layer, Quantised) and layer.folded:  # deltas change it: the router has its own
        layer = dataclasses.replace(layer, name=f"{ROUTE}_layer", inputs=layer.inputs[:1])
        nodes, y = [layer], dataclasses.replace(y, name=layer.name)
    if len(y.shape) != 3:
        return nodes, y.name
    window = (max(1, y.shape[0] // GRID), max(1, y.shape[1] // GRID))
    pool = AveragePool2d(
        name=f"{ROUTE}_feature", inputs=(y.name,), window=window, stride=window,
        output_scale=y.scale, output_zero_point=y.zero_point,
    )  # fmt: skip
    return [*nodes, pool], pool.name


def _values(graph: Graph, nodes: list[Operator], feature: str, x: Array) -> Array:
    """(N, features) the router's inputs, less their zero point."""
    cut = Graph(
        graph.name, graph.steps, graph.inputs, [*graph.nodes, *nodes], [feature], graph.learned
    )
    made = [cut.run({graph.inputs[0].name: x[p]}).outputs[feature] for p in cut.parts(len(x))]
    codes = np.concatenate(made).reshape(len(x), -1).astype(np.float64)
    values: Array = codes - cut.tensors[feature].zero_point
    return values


def _vectors(seen: Sequence[Array]) -> tuple[Array, Array]:
    """(1 + deltas, features) integers of 8 bits, and biases in units of their products."""
    rows, start = _regression(seen)
    scale = 127 / np.abs(rows).max()
    weight, bias = np.rint(rows * scale), start * scale
    scores = seen[0] @ weight.T + bias
    ahead = scores[:, 1:].max(axis=1) - scores[:, 0]
    bias[0] += max(0.0, float(np.quantile(ahead, 1 - LOST)))
    return weight, bias


def _regression(seen: Sequence[Array]) -> tuple[Array, Array]:
    """Weights (classes, features) and biases of logistic regression; each class counts alike.

    Every step is that of Newton's method with a bound of the Hessian in its place, which is the
    same in each. Source: Böhning, "Multinomial logistic regression algorithm", 1992.
    """
    values = np.concatenate(seen)
    share = np.concatenate([np.full(len(x), 1 / (len(x) * len(seen))) for x in seen])
    wanted = np.repeat(np.eye(len(seen)), [len(x) for x in seen], axis=0)
    centre = share @ values
    x = np.column_stack([values - centre, np.ones(len(values))])
    moments = (x * share[:, None]).T @ x
    held = np.full(len(moments), RIDGE * np.trace(moments[:-1, :-1]) / (len(moments) - 1))
    held[-1] = 1e-9  # the bias is free
    step = np.linalg.inv(moments / 2 + np.diag(held))
    found = np.zeros((x.shape[1], len(seen)))
    for _ in range(ROUNDS):
        scores = x @ found
        likely = np.exp(scores - scores.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        found += step @ ((x * share[:, None]).T @ (wanted - likely) - held[:, None] * found)
    return found[:-1].T, found[-1] - centre @ found[:-1]
