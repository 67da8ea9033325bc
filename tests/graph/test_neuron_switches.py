"""Adaptation, inhibition, several spikes a step: golden against neurons in plain integers."""

from __future__ import annotations

import numpy as np
import pytest

import graphs
from plain_neurons import Layer
from spikelet.graph import Graph, GraphError, Operator, Tensor
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.lif import Lif
from spikelet.graph.ops.poisson import Poisson


def layer(convention: dict[str, object], rng: np.random.Generator, n: int) -> Lif:
    """A layer that spikes, saturates in some cases, and whose neurons differ in others."""
    bits, size = int(rng.choice([15, 24, 31])), (1, n)[int(rng.integers(2))]
    value = rng.integers(-900, 900, n).astype(np.int32) if convention["reset"] == "value" else None
    extra = {}
    if convention["adapts"] != "nothing":
        extra = graphs.adaptation(rng, size, bits)
        extra["jump"] = (extra["jump"] * int(rng.choice([1, 40]))).astype(np.int32)  # type: ignore[operator]
    return Lif(
        name="lif", inputs=("fc",), threshold=rng.integers(1, 900, size).astype(np.int32),
        leak=int(rng.choice([16384, 29491, 32767, 32768])) << (bits - 15), leak_bits=bits,
        input_shift=int(rng.integers(0, 6)), reset_value=value, **convention, **extra,
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize(
    "convention", graphs.switches(), ids=lambda c: "-".join(map(str, c.values()))
)
def test_switches_equal_neurons_in_plain_integers(convention: dict[str, object]) -> None:
    rng = np.random.default_rng(len(str(convention)))
    n, steps = 12, 40
    node = layer(convention, rng, n)
    weight = rng.integers(-60, 128, (n, 30)).astype(np.int8)
    nodes: list[Operator] = [
        Poisson(name="encode", inputs=("x", "seed")),
        Dense(name="fc", inputs=("encode.spikes",), weight=weight),
        node,
    ]
    graph = Graph("one", steps, [graphs.values(30), graphs.seed()], nodes, ["lif.spikes"])
    run = graph.run(graphs.random_inputs(graph, 3, rng), trace=True)
    assert run.trace["lif.spikes"].any()
    made = graph.nodes[-1]
    assert isinstance(made, Lif)
    for sample in range(3):
        plain, clips = Layer(node, n), 0
        for t in range(steps):
            spikes, clipped = plain.step([int(x) for x in run.trace["fc"][t, sample]])
            clips += clipped
            assert run.trace["lif.spikes"][t, sample].tolist() == spikes
            membranes = [neuron.v for neuron in plain.neurons]
            assert run.trace["lif.membrane"][t, sample].tolist() == membranes
            if node.adapts != "nothing":
                assert run.trace["lif.adaptation"][t, sample].tolist() == plain.adaptation
        assert int(run.saturations[sample]) == clips
        assert clips == 0 or not made.facts.exact
    for name in (tensor.name for tensor in made.outs):
        low, high = graph.bounds[name]
        assert (low <= run.trace[name]).all() and (run.trace[name] <= high).all(), name


def test_a_subtracting_reset_in_both_steps_gives_back_what_it_took_too_much() -> None:
    """By hand: a membrane of 25 that loses 8 a step, threshold 10."""
    x = Tensor("x", "i16", (1,), kind="input")
    node = Lif(
        name="lif", inputs=("x",), threshold=np.array([10], np.int32), leak=1 << 15,
        reset="subtract", timing="both_steps", initial=25,
    )  # fmt: skip
    graph = Graph("one", 4, [x], [node], ["lif.spikes"])
    trace = graph.run({"x": np.array([[-8]], np.int16)}, trace=True).trace
    assert trace["lif.membrane"][:, 0, 0].tolist() == [17, 9, 1, -7]
    assert not trace["lif.spikes"].any()


def test_what_has_no_meaning_is_refused() -> None:
    x = Tensor("x", "i16", (4,), kind="input")
    several = {"most": 3, "reset": "subtract"}
    for fields, text in (
        ({"adapts": "threshold", "timing": "next_step"}, "adapting threshold with timing"),
        ({"most": 3}, "several spikes a step go with reset subtract"),
        ({**several, "timing": "next_step"}, "several spikes a step go with reset subtract"),
        ({**several, "inhibition": True}, "with inhibition or with a threshold of 0"),
        ({**several, "threshold": np.zeros(1, np.int32)}, "with a threshold of 0"),
        ({"jump": np.ones(3, np.int32)}, "jump has 3 values, expected 4"),
        ({"adaptation_leak": 40000}, "leak 40000 is not in"),
    ):
        given = {"threshold": np.array([9], np.int32), **fields}
        with pytest.raises(GraphError, match=text):
            Graph("bad", 3, [x], [Lif(name="lif", inputs=("x",), **given)], ["lif.spikes"])  # type: ignore[arg-type]
