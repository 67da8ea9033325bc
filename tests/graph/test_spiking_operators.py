"""Convolutions and pools of spikes against PyTorch, recurrence against a loop in plain Python."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelet.graph import Array, Graph, GraphError, Operator, Tensor
from spikelet.graph.ops.conv2d_sums import Conv2dSums
from spikelet.graph.ops.delay import Delay
from spikelet.graph.ops.delayed_dense import DelayedDense
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.lif import Lif
from spikelet.graph.ops.one_to_one import OneToOne
from spikelet.graph.ops.poisson import Poisson
from spikelet.graph.ops.pool2d_sums import Pool2dSums
from spikelet.graph.ops.previous import Previous
from spikelet.graph.ops.sum import Sum
from spikelet.graph.tune import packed_sums

torch = pytest.importorskip("torch")
GRIDS = [(8, False), (4, False), (4, True), (2, False), (2, True), (1, True)]  # bits, odd


def one(node: Operator, *inputs: Tensor, steps: int = 1) -> Graph:
    return Graph("one", steps, list(inputs), [node], [node.name])


def within(graph: Graph, name: str, values: Array) -> bool:
    low, high = graph.bounds[name]
    return bool((low <= values).all() and (values <= high).all())


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_conv2d_sums_equals_torch_in_float64(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    dtype = data.draw(st.sampled_from(["bit", "u8", "i8"]))
    groups = data.draw(st.sampled_from([1, 1, 2, 3]))
    depth, each = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 9))
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    stride, dilation = (data.draw(st.tuples(st.integers(1, 3), st.integers(1, 2))) for _ in "12")
    margin = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    size = [(k - 1) * d + 1 + int(rng.integers(0, 6))
            for k, d in zip(kernel, dilation, strict=True)]  # fmt: skip
    bits, odd = data.draw(st.sampled_from(GRIDS)) if dtype == "bit" else (8, False)
    codes = rng.integers(-(1 << bits - 1), 1 << bits - 1, (groups * each, *kernel, depth))
    weight = codes * 2 + 1 if odd else codes
    bias = rng.integers(-(2**20), 2**20, groups * each).astype(np.int32)
    x = Tensor("x", dtype, (*size, groups * depth), kind="input")
    node = Conv2dSums(
        name="y", inputs=("x",), weight=codes.astype(np.int8), bits=bits, odd=odd,
        bias=bias if rng.integers(2) else None, stride=stride, dilation=dilation,
        padding=(*margin, *margin), groups=groups,
    )  # fmt: skip
    graph = one(node, x)
    low, high = x.limits
    values = rng.integers(low, high + 1, (2, *x.shape)).astype(x.numpy_dtype)
    real = torch.tensor(values.transpose(0, 3, 1, 2).astype(np.float64))
    expected = torch.nn.functional.conv2d(
        real,
        torch.tensor(weight.transpose(0, 3, 1, 2).astype(np.float64)),
        None if node.bias is None else torch.tensor(node.bias.astype(np.float64)),
        stride, margin, dilation, groups,
    ).numpy().transpose(0, 2, 3, 1)  # fmt: skip
    found = graph.run({"x": values}).outputs["y"]
    assert np.array_equal(found, expected.astype(np.int64))
    assert within(graph, "y", found)
    # How many outputs each input goes into is what a map of ones says.
    ones = torch.ones((1, groups * each, *found.shape[1:3]), dtype=torch.float64)
    there = torch.tensor((weight != 0).transpose(0, 3, 1, 2).astype(np.float64))
    image = torch.zeros((1, groups * depth, *size), dtype=torch.float64, requires_grad=True)
    torch.nn.functional.conv2d(image, there, None, stride, margin, dilation, groups).backward(ones)
    assert image.grad is not None
    met = image.grad[0].numpy().transpose(1, 2, 0)
    assert np.array_equal(graph.nodes[0].synapses()["x"], met)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_dense_of_few_bits_adds_what_its_codes_stand_for(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    bits, odd = data.draw(st.sampled_from(GRIDS))
    m, n = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 90))
    codes = rng.integers(-(1 << bits - 1), 1 << bits - 1, (m, n))
    x = Tensor("x", "bit", (n,), kind="input")
    graph = one(Dense(name="y", inputs=("x",), weight=codes.astype(np.int8), bits=bits, odd=odd), x)
    spikes = rng.integers(0, 2, (3, n)).astype(np.uint8)
    found = graph.run({"x": spikes}).outputs["y"]
    for row, sums in zip(spikes, found, strict=True):
        fired = np.flatnonzero(row)
        for o in range(m):
            assert sums[o] == sum(2 * int(k) + 1 if odd else int(k) for k in codes[o, fired])
    assert within(graph, "y", found)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_weights_are_packed_in_the_fewest_bits_that_hold_them(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    levels, bits, odd = data.draw(st.sampled_from([
        ([-1, 1], 1, True), ([-1, 0, 1], 2, False), ([-2, 1], 2, False), ([-3, -1, 1, 3], 2, True),
        (range(-7, 8), 4, False), (range(-15, 16, 2), 4, True), ([0, 8], 8, False),
    ]))  # fmt: skip
    weight = rng.choice(np.array(levels, np.int8), (3, 20))
    weight[0, : len(levels)] = levels
    x = Tensor("x", "bit", (20,), kind="input")
    plain = one(Dense(name="y", inputs=("x",), weight=weight), x)
    (node,) = packed_sums(plain).nodes
    assert isinstance(node, Dense)
    assert (node.bits, node.odd) == (bits, odd)
    spikes = {"x": rng.integers(0, 2, (4, 20)).astype(np.uint8)}
    packed = packed_sums(plain).run(spikes).outputs["y"]
    assert np.array_equal(packed, plain.run(spikes).outputs["y"])


def test_weights_of_few_bits_are_for_spikes() -> None:
    x = Tensor("x", "u8", (3,), kind="input")
    codes = np.ones((2, 3), np.int8)
    with pytest.raises(GraphError, match="weights of 4 bits read u8: expected spikes"):
        one(Dense(name="y", inputs=("x",), weight=codes, bits=4), x)
    spikes = Tensor("x", "bit", (3,), kind="input")
    with pytest.raises(GraphError, match="codes are 8 to 8, expected -8 to 7 of 4 bits"):
        one(Dense(name="y", inputs=("x",), weight=codes * np.int8(8), bits=4), spikes)
    with pytest.raises(GraphError, match="odd weights of 8 bits"):
        one(Dense(name="y", inputs=("x",), weight=codes, odd=True), spikes)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_pools_equal_torch_in_float64(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    dtype = data.draw(st.sampled_from(["bit", "u8", "i16", "i32"]))
    mode = data.draw(st.sampled_from(["sum", "max"]))
    window, stride = (data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4))) for _ in "12")
    margin = tuple(min(data.draw(st.integers(0, 2)), k // 2) for k in window)
    size = [k + int(rng.integers(0, 6)) for k in window]
    x = Tensor("x", dtype, (*size, 5), kind="input")
    node = Pool2dSums(
        name="y", inputs=("x",), window=window, stride=stride, padding=(*margin, *margin), mode=mode
    )
    low, high = (end // (16 if dtype == "i32" else 1) for end in x.limits)
    values = rng.integers(low, high + 1, (2, *x.shape)).astype(x.numpy_dtype)
    if dtype == "i32" and mode == "sum" and window != (1, 1):
        with pytest.raises(GraphError, match="beyond i32"):
            one(node, x)
        return
    graph = one(node, x)
    real = torch.tensor(values.transpose(0, 3, 1, 2).astype(np.float64))
    if mode == "max":
        expected = torch.nn.functional.max_pool2d(real, window, stride, margin)
    else:
        mean = torch.nn.functional.avg_pool2d(
            real, window, stride, margin, count_include_pad=True, divisor_override=1
        )
        expected = mean
    found = graph.run({"x": values}).outputs["y"]
    assert np.array_equal(found, expected.numpy().transpose(0, 2, 3, 1).astype(np.int64))
    assert within(graph, "y", found)


def feedback(weight: int, threshold: int, steps: int, most: int = 1) -> Graph:
    """Three neurons with a weight on their own spikes, at most so many a step."""
    counts: dict[str, Any] = {} if most == 1 else {"dtype": "u8", "low": 0, "high": most}
    nodes: list[Operator] = [
        Previous(name="last", of="lif.spikes", shape=(3,), **counts),
        OneToOne(name="own", inputs=("last",), weight=np.array([weight], np.int16)),
        Sum(name="current", inputs=("x", "own")),
        Lif(
            name="lif", inputs=("current",), threshold=np.array([threshold], np.int32),
            leak=1 << 15, reset="subtract", most=most,
        ),
    ]  # fmt: skip
    x = Tensor("x", "i16", (3,), kind="input")
    return Graph("feedback", steps, [x], nodes, ["lif.spikes"])


@given(st.integers(-80, 80), st.integers(1, 300), st.sampled_from((1, 3, 255)))
@settings(max_examples=50)
def test_a_recurrence_reads_the_step_before(weight: int, threshold: int, most: int) -> None:
    graph = feedback(weight, threshold, 12, most)
    x = np.array([[10, 20, 30], [-7, 300, 0]], np.int16)
    trace = graph.run({"x": x}, trace=True).trace["lif.spikes"]
    for sample, currents in enumerate(x.tolist()):
        for neuron, current in enumerate(currents):
            v, spikes = 0, 0
            for t in range(12):
                v += current + weight * spikes
                spikes = 0
                while v > threshold and spikes < most:
                    v -= threshold
                    spikes += 1
                assert trace[t, sample, neuron] == spikes


def test_counts_of_which_a_current_is_beyond_16_bits_are_refused() -> None:
    feedback(128, 9, 3, 255)
    with pytest.raises(GraphError, match="129 and 255 spikes a step: a current is beyond 16 bits"):
        feedback(129, 9, 3, 255)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_spike_arrives_after_its_neurons_delay(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n, steps, most = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 30)), 12
    delays = rng.integers(0, data.draw(st.integers(0, most)) + 1, n).astype(np.uint8)
    nodes: list[Operator] = [
        Poisson(name="e", inputs=("x", "seed")),
        Delay(name="late", inputs=("e.spikes",), steps=delays),
    ]
    inputs = [Tensor("x", "u8", (n,), kind="input"), Tensor("seed", "u32", (1,), kind="input")]
    graph = Graph("late", steps, inputs, nodes, ["late"])
    x = rng.integers(0, 256, (3, n)).astype(np.uint8)
    trace = graph.run({"x": x, "seed": np.array([[1], [2], [3]], np.uint32)}, trace=True).trace
    for t in range(steps):
        for i, delay in enumerate(delays.tolist()):
            wanted = trace["e.spikes"][t - delay, :, i] if t >= delay else np.zeros(3)
            assert np.array_equal(trace["late"][t, :, i], wanted)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_each_synapse_adds_what_was_there_its_own_delay_ago(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    m, n, steps = (data.draw(st.integers(1, most)) for most in (9, 40, 30))
    longest = data.draw(st.sampled_from([0, 1, 7, 31, 32, 70]))
    delays = rng.integers(0, longest + 1, (m, n)).astype(np.uint8)
    weight = rng.integers(-128, 128, (m, n)).astype(np.int8)
    bias = rng.integers(-(2**18), 2**18, m).astype(np.int32) if rng.integers(2) else None
    nodes: list[Operator] = [
        Poisson(name="e", inputs=("x", "seed")),
        *(
            DelayedDense(name=name, inputs=("e.spikes",), weight=weight, delays=delays, bias=bias,
                         gather=name == "gather")
            for name in ("scatter", "gather")
        ),
    ]  # fmt: skip
    inputs = [Tensor("x", "u8", (n,), kind="input"), Tensor("seed", "u32", (1,), kind="input")]
    graph = Graph("late", steps, inputs, nodes, ["scatter"])
    x = rng.integers(0, 256, (2, n)).astype(np.uint8)
    trace = graph.run({"x": x, "seed": np.array([[1], [2]], np.uint32)}, trace=True).trace
    spikes = trace["e.spikes"].astype(int)
    for t, o in itertools.product(range(steps), range(m)):
        sums = np.full(2, 0 if bias is None else bias[o], np.int64)
        for i in range(n):
            if t >= delays[o, i]:
                sums += weight[o, i] * spikes[t - delays[o, i], :, i]
        assert np.array_equal(trace["scatter"][t, :, o], sums)
        assert np.array_equal(trace["gather"][t, :, o], sums)
    assert all(within(graph, name, trace[name][t]) for name in ("scatter", "scatter.ring")
               for t in range(steps))  # fmt: skip
    ring = graph.tensors["scatter.ring"].nbytes
    assert ring == (int(delays.max()) + 1) * graph.tensors["scatter"].nbytes


@pytest.mark.parametrize(
    ("of", "fields", "text"),
    [
        ("nothing", {}, "nothing is written by none"),
        ("x", {}, "x is written by none"),
        ("first", {"dtype": "i16"}, "first is written by one in front: read that"),
        ("lif.spikes", {"shape": (4,)}, r"lif.spikes is bit \(3,\), expected bit \(4,\)"),
        ("own", {"dtype": "i16", "low": -9, "high": 9}, "own may be 0 to 70, expected -9 to 9"),
        ("own", {"dtype": "i16", "low": 1, "high": 9}, "lacks 0, where it starts"),
        ("lif.membrane", {"dtype": "i16"}, "lif.membrane is a state with a start"),
        ("total", {"dtype": "i16"}, "total is not written in every step"),
    ],
)
def test_what_is_no_recurrence_is_refused(of: str, fields: dict[str, object], text: str) -> None:
    given_fields: dict[str, object] = {"shape": (3,), **fields}
    nodes: list[Operator] = [
        Sum(name="first", inputs=("x", "x")),
        Previous(name="last", of=of, **given_fields),  # type: ignore[arg-type]
        Lif(name="lif", inputs=("first",), threshold=np.array([9], np.int32)),
        OneToOne(name="own", inputs=("lif.spikes",), weight=np.array([70], np.int16)),
        Sum(name="total", inputs=("x", "x")),
    ]
    x = Tensor("x", "i16", (3,), kind="input")
    with pytest.raises(GraphError, match=text):
        Graph("wrong", 3, [x], nodes, ["lif.spikes"])


def test_a_layer_of_neurons_that_do_not_divide_is_refused() -> None:
    x = Tensor("x", "i16", (2, 3), kind="input")
    for fields in ({"leaks": np.ones(4, np.uint32)}, {"threshold": np.ones(5, np.int32)}):
        given_fields = {"threshold": np.ones(3, np.int32), **fields}
        with pytest.raises(GraphError, match="expected 6, or as many as divide that"):
            one(Lif(name="lif", inputs=("x",), **given_fields), x)  # type: ignore[arg-type]
