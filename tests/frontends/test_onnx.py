"""ONNX import: what becomes of a file, and what is refused by name; damaged and hostile files."""

from __future__ import annotations

import resource
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_networks import NETWORKS, export_model, quantise_model, samples

from spikelet.errors import UsageError
from spikelet.frontends.network_package import Samples, package
from spikelet.frontends.onnx import load, parse, supported_operators
from spikelet.graph import Array
from spikelet.quantise import quantise, run
from spikelet.refusal import ImportRefused
from support import need

Node = tuple[str, list[str], list[str], dict[str, Any]]


def model(
    nodes: list[Node],
    inputs: dict[str, tuple[Any, ...]] | None = None,
    outputs: list[str] | None = None,
    constants: dict[str, Any] | None = None,
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A file of nodes (operator, inputs, outputs, attributes), by default from x to y."""
    made = []
    for number, (op, reads, writes, attributes) in enumerate(nodes):
        op, _, domain = op.partition("@")
        made.append(
            helper.make_node(op, reads, writes, f"node{number}", domain=domain, **attributes)
        )
    graph = helper.make_graph(
        made,
        "graph",
        [
            helper.make_tensor_value_info(name, kind, shape)
            for name, shape in (inputs or {"x": ("N", 4)}).items()
        ],
        [helper.make_tensor_value_info(name, 0, None) for name in outputs or ["y"]],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def compute(file: onnx.ModelProto, x: Array) -> Array:
    network = parse(file.SerializeToString()).network
    return run(network, {"x": x})[network.outputs[0]]


def check_refused(file: onnx.ModelProto | bytes, *texts: str) -> None:
    data = file if isinstance(file, bytes) else file.SerializeToString()
    with pytest.raises(ImportRefused) as error:
        parse(data)
    for text in texts:
        assert text in str(error.value)


RELU: list[Node] = [("Relu", ["x"], ["y"], {})]


# What a file becomes


@pytest.mark.parametrize("batch", ["N", 0, None, 1, -1])
def test_a_batch_axis_without_a_size_is_one(batch: Any) -> None:
    network = parse(model(RELU, {"x": (batch, 4)}).SerializeToString()).network
    assert network.inputs == {"x": (1, 4)}


def test_shapes_that_pytorch_computes_are_constants() -> None:
    nodes: list[Node] = [
        ("Shape", ["x"], ["shape"], {}),
        ("Gather", ["shape", "zero"], ["batch"], {"axis": 0}),
        ("Unsqueeze", ["batch", "axes"], ["batch1"], {}),
        ("Concat", ["batch1", "rest"], ["wanted"], {"axis": 0}),
        ("Reshape", ["x", "wanted"], ["flat"], {}),
        ("Relu", ["flat"], ["y"], {}),
    ]
    constants = {
        "zero": np.int64(0), "axes": np.array([0]), "rest": np.array([-1]),
    }  # fmt: skip
    x = samples(3, shape=(2, 3, 4))
    file = model(nodes, {"x": ("N", 2, 3, 4)}, None, constants)
    network = parse(file.SerializeToString()).network
    assert [node.op for node in network.nodes] == ["Reshape", "Relu"]
    found = run(network, {"x": x})[network.outputs[0]]
    assert np.array_equal(found, np.maximum(x.reshape(3, -1), 0))


@pytest.mark.quick
def test_alpha_and_beta_of_a_gemm_go_into_its_constants() -> None:
    rng = np.random.default_rng(0)
    w, b, x = rng.normal(size=(4, 3)), rng.normal(size=(1, 3)), rng.normal(size=(5, 4))
    w, b, x = (v.astype(np.float32) for v in (w, b, x))
    file = model(
        [("Gemm", ["x", "w", "b"], ["y"], {"alpha": 0.5, "beta": 2.0})], constants={"w": w, "b": b}
    )
    np.testing.assert_allclose(compute(file, x), 0.5 * x @ w + 2 * b, rtol=1e-5)


@pytest.mark.parametrize("opset", [7, 9, 11, 12, 13, 18, 22, 26])
def test_every_opset_from_seven_on_is_read(opset: int) -> None:
    axes: Node = ("ReduceMean", ["x"], ["m"], {"axes": [2]})
    limits: Node = ("Clip", ["m"], ["y"], {"min": -0.5, "max": 0.5})
    constants: dict[str, Any] = {}
    if opset >= 11:
        limits = ("Clip", ["m", "low", "high"], ["y"], {})
        constants = {"low": np.float32(-0.5), "high": np.float32(0.5)}
    if opset >= 18:
        axes = ("ReduceMean", ["x", "axes"], ["m"], {})
        constants["axes"] = np.array([2])
    x = samples(2, shape=(3, 4))
    found = compute(model([axes, limits], {"x": ("N", 3, 4)}, None, constants, opset), x)
    np.testing.assert_allclose(found, x.mean(2, keepdims=True).clip(-0.5, 0.5), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_an_integer_input_has_the_code_that_its_reader_tells(dtype: type) -> None:
    nodes: list[Node] = [
        ("Transpose", ["x"], ["t"], {"perm": [0, 3, 1, 2]}),
        ("DequantizeLinear", ["t", "s", "z"], ["real"], {}),
        ("Conv", ["real", "w"], ["y"], {}),
    ]
    constants = {
        "s": np.float32(0.5), "z": np.array(7, dtype), "w": np.ones((1, 3, 1, 1), np.float32),
    }  # fmt: skip
    kind = TensorProto.UINT8 if dtype is np.uint8 else TensorProto.INT8
    file = model(nodes, {"x": ("N", 2, 2, 3)}, None, constants, kind=kind)
    imported = parse(file.SerializeToString())
    code = imported.network.codes["x"]
    assert (float(code.scale), code.zero_point) == (0.5, 7 - (128 if dtype is np.uint8 else 0))
    assert imported.dtypes == {"x": np.dtype(dtype).name} and imported.is_float


def test_integer_weights_survive_moves_before_they_are_used() -> None:
    codes = np.random.default_rng(0).integers(-127, 128, (4, 3)).astype(np.int8)
    scales = np.array([0.1, 0.2, 0.3], np.float32)
    nodes: list[Node] = [
        ("DequantizeLinear", ["q", "s"], ["w"], {"axis": 1}),
        ("Transpose", ["w"], ["wt"], {"perm": [1, 0]}),
        ("Gemm", ["x", "wt"], ["y"], {"transB": 1}),
    ]
    network = parse(model(nodes, constants={"q": codes, "s": scales}).SerializeToString()).network
    (gemm,) = network.nodes
    code = network.codes[gemm.inputs[1]]
    assert np.array_equal(code.scale, scales)
    assert np.array_equal(np.rint(network.constants[gemm.inputs[1]] / scales[:, None]), codes.T)


def test_a_clamp_that_the_quantiser_left_to_the_code_is_in_the_real_meaning() -> None:
    nodes: list[Node] = [
        ("Gemm", ["x", "w"], ["sum"], {}),
        ("QuantizeLinear", ["sum", "s", "z"], ["q"], {}),
        ("DequantizeLinear", ["q", "s", "z"], ["y"], {}),
    ]
    constants = {
        "w": np.eye(4, dtype=np.float32), "s": np.float32(0.01), "z": np.int8(-128),
    }  # fmt: skip
    x = np.array([[-3, 0.5, 1, 9]], np.float32)
    found = compute(model(nodes, constants=constants), x)
    np.testing.assert_allclose(found, [[0, 0.5, 1, 2.55]], rtol=1e-6)


def test_external_data_are_read_from_the_models_folder(tmp_path: Path) -> None:
    file = model([("Gemm", ["x", "w"], ["y"], {})], constants={"w": np.eye(4, dtype=np.float32)})
    onnx.save(
        file, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    network = load(tmp_path / "m.onnx").network
    assert np.array_equal(network.constants[network.nodes[0].inputs[1]], np.eye(4))


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"location": "../w.bin"}, "no file in"),
        ({"location": "/etc/hostname"}, "no file in"),
        ({"location": "link"}, "no file in"),
        ({"location": "missing"}, "no file in"),
        ({"location": ""}, "no file in"),
        ({"location": "w.bin", "offset": "8"}, "asks for"),
        ({"location": "w.bin", "offset": "-8"}, "asks for"),
        ({"location": "w.bin", "length": "99999999999"}, "more than"),
        ({"location": "w.bin", "offset": "many"}, "not a readable ONNX file"),
    ],
)
def test_external_data_elsewhere_are_refused(
    entries: dict[str, str], text: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for place in (tmp_path, folder):
        (place / "w.bin").write_bytes(bytes(64))
    (folder / "link").symlink_to(tmp_path / "w.bin")
    file = model([("Gemm", ["x", "w"], ["y"], {})], constants={"w": np.eye(4, dtype=np.float32)})
    tensor = file.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "m.onnx").write_bytes(file.SerializeToString())
    with pytest.raises(ImportRefused) as error:
        load(folder / "m.onnx")
    assert text in str(error.value)
    check_refused(file, "not in the model")


# What is refused


def test_an_operator_that_is_not_supported_is_refused_by_name() -> None:
    file = model([("LRN", ["x"], ["y"], {"size": 3, "alpha": 0.5})], {"x": (1, 4, 4, 4)})
    check_refused(file, "'node0'", "LRN", "size=3", "alpha=0.5", "Conv", "QLinearConv")
    assert "Conv" in supported_operators() and "LRN" not in supported_operators()


@pytest.mark.parametrize(
    ("nodes", "texts"),
    [
        ([("Foo@my.domain", ["x"], ["y"], {})], ["Foo", "my.domain"]),
        ([("NoSuchOperator", ["x"], ["y"], {})], ["opset 17 has no such operator"]),
        ([("QLinearWhere@com.microsoft", ["x"], ["y"], {})], ["com.microsoft is not supported"]),
        ([("Relu", ["x"], ["y"], {"slope": 1.0})], ["no attribute slope"]),
        ([("QGemm@com.microsoft", ["x"], ["y"], {"beta": 1.0})], ["attribute beta is not known"]),
        ([("Relu", ["x", "x"], ["y"], {})], ["2 inputs, expected 1 to 1"]),
        ([("Elu", ["x"], ["y"], {"alpha": 1})], ["attribute alpha is INT, expected FLOAT"]),
        ([("LogSoftmax", ["x"], ["y"], {})], ["end the network before it"]),
        ([("DynamicQuantizeLinear", ["x"], ["q", "y", "z"], {})], ["static quantisation"]),
        ([("MatMul", ["x", "x"], ["y"], {})], ["is computed", "a constant right factor"]),
        ([("Relu", ["nowhere"], ["y"], {})], ["'nowhere', which nothing writes"]),
        ([("Relu", ["a"], ["y"], {}), ("Relu", ["x"], ["a"], {})], ["out of order, or a cycle"]),
        ([("Add", ["x", "b"], ["y"], {}), ("Relu", ["y"], ["b"], {})], ["or a cycle"]),
        ([*RELU, *RELU], ["'y', which has a value already"]),
        ([("Relu", ["x"], ["x"], {})], ["has a value already"]),
        ([("Relu", ["x"], [""], {})], ["it writes nothing"]),
        ([("Relu", ["x"], ["z"], {})], ["output 'y' is written by no node"]),
        ([("Identity", ["x"], ["y"], {})], ["output 'y' is the input 'x' as it is"]),
        ([("Split", ["x"], ["y", "b"], {"axis": 7})], ["axis 7 of 2 dimensions"]),
        ([], ["no node in it"]),
    ],
)
def test_nodes_that_are_wrong_are_refused(nodes: list[Node], texts: list[str]) -> None:
    check_refused(model(nodes), *texts)


def lookup(table: Array, first: int = 128, output: str = "y") -> onnx.ModelProto:
    """Elements of a table by the codes of x."""
    nodes: list[Node] = [
        ("QuantizeLinear", ["x", "s", "z"], ["q"], {}),
        ("Cast", ["q"], ["wide"], {"to": TensorProto.INT32}),
        ("Add", ["wide", "first"], ["index"], {}),
        ("Gather", ["table", "index"], ["y"], {"axis": 0}),
    ]
    constants = {
        "s": np.float32(0.5), "z": np.int8(3), "first": np.int32(first), "table": table,
    }  # fmt: skip
    return model(nodes, outputs=[output], constants=constants)


def test_a_table_by_codes_is_any_function_of_them() -> None:
    table = np.random.default_rng(0).normal(0, 1, 300).astype(np.float32)
    x = np.array([[-2, 0, 0.6, 100]], np.float32)
    found = compute(lookup(table, first=140), x)
    assert np.array_equal(found, [table[np.array([-1, 3, 4, 127]) + 140]])


def test_a_table_that_does_not_fit_its_codes_is_refused() -> None:
    table = np.zeros(256, np.float32)
    check_refused(lookup(table, first=127), "from -1 on", "each of the 256 codes")
    check_refused(lookup(table, first=129), "from 1 on")
    check_refused(lookup(table.astype(np.int64)), "int64")
    check_refused(lookup(table + np.inf), "no finite number")
    check_refused(lookup(table, output="index"), "not computed from the inputs")


def test_control_flow_is_refused_by_name() -> None:
    branch = model(RELU).graph
    branch.ClearField("input")
    file = model([("If", ["c"], ["y"], {"then_branch": branch, "else_branch": branch})],
                 constants={"c": np.array(True)})  # fmt: skip
    check_refused(file, "If", "_branch is a subgraph")


def test_sparse_constants_are_refused_by_name() -> None:
    file = model(RELU)
    values = numpy_helper.from_array(np.ones(1, np.float32), "pruned")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    file.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    check_refused(file, "'pruned' is sparse")


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (("N", "width"), "no fixed size in axis 1 (width)"),
        (("N", None), "no fixed size in axis 1"),
        ((1, 0), "0 elements in axis 1"),
        ((1, -3), "-3 elements in axis 1"),
        ((1, 1 << 62), "elements"),
        ((1, 65536, 65536), "elements"),
        ((1,) * 8, "dimensions"),
        ((), "dimensions"),
        ((8, 4), "a batch of 8"),
    ],
)
def test_shapes_that_cannot_be_are_refused(shape: tuple[Any, ...], text: str) -> None:
    check_refused(model(RELU, {"x": shape}), text)


@pytest.mark.parametrize("width", ["width", "a b'c", None])
def test_the_command_that_fixes_a_shape_works(width: str | None, tmp_path: Path) -> None:
    need("onnxruntime")
    file = model(RELU, {"x": ("N", width)})
    onnx.save(file, tmp_path / "in.onnx")
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "in.onnx")
    command = caught.value.next.partition("fix them: python ")[2].partition(", with")[0]
    command = command.replace("SIZE", "4").replace("1,...", "1,4")
    words = [str(tmp_path / w.lower()) if w in ("IN.onnx", "OUT.onnx") else w
             for w in shlex.split(command)]  # fmt: skip
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    assert load(tmp_path / "out.onnx").network.inputs["x"][1] == 4


@pytest.mark.parametrize("opset", [0, 6, 99])
def test_opsets_that_are_not_known_are_refused(opset: int) -> None:
    check_refused(model(RELU, opset=opset), f"opset {opset or 'not given'}", "version_converter")


def test_types_that_int8_has_no_place_for_are_refused() -> None:
    for kind, text in ((TensorProto.STRING, "STRING"), (TensorProto.BFLOAT16, "BFLOAT16")):
        check_refused(model(RELU, kind=kind), text)
    check_refused(model(RELU, kind=TensorProto.INT32), "int32", "float, int8 or uint8")
    file = model(RELU, kind=TensorProto.INT8)
    check_refused(file, "int8")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.dims.append(2), "its data has 64"),
        (lambda t: t.dims.__setitem__(0, -4), "shape (-4, 4)"),
        (lambda t: t.dims.__setitem__(0, 1 << 40), "shape (1099511627776, 4)"),
        (lambda t: t.dims.extend([1 << 30] * 3), "its data has 64"),
        (lambda t: setattr(t, "data_type", TensorProto.DOUBLE), "its data has 64"),
        (lambda t: setattr(t, "data_type", TensorProto.FLOAT8E5M2), "FLOAT8E5M2"),
        (lambda t: setattr(t, "data_type", 77), "type 77"),
        (lambda t: setattr(t, "raw_data", t.raw_data[:63]), "its data has 63"),
        (lambda t: setattr(t, "raw_data", b"\0\0\xc0\x7f" * 16), "no finite number"),
        (lambda t: t.segment.CopyFrom(TensorProto.Segment(begin=0)), "segments"),
        (lambda t: setattr(t, "name", "x"), "two tensors are named"),
    ],
)
def test_constants_that_lie_are_refused(change: Any, text: str) -> None:
    file = model([("Gemm", ["x", "w"], ["y"], {})], constants={"w": np.eye(4, dtype=np.float32)})
    change(file.graph.initializer[0])
    check_refused(file) if text == "two tensors are named" else check_refused(file, text)


def test_values_beyond_their_type_are_refused() -> None:
    file = model([("Gemm", ["x", "w"], ["y"], {})], constants={"w": np.eye(4, dtype=np.float32)})
    tensor = helper.make_tensor("q", TensorProto.INT8, [2], [1, 2])
    tensor.int32_data[1] = 300
    file.graph.initializer.append(tensor)
    check_refused(file, "'q' holds values that are not int8")


SCALES = {"s": np.float32(0.1), "z": np.int8(0)}
QDQ: list[Node] = [
    ("QuantizeLinear", ["x", "s", "z"], ["q"], {}),
    ("DequantizeLinear", ["q", "s", "z"], ["r"], {}),
    ("Tanh", ["r"], ["y"], {}),
]


@pytest.mark.parametrize("scale", [0.0, -0.1, float("nan"), float("inf"), 1e-38, [0.1, 0.2], []])
def test_a_scale_that_is_no_scale_is_refused(scale: Any) -> None:
    constants = {**SCALES, "s": np.array(scale, np.float32)}
    check_refused(model(QDQ, constants=constants), "node0", "QuantizeLinear", "scale")


def test_codes_that_are_read_as_others_are_refused() -> None:
    nodes = [QDQ[0], ("DequantizeLinear", ["q", "s2", "z"], ["r"], {}), QDQ[2]]
    check_refused(model(nodes, constants={**SCALES, "s2": np.float32(0.2)}), "scale 0.2", "written")


def test_weights_that_need_nine_bits_are_refused_with_the_way_out() -> None:
    nodes: list[Node] = [
        ("DequantizeLinear", ["w", "s", "z"], ["real"], {}),
        ("Gemm", ["x", "real"], ["y"], {}),
    ]
    constants = {
        "w": np.array([[0], [255], [9], [9]], np.uint8), "s": np.float32(0.1), "z": np.uint8(90),
    }  # fmt: skip
    check_refused(model(nodes, constants=constants), "-90 to 165", "zero point 0")


def test_a_float_model_without_data_is_refused_with_the_way_out() -> None:
    imported = parse(export_model("Residual"))
    with pytest.raises(ImportRefused) as error:
        package(imported, "net.onnx", None)
    assert "--calibrate" in str(error.value) and "x (N, 3, 8, 8)" in str(error.value)


def test_figures_are_of_samples_that_ranges_were_not_found_on() -> None:
    imported = parse(export_model("Residual"), "net")
    x = samples(60)
    real = run(imported.network, {"x": x})[imported.network.outputs[0]]
    labels = real.argmax(axis=1)
    labels[1::6] += 1  # of the samples that are tested, a third
    made = package(imported, "net.onnx", Samples("x.npz", {"x": x}, labels % 10))
    manifest = made.manifest
    assert manifest["calibration"] == "x.npz: every second sample, 30 of 60"
    assert len(made.vectors["y"]) == manifest["samples"] == 30
    assert manifest["float_accuracy"] == pytest.approx(2 / 3)
    assert manifest["drift"] == manifest["integer_accuracy"] - manifest["float_accuracy"]
    assert all(row["snr_db"] > 25 and row["cosine"] > 0.99 for row in manifest["layer_drift"])
    few = package(imported, "net.onnx", Samples("x.npz", {"x": x[:10]}, None))
    assert "all 10 samples, which the figures are of, too" in few.manifest["calibration"]


def test_a_file_that_gives_some_codes_only_needs_data_for_the_others() -> None:
    nodes: list[Node] = [*QDQ[:2], ("Exp", ["r"], ["y"], {})]
    imported = parse(model(nodes, constants=SCALES).SerializeToString())
    with pytest.raises(UsageError) as error:
        package(imported, "net.onnx", None)
    assert "no int8 code" in str(error.value)
    x = samples(40, shape=(4,))
    made = package(imported, "net.onnx", Samples("x.npz", {"x": x}, None))
    assert made.manifest["calibration"] == "x.npz: every second sample, 20 of 40"
    assert made.graph.inputs[0].scale == float(np.float32(0.1))


def test_a_missing_package_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UsageError) as error:
        parse(b"")
    assert "pip install 'spikelet[import]'" in str(error.value)


# Files that are made to harm

GIB = 1 << 30


@pytest.mark.parametrize(
    ("node", "constants"),
    [
        (("ConstantOfShape", ["n"], ["c"], {}), {"n": np.array([1 << 30, 1 << 30])}),
        (("ConstantOfShape", ["n"], ["c"], {}), {"n": np.array([-1, 5])}),
        (("Expand", ["k", "n"], ["c"], {}), {"n": np.array([1 << 20, 1 << 20]),
                                            "k": np.ones(1, np.float32)}),
        (("Tile", ["k", "n"], ["c"], {}), {"n": np.array([1 << 40]), "k": np.ones(1, np.float32)}),
        (("Range", ["a", "b", "d"], ["c"], {}), {"a": np.float32(0), "b": np.float32(1e12),
                                                 "d": np.float32(1e-3)}),
        (("Add", ["k", "n"], ["c"], {}), {"k": np.ones((1 << 13, 1), np.float32),
                                          "n": np.ones((1, 1 << 13), np.float32)}),
        (("Cast", ["k"], ["c"], {"to": 8}), {"k": np.ones(1, np.float32)}),
        (("Reshape", ["k", "n"], ["c"], {}), {"k": np.ones(4, np.float32), "n": np.array([3])}),
    ],
)  # fmt: skip
def test_constants_that_would_grow_are_refused(node: Node, constants: dict[str, Any]) -> None:
    check_refused(model([node, ("Add", ["x", "c"], ["y"], {})], constants=constants), "node0")


@pytest.mark.parametrize(
    "node",
    [
        ("Pad", ["x", "pads"], ["y"], {}),
        ("Conv", ["x", "w"], ["y"], {"pads": [1 << 20] * 4}),
        ("MaxPool", ["x"], ["y"], {"kernel_shape": [3000, 3000], "pads": [2999] * 4}),
        ("Resize", ["x", "", "scales"], ["y"], {}),
        ("Expand", ["x", "shape"], ["y"], {}),
        ("Reshape", ["x", "shape"], ["y"], {}),
        ("Conv", ["x", "w"], ["y"], {"strides": [0, 0]}),
        ("Conv", ["x", "w"], ["y"], {"group": -1}),
        ("Conv", ["x", "w"], ["y"], {"dilations": [1 << 40, 1]}),
        ("AveragePool", ["x"], ["y"], {"kernel_shape": [1 << 40, 1]}),
    ],
)
def test_work_that_would_grow_is_refused(node: Node) -> None:
    constants = {
        "pads": np.array([0, 0, 0, 0, 0, 0, 1 << 40, 1]),
        "w": np.ones((1, 2, 3, 3), np.float32),
        "scales": np.array([1, 1, 60000, 60000], np.float32),
        "shape": np.array([1, 2, 1 << 31, 1 << 31]),
    }
    check_refused(model([node], {"x": (1, 2, 8, 8)}, None, constants), "node0")


def test_a_network_that_adds_up_is_refused() -> None:
    chain: list[Node] = [("Relu", [f"t{i}"], [f"t{i + 1}"], {}) for i in range(100)]
    chain[0] = ("Relu", ["x"], ["t1"], {})
    check_refused(model(chain, {"x": (1, 1 << 20)}, ["t100"]), "elements of all tensors")


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of the wire format."""
    head, size = bytearray([number << 3 | 2]), len(content)
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes(head) + bytes([size]) + content


@pytest.mark.parametrize(
    "bomb",
    [
        field(7, field(1, b"") * 2_000_000),
        field(7, field(1, field(5, b"") * 2_000_000)),
        field(7, field(1, field(1, b"") * 2_000_000)),
    ],
    ids=["nodes", "attributes", "inputs"],
)
def test_millions_of_empty_fields_are_never_built(bomb: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check_refused(bomb, "fields")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_messages_without_end_are_refused() -> None:
    nested = b""
    for _ in range(60):
        nested = field(1, field(5, field(6, nested)))
    check_refused(field(7, nested), "nest deeper")
    for data in (b"", b"\0", b"TFL3", b"\xff" * 100, b"\x3a\xff\xff\xff\xff\x0f"):
        check_refused(data)


SMALL = [
    *(export_model(name) for name in NETWORKS),
    *(
        quantise_model(name, form, "QInt8", True)
        for name in NETWORKS
        for form in ("QDQ", "QOperator")
    ),
    model(QDQ, constants=SCALES).SerializeToString(),
]


@given(data=st.data())
@settings(max_examples=250, deadline=4000, suppress_health_check=list(HealthCheck))
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    """Cut short, with bits flipped or bytes at their extremes: never another error."""
    original = data.draw(st.sampled_from(SMALL))
    damaged = bytearray(original)
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(original)))]
    for _ in range(data.draw(st.integers(0, 6)) if damaged else 0):
        at = data.draw(st.integers(0, len(damaged) - 1))
        flipped = damaged[at] ^ 1 << data.draw(st.integers(0, 7))
        damaged[at] = data.draw(st.sampled_from([0, 255, 127, 128, flipped]))
    try:
        imported = parse(bytes(damaged))
    except ImportRefused:
        return
    shapes = imported.network.inputs
    feeds = {k: np.zeros((2, *shape[1:]), np.float32) for k, shape in shapes.items()}
    try:
        graph = quantise(imported.network, feeds).graph
    except UsageError:
        return
    graph.run({t.name: np.zeros((1, *t.shape), t.numpy_dtype) for t in graph.inputs})
