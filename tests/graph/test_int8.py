"""Int8 layers with weights: fixed-point scaling, golden against plain loops, what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphs
import int8_graphs
from spikelet.graph import Array, Graph, GraphError, Tensor
from spikelet.graph.convolution import Convolution
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.requantise import quantize_multiplier, requantise

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)


def gemmlowp(x: int, multiplier: int, shift: int) -> int:
    """MultiplyByQuantizedMultiplier as the reference writes it, on Python's integers."""
    x = (x << max(shift, 0)) + (1 << 31) & (1 << 32) - 1
    x -= 1 << 31
    product = x * multiplier
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    high = abs(product + nudge) >> 31  # C divides toward zero
    high = high if product + nudge >= 0 else -high
    right = max(-shift, 0)
    mask = (1 << right) - 1
    threshold = (mask >> 1) + (high < 0)
    return (high >> right) + ((high & mask) > threshold)


@given(x=INT32, multiplier=st.integers(0, (1 << 31) - 1), shift=st.integers(-31, 30))
@settings(max_examples=500)
def test_requantise_rounds_twice_as_the_reference(x: int, multiplier: int, shift: int) -> None:
    assert int(requantise(np.array(x), multiplier, shift)) == gemmlowp(x, multiplier, shift)


@given(half=st.integers(-(1 << 10), (1 << 10) - 1), right=st.integers(1, 20))
def test_halves_go_away_from_zero(half: int, right: int) -> None:
    x = (2 * half + 1) << right  # times 1/2, then by 2^right: a half
    assert int(requantise(np.array(x), 1 << 30, -right)) == half + (half >= 0)


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.0, (0, 0)),
        (1.0, (1 << 30, 1)),
        (0.5, (1 << 30, 0)),
        (0.75, (3 << 29, 0)),
        (0.1, (1717986918, -3)),
        (1 - 2.0**-40, (1 << 30, 1)),
        (2.0**-32, (1 << 30, -31)),
        (2.0**-33, (0, 0)),
        (1e6, (2048000000, 20)),
    ],
)
def test_factors_as_tensorflow_lite_quantises_them(real: float, expected: tuple[int, int]) -> None:
    assert quantize_multiplier(real) == expected


@pytest.mark.parametrize("real", [-0.5, float("nan"), float("inf")])
def test_a_factor_that_is_none_is_refused(real: float) -> None:
    with pytest.raises(ValueError, match="cannot be quantised"):
        quantize_multiplier(real)


def plain(node: Convolution, x: Array, zero: int, out: tuple[int, ...]) -> Array:
    """Sums (out H, out W, O) with bias, by loops."""
    depthwise = isinstance(node, DepthwiseConv2d)
    height, width = node.weight.shape[:2] if depthwise else node.weight.shape[1:3]
    sums = np.zeros(out, np.int64)
    for oy, ox, o in itertools.product(*map(range, out)):
        total = int(node.bias[o])
        for i, j in itertools.product(range(height), range(width)):
            y = oy * node.stride[0] + i * node.dilation[0] - node.padding[0]
            at = ox * node.stride[1] + j * node.dilation[1] - node.padding[1]
            if not (0 <= y < x.shape[0] and 0 <= at < x.shape[1]):
                continue
            seen = x[y, at].astype(np.int64) - zero
            if isinstance(node, DepthwiseConv2d):
                total += int(seen[o // node.depth_multiplier]) * int(node.weight[i, j, o])
            else:
                total += int(seen @ node.weight[o, i, j].astype(np.int64))
        sums[oy, ox, o] = total
    return sums


@pytest.mark.quick
@pytest.mark.parametrize("make", [int8_graphs.convolutions, int8_graphs.depthwise])
def test_golden_equals_plain_loops(make: Any) -> None:
    graph: Graph = make()
    inputs = graphs.random_inputs(graph, 3, np.random.default_rng(1))
    result = graph.run(inputs, trace=True)
    for node in graph.nodes:
        assert isinstance(node, Convolution)
        tensor = graph.tensors[node.inputs[0]]
        got = result.trace[node.name][0, 2]
        sums = plain(node, inputs[tensor.name][2], tensor.zero_point, got.shape)
        wanted = np.zeros_like(got)
        low, high = node.activation
        for at in np.ndindex(*got.shape):
            o = at[-1]
            code = gemmlowp(int(sums[at]), int(node.multiplier[o]), int(node.shift[o]))
            wanted[at] = min(max(code + node.output_zero_point, low), high)
        assert np.array_equal(got, wanted), node.name


def test_a_fully_connected_layer_is_a_convolution_of_one_pixel() -> None:
    rng = np.random.default_rng(2)
    fields = int8_graphs.scale_fields(rng, 9, 30, 0)
    weight = int8_graphs.codes(rng, (9, 30), 0)
    x = int8_graphs.image("x", (1, 1, 30), 3)
    graph = Graph(
        "both",
        1,
        [x],
        [
            FullyConnected(name="fc", inputs=("x",), weight=weight, **fields),
            Conv2d(name="conv", inputs=("x",), weight=weight.reshape(9, 1, 1, 30), **fields),
        ],
        ["fc", "conv"],
    )
    out = graph.run(graphs.random_inputs(graph, 40, rng)).outputs
    assert np.array_equal(out["fc"], out["conv"].reshape(40, 9))
    assert len(np.unique(out["fc"])) > 50


def layer(**changes: Any) -> Graph:
    rng = np.random.default_rng(3)
    fields: dict[str, Any] = {
        "weight": int8_graphs.codes(rng, (4, 3, 3, 2), 0),
        **int8_graphs.scale_fields(rng, 4, 18, 0),
        **changes,
    }
    x = Tensor("x", "i8", (5, 5, 2), kind="input", zero_point=-3)
    return Graph("one", 1, [x], [Conv2d(name="conv", inputs=("x",), **fields)], ["conv"])


def test_a_graph_survives_json() -> None:
    graph = layer(padding=(1, 0, 2, 1), stride=(2, 1))
    again = Graph.from_json(graph.to_json(), graph.constants())
    inputs = graphs.random_inputs(graph, 4, np.random.default_rng(4))
    assert np.array_equal(graph.run(inputs).outputs["conv"], again.run(inputs).outputs["conv"])
    assert again.to_json() == graph.to_json()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": np.zeros((4, 3, 3, 3), np.int8)}, "does not fit input"),
        ({"weight": np.zeros((4, 3, 3, 2), np.int16)}, "weight is int16"),
        ({"weight": np.zeros((4, 9, 3, 2), np.int8)}, "reaches beyond input"),
        ({"bias": np.zeros(3, np.int32)}, "bias has shape"),
        ({"bias": np.full(4, (1 << 31) - 1, np.int32)}, "beyond 32 bits"),
        ({"multiplier": np.full(4, -1, np.int32)}, "elements of 0"),
        ({"shift": np.full(4, 31, np.int32)}, "elements of -31 to 30"),
        ({"stride": (0, 1)}, r"stride\[0\] is 0"),
        ({"dilation": (1, 0)}, r"dilation\[1\] is 0"),
        ({"padding": (0, -1, 0, 0)}, r"padding\[1\] is -1"),
        ({"activation": (5, -5)}, "not a range"),
        ({"output_zero_point": 128}, "zero_point is 128"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError, match=rf"layer conv \(conv2d\).*{message}"):
        layer(**changes)


def test_more_weights_a_channel_than_a_kernel_counts_are_refused() -> None:
    rng, n = np.random.default_rng(0), 1 << 16
    weight = np.ones((1, n), np.int8)
    x = Tensor("x", "i8", (256, n // 256), kind="input")
    layer = FullyConnected(
        name="fc", inputs=("x",), weight=weight, **int8_graphs.scale_fields(rng, 1, n, 0)
    )
    with pytest.raises(GraphError, match=r"layer fc .* 65536 weights a channel, more than 65520"):
        Graph("one", 1, [x], [layer], ["fc"])
