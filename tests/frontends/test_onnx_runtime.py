"""Quantised ONNX against onnxruntime, both ways: what it writes, and what is written for it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import tflite_cases
from onnx_networks import NETWORKS, differences, quantised, samples, session
from tflite_oracle import drawn

from cli_support import small_graph
from spikelet.errors import UsageError
from spikelet.frontends import onnx as frontend
from spikelet.frontends import tflite
from spikelet.frontends.onnx_export import export
from spikelet.graph import Array, Graph, Tensor
from spikelet.quantise import decode, encode, quantise

FORMS = [
    ("QDQ", "QInt8", True),
    ("QDQ", "QUInt8", True),
    ("QDQ", "QInt8", False),
    ("QOperator", "QUInt8", True),
    ("QOperator", "QInt8", False),
]
# onnxruntime rounds real products once, halves to even; the graph rounds in fixed point, and twice
# where a mean, a pool or a softmax is brought to another code. Measured: 0.2 % to 2.6 %.
SHARE = {"Residual": 0.003, "Gated": 0.012, "Branches": 0.03}


@pytest.mark.parametrize("form", FORMS, ids=["-".join(map(str, f)) for f in FORMS])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_is_onnxruntimes_within_a_code(name: str, form: tuple[str, str, bool]) -> None:
    data = quantised(name, *form)
    imported = frontend.parse(data, name)
    assert not imported.is_float
    made = quantise(imported.network, None)
    found = differences(data, made, samples(50, 7))
    assert len(found) >= 6
    every = np.concatenate([v.reshape(-1) for v in found.values()])
    assert np.mean(every != 0) <= SHARE[name]
    assert np.abs(every).max() <= 2  # of a code that reads codes that differ by one
    (last,) = (v for k, v in found.items() if k.startswith("y"))
    assert np.abs(last).max() <= 1


@pytest.mark.parametrize("form", FORMS[:1] + FORMS[3:4], ids=["QDQ", "QOperator"])
def test_weights_and_codes_are_the_files(form: tuple[str, str, bool]) -> None:
    data = quantised("Residual", *form)
    made = quantise(frontend.parse(data, "m").network, None)
    model = onnx.ModelProto.FromString(data)
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    stored = [a for a in arrays.values() if a.dtype == np.int8 and a.ndim == 4]
    first, depth, point = stored
    nodes = {node.KIND: node for node in made.graph.nodes}
    convolutions = [n for n in made.graph.nodes if n.KIND == "conv2d"]
    assert np.array_equal(convolutions[0].weight, first.transpose(0, 2, 3, 1))
    assert np.array_equal(convolutions[1].weight, point.transpose(0, 2, 3, 1))
    assert np.array_equal(nodes["depthwise_conv2d"].weight, depth[:, 0].transpose(1, 2, 0))
    biases = [a for a in arrays.values() if a.dtype == np.int32 and a.shape == (10,)]
    assert np.array_equal(nodes["fully_connected"].bias, biases[0])
    x = made.graph.inputs[0]
    zero = int(arrays["x_zero_point"]) - (128 if form[1] == "QUInt8" else 0)
    assert (x.scale, x.zero_point) == (float(arrays["x_scale"]), zero)


def to_file(tensor: Tensor, codes: Array) -> Array:
    """Codes (N, *graph shape) as the exported file has them: real, channels first."""
    real = (codes.astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale)
    return real.transpose(0, 3, 1, 2) if len(tensor.shape) == 3 else real


def beside_onnxruntime(graph: Graph, data: bytes, count: int = 20) -> dict[str, Array]:
    """By output, golden less onnxruntime on random inputs, in codes."""
    inputs = drawn(graph, count, np.random.default_rng(1))
    wanted = graph.run(inputs).outputs
    feeds = {t.name: to_file(t, inputs[t.name]) for t in graph.inputs}
    found = session(data).run(None, feeds)
    result = {}
    for (name, ours), theirs in zip(wanted.items(), found, strict=True):
        tensor = graph.tensors[name]
        if tensor.dtype == "i8":
            step = np.float32(tensor.scale)
            result[name] = np.rint((to_file(tensor, ours) - theirs) / step).astype(np.int64)
        else:
            result[name] = ours.reshape(len(ours), -1) - theirs.reshape(len(ours), -1)
    return result


# onnxruntime rounds real values once, halves to even. By a code off, where a value lies close to a
# half: at most that share; everywhere else nothing.
ROUNDED = {
    "conv_2d": 0.01, "depthwise_conv_2d": 0.01, "mul": 0.02, "add_two": 0.03, "mean": 0.02,
    "average_pool_2d": 0.03, "hard_swish": 0.01, "leaky_relu": 0.04, "quantize": 0.06,
    "relu": 0.02, "relu6": 0.02, "relu_0_to_1": 0.02, "relu_n1_to_1": 0.02,
}  # fmt: skip


@pytest.mark.parametrize("case", tflite_cases.CASES)
def test_an_exported_operator_is_golden_in_onnxruntime(case: str) -> None:
    for seed in (0, 1, 2):
        graph = imported_case(case, seed)
        for off in beside_onnxruntime(graph, export(graph)).values():
            assert np.mean(off != 0) <= ROUNDED.get(case, 0)
            assert np.abs(off).max() <= (2 if case == "add_two" else 1)


# What comes back as a table of a real function, which is rounded once, too.
TABLES = {
    "hard_swish",
    "leaky_relu",
    "mul",
    "quantize",
    "relu",
    "relu6",
    "relu_0_to_1",
    "relu_n1_to_1",
}


@pytest.mark.parametrize("case", sorted(set(tflite_cases.CASES) - {"transpose"}))
def test_an_exported_operator_comes_back_with_the_same_integers(case: str) -> None:
    for seed in (0, 1, 2):
        graph = imported_case(case, seed)
        back = quantise(frontend.parse(export(graph), case).network, None).graph
        inputs = drawn(graph, 20, np.random.default_rng(1))
        again = dict(zip((t.name for t in back.inputs), inputs.values(), strict=True))
        before, after = graph.run(inputs).outputs, back.run(again).outputs
        for ours, theirs in zip(before.values(), after.values(), strict=True):
            off = ours.reshape(-1).astype(np.int64) - theirs.reshape(-1)
            assert np.mean(off != 0) <= (ROUNDED[case] if case in TABLES else 0), f"seed {seed}"
            assert np.abs(off).max() <= 1


def imported_case(case: str, seed: int) -> Graph:
    w, x, rng = tflite_cases.start(seed)
    return tflite.parse(w.finish([x], tflite_cases.CASES[case](w, x, rng)), case).graph


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_was_quantised_here_runs_in_onnxruntime(name: str) -> None:
    imported = frontend.parse(quantised(name, *FORMS[0]), name)
    made = quantise(imported.network, None)
    data = export(made.graph)
    off = beside_onnxruntime(made.graph, data)
    assert all(np.mean(np.abs(v) > 1) <= 0.01 for v in off.values())
    again = quantise(frontend.parse(data, name).network, None)
    x = samples(20, 3)
    outputs = [
        decode(q, q.graph.run({"x": encode(q, x)}).outputs[q.graph.outputs[0]])
        for q in (made, again)
    ]
    assert np.array_equal(*outputs)


def test_what_onnx_has_no_operator_for_is_refused_by_name() -> None:
    with pytest.raises(UsageError) as error:
        export(small_graph())
    assert "fc1 (dense)" in str(error.value) and "conv2d" in str(error.value)
