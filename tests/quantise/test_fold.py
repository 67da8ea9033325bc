"""Folding keeps the function and removes what the graph must not carry."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from float_networks import Builder, images, mobile
from spikelet.quantise import Code, Network, Node, Options, decode, encode, fold, quantise, run

SLACK = 2e-4


def fold_twice(network: Network) -> list[str]:
    """Fold, twice; every tensor that is left has its values; the operators."""
    before = network.copy()
    found = fold(network)
    assert network.nodes == before.nodes
    assert list(network.constants) == list(before.constants)
    feeds = images(network, 3)
    real, after = run(network, feeds), run(found, feeds)
    assert found.outputs == network.outputs
    for name in set(real) & set(after):
        np.testing.assert_allclose(after[name], real[name], rtol=SLACK, atol=SLACK)
    assert set(found.outputs) <= set(after)
    assert fold(found).nodes == found.nodes
    read = {name for node in found.nodes for name in node.inputs}
    assert set(found.constants) <= read
    return [node.op for node in found.nodes]


@pytest.mark.quick
def test_batch_norm_goes_into_what_is_before_it() -> None:
    assert fold_twice(mobile(blocks=1)) == [
        *["Conv", "Relu"] * 3, "GlobalAveragePool", "Reshape", "Gemm", "Softmax",
    ]  # fmt: skip
    b = Builder((1, 7))
    assert fold_twice(b.finish(b.norm(b.gemm("input", 7, 5), 5))) == ["Gemm"]


@given(
    rank=st.sampled_from([3, 4]),
    before=st.sampled_from(["", "Conv", "Relu"]),
    after=st.sampled_from(["", "Conv", "Group", "Padded"]),
    ops=st.lists(st.sampled_from(["norm", "Add", "Mul", "Sub", "Div", "scalar"]), max_size=3),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_affine_functions_of_channels(
    rank: int, before: str, after: str, ops: list[str], seed: int
) -> None:
    space = (5, 6)[: rank - 2]
    kernel = (3, 2)[: rank - 2]
    b = Builder((1, 4, *space), seed)
    x = "input"
    if before:
        x = b.conv(x, 4, 4, kernel, bias=bool(seed % 2)) if before == "Conv" else b.node("Relu", x)
    for i, op in enumerate(ops):
        if op == "norm":
            x = b.norm(x, 4)
        elif op == "scalar":
            x = b.node("Mul", x, b.constant(f"s{i}", np.array(1.7)))
        else:
            values = b.rng.uniform(0.5, 2, (4, *(1,) * (rank - 2)))
            operands = [x, b.constant(f"c{i}", values)]
            x = b.node(op, *(reversed(operands) if seed % 3 == 0 else operands))
    if after:
        pads = [1] * (2 * (rank - 2)) if after == "Padded" else [0] * (2 * (rank - 2))
        x = b.conv(x, 4, 6, (1,) * (rank - 2), group=2 if after == "Group" else 1, pads=pads)
    if x == "input":
        x = b.node("Relu", x)
    network = b.finish(x)
    found = fold_twice(network)
    assert "BatchNormalization" not in found
    assert "Sub" not in found
    if before == "Conv" and not (seed % 3 == 0 and "Div" in ops):
        assert found == ["Conv"] * (1 + bool(after))
    elif after in ("Conv", "Group") and before != "Conv" and "Div" not in ops:
        assert found == ["Relu"] * (before == "Relu") + ["Conv"]


def test_a_norm_that_stands_alone() -> None:
    b = Builder((1, 4, 5, 5))
    x = b.node("Relu", b.norm(b.node("Relu", "input"), 4))
    assert fold_twice(b.finish(b.node("MaxPool", x, kernel_shape=[2, 2]))) == [
        "Relu", "Conv", "Relu", "MaxPool",
    ]  # fmt: skip
    b = Builder((1, 4))
    assert fold_twice(b.finish(b.node("Tanh", b.norm("input", 4)))) == ["Mul", "Add", "Tanh"]


def gelu(b: Builder, x: str, late: bool) -> str:
    part = b.node("Erf", b.node("Div", x, b.constant("root", np.sqrt(2))))
    part = b.node("Add", part, b.constant("one", np.array(1)))
    half = b.constant("half", np.array(0.5))
    if late:
        return b.node("Mul", b.node("Mul", x, part), half)
    return b.node("Mul", b.node("Mul", x, half), part)


def by_tanh(b: Builder, x: str) -> str:
    cube = b.node(
        "Mul", b.constant("k", np.array(0.044715)), b.node("Pow", x, b.constant("3", np.array(3)))
    )
    inner = b.node("Mul", b.node("Add", x, cube), b.constant("r", np.sqrt(2 / np.pi)))
    outer = b.node("Add", b.node("Tanh", inner), b.constant("one", np.array(1)))
    return b.node("Mul", b.node("Mul", x, b.constant("half", np.array(0.5))), outer)


def six(b: Builder, x: str) -> str:
    gate = b.node("Clip", b.node("Add", x, b.constant("3", np.array(3))), min=0.0, max=6.0)
    return b.node("Div", b.node("Mul", x, gate), b.constant("6", np.array(6)))


PATTERNS: dict[str, Any] = {
    "Silu": lambda b, x: b.node("Mul", b.node("Sigmoid", x), x),
    "HardSwish": lambda b, x: b.node("Mul", x, b.node("HardSigmoid", x, alpha=1 / 6, beta=0.5)),
    "HardSwish-6": six,
    "Mish": lambda b, x: b.node("Mul", x, b.node("Tanh", b.node("Softplus", x))),
    "Gelu-early": partial(gelu, late=False),
    "Gelu-late": partial(gelu, late=True),
    "Gelu-tanh": by_tanh,
}  # fmt: skip


@pytest.mark.parametrize("name", PATTERNS)
def test_functions_written_as_several_nodes_are_found(name: str) -> None:
    b = Builder((1, 4, 5, 5))
    x = PATTERNS[name](b, b.conv("input", 4, 4, (1, 1)))
    assert fold_twice(b.finish(x)) == ["Conv", name.partition("-")[0]]


def test_what_is_no_known_function_stays() -> None:
    b = Builder((1, 4, 5, 5))
    x = b.conv("input", 4, 4, (1, 1))
    assert fold_twice(b.finish(b.node("Mul", x, b.node("Sin", x)))) == ["Conv", "Sin", "Mul"]


def clamped(b: Builder, name: str, place: str, low: float, high: float) -> Network:
    """A known function, with a clamp before it, behind it, or on one of the tensors in it."""
    x = b.node("Mul", "input", b.constant("far", np.array(60.0)))
    y = PATTERNS[name](b, b.node("Clip", x, min=low, max=high) if place == "before" else x)
    if place == "behind":
        y = b.node("Clip", y, min=low, max=high)
    elif place != "before":
        inner = b.network.nodes[1:]
        at, i = divmod(int(place), 2)
        node = inner[at % len(inner)]
        read = [n for n in node.inputs if n not in b.network.constants]
        cut = Node("Clip", f"cut{place}", (read[i % len(read)],), {"min": low, "max": high})
        first = node.inputs.index(cut.inputs[0])  # one of them, where it is read twice
        reads = (*node.inputs[:first], cut.name, *node.inputs[first + 1 :])
        where = b.network.nodes.index(node)
        b.network.nodes[where : where + 1] = [cut, node.replace(inputs=reads)]
    return b.finish(y)


@given(
    name=st.sampled_from(list(PATTERNS)),
    place=st.sampled_from(["before", "behind", *map(str, range(16))]),
    low=st.sampled_from([-np.inf, -200.0, -100.0, -15.0, -1.0, 0.0]),
    high=st.sampled_from([np.inf, 200.0, 100.0, 15.0, 1.0]),
)
@settings(max_examples=120, deadline=None)
def test_clamps_around_known_functions_are_kept_at_any_size(
    name: str, place: str, low: float, high: float
) -> None:
    """The values reach far beyond any clamp: to 300, where a grid of -12 to 12 says nothing."""
    network = clamped(Builder((1, 64)), name, place, low, high)
    feeds = {"input": np.random.default_rng(0).uniform(-5, 5, (40, 64)).astype(np.float32)}
    found = fold(network)
    real, after = (run(n, feeds)[network.outputs[0]] for n in (network, found))
    np.testing.assert_allclose(after, real, rtol=1e-4, atol=1e-3)


def test_a_bounded_swish_is_no_silu() -> None:
    b = Builder((1, 16))
    gate = b.node("Sigmoid", "input")
    network = b.finish(b.node("Mul", b.node("Clip", "input", min=-15.0, max=15.0), gate))
    assert "Silu" not in fold_twice(network)
    feeds = {"input": np.linspace(-40, 40, 1600, dtype=np.float32).reshape(100, 16)}
    found = quantise(network, feeds, Options(method="minmax"))
    codes = found.graph.run({"x": encode(found, feeds["input"])}).outputs
    y = decode(found, codes[found.graph.outputs[0]])
    assert y.max() == pytest.approx(15, abs=0.2)


def test_slopes_of_channels() -> None:
    b = Builder((1, 4, 5, 5))
    slope = b.constant("slope", np.array([0.1, 0.2, -0.5, 2]).reshape(4, 1, 1))
    assert fold_twice(b.finish(b.node("PRelu", "input", slope))) == ["PRelu"]
    b = Builder((1, 4, 5, 5))
    slope = b.constant("slope", np.full((4, 1, 1), 0.25))
    assert fold_twice(b.finish(b.node("PRelu", "input", slope))) == ["LeakyRelu"]


def test_what_changes_nothing_and_what_nobody_reads_goes() -> None:
    b = Builder((1, 4, 5, 6))
    x = b.node("Identity", b.node("Dropout", b.conv("input", 4, 4, (1, 1))))
    b.node("Exp", x)
    x = b.node("Reshape", b.node("Reshape", x, shape=[1, 120]), shape=[1, 4, 30])
    x = b.node("Transpose", b.node("Transpose", x, perm=[0, 2, 1]), perm=[0, 2, 1])
    x = b.node("Add", x, b.node("Neg", b.node("Exp", b.constant("c", np.zeros((1, 1, 30))))))
    x = b.node("Identity", x)
    assert fold_twice(b.finish(x)) == ["Conv", "Reshape", "Add"]


def test_margins_go_into_the_convolution() -> None:
    b = Builder((1, 4, 5, 6))
    padded = b.node("Pad", "input", pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.0)
    one = b.conv(padded, 4, 3, (2, 2), pads=[1, 0, 0, 0])
    two = b.node("AveragePool", padded, kernel_shape=[3, 3])
    network = b.finish(one, two)
    assert fold_twice(network) == ["Conv", "AveragePool"]
    assert fold(network).nodes[0].attributes["pads"] == [2, 2, 0, 1]
    b = Builder((1, 4, 5, 6))
    padded = b.node("Pad", "input", pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.5)
    assert fold_twice(b.finish(b.conv(padded, 4, 3, (2, 2)))) == ["Pad", "Conv"]


def test_a_relu_behind_a_pool_goes_before_it() -> None:
    b = Builder((1, 4, 6, 6))
    x = b.node("MaxPool", b.conv("input", 4, 4, (3, 3)), kernel_shape=[2, 2], pads=[1] * 4)
    assert fold_twice(b.finish(b.node("Relu", x))) == ["Conv", "Relu", "MaxPool"]


def test_means_over_the_image() -> None:
    b = Builder((1, 4, 6, 6))
    x = b.node("ReduceMean", "input", axes=[2, 3], keepdims=0)
    assert fold_twice(b.finish(b.gemm(x, 4, 2))) == ["GlobalAveragePool", "Reshape", "Gemm"]
    b = Builder((1, 4, 6, 5))
    whole = b.node("AveragePool", "input", kernel_shape=[6, 5])
    part = b.node("AveragePool", "input", kernel_shape=[5, 5])
    assert fold_twice(b.finish(whole, part)) == ["GlobalAveragePool", "AveragePool"]


def test_nothing_is_folded_across_a_given_code() -> None:
    network = mobile(blocks=1)
    norms = [n for n in network.nodes if n.op == "BatchNormalization"]
    network.codes[norms[0].inputs[0]] = Code.of(0.1)  # the first convolution's output
    second = next(n for n in network.nodes if n.name == norms[1].inputs[0])
    network.codes[second.inputs[1]] = Code.of(0.1)  # the second one's weights
    found = fold_twice(network)
    assert found[:6] == ["Conv", "Conv", "Relu", "Conv", "Conv", "Relu"]
    assert set(fold(network).codes) == set(network.codes)


def test_a_function_of_channels_that_stands_alone_is_a_depthwise_convolution() -> None:
    b = Builder((1, 3, 5, 5))
    mean, deviation = (b.rng.uniform(0.3, 0.6, (3, 1, 1)) for _ in range(2))
    x = b.node(
        "Div", b.node("Sub", "input", b.constant("mean", mean)), b.constant("std", deviation)
    )
    network = b.finish(b.conv(x, 3, 4, (3, 3), pads=[1] * 4))
    assert fold_twice(network) == ["Conv", "Conv"]
    assert [n.attributes.get("group") for n in fold(network).nodes] == [3, None]


def test_an_attribute_that_is_a_word_is_part_of_a_formula() -> None:
    nodes = [Node("Gelu", "g", ("x",), {"approximate": "tanh"}), Node("Mul", "y", ("x", "g"))]
    assert fold(Network("n", {"x": (1, 4)}, ["y"], nodes)).nodes == nodes
