"""Widths of weights, layer by layer: the least error within a budget.

An error is a sum over layers. Three criteria say what a layer at a width adds to it: what is
measured at the outputs when that layer alone is narrowed; the loss of information between the
histograms of its weights (Kummer et al., "Adaptive Precision Training (AdaPT)", 2021); and, from
`train.curvature`, the trace of the loss's Hessian times the squared error of the weights (Dong et
al., "HAWQ-V2", NeurIPS 2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spikelet.graph import Array, Graph
from spikelet.graph.quantised import Quantised
from spikelet.quantise.calibrate import integers, reals
from spikelet.quantise.narrow import narrow, narrow_code, narrowable

BINS = 100  # of the histograms of weights
STEPS = 1 << 12  # that a budget is divided into, at most


@dataclass(frozen=True)
class Choice:
    """A layer at a width.

    Attributes:
        bits: of its weights.
        cost: in units of the budget, a whole number.
        error: that it adds.
    """

    bits: int
    cost: int
    error: float


def least_error(
    layers: Sequence[Sequence[Choice]],
    budget: int,
    join: Callable[[int, int], int] = lambda a, b: a + b,
) -> tuple[int, ...] | None:
    """The bits of each layer with the least error in sum, within a budget; None where none are.

    Exact but for costs, which are rounded up to a part of the budget.

    Args:
        layers: what each may be.
        budget: that the joined costs must not be above.
        join: of two costs: their sum, or the larger one.
    """
    unit = max(1, budget // STEPS)
    ways: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for choices in layers:
        joined: dict[int, tuple[float, tuple[int, ...]]] = {}
        for cost, (error, bits) in ways.items():
            for choice in choices:
                total = join(cost, -(-choice.cost // unit))
                way = (error + choice.error, (*bits, choice.bits))
                if total * unit <= budget and way < joined.get(total, (math.inf, ())):
                    joined[total] = way
        ways = {}
        best = math.inf
        for cost in sorted(joined):  # those that cost more and err more are of no use
            if joined[cost][0] < best:
                ways[cost], best = joined[cost], joined[cost][0]
    return min(ways.values())[1] if ways else None


def random_widths(
    layers: Sequence[Sequence[Choice]],
    budget: int,
    join: Callable[[int, int], int],
    rng: np.random.Generator,
) -> tuple[int, ...]:
    """Bits at random that leave no layer room for more: what a criterion must beat.

    Layers begin at their cheapest and are raised in a random order until none can be.
    """
    ordered = [sorted(choices, key=lambda c: c.cost) for choices in layers]
    at = [0] * len(ordered)

    def total(chosen: Sequence[int]) -> int:
        cost = 0
        for choices, index in zip(ordered, chosen, strict=True):
            cost = join(cost, choices[index].cost)
        return cost

    while True:
        more = [
            (i, j)
            for i, choices in enumerate(ordered)
            for j in range(at[i] + 1, len(choices))
            if total([*at[:i], j, *at[i + 1 :]]) <= budget
        ]
        if not more:
            return tuple(choices[i].bits for choices, i in zip(ordered, at, strict=True))
        layer, index = more[int(rng.integers(len(more)))]
        at[layer] = index


def output(graph: Graph, inputs: Mapping[str, Array]) -> Array:
    """(N, n) float64, codes of the first output."""
    samples = len(next(iter(inputs.values())))
    name = graph.outputs[0]
    parts = [
        graph.run({k: v[part] for k, v in inputs.items()}).outputs[name]
        for part in graph.parts(samples)
    ]
    return np.concatenate(parts).reshape(samples, -1).astype(np.float64)


def noise(whole: Array, other: Array) -> float:
    """Squared error of outputs (N, n) over the variance of what they are compared with."""
    return float(((other - whole) ** 2).mean() / max(float(whole.var()), 1e-12))


def measured_errors(
    graph: Graph, inputs: Mapping[str, Array], means: Mapping[str, Array], widths: Sequence[int]
) -> dict[str, dict[int, float]]:
    """By layer and width: the noise of the output when that layer alone is narrowed."""
    whole = output(graph, inputs)
    return {
        node.name: {
            w: 0.0 if w == 8 else noise(whole, output(narrow(graph, {node.name: w}, means), inputs))
            for w in widths
        }
        for node in narrowable(graph)
    }


def lost_information(graph: Graph, widths: Sequence[int]) -> dict[str, dict[int, float]]:
    """By layer and width: how far the weights' histogram is from the rounded weights', a weight.

    The Kullback-Leibler divergence in bits, times the layer's weights.
    """
    return {
        node.name: {w: 0.0 if w == 8 else _divergence(node, w) for w in widths}
        for node in narrowable(graph)
    }


def _divergence(node: Quantised, bits: int) -> float:
    rows, code = narrow_code(node, bits)
    rounded = reals(integers(rows, code), code)
    ends = (float(min(rows.min(), rounded.min())), float(max(rows.max(), rounded.max())))
    p, q = (np.histogram(v, BINS, ends)[0] + 1e-3 for v in (rows, rounded))
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log2(p / q)).sum()) * rows.size
