"""Neurons with an alpha-shaped synapse, against plain integers."""

from __future__ import annotations

import numpy as np
import pytest

import graphs
import spiking_graphs
from plain_neurons import exact_leak
from spikelet.graph import Array, Graph, GraphError, Operator, Tensor
from spikelet.graph.ops.alpha import Alpha
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.poisson import Poisson

N, STEPS = 12, 40


def value(given: Array | None, i: int) -> int:
    return 0 if given is None else int(given[i % len(given)])


class Plain:
    """One neuron."""

    def __init__(self, layer: Alpha, i: int, dtype: str) -> None:
        self.layer, self.i = layer, i
        self.limit = 1 << (15 if dtype == "i16" else 31)
        self.v, self.e, self.h, self.clips = 0, 0, 0, 0

    def fires(self) -> bool:
        threshold = value(self.layer.threshold, self.i)
        return self.v > threshold if self.layer.compare == ">" else self.v >= threshold

    def clip(self, v: int) -> int:
        clipped = max(-self.limit, min(self.limit - 1, v))
        self.clips += clipped != v
        return clipped

    def step(self, x: int) -> tuple[bool, int, int, int]:
        layer, reset = self.layer, self.layer.reset != "none" and self.fires()
        x <<= layer.input_shift

        def kept(state: int, factors: Array | None) -> int:
            factor = value(factors, self.i)
            return exact_leak(state, factor, layer.leak_round, layer.leak_bits)

        v = kept(self.e, layer.leaks) + kept(self.h, layer.inhibitory_leaks)
        e, h = kept(self.e, layer.leaks) + x, kept(self.h, layer.inhibitory_leaks) - x
        if reset and layer.reset == "zero":
            v = e = h = 0
        elif reset:
            v, e, h = v + kept(self.h, layer.parts), e - value(layer.amount, self.i), 0
        self.v, self.e, self.h = self.clip(v), self.clip(e), self.clip(h)
        return self.fires(), self.v, self.e, self.h


@pytest.mark.parametrize("number", range(6))
def test_alpha_equals_plain_integers(number: int) -> None:
    node = spiking_graphs.alpha_neurons("fc", N)[number]
    assert isinstance(node, Alpha)
    rng = np.random.default_rng(number)
    nodes: list[Operator] = [
        Poisson(name="encode", inputs=("x", "seed")),
        Dense(name="fc", inputs=("encode.spikes",), weight=graphs.weights(rng, N, 30, 40.0)),
        node,
    ]
    graph = Graph("one", STEPS, [graphs.values(30), graphs.seed()], nodes, [f"{node.name}.spikes"])
    run = graph.run(graphs.random_inputs(graph, 3, rng), trace=True)
    names = [f"{node.name}.{part}" for part in ("spikes", "membrane", "excitation", "inhibition")]
    made = graph.nodes[-1]
    assert isinstance(made, Alpha) and run.trace[names[0]].any()
    for sample in range(3):
        plain = [Plain(node, i, made.outs[1].dtype) for i in range(N)]
        for t in range(STEPS):
            for i, neuron in enumerate(plain):
                wanted = neuron.step(int(run.trace["fc"][t, sample, i]))
                assert tuple(int(run.trace[name][t, sample, i]) for name in names) == wanted
        clips = sum(neuron.clips for neuron in plain)
        assert int(run.saturations[sample]) == clips
        assert clips == 0 or not made.facts.exact
    for name in names:
        low, high = graph.bounds[name]
        assert (low <= run.trace[name]).all() and (run.trace[name] <= high).all(), name


def test_an_amount_goes_with_subtraction() -> None:
    x = Tensor("x", "i16", (4,), kind="input")
    for reset, amount in (("zero", np.ones(1, np.int32)), ("subtract", None)):
        node = Alpha(
            name="a", inputs=("x",), threshold=np.ones(1, np.int32), reset=reset, amount=amount
        )
        with pytest.raises(GraphError, match="amount goes with reset 'subtract'"):
            Graph("bad", 3, [x], [node], ["a.spikes"])
