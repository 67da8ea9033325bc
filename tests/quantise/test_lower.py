"""The int8 graph against float: every operator, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from float_networks import Builder, images, mobile
from layerwise import differences
from spikelet.errors import UsageError
from spikelet.quantise import Code, Network, Node, Options, decode, encode, quantise, run
from spikelet.quantise.drift import drift

CASES = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)
FAST = Options(equalise=False, correct=False, method="minmax")


def check(network: Network, most: int = 1, seed: int = 3) -> list[str]:
    """Quantise, compare each layer on data with fresh values; the graph's operators."""
    feeds = images(network, 6, seed)
    found = quantise(network, feeds, FAST)
    worst = differences(found, images(network, 4, seed + 1))
    assert max(worst.values()) <= most, worst
    real = run(found.reference, feeds)
    for name in network.outputs:  # what was calibrated on must come close in real units, too
        assert name in real
    assert all(d.snr > 20 for d in drift(found, feeds)), drift(found, feeds)
    return [node.KIND for node in found.graph.nodes]


@given(data=st.data(), rank=st.sampled_from([1, 2]), seed=seeds)
@CASES
def test_convolutions(data: st.DataObject, rank: int, seed: int) -> None:
    def each(low: int, high: int) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    group = data.draw(st.sampled_from([1, 1, 2, 4]))
    depth, many = data.draw(st.sampled_from([(1, 1), (1, 2), (2, 3), (3, 1)]))
    kernel, dilation = each(1, 3), each(1, 2)
    size = [
        (k - 1) * d + 2 + extra for k, d, extra in zip(kernel, dilation, each(0, 5), strict=True)
    ]
    b = Builder((1, depth * group, *size), seed)
    x = b.conv(
        "input", depth * group, many * group, tuple(kernel),
        strides=each(1, 2), dilations=dilation, pads=[*each(0, 2), *each(0, 2)], group=group,
    )  # fmt: skip
    clamp = data.draw(st.sampled_from(["", "Relu", "Clip"]))
    if clamp:
        x = b.node(clamp, x, **({"min": -0.5, "max": 0.7} if clamp == "Clip" else {}))
    kinds = check(b.finish(x), seed=seed % 1000)
    assert "table" not in kinds  # the activation is fused
    if depth == 1 and group > 1:
        assert kinds == ["depthwise_conv2d"]
    elif group == 1:
        assert kinds == ["conv2d"]
    else:
        assert kinds == [*["slice", "conv2d"] * group, "concatenate"]


@pytest.mark.parametrize("shape", [(1, 7), (1, 1, 7), (1, 5, 7), (1, 3, 5, 7)])
def test_gemm_on_the_last_axis(shape: tuple[int, ...]) -> None:
    b = Builder(shape)
    kinds = check(b.finish(b.node("Relu", b.gemm("input", 7, 6))))
    assert "fully_connected" in kinds


@given(
    op=st.sampled_from(["Add", "Sub", "Mul", "Max", "Min"]),
    other=st.sampled_from(
        [(1, 3, 4, 5), (1, 3, 1, 1), (1, 1, 4, 5), (3, 1, 1), (5,), (1, 3, 4, 1)]
    ),
    first=st.booleans(),
    relu=st.booleans(),
    seed=seeds,
)
@CASES
def test_two_operands_and_constants(
    op: str, other: tuple[int, ...], first: bool, relu: bool, seed: int
) -> None:
    b = Builder((1, 3, 4, 5), seed)
    values = b.constant("c", b.rng.normal(0, 1, other))
    x = b.node(op, *((values, "input") if first else ("input", values)))
    # The constant has a code, too: half a step of it, times the input, is a code more.
    check(b.finish(b.node("Relu", x) if relu else x), most=2)
    b = Builder((1, 3, 4, 5), seed)
    b.network.inputs["second"] = (1, 3, *other[-2:]) if len(other) == 4 else (1, 3, 4, 5)
    x = b.node(op, "input", "second")
    check(b.finish(b.node("Relu", x) if relu else x), most=1)


@pytest.mark.parametrize("slope", [(3, 1, 1), (1, 3, 4, 5), (5,)])
def test_slopes(slope: tuple[int, ...]) -> None:
    b = Builder((1, 3, 4, 5))
    slopes = b.constant("c", b.rng.uniform(-0.2, 1.5, slope))
    assert check(b.finish(b.node("PRelu", "input", slopes))) == ["prelu"]


@given(data=st.data(), rank=st.sampled_from([1, 2]), seed=seeds)
@CASES
def test_transposed_convolutions(data: st.DataObject, rank: int, seed: int) -> None:
    def each(low: int, high: int) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    kernel, strides = each(1, 4), each(1, 3)
    b = Builder((1, 3, *each(2, 4)), seed)
    x = b.node(
        "ConvTranspose", "input", b.constant("w", b.rng.normal(0, 1, (4, 3, *kernel))),
        *([b.constant("b", b.rng.normal(0, 1, 4))] if data.draw(st.booleans()) else []),
        strides=strides, pads=[data.draw(st.integers(0, k // 2)) for k in kernel * 2],
        output_padding=[data.draw(st.integers(0, s - 1)) for s in strides],
    )  # fmt: skip
    if data.draw(st.booleans()):
        x = b.node("Relu", x)
    assert "transpose_conv" in check(b.finish(x))


@given(data=st.data(), rank=st.sampled_from([1, 2]), seed=seeds)
@CASES
def test_pools(data: st.DataObject, rank: int, seed: int) -> None:
    def each(low: int, high: int) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    kernel = each(1, 3)
    pads = [data.draw(st.integers(0, k - 1)) for k in kernel * 2]
    op = data.draw(st.sampled_from(["MaxPool", "AveragePool"]))
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": each(1, 3), "pads": pads}
    if op == "AveragePool" and data.draw(st.booleans()):
        attributes["count_include_pad"] = 1
    else:
        attributes["ceil_mode"] = data.draw(st.integers(0, 1))
    b = Builder((1, 3, *(k + extra for k, extra in zip(kernel, each(1, 6), strict=True))), seed)
    x = b.node(op, "input", **attributes)
    check(b.finish(b.node("Relu", x) if data.draw(st.booleans()) else x), seed=seed % 1000)


FUNCTIONS: list[tuple[str, dict[str, Any]]] = [
    ("Relu", {}), ("LeakyRelu", {"alpha": 0.1}), ("Clip", {"min": -1.0, "max": 1.0}),
    ("Sigmoid", {}), ("Tanh", {}), ("HardSigmoid", {}), ("HardSwish", {}), ("Elu", {}),
    ("Gelu", {}), ("Silu", {}), ("Mish", {}), ("Softplus", {}), ("Exp", {}), ("Abs", {}),
    ("Neg", {}), ("Erf", {}), ("Sin", {}), ("Pow", {"exponent": 2.0}),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attributes"), FUNCTIONS)
def test_a_function_of_one_value_is_the_nearest_code(op: str, attributes: dict[str, Any]) -> None:
    b = Builder((1, 3, 4, 5))
    assert check(b.finish(b.node(op, "input", **attributes)), most=0) == ["table"]


def test_functions_in_a_row_are_one_table() -> None:
    b = Builder((1, 3, 4, 5))
    x = b.node("Mul", "input", b.constant("half", np.array(0.5)))
    x = b.node("Add", b.constant("one", np.array([1.0])), b.node("Tanh", x))
    kinds = check(b.finish(b.node("Sqrt", b.node("Relu", x))), most=0)
    assert kinds == ["table"]


@pytest.mark.parametrize(
    ("op", "attributes", "kinds"),
    [
        ("Transpose", {"perm": [0, 1, 3, 2]}, []),
        ("Transpose", {"perm": [0, 3, 1, 2]}, []),
        ("Reshape", {"shape": [1, 6, 20]}, ["reshape"]),
        ("Reshape", {"shape": [1, 120]}, ["transpose", "reshape"]),
        ("Reshape", {"shape": [1, 2, 3, 4, 5]}, ["reshape"]),
        (
            "Slice",
            {"starts": [1, -1], "ends": [3, -9], "axes": [1, 3], "steps": [1, -2]},
            ["slice"],
        ),
        ("Pad", {"pads": [0, 1, 0, 2, 0, 0, 1, 0], "value": 0.5}, ["pad"]),
        ("Resize", {"rows": [0, 0, 1, 2, 3, 3], "columns": [4, 2, 0]}, ["resize_nearest"]),
        ("Concat", {"axis": 2}, ["concatenate"]),
        ("ReduceMean", {"axes": [1], "keepdims": 1}, ["mean"]),
        ("ReduceMean", {"axes": [1, 2], "keepdims": 0}, ["mean"]),
        ("ReduceMean", {"axes": [2, 3], "keepdims": 0}, ["mean"]),
        ("ReduceMax", {"axes": [1, 3], "keepdims": 0}, ["reduce_max"]),
        ("ReduceMax", {"axes": [2, 3], "keepdims": 1}, ["reduce_max"]),
        ("ReduceMin", {"axes": [2], "keepdims": 0}, ["reduce_min"]),
        ("Gather", {"axis": 1, "indices": [5, 0, 0, 3]}, ["gather"]),
        ("Gather", {"axis": 3, "indices": [1, 0, 4]}, ["gather"]),
        ("GlobalAveragePool", {}, ["mean"]),
        ("GlobalMaxPool", {}, ["max_pool2d"]),
        ("CumSum", {"axis": 1}, ["cumsum"]),
        ("CumSum", {"axis": 2, "exclusive": 1}, ["cumsum"]),
        ("CumSum", {"axis": 3, "reverse": 1}, ["cumsum"]),
        ("CumSum", {"axis": -1, "exclusive": 1, "reverse": 1}, ["cumsum"]),
        ("Softmax", {"axis": 1}, ["softmax"]),
        ("Softmax", {"axis": 2}, ["softmax"]),
    ],
)
def test_moves_and_reductions(op: str, attributes: dict[str, Any], kinds: list[str]) -> None:
    b = Builder((1, 6, 4, 5))
    x = b.node("Relu", "input")
    y = b.node(op, *([x, x, x] if op == "Concat" else [x]), **attributes)
    found = check(b.finish(y, b.node("Neg", y)))
    assert [kind for kind in kinds if kind not in found] == []
    moves = found.count("transpose")
    assert moves <= ("transpose" in kinds) + (op in ("ReduceMean", "ReduceMax", "Softmax"))


def test_arg_max_is_an_index() -> None:
    b = Builder((1, 12))
    x = b.gemm("input", 12, 9)
    network = b.finish(b.node("ArgMax", x, axis=1, keepdims=0))
    feeds = images(network, 60)
    found = quantise(network, feeds, FAST)
    assert found.graph.nodes[-1].KIND == "argmax"
    real = run(network, feeds)[network.outputs[0]]
    codes = {"x": np.asarray(encode_one(found, feeds))}
    integer = found.graph.run(codes).outputs[found.graph.outputs[0]][:, 0]
    assert np.mean(integer == real) > 0.95


@pytest.mark.parametrize(("axis", "keep"), [(1, 0), (2, 1), (3, 0)])
def test_arg_max_of_rows(axis: int, keep: int) -> None:
    b = Builder((1, 3, 4, 5))
    x = b.node("Neg", "input")
    network = b.finish(b.node("ArgMax", x, axis=axis, keepdims=keep), x)
    feeds = images(network, 20)
    found = quantise(network, feeds, FAST)
    outputs = found.graph.run({"x": encode_one(found, feeds)}).outputs
    index, codes = (decode(found, outputs[found.names[n]], n) for n in network.outputs)
    assert np.array_equal(index, run(network, {"input": -codes})[network.outputs[0]])


def encode_one(found: Any, feeds: dict[str, Any]) -> Any:
    from spikelet.quantise import encode

    return encode(found, feeds["input"])


def test_a_flattened_image_costs_no_move() -> None:
    b = Builder((1, 4, 5, 6))
    x = b.node("Reshape", b.node("Relu", b.conv("input", 4, 3, (3, 3))), shape=[1, 36])
    x = b.gemm(b.node("Sigmoid", x), 36, 5)
    assert check(b.finish(x)) == ["conv2d", "reshape", "table", "fully_connected"]


def test_channels_are_shuffled() -> None:
    b = Builder((1, 6, 4, 5))
    x = b.conv("input", 6, 6, (1, 1))
    x = b.node("Reshape", x, shape=[1, 2, 3, 4, 5])
    x = b.node("Reshape", b.node("Transpose", x, perm=[0, 2, 1, 3, 4]), shape=[1, 6, 4, 5])
    kinds = check(b.finish(b.conv(x, 6, 4, (3, 3))))
    assert kinds.count("transpose") == 1


@pytest.mark.quick
def test_squeeze_and_excite_on_a_residual_block() -> None:
    b = Builder((1, 8, 6, 6))
    x = b.node("HardSwish", b.norm(b.conv("input", 8, 8, (3, 3), pads=[1] * 4), 8))
    gate = b.conv(b.node("GlobalAveragePool", x), 8, 4, (1, 1))
    gate = b.node("HardSigmoid", b.conv(b.node("Relu", gate), 4, 8, (1, 1)))
    x = b.node("Relu", b.node("Add", b.node("Mul", x, gate), "input"))
    x = b.node("Concat", x, b.node("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4), axis=1)
    x = b.node("ReduceMean", b.conv(x, 16, 5, (1, 1)), axes=[2, 3], keepdims=0)
    kinds = check(b.finish(x))
    assert kinds.count("table") == 2  # hard swish and hard sigmoid; both ReLUs are fused


def test_a_signal_is_an_image_of_one_row() -> None:
    b = Builder((1, 9, 32))
    x = b.node("Relu", b.conv("input", 9, 8, (5,), pads=[2, 2], strides=[2]))
    x = b.conv(x, 8, 8, (3,), group=8, pads=[1, 1])
    x = b.node("MaxPool", b.node("Relu", x), kernel_shape=[2], strides=[2])
    x = b.node("Reshape", x, shape=[1, 64])
    found = check(b.finish(b.gemm(x, 64, 6)))
    assert found == ["conv2d", "depthwise_conv2d", "max_pool2d", "reshape", "fully_connected"]


def test_given_codes_are_used_and_need_no_data() -> None:
    b = Builder((1, 2, 4, 4))
    x = b.conv("input", 2, 3, (3, 3))
    y = b.node("Requantize", b.node("Relu", x))
    network = b.finish(b.node("MaxPool", y, kernel_shape=[2, 2]))
    relu = network.nodes[1].name
    ints = b.rng.integers(-128, 128, (3, 2, 3, 3))
    scale = np.array([0.01, 0.02, 0.005], np.float32)
    network.constants["w0"] = (ints * scale[:, None, None, None]).astype(np.float32)
    network.codes = {
        "input": Code.of(0.02, 3), relu: Code.of(0.01, -128), y: Code.of(0.013, -100),
        "w0": Code(scale),
    }  # fmt: skip
    found = quantise(network, None)
    conv, table, pool = found.graph.nodes
    assert (conv.KIND, table.KIND, pool.KIND) == ("conv2d", "table", "max_pool2d")
    assert np.array_equal(conv.arrays()["weight"], ints.transpose(0, 2, 3, 1))
    tensors = found.graph.tensors
    codes = [
        (round(tensors[n.name].scale, 6), tensors[n.name].zero_point) for n in (conv, table, pool)
    ]
    assert codes == [(0.01, -128), (0.013, -100), (0.013, -100)]
    assert max(differences(found, images(network, 5)).values()) <= 1
    del network.codes[relu]
    with pytest.raises(UsageError, match=rf"{relu} has no int8 code"):
        quantise(network, None)


def test_a_concatenation_shares_a_code_unless_somebody_else_reads_a_part() -> None:
    b = Builder((1, 4, 5, 5))
    one, two = b.conv("input", 4, 3, (1, 1)), b.conv("input", 4, 5, (1, 1))
    joined = b.node("Concat", one, b.node("Exp", two), axis=1)
    assert "table" in (kinds := check(b.finish(joined)))
    assert len(kinds) == 4
    apart = b.node("Exp", one)
    kinds = check(b.finish(joined, apart))
    assert kinds.count("table") == 3  # both exp, and another code for what exp reads too


REFUSED: list[tuple[str, dict[str, Any], tuple[int, ...], list[str]]] = [
    ("Conv", {"group": 66}, (1, 132, 4, 4), ["group=66", "66 groups", "64 groups"]),
    ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, (1, 2, 8, 8), ["dilations=[2, 2]"]),
    ("ReduceMean", {"axes": [0]}, (1, 2, 8, 8), ["axes=[0]", "batch axis"]),
    ("ReduceMean", {}, (1, 2, 8, 8), ["ReduceMean", "batch axis"]),
    ("Transpose", {"perm": [1, 0, 2, 3]}, (1, 1, 8, 8), ["perm=[1, 0, 2, 3]", "batch axis"]),
    ("ArgMax", {"axis": 0}, (1, 2, 3, 3), ["axis=0", "batch axis"]),
    ("CumSum", {"axis": 0}, (1, 2, 3, 3), ["axis=0", "batch"]),
    ("Gather", {"axis": 0, "indices": [0, 0]}, (1, 2, 3, 3), ["axis=0", "batch"]),
    ("Div", {}, (1, 2, 3, 3), ["Div", "computed divisor", "Reciprocal"]),
    ("Concat", {"axis": 0}, (1, 2, 3, 3), ["axis=0", "batch axis"]),
    ("Reshape", {"shape": [2, 9]}, (1, 2, 3, 3), ["shape=[2, 9]", "batch axis"]),
    ("Pad", {"pads": [0, 0, -1, 0, 0, 0, 0, 0]}, (1, 2, 3, 3), ["pads=", "negative"]),
]


@pytest.mark.parametrize(("op", "attributes", "shape", "words"), REFUSED)
def test_what_is_not_supported_is_refused_by_name(
    op: str, attributes: dict[str, Any], shape: tuple[int, ...], words: list[str]
) -> None:
    b = Builder(shape)
    x = b.node("Relu", "input")
    names = [x]
    if op == "Conv":
        names.append(b.constant("w", b.rng.normal(0, 1, (66, 2, 3, 3))))
    if op in ("Div", "Concat"):
        names.append(b.node("Exp", x))
    network = b.finish(b.node(op, *names, **attributes))
    with pytest.raises(UsageError) as error:
        quantise(network, {"input": images(network, 1)["input"]}, FAST)
    assert network.outputs[0] in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_an_input_with_a_batch_is_refused() -> None:
    network = Network("n", {"x": (2, 3)}, ["y"], [Node("Relu", "y", ("x",))])
    with pytest.raises(UsageError, match="batch axis of 1"):
        quantise(network, {"x": np.ones((2, 3), np.float32)}, FAST)


def test_a_mobile_network_stays_close() -> None:
    network = mobile()
    found = quantise(network, images(network, 64))
    apart = drift(found, images(network, 32, 9))
    assert min(d.snr for d in apart) > 25, apart
    assert min(d.cosine for d in apart) > 0.998
    kinds = [node.KIND for node in found.graph.nodes]
    assert kinds == [
        *["conv2d", "depthwise_conv2d"] * 3, "conv2d", "mean", "reshape", "fully_connected",
        "softmax",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [2, 2]}),
        ("AveragePool", {"kernel_shape": [2, 3]}),
        ("AveragePool", {"kernel_shape": [2, 3], "pads": [1, 1, 0, 1]}),
        ("AveragePool", {"kernel_shape": [2, 3], "pads": [1, 1, 0, 1], "count_include_pad": 1}),
        ("GlobalMaxPool", {}),
        ("GlobalAveragePool", {}),
        ("Reshape", {"shape": [1, 12, 5]}),
        ("Transpose", {"perm": [0, 2, 3, 1]}),
        ("Slice", {"starts": [1], "ends": [3], "axes": [2]}),
        ("Pad", {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": 0.5}),
        ("Resize", {"rows": [0, 1, 1], "columns": [2, 3]}),
        ("Concat", {"axis": 1}),
        ("Softmax", {"axis": 1}),
        ("Sigmoid", {}),
        ("Add", {}),
        ("Mul", {}),
    ],
)
def test_given_codes_may_differ_on_both_sides(op: str, attributes: dict[str, Any]) -> None:
    b = Builder((1, 3, 4, 5))
    other = b.node("Requantize", "input")
    y = b.node(
        op, *(["input", other] if op in ("Concat", "Add", "Mul") else ["input"]), **attributes
    )
    z = b.node("Clip", y, min=-0.25, max=0.5)
    network = b.finish(y, z)
    network.codes = {"input": Code.of(0.02, 5), other: Code.of(0.03, -7), y: Code.of(0.017, -20),
                     z: Code.of(0.011, 9)}  # fmt: skip
    found = quantise(network, None)
    tensors, names = found.graph.tensors, found.names
    for name, code in network.codes.items():
        if name in names:
            tensor = tensors[names[name]]
            assert (np.float32(tensor.scale), tensor.zero_point) == (code.scale, code.zero_point)
    # A second rounding where a value is computed in the input's code first.
    assert max(differences(found, images(network, 6)).values()) <= 2


def test_a_channel_of_hardly_any_weight_keeps_its_bias() -> None:
    """Its own scale is so fine that the bias would be beyond 32 bits."""
    b = Builder((1, 4, 5, 5))
    network = b.finish(b.conv("input", 4, 3, (3, 3)))
    network.constants["w0"][1] *= 1e-12
    network.constants["b0"][1] = 2.5
    for codes in ({}, {"w0": Code(np.abs(network.constants["w0"]).max(axis=(1, 2, 3)) / 127)}):
        network.codes = codes
        found = quantise(network, images(network, 6), FAST)
        assert max(differences(found, images(network, 6)).values()) <= 1


def test_constants_that_are_no_numbers_are_named() -> None:
    b = Builder((1, 4))
    network = b.finish(b.gemm("input", 4, 3))
    network.constants["w0"][1, 1] = np.nan
    with pytest.raises(UsageError, match="w0"):
        quantise(network, images(network, 2))


# Ends between which a code can tell values apart: nearer ones are refused.
END = st.none() | st.integers(-192, 192).map(lambda n: n / 64)


@given(
    limits=st.lists(st.tuples(END, END), min_size=1, max_size=3),
    head=st.sampled_from(["Gemm", "Add", "MaxPool"]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_clamps_in_any_order_are_those_of_the_network(
    limits: list[tuple[float | None, float | None]], head: str
) -> None:
    """Also where the lower limit is above the upper one: ONNX then takes the upper."""
    b = Builder((1, 2, 8))
    x = {
        "Gemm": lambda: b.gemm("input", 8, 5),
        "Add": lambda: b.node("Add", "input", b.constant("c", b.rng.normal(0, 1, (1, 2, 8)))),
        "MaxPool": lambda: b.node("MaxPool", "input", kernel_shape=[2]),
    }[head]()
    for low, high in limits:
        given = {k: v for k, v in (("min", low), ("max", high)) if v is not None}
        x = b.node("Clip", x, **given)
    network = b.finish(x)
    feeds = images(network, 20)
    found = quantise(network, feeds, Options(method="minmax"))
    codes = found.graph.run({"x": encode(found, feeds["input"])}).outputs
    got = decode(found, codes[found.graph.outputs[0]])
    tensors = found.graph.tensors.values()
    room = 3 * max(t.scale for t in tensors)
    np.testing.assert_allclose(got, run(network, feeds)[x], rtol=0, atol=room)
