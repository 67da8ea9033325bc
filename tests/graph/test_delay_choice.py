"""Delays a synapse are added ahead, or looked back at where RAM is short; results stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from spikelet.graph import Array, Graph, GraphError, Operator, Tensor, tune
from spikelet.graph.ops.delayed_dense import DelayedDense
from spikelet.graph.ops.lif import Lif
from spikelet.graph.ops.poisson import Poisson

STEPS = 20
SIZES = (24, 40, 12)  # of neurons, in front of, between and behind two layers
LONGEST = (9, 33)  # one word of a history, and two
RINGS = (10 * 40 * 2 + 4, 34 * 12 * 2 + 4)
HISTORIES = (24 * 4, 40 * 8)


def network(per_step: bool = False) -> Graph:
    rng = np.random.default_rng(4)
    n, between, m = SIZES
    if per_step:
        inputs = [Tensor("x", "bit", (n,), kind="input", per_step=True)]
        nodes: list[Operator] = []
    else:
        inputs = [Tensor("x", "u8", (n,), kind="input"), Tensor("seed", "u32", (1,), kind="input")]
        nodes = [Poisson(name="e", inputs=("x", "seed"))]
    sources = ("x" if per_step else "e.spikes", "lif.spikes")
    layers = [
        DelayedDense(
            name=name, inputs=(source,), weight=rng.integers(-40, 60, shape).astype(np.int8),
            delays=np.resize(rng.permutation(longest + 1), shape).astype(np.uint8),
        )
        for name, source, shape, longest in zip(
            ("first", "second"), sources, ((between, n), (m, between)), LONGEST, strict=True
        )
    ]  # fmt: skip
    lif = Lif(name="lif", inputs=("first",), threshold=np.array([90], np.int32), leak=29491)
    nodes += [layers[0], lif, layers[1]]
    return Graph("late", STEPS, inputs, nodes, ["second"])


def samples(activity: float) -> dict[str, Array]:
    x = np.full((3, SIZES[0]), round(256 * activity), np.uint8)
    return {"x": x, "seed": np.array([[1], [2], [3]], np.uint32)}


def looks_back(graph: Graph) -> list[bool]:
    return [node.gather for node in graph.nodes if isinstance(node, DelayedDense)]


def kept(graph: Graph) -> int:
    late = [node for node in graph.nodes if isinstance(node, DelayedDense)]
    return sum(tensor.nbytes for node in late for tensor in node.outs if tensor.persistent)


def same_sums(before: Graph, after: Graph, inputs: Mapping[str, Array]) -> bool:
    traces = [graph.run(inputs, trace=True).trace for graph in (before, after)]
    return all(np.array_equal(traces[0][name], traces[1][name]) for name in ("first", "second"))


@pytest.mark.parametrize("activity", [0.01, 0.3, 0.9])
def test_spikes_are_added_ahead_however_many_there_are(activity: float) -> None:
    graph = network()
    back = [dataclasses.replace(node, gather=True) if isinstance(node, DelayedDense) else node
            for node in graph.nodes]  # fmt: skip
    looking = Graph(graph.name, graph.steps, graph.inputs, back, graph.outputs)
    for given in (graph, looking):
        assert looks_back(tune(given, samples(activity))) == [False, False]
    assert kept(graph) == sum(RINGS)


@pytest.mark.parametrize(
    ("most", "wanted"),
    [
        (sum(RINGS), [False, False]),
        (sum(RINGS) - 1, [True, False]),
        (HISTORIES[0] + RINGS[1], [True, False]),
        (HISTORIES[0] + RINGS[1] - 1, [True, True]),
        (sum(HISTORIES), [True, True]),
    ],
)
def test_layers_look_back_where_sums_to_come_take_too_much(most: int, wanted: list[bool]) -> None:
    graph, inputs = network(), samples(0.05)
    made = tune(graph, inputs, most)
    assert looks_back(made) == wanted
    assert kept(made) <= most
    assert same_sums(graph, made, samples(0.4))


def test_the_layer_that_loses_least_for_a_byte_looks_back_first() -> None:
    graph, inputs = network(), samples(0.05)
    spikes = graph.run(inputs, trace=True).trace
    prices = []
    for node in graph.nodes:
        if isinstance(node, DelayedDense):
            seen = spikes[node.inputs[0]]
            more = node.expected(seen, gather=True) - node.expected(seen, gather=False)
            saved = node.kept_bytes(gather=False) - node.kept_bytes(gather=True)
            prices.append(more / saved)
    first = tune(graph, inputs, sum(RINGS) - 1)
    assert looks_back(first) == [prices[0] <= prices[1], prices[0] > prices[1]]
    silent = samples(0.0)  # then the one that saves most
    assert looks_back(tune(graph, silent, sum(RINGS) - 1)) == [True, False]


def test_what_keeps_too_much_in_any_case_is_refused() -> None:
    least = sum(HISTORIES)
    with pytest.raises(GraphError, match=f"keep {least} bytes at the least, .* is {least - 1}"):
        tune(network(), samples(0.05), least - 1)


def test_events_are_seen_step_by_step() -> None:
    graph = network(per_step=True)
    x = (np.random.default_rng(1).random((2, STEPS, SIZES[0])) < 0.3).astype(np.uint8)
    made = tune(graph, {"x": x}, sum(RINGS) - 1)
    assert sum(looks_back(made)) == 1
    assert same_sums(graph, made, {"x": x})


def test_expected_work_is_of_the_spikes_that_a_synapse_may_see() -> None:
    node = network().nodes[1]
    assert isinstance(node, DelayedDense)
    spikes = np.zeros((STEPS, 1, SIZES[0]), np.uint8)
    ways = (False, True)
    silent = [node.expected(spikes, gather) for gather in ways]
    spikes[0, 0, :12] = 1  # half of the neurons, once: seen for ten of twenty steps
    one = [node.expected(spikes, gather) - none for gather, none in zip(ways, silent, strict=True)]
    assert one[1] / one[0] == pytest.approx(10 * 15.0 / 15.6)
