"""Golden operators against oracles written another way: scalars, Python integers, PyTorch."""

from __future__ import annotations

import dataclasses
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import every_kind
import graphs
from plain_neurons import Neuron, exact_leak
from spikelet.graph import Graph, GraphError, Tensor, operators
from spikelet.graph.fixed import LEAK_BITS, leak
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.direct import Direct
from spikelet.graph.ops.latency import Latency
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import Lif
from spikelet.graph.ops.poisson import Poisson
from spikelet.graph.ops.spike_count import SpikeCount

torch = pytest.importorskip("torch")


# What a node of a graph holds beside its attributes; `endless` is the graph's own.
CARRIED = {"ins", "outs", "facts", "endless"}


def test_infer_leaves_every_kind_of_operator_as_it_is() -> None:
    kinds: set[str] = set()
    for graph in every_kind.every_graph():
        for node in graph.nodes:
            bare = dataclasses.replace(node)
            assert (bare.ins, bare.outs, bare.facts) == ((), (), None)
            before = pickle.dumps(vars(bare))
            placed = bare.place(node.ins, dict(graph.bounds), graph.steps)
            assert pickle.dumps(vars(bare)) == before, f"{node.KIND}: placing it changed it"
            before = pickle.dumps(vars(placed))
            inferred = placed.infer(dict(graph.bounds), graph.steps)
            assert pickle.dumps(vars(placed)) == before, f"{node.KIND}: infer changed it"
            assert pickle.dumps(inferred.facts) == pickle.dumps(node.facts)
            assert [t.name for t in inferred.written] == [t.name for t in node.outs]
            kinds.add(node.KIND)
    assert kinds == {k for k in operators() if not k.startswith("test_")}


def test_no_kind_of_operator_has_a_place_for_hidden_state() -> None:
    for kind, cls in operators().items():
        derived = {f.name for f in dataclasses.fields(cls) if not f.init}
        assert derived == CARRIED, kind


def test_a_graph_changes_no_operator_that_it_is_given() -> None:
    node = Lif(name="lif", inputs=("x",), threshold=np.array([5], np.int32))
    sizes = (4, 2)
    made = [
        Graph("g", 3, [Tensor("x", "i16", (n,), kind="input")], [node], ["lif.spikes"])
        for n in sizes
    ]
    assert (node.ins, node.outs, node.facts) == ((), (), None)
    for graph, n in zip(made, sizes, strict=True):
        placed = graph.nodes[0]
        assert [t.shape for t in (*placed.ins, *placed.outs)] == [(n,)] * 3


@given(
    st.integers(-(2**31), 2**31 - 1),
    st.sampled_from(LEAK_BITS).flatmap(
        lambda bits: st.tuples(st.just(bits), st.integers(0, 1 << bits))
    ),
    st.sampled_from(graphs.ROUNDINGS),
)
def test_leak_is_the_exact_product_rounded(v: int, part: tuple[int, int], rounding: str) -> None:
    bits, factor = part
    expected = exact_leak(v, factor, rounding, bits)
    assert int(leak(np.array([v]), factor, rounding, bits)[0]) == expected


@pytest.mark.parametrize("factor", [1, 16384, 29491, 32767])
def test_every_membrane_decays_to_rest_toward_zero(factor: int) -> None:
    v = np.array([-32767, -4, -1, 1, 5, 32767])
    for _ in range(400_000 if factor == 32767 else 2000):
        v = leak(v, factor, "zero")
        if not v.any():
            break
    assert not v.any()
    assert leak(np.array([-1]), 29491, "floor")[0] == -1  # and floor does not


@pytest.mark.parametrize(
    "convention", graphs.conventions(), ids=lambda c: "-".join(map(str, c.values()))
)
def test_lif_equals_a_neuron_in_plain_integers(convention: dict[str, object]) -> None:
    rng = np.random.default_rng(len(str(convention)))
    n, steps, bits = 12, 40, int(rng.choice([15, 15, 24, 31]))
    value = rng.integers(-900, 900, n).astype(np.int32) if convention["reset"] == "value" else None
    leaks = None
    if rng.integers(2):  # by neuron, or repeated
        leaks = rng.integers(0, 1 << bits, (n, 4)[int(rng.integers(2))]).astype(np.uint32)
    layer = Lif(
        name="lif",
        inputs=("fc",),
        threshold=rng.integers(0, 3000, (n, 3)[int(rng.integers(2))]).astype(np.int32),
        leak=int(rng.choice([0, 16384, 29491, 32767, 32768])) << (bits - 15),
        leaks=leaks,
        leak_bits=bits,
        input_shift=int(rng.integers(0, 6)),
        initial=int(rng.integers(-500, 500)),
        initials=None if leaks is None else rng.integers(-500, 500, 4).astype(np.int32),
        reset_value=value,
        drift=None if rng.integers(2) else rng.integers(-90, 90, 6).astype(np.int32),
        **convention,  # type: ignore[arg-type]
    )
    weight = rng.integers(-127, 128, (n, 30)).astype(np.int8)
    graph = Graph(
        "one",
        steps,
        [graphs.values(30), graphs.seed()],
        [
            Poisson(name="encode", inputs=("x", "seed")),
            Dense(name="fc", inputs=("encode.spikes",), weight=weight),
            layer,
        ],
        ["lif.spikes"],
    )
    inputs = graphs.random_inputs(graph, 3, rng)
    run = graph.run(inputs, trace=True)
    for sample in range(3):
        neurons = [Neuron(layer, i) for i in range(n)]
        clips = 0
        for t in range(steps):
            currents = run.trace["fc"][t, sample]
            for i, neuron in enumerate(neurons):
                spike, clipped = neuron.step(int(currents[i]))
                clips += clipped
                assert bool(run.trace["lif.spikes"][t, sample, i]) == spike
                assert int(run.trace["lif.membrane"][t, sample, i]) == neuron.v
        assert int(run.saturations[sample]) == clips


@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_poisson_equals_a_scalar_xorshift(seed: int, n: int, other: int) -> None:
    rng = np.random.default_rng(other)
    x = rng.integers(0, 256, (1, n)).astype(np.uint8)
    graph = Graph(
        "p",
        5,
        [graphs.values(n), graphs.seed()],
        [Poisson(name="e", inputs=("x", "seed"))],
        ["e.spikes"],
    )
    run = graph.run({"x": x, "seed": np.array([[seed]], np.uint32)}, trace=True)
    state = seed or 0x6D2B79F5
    for t in range(5):
        for i in range(n):
            if i % 4 == 0:
                state ^= state << 13 & 0xFFFFFFFF
                state ^= state >> 17
                state ^= state << 5 & 0xFFFFFFFF
            expected = (state >> 8 * (i % 4) & 255) + int(x[0, i]) > 255
            assert bool(run.trace["e.spikes"][t, 0, i]) == expected
        assert int(run.trace["e.state"][t, 0, 0]) == state


def test_poisson_rates_are_the_values_and_independent() -> None:
    n, steps = 256, 4000
    graph = Graph(
        "p",
        steps,
        [graphs.values(n), graphs.seed()],
        [Poisson(name="e", inputs=("x", "seed"))],
        ["e.spikes"],
    )
    x = np.arange(256, dtype=np.uint8)[None]
    spikes = graph.run({"x": x, "seed": np.array([[9]], np.uint32)}, trace=True).trace["e.spikes"]
    p = x[0] / 256
    deviation = np.sqrt(np.maximum(p * (1 - p), 1e-12) / steps)
    assert np.abs(spikes[:, 0].mean(axis=0) - p).max() <= 5 * deviation.max()
    assert not spikes[:, 0, 0].any()
    centred = (spikes[:, 0, 64:192] - p[64:192]) / np.sqrt(p[64:192] * (1 - p[64:192]))
    lagged = (centred[1:] * centred[:-1]).mean(axis=0)
    neighbours = (centred[:, 1:] * centred[:, :-1]).mean(axis=0)
    assert np.abs(lagged).max() < 5 / math.sqrt(steps)
    assert np.abs(neighbours).max() < 5 / math.sqrt(steps)


@given(st.integers(1, 300))
def test_latency_is_one_spike_the_earlier_the_larger(steps: int) -> None:
    graph = Graph("l", steps, [graphs.values(256)], [Latency(name="e", inputs=("x",))], ["e"])
    x = np.arange(256, dtype=np.uint8)[None]
    spikes = graph.run({"x": x}, trace=True).trace["e"][:, 0]
    assert spikes.sum(axis=0).tolist() == [0] + [1] * 255
    when = spikes[:, 1:].argmax(axis=0)
    assert when.tolist() == [(255 - v) * steps // 256 for v in range(1, 256)]
    assert when[-1] == 0 and (np.diff(when) <= 0).all()


@given(st.data())
@settings(max_examples=40)
def test_dense_equals_torch_in_float64(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    m, n = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 90))
    dtype = data.draw(st.sampled_from(["u8", "i8"]))
    weight = rng.integers(-128, 128, (m, n)).astype(np.int8)
    bias = rng.integers(-(2**20), 2**20, m).astype(np.int32)
    graph = Graph(
        "d",
        1,
        [Tensor("x", dtype, (n,), kind="input")],
        [Dense(name="fc", inputs=("x",), weight=weight, bias=bias)],
        ["fc"],
    )
    inputs = graphs.random_inputs(graph, 4, rng)
    expected = torch.nn.functional.linear(
        torch.tensor(inputs["x"].astype(np.float64)),
        torch.tensor(weight.astype(np.float64)),
        torch.tensor(bias.astype(np.float64)),
    )
    assert np.array_equal(graph.run(inputs).outputs["fc"], expected.numpy().astype(np.int64))
    low, high = graph.bounds["fc"]
    assert (low <= expected.numpy()).all() and (expected.numpy() <= high).all()


def test_dense_by_change_gives_the_same_sums() -> None:
    for by_change in (False, True):
        weight = graphs.weights(np.random.default_rng(1), 20, 64)
        graph = Graph(
            "c",
            12,
            [graphs.values(64), graphs.seed()],
            [
                Poisson(name="e", inputs=("x", "seed")),
                Dense(name="fc", inputs=("e.spikes",), weight=weight, by_change=by_change),
            ],
            ["fc"],
        )
        inputs = graphs.random_inputs(graph, 4, np.random.default_rng(2))
        run = graph.run(inputs, trace=True)
        expected = run.trace["e.spikes"].astype(np.int64) @ weight.astype(np.int64).T
        assert np.array_equal(run.trace["fc"], expected)


def simple(inputs: list[Tensor], nodes: list[object], steps: int = 4) -> Graph:
    return Graph("s", steps, inputs, nodes, [nodes[-1].name])  # type: ignore[arg-type, attr-defined]


def test_direct_readout_count_and_argmax() -> None:
    x = np.array([[0, 100, 255]], np.uint8)
    direct = Direct(name="i", inputs=("x",), gain=2, zero_point=100)
    readout = LeakyReadout(name="v", inputs=("i",), leak=16384)
    run = simple([graphs.values(3)], [direct, readout]).run({"x": x}, trace=True)
    assert run.trace["i"].tolist() == [[[-200, 0, 310]]]
    expected, v = [], [0, 0, 0]
    for _ in range(4):
        v = [math.trunc(Fraction(a, 2)) + b for a, b in zip(v, (-200, 0, 310), strict=True)]
        expected.append([v])
    assert run.trace["v"].tolist() == expected

    nodes = [
        Latency(name="e", inputs=("x",)),
        SpikeCount(name="n", inputs=("e",)),
        Argmax(name="best", inputs=("n",)),
    ]
    run = simple([graphs.values(3)], nodes).run({"x": x}, trace=True)
    assert run.trace["n"][:, 0].tolist() == [[0, 0, 1], [0, 0, 1], [0, 1, 1], [0, 1, 1]]
    assert run.outputs["best"].tolist() == [[1]]  # the first of a tie


NAN = np.full((2, 3), np.nan)


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (lambda: Dense(name="fc", inputs=("x",), weight=NAN), "weight is float64"),
        (lambda: Dense(name="fc", inputs=("x",), weight=np.ones((2, 4), np.int8)), "does not fit"),
        (lambda: Dense(name="fc", inputs=("nothing",), weight=np.ones((2, 3), np.int8)), "nothing"),
        (
            lambda: Dense(
                name="fc", inputs=("x",), weight=np.ones((2, 3), np.int8), by_change=True
            ),
            "by_change needs spikes",
        ),
        (lambda: Lif(name="fc", inputs=("x",), threshold=np.array([1], np.int32)), "x is u8"),
        (lambda: Poisson(name="fc", inputs=("x",)), "expected two inputs"),
        (lambda: Direct(name="fc", inputs=("x",), gain=0), "gain 0"),
    ],
)
def test_a_wrong_layer_is_refused_by_name(node: object, text: str) -> None:
    with pytest.raises(GraphError, match=text) as caught:
        simple([graphs.values(3)], [node()])  # type: ignore[operator]
    assert "layer" in str(caught.value)


def test_an_operator_in_two_graphs_keeps_both_proofs() -> None:
    nodes = [Direct(name="i", inputs=("x",), gain=128), LeakyReadout(name="v", inputs=("i",))]
    long = simple([graphs.values(3)], nodes, steps=1000)
    short = simple([graphs.values(3)], nodes, steps=2)
    assert (long.tensors["v"].dtype, short.tensors["v"].dtype) == ("i32", "i32")
    assert int(long.bounds["v"][1].max()) == 1000 * 128 * 255
    x = np.full((1, 3), 255, np.uint8)
    assert int(long.run({"x": x}).outputs["v"].max()) == 1000 * 128 * 255


def test_an_operator_of_each_step_cannot_read_what_is_known_at_the_end() -> None:
    with pytest.raises(GraphError, match=r"layer again .* reads best, which is known in phase END"):
        simple(
            [graphs.values(3)],
            [
                Latency(name="e", inputs=("x",)),
                SpikeCount(name="n", inputs=("e",)),
                Argmax(name="best", inputs=("n",)),
                LeakyReadout(name="again", inputs=("best",)),
            ],
        )


@pytest.mark.parametrize("name", ["x y", "a__b", "é", "", "n" * 33])
def test_a_name_that_c_or_the_link_could_not_carry_is_refused(name: str) -> None:
    with pytest.raises(GraphError, match="a C identifier of at most 32 characters"):
        simple([Tensor(name, "u8", (3,), kind="input")], [Latency(name="e", inputs=(name,))])
    with pytest.raises(GraphError, match="a C identifier of at most 32 characters"):
        simple([graphs.values(3)], [Latency(name=name, inputs=("x",))])


def test_a_spike_that_is_neither_0_nor_1_is_refused() -> None:
    graph = simple([Tensor("b", "bit", (4,), kind="input")], [SpikeCount(name="n", inputs=("b",))])
    with pytest.raises(GraphError, match="input b: 2 where a spike is 0 or 1"):
        graph.run({"b": np.full((1, 4), 2, np.uint8)})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"initial": 1 << 31}, "initial is 2147483648"),
        ({"leak": 40000}, "leak 40000"),
        ({"leak": (1 << 24) + 1, "leak_bits": 24}, r"leak 16777217 is not in 0..2\^24"),
        ({"leak_bits": 14}, "leak_bits is 14, .* 15"),
        ({"leak_bits": 32}, "leak_bits is 32"),
        ({"reset": "soft"}, "reset is 'soft', expected one of"),
        ({"timing": "later"}, "timing"),
        ({"compare": "=="}, "compare"),
        ({"reset_value": np.array([1], np.int32)}, "reset_value goes with"),
        ({"threshold": np.array([-1], np.int32)}, "elements of 0"),
        ({"threshold": np.array([1, 2], np.int32)}, "threshold has 2 values"),
        ({"threshold": np.array([40000], np.int32), "membrane": "i16"}, "beyond int16"),
        ({"refractory": 256}, "refractory is 256"),
    ],
)
def test_a_wrong_neuron_is_refused_by_name(change: dict[str, object], text: str) -> None:
    fields: dict[str, object] = {"threshold": np.array([10], np.int32), **change}
    with pytest.raises(GraphError, match=text) as caught:
        simple(
            [graphs.values(3)],
            [
                Direct(name="i", inputs=("x",)),
                Lif(name="cells", inputs=("i",), **fields),  # type: ignore[arg-type]
            ],
        )
    assert "layer cells (lif)" in str(caught.value)


def test_an_accumulator_that_may_overflow_is_refused() -> None:
    weight = np.full((3, 66000 // 2), 127, np.int8)
    bias = np.array([0, 2**31 - 1, 0], np.int32)
    with pytest.raises(GraphError, match=r"layer fc .* channel 1 may reach .* beyond 32 bits"):
        simple([graphs.values(33000)], [Dense(name="fc", inputs=("x",), weight=weight, bias=bias)])
