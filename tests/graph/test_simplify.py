"""What an import leaves out of a graph changes no code of what is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults import spoil
from graphs import random_inputs
from spikelet.frontends.tflite import load
from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.int8 import ranges
from spikelet.graph.ops.add import Add
from spikelet.graph.ops.average_pool2d import AveragePool2d
from spikelet.graph.ops.concatenate import Concatenate
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.max_pool2d import MaxPool2d
from spikelet.graph.ops.mean import Mean
from spikelet.graph.ops.pad import Pad
from spikelet.graph.ops.relu import Relu, relu_table
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.requantise import quantize_multiplier
from spikelet.graph.simplify import Simplified, simplify
from spikelet.package import Package
from support import reference_model

UNIT = 2.0**-6  # real value of a code


def layer(rng: np.random.Generator, shape: tuple[int, ...], axis: int, relu: bool) -> dict:
    """Constants of a layer with weights, many of whose channels say nothing."""
    channels = shape[axis]
    fan = np.prod(shape) / channels
    real, bias = rng.normal(0, fan**-0.5, shape), rng.normal(0, 0.3, channels)
    spoil(rng, real, bias, axis)
    rows = np.moveaxis(real, axis, 0).reshape(channels, -1)
    scales = np.maximum(np.abs(rows).max(axis=1), 1e-13) / 127
    spread = scales.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    pairs = [quantize_multiplier(float(s)) for s in scales]
    zero = -128 if relu else int(rng.integers(-20, 20))
    return {
        "weight": np.round(real / spread).astype(np.int8),
        "bias": np.clip(np.round(bias / (UNIT * scales)), -(1 << 30), 1 << 30).astype(np.int32),
        "multiplier": np.array([m for m, _ in pairs], np.int32),
        "shift": np.array([s for _, s in pairs], np.int32),
        "output_scale": UNIT,
        "output_zero_point": zero,
    }


class Net:
    """A graph layer by layer."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs = [Tensor("x", "i8", shape, kind="input", scale=UNIT, zero_point=-3)]
        self.nodes: list[Operator] = []

    def graph(self, *outputs: str) -> Graph:
        return Graph("net", 1, self.inputs, self.nodes, list(outputs))

    def tensor(self, name: str) -> Tensor:
        return self.inputs[0] if name == "x" else self.graph(name).tensors[name]

    def add(self, node: Operator) -> str:
        self.nodes.append(node)
        return node.name

    @property
    def name(self) -> str:
        return f"n{len(self.nodes)}"


def step(n: Net, x: str, draw: st.DrawFn) -> str:
    """One more operator over an (H, W, C) tensor."""
    t, rng = n.tensor(x), n.rng
    depth, relu = t.shape[2], draw(st.booleans())
    kind = draw(st.sampled_from(["conv", "point", "depthwise", "pool", "residual", "concat",
                                 "pad", "relu", "conv", "depthwise"]))  # fmt: skip
    code = {"output_scale": t.scale, "output_zero_point": t.zero_point}
    name, inputs = n.name, (x,)
    if kind in ("conv", "point"):
        size = 1 if kind == "point" or min(t.shape[:2]) < 3 else 3
        pad = (0, 0, 0, 0) if size == 1 else draw(st.sampled_from([(0,) * 4, (1,) * 4]))
        fields = layer(rng, (draw(st.integers(1, 17)), size, size, depth), 0, relu)
        return n.add(Conv2d(name=name, inputs=inputs, padding=pad, **fields))
    if kind == "depthwise" and min(t.shape[:2]) >= 2:
        times = draw(st.integers(1, 2))
        fields = layer(rng, (2, 2, depth * times), 2, relu)
        pad = draw(st.sampled_from([(0,) * 4, (0, 0, 1, 1)]))
        return n.add(DepthwiseConv2d(
            name=name, inputs=inputs, padding=pad, depth_multiplier=times, **fields
        ))  # fmt: skip
    if kind == "pool":
        pool = draw(st.sampled_from([AveragePool2d, MaxPool2d]))
        return n.add(pool(name=name, inputs=inputs, window=(1, min(2, t.shape[1])), **code))
    if kind == "residual":
        other = n.add(Conv2d(name=name, inputs=inputs, **layer(rng, (depth, 1, 1, depth), 0, relu)))
        return n.add(Add(name=n.name, inputs=(x, other), output_scale=UNIT, output_zero_point=5))
    if kind == "concat" and depth < 20:
        other = n.add(Relu(name=name, inputs=inputs, table=relu_table(t, t.scale, t.zero_point),
                           **code))  # fmt: skip
        return n.add(Concatenate(name=n.name, inputs=(x, other), axis=2, **code))
    if kind == "pad":
        return n.add(Pad(name=name, inputs=inputs, before=(1, 0, 0), after=(0, 0, 0),
                         value=draw(st.sampled_from([t.zero_point, 7])), **code))  # fmt: skip
    table = relu_table(t, UNIT, -128)
    return n.add(Relu(name=name, inputs=inputs, table=table, output_scale=UNIT,
                      output_zero_point=-128))  # fmt: skip


@st.composite
def nets(draw: st.DrawFn) -> Graph:
    n = Net((draw(st.integers(2, 5)), draw(st.integers(2, 5)), 3), draw(st.integers(0, 2**16)))
    x = "x"
    for _ in range(draw(st.integers(2, 7))):
        x = step(n, x, draw)
    outputs = []
    if draw(st.booleans()):
        outputs.append(x)
    shape = n.tensor(x).shape
    if draw(st.booleans()):
        flat, width = (int(np.prod(shape)),), int(np.prod(shape))
        x = n.add(Reshape(name=n.name, inputs=(x,), shape=flat))
    else:
        width = shape[2]
        x = n.add(Mean(name=n.name, inputs=(x,), axes=(0, 1), output_scale=UNIT))
    x = n.add(FullyConnected(name=n.name, inputs=(x,), **layer(n.rng, (9, width), 0, True)))
    x = n.add(FullyConnected(name=n.name, inputs=(x,), **layer(n.rng, (3, 9), 0, False)))
    return n.graph(*outputs, x)


def draw(graph: Graph, samples: int = 1) -> dict[str, Array]:
    return random_inputs(graph, samples, np.random.default_rng(0))


def simplify_and_compare(graph: Graph, samples: int = 4) -> Simplified:
    """Every channel that is left has its codes, every code lies within its interval."""
    less, inputs = simplify(graph), draw(graph, samples)
    before, after = (g.run(inputs, trace=True).trace for g in (graph, less.graph))
    for name, rows in before.items():
        low, high = graph.bounds[name]
        assert np.all(rows >= low) and np.all(rows <= high), name
        kept = less.kept.get(name, slice(None))
        np.testing.assert_array_equal(rows[..., kept], after[name], name)
    for t in (*graph.inputs, *(graph.tensors[name] for name in graph.outputs)):
        assert less.graph.tensors[t.name].shape == t.shape
    return less


@given(graph=nets())
@settings(max_examples=60, deadline=None)
def test_a_random_network_computes_the_same_with_less(graph: Graph) -> None:
    less = simplify_and_compare(graph)
    assert less.macs[1] <= less.macs[0]
    again = simplify(less.graph)
    assert again.kept == {} and again.weights == (less.weights[1],) * 2


def pointwise(name: str, x: str, weight: list[list[int]], bias: list[int], pad: int = 0) -> Conv2d:
    """A 1 x 1 convolution whose codes are a quarter of its sums."""
    rows = np.array(weight, np.int8)
    ones = np.ones(len(rows), np.int32)
    return Conv2d(
        name=name, inputs=(x,), weight=rows[:, None, None], bias=np.array(bias, np.int32),
        multiplier=ones << 30, shift=-ones, output_scale=1.0, output_zero_point=0,
        padding=(pad,) * 4,
    )  # fmt: skip


def chain(*nodes: Operator) -> Graph:
    x = Tensor("x", "i8", (3, 3, 2), kind="input")
    return Graph("chain", 1, [x], list(nodes), [nodes[-1].name])


LIVE = [[3, 1], [1, 2], [2, 5], [4, 4]]


@pytest.mark.quick
def test_a_channel_of_real_0_is_none_for_who_reads_it_padded_or_not() -> None:
    for pad in (0, 1):
        first = pointwise("a", "x", [*LIVE, [0, 0]], [0] * 5)
        second = pointwise("b", "a", [[1, 2, 3, 4, 99]], [7], pad)
        less = simplify_and_compare(chain(first, second))
        assert less.kept["a"].tolist() == [0, 1, 2, 3]
        assert less.weights == (15, 12)


def test_a_constant_goes_into_the_bias_where_no_padding_shows_it() -> None:
    first = pointwise("a", "x", [*LIVE, [0, 0]], [0, 0, 0, 0, 40])  # its code is 10
    less = simplify_and_compare(chain(first, pointwise("b", "a", [[1, 2, 3, 4, 9]], [7])))
    (bias,) = less.graph.nodes[1].bias
    assert bias == 7 + 9 * 10 and less.kept["a"].tolist() == [0, 1, 2, 3]
    less = simplify_and_compare(chain(first, pointwise("b", "a", [[1, 2, 3, 4, 9]], [7], pad=1)))
    assert less.kept == {} and less.layers[0].constant == 1
    assert not less.graph.nodes[0].weight[4].any()


def test_a_live_channel_that_nobody_reads_is_left_out_with_what_makes_it() -> None:
    first = pointwise("a", "x", [*LIVE, *LIVE], [0] * 8)
    depthwise = DepthwiseConv2d(
        name="d", inputs=("a",), weight=np.ones((1, 1, 8), np.int8),
        **{k: getattr(first, k) for k in ("bias", "multiplier", "shift")},
        output_scale=1.0, output_zero_point=0,
    )  # fmt: skip
    last = pointwise("b", "d", [[1, 0, 2, 0, 3, 0, 4, 0]], [0])
    less = simplify_and_compare(chain(first, depthwise, last))
    assert less.kept["a"].tolist() == less.kept["d"].tolist() == [0, 2, 4, 6]
    assert [row.name for row in less.layers] == ["a", "d", "b"]


def test_counts_stay_multiples_of_four() -> None:
    first = pointwise("a", "x", [*LIVE, [1, 1], [0, 0], [7, 7], [0, 0], [0, 0]], [0] * 9)
    less = simplify_and_compare(
        chain(first, pointwise("b", "a", [[1, 2, 3, 4, 5, 9, 0, 9, 9]], [7]))
    )
    # Constants fill up, not the channel that would have to be computed.
    assert less.kept["a"].tolist() == [0, 1, 2, 3, 4, 5, 7, 8]


def test_a_graph_of_constants_keeps_its_shapes() -> None:
    first = pointwise("a", "x", [[0, 0]] * 6, [0] * 6)
    less = simplify_and_compare(chain(first, pointwise("b", "a", [[1] * 6], [60])))
    assert len(less.kept["a"]) == 4
    assert less.graph.run(draw(less.graph)).outputs["b"].tolist() == [[[[15]] * 3] * 3]


def test_what_is_left_out_is_in_the_manifest_and_survives_json() -> None:
    first = pointwise("a", "x", [*LIVE, [0, 0]], [0] * 5)
    less = simplify_and_compare(chain(first, pointwise("b", "a", [[1, 2, 3, 4, 99]], [7])))
    noted = less.manifest_entry()["simplified"]
    assert noted["layers"][0] == {
        "name": "a", "channels": 5, "constant": 1, "kept": 4, "kept_channels": "0-3",
        "macs": (90, 72), "weights": (10, 8),
    }  # fmt: skip
    package = Package(less.graph, draw(less.graph), less.manifest_entry()).with_golden()
    assert package.manifest["simplified"]["weights"] == (15, 12)


def test_a_network_of_the_field_keeps_half_of_its_work() -> None:
    """MLPerf Tiny's person detector: 1,650 of its channels have one code whatever the image is."""
    less = load(reference_model("vww_96_int8")).simplified
    assert sum(row.constant for row in less.layers) == 1650
    assert less.macs == (7_491_970, 3_766_694) and less.weights == (208_112, 30_340)


@pytest.mark.parametrize(
    ("numbers", "text"), [([3], "3"), ([0, 1], "0-1"), ([0, 1, 2, 5, 7, 8], "0-2,5,7-8")]
)
def test_ranges(numbers: list[int], text: str) -> None:
    assert ranges(np.array(numbers, np.int64)) == text
