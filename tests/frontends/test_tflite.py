"""TensorFlow Lite import: golden and device against LiteRT's reference kernels; damaged files."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tflite
import tflite_cases
import tflite_networks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tflite_models import Writer
from tflite_oracle import differing, draw, run_frames

from spikelet.board import find_board
from spikelet.frontends.tflite import load, parse
from spikelet.graph import Graph
from spikelet.graph.names import identifier
from spikelet.package import Package
from spikelet.refusal import ImportRefused
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from support import need
from targets import check_graph

# Folder of int8 models of MLPerf Tiny and TensorFlow Lite Micro; they are not in this tree.
SHARED = Path(os.environ.get("SPIKELET_MODELS", "models-missing"))
MODELS = ("hello_world_int8", "micro_speech_quantized", "kws_ref_model", "pretrainedResnet_quant",
          "vww_96_int8", "ad01_int8")  # fmt: skip
LAYERS = {"hello_world_int8": 3, "micro_speech_quantized": 4, "kws_ref_model": 13,
          "pretrainedResnet_quant": 16, "vww_96_int8": 31, "ad01_int8": 10}  # fmt: skip
# Where a whole network runs: each kind of target, and no more than takes seconds.
ON = {
    "mobilenet": ("m4-gcc-qemu",),
    "autoencoder": ("rv32-zig-unicorn",),
    "mobilenet_v2": ("native-gcc-sanitized",),
    "separable": ("rv32-zig-unicorn", "m4-gcc-qemu"),
    "dying": ("native-gcc-sanitized", "m4-gcc-qemu"),
}
PARTS = 4  # of the operators, a model each: one function of all of them takes long to compile


def reference(name: str) -> Path:
    path = SHARED / f"{name}.tflite"
    if not path.is_file():
        pytest.skip(f"{path} is missing: SPIKELET_MODELS names the folder of reference models")
    return path


def model(case: str, seed: int) -> bytes:
    w, x, rng = tflite_cases.start(seed)
    return w.finish([x], tflite_cases.CASES[case](w, x, rng))


def mismatches(graph: Graph, inputs: dict, folder: Path, toolchain: str = "gcc") -> int:
    package = Package(graph, inputs, {}).with_golden()
    board = find_board("native")
    built = make(package, board, folder / "build", toolchain=toolchain, trace=True, sanitize=True)
    target = SessionTarget(board, built, "native")
    stream = package_stream(package)
    summary, _ = run(package, target, stream, SessionFolder(folder / "session"), layers=True)
    return int(summary["mismatches"])


@pytest.mark.parametrize("case", tflite_cases.CASES)
def test_every_operator_equals_the_reference_kernel(case: str) -> None:
    need("ai_edge_litert")
    for seed in range(8):
        data = model(case, seed)
        imported = parse(data, case)
        inputs = draw(imported.graph, 6, np.random.default_rng(seed))
        assert differing(data, imported, inputs) == {}, f"seed {seed}"


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_of_a_reference_model_equals_litert(name: str) -> None:
    need("ai_edge_litert")
    path = reference(name)
    imported = load(path)
    assert len(imported.graph.nodes) == LAYERS[name]
    inputs = draw(imported.graph, 6, np.random.default_rng(1))
    assert differing(path.read_bytes(), imported, inputs) == {}


@pytest.mark.parametrize("toolchain", ["gcc", pytest.param("clang", marks=pytest.mark.long)])
def test_the_kernels_equal_golden_in_every_layer(toolchain: str, tmp_path: Path) -> None:
    need(toolchain)
    for seed in range(PARTS):
        data = tflite_cases.zoo(seed, list(tflite_cases.CASES)[seed::PARTS])
        graph = parse(data, "zoo").graph
        inputs = draw(graph, 4, np.random.default_rng(seed))
        assert mismatches(graph, inputs, tmp_path / str(seed), toolchain) == 0


@pytest.mark.parametrize("target", ["rv32-zig-unicorn", "m4-gcc-qemu"])
def test_the_kernels_equal_golden_on_a_device(target: str, tmp_path: Path) -> None:
    for seed in range(PARTS):
        data = tflite_cases.zoo(seed, list(tflite_cases.CASES)[seed::PARTS])
        check_graph(target, parse(data, "zoo").graph, 3, tmp_path / str(seed))


def test_no_network_is_left_out() -> None:
    assert set(ON) == set(tflite_networks.NETWORKS)


@pytest.mark.parametrize("name", ON)
def test_a_whole_network_equals_litert_and_runs_bit_exact(name: str, tmp_path: Path) -> None:
    need("ai_edge_litert")
    data = tflite_networks.NETWORKS[name]()
    imported = parse(data, name)
    inputs = draw(imported.graph, 4, np.random.default_rng(3))
    assert differing(data, imported, inputs) == {}
    for target in ON[name]:
        check_graph(target, imported.graph, 1, tmp_path / target)


@pytest.mark.parametrize("case", ["svdf", "lstm"])
def test_a_state_lives_on_from_frame_to_frame(case: str, tmp_path: Path) -> None:
    """A sequence in one inference, against LiteRT run by run without a reset."""
    need("ai_edge_litert")
    data, frames = model(case, 3), 6
    imported = parse(data, case, frames)
    x = draw(imported.graph, 3, np.random.default_rng(5))
    trace = imported.graph.run(x, trace=True).trace
    for sample in range(3):
        wanted = run_frames(data, imported, x["x"][sample])
        states = [t.name for t in imported.graph.tensors.values() if t.kind == "state"]
        assert set(states) <= wanted[0].keys() & trace.keys()
        for name in wanted[0].keys() & trace.keys():
            for t in range(frames):
                found = trace[name][t][sample].reshape(-1)
                assert np.array_equal(found, wanted[t][name]), (name, t)
    for target in ("native-gcc-sanitized", "rv32-zig-unicorn"):
        check_graph(target, imported.graph, 3, tmp_path / target)


@pytest.mark.parametrize("name", MODELS)
def test_a_reference_model_runs_bit_exact(name: str, tmp_path: Path) -> None:
    need("gcc")
    graph = load(reference(name)).graph
    assert mismatches(graph, draw(graph, 3, np.random.default_rng(2)), tmp_path) == 0


@pytest.mark.quick
def test_a_saved_package_computes_the_same(tmp_path: Path) -> None:
    graph = parse(tflite_cases.zoo(3, list(tflite_cases.CASES)), "zoo").graph
    inputs = draw(graph, 3, np.random.default_rng(3))
    Package(graph, inputs, {}).with_golden().save(tmp_path / "zoo.spk")
    loaded = Package.load(tmp_path / "zoo.spk").graph
    before, after = graph.run(inputs).outputs, loaded.run(inputs).outputs
    assert all(np.array_equal(before[name], after[name]) for name in graph.outputs)


def test_a_reshape_shares_its_inputs_memory() -> None:
    from spikelet.codegen import plan

    graph = parse(model("reshape", 0)).graph
    slots = plan(graph).slots
    assert {slot.offset for slot in slots.values()} == {0}
    assert plan(graph).size == plan(graph).bound == slots["x"].size


def test_float_edges_are_left_to_the_host() -> None:
    need("ai_edge_litert")
    w = Writer()
    real = w.tensor((1, 4, 4, 2), dtype="FLOAT32")
    x = w.tensor((1, 4, 4, 2), 0.1, 3)
    y = w.tensor((1, 4, 4, 2), 0.05, -7)
    out = w.tensor((1, 4, 4, 2), dtype="FLOAT32")
    w.op("QUANTIZE", [real], [x])
    w.op("TANH", [x], [y])
    w.op("DEQUANTIZE", [y], [out])
    graph = parse(w.finish([real], [out])).graph
    (tensor,) = graph.inputs
    assert (tensor.name, tensor.dtype, tensor.scale, tensor.zero_point) == (
        "x", "i8", float(np.float32(0.1)), 3
    )  # fmt: skip
    assert [node.KIND for node in graph.nodes] == ["tanh"]
    assert graph.tensors[graph.outputs[0]].zero_point == -7


def convolution_file(margins: list[list[int]], *, kept: bool, value: int | None = None) -> bytes:
    """PAD or PADV2, then a depthwise convolution that pads nothing and RELU6 in the same code."""
    w, rng = Writer(), np.random.default_rng(0)
    x = w.tensor((1, 6, 5, 3), 0.05, -9, name="input")
    shape = tuple(n + sum(m) for n, m in zip((1, 6, 5, 3), margins, strict=True))
    padded = w.tensor(shape, 0.05, -9)
    fill = [] if value is None else [w.tensor((), 0.05, -9, np.array(value, np.int8))]
    w.op("PADV2" if fill else "PAD", [x, w.constant(margins), *fill], [padded])
    weight = w.tensor((1, 3, 2, shape[3]), 0.01, 0,
                      rng.integers(-127, 128, (1, 3, 2, shape[3])).astype(np.int8))  # fmt: skip
    out = (1, (shape[1] - 3) // 2 + 1, shape[2] - 1, shape[3])
    y, z = w.tensor(out, 0.03, -40), w.tensor(out, 0.03, -40)
    w.op(
        "DEPTHWISE_CONV_2D", [padded, weight], [y], Padding=1, StrideH=2, StrideW=1,
        DilationHFactor=1, DilationWFactor=1, DepthMultiplier=1, FusedActivationFunction=0,
    )  # fmt: skip
    w.op("RELU6", [y], [z])
    return w.finish([x], [z, padded, y] if kept else [z])


@pytest.mark.parametrize(
    "margins", [[[0, 0], [1, 0], [0, 1], [0, 0]], [[0, 0], [4, 7], [3, 5], [0, 0]]]
)
def test_a_margin_and_a_clamp_go_into_the_convolution(margins: list, tmp_path: Path) -> None:
    need("ai_edge_litert")
    data = convolution_file(margins, kept=False)
    imported = parse(data)
    (node,) = imported.graph.nodes
    assert node.KIND == "depthwise_conv2d" and len(imported.tensors) == 2
    assert (node.padding, node.activation) == (
        (margins[1][0], margins[2][0], margins[1][1], margins[2][1]), (-40, 127)
    )  # fmt: skip
    inputs = draw(imported.graph, 20, np.random.default_rng(0))
    assert differing(data, imported, inputs) == {}
    for target in ("native-gcc-sanitized", "rv32-zig-unicorn"):
        check_graph(target, imported.graph, 2, tmp_path / target)


@pytest.mark.parametrize(
    ("margins", "kept", "value"),
    [
        ([[0, 0], [1, 1], [1, 1], [0, 0]], True, None),  # they are outputs
        ([[0, 0], [1, 1], [1, 1], [0, 0]], False, 5),  # the margin is not zero
        ([[0, 0], [1, 1], [1, 1], [0, 1]], False, None),  # one of channels
    ],
)
def test_other_margins_stay(margins: list, kept: bool, value: int | None) -> None:
    need("ai_edge_litert")
    data = convolution_file(margins, kept=kept, value=value)
    imported = parse(data)
    kinds = [node.KIND for node in imported.graph.nodes]
    assert kinds == ["pad", "depthwise_conv2d", *(["relu"] if kept else [])]
    inputs = draw(imported.graph, 20, np.random.default_rng(0))
    assert differing(data, imported, inputs) == {}


@pytest.mark.parametrize("zero_point", [0, 127, 128, 131, 255])
def test_a_uint8_input_is_requantised_on_the_device(zero_point: int, tmp_path: Path) -> None:
    need("ai_edge_litert")
    w = Writer()
    x = w.tensor((1, 5, 3), 0.1, zero_point, dtype="UINT8")
    y = w.tensor((1, 5, 3), 0.07, 3)
    w.op("QUANTIZE", [x], [y])
    data = w.finish([x], [y])
    imported = parse(data)
    inputs = draw(imported.graph, 30, np.random.default_rng(0))
    assert differing(data, imported, inputs) == {}
    need("gcc")
    assert mismatches(imported.graph, inputs, tmp_path) == 0


@pytest.mark.parametrize(
    ("kind", "found", "supported"),
    [
        ("NEG", "this operator is not supported", "CONV_2D"),
        ("DEQUANTIZE", "a float tensor inside of the network", "before an output"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(kind: str, found: str, supported: str) -> None:
    w = Writer()
    x, y, z = (w.tensor((1, 4), 0.1, 0, name=n) for n in ("in", "scope/layer", "out"))
    w.op(kind, [x], [y])
    w.op("TANH", [y], [z])
    with pytest.raises(ImportRefused) as error:
        parse(w.finish([x], [z]))
    text = str(error.value)
    assert "scope/layer" in text and kind in text and found in text and supported in text


def check_refused(w: Writer, inputs: list[int], outputs: list[int], text: str) -> None:
    with pytest.raises(ImportRefused) as error:
        parse(w.finish(inputs, outputs))
    assert text in str(error.value)


def tanh(
    shape: tuple[int, ...], scale: float = 0.1, zero_point: int = 0
) -> tuple[Writer, int, int]:
    w = Writer()
    x, y = w.tensor(shape, scale, zero_point), w.tensor(shape, 0.1)
    w.op("TANH", [x], [y])
    return w, x, y


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (
            (1, 70000),
            "input 't0': tensor x: shape[0] is 70000, expected less than or equal to 65535",
        ),
        ((1, 65535, 65535), "elements"),
        ((1, -1), "dimensions of at least 0"),
        ((1, 0), "no element"),
        ((1, 2147483647, 2147483647, 2147483647), "elements"),
        ((1, 2, 2, 2, 2, 2), "shape is (2, 2, 2, 2, 2), expected at most 4 items, not 5"),
        ((1, 1, 1, 1, 1, 1, 1, 1), "at most 6 dimensions"),
    ],
)
def test_shapes_that_no_microcontroller_holds_are_refused(
    shape: tuple[int, ...], text: str
) -> None:
    w, x, y = tanh(shape)
    check_refused(w, [x], [y], text)


@pytest.mark.parametrize("scale", [0.0, -0.1, float("nan"), float("inf"), 1e-38])
def test_a_scale_that_is_no_scale_is_refused(scale: float) -> None:
    w, x, y = tanh((1, 4), scale)
    check_refused(w, [x], [y], "scale")


@pytest.mark.parametrize(
    ("dtype", "zero_point", "ends"),
    [("INT8", -129, "i8, -128 to 127"), ("INT8", 128, "i8, -128 to 127"),
     ("UINT8", -1, "u8, 0 to 255"), ("UINT8", 256, "u8, 0 to 255")],
)  # fmt: skip
def test_a_zero_point_outside_of_the_type_is_refused(
    dtype: str, zero_point: int, ends: str
) -> None:
    w = Writer()
    x, y = w.tensor((1, 4), 0.1, zero_point, dtype=dtype), w.tensor((1, 4), 0.1)
    w.op("QUANTIZE", [x], [y])
    found = f"input 't0': tensor x: zero_point is {zero_point}, expected a code of {ends}"
    check_refused(w, [x], [y], found)


def test_the_larger_of_two_operator_codes_counts() -> None:
    """LiteRT's rule for files of old and new writers; here the two contradict each other."""
    data = model("max_pool_2d", 0)
    code = tflite.Model.GetRootAs(data, 0).OperatorCodes(0)
    at = code._tab.Pos + code._tab.Offset(4)
    assert data[at] == tflite.BuiltinOperator.MAX_POOL_2D
    older = data[:at] + bytes([tflite.BuiltinOperator.AVERAGE_POOL_2D]) + data[at + 1 :]
    assert [n.KIND for n in parse(older).graph.nodes] == ["max_pool2d"]


def test_a_cycle_is_refused() -> None:
    w = Writer()
    x, a, b = (w.tensor((1, 4), 0.1) for _ in range(3))
    w.op("ADD", [x, b], [a], FusedActivationFunction=0)
    w.op("ADD", [x, a], [b], FusedActivationFunction=0)
    check_refused(w, [x], [b], "written by no operator before it")


def test_a_tensor_that_is_written_twice_is_refused() -> None:
    w, x, y = tanh((1, 4))
    w.op("TANH", [x], [y])
    check_refused(w, [x], [y], "has a value already")


def test_a_float_model_is_refused_with_the_way_out() -> None:
    w = Writer()
    x, y = (w.tensor((1, 4), dtype="FLOAT32") for _ in range(2))
    w.op("TANH", [x], [y])
    check_refused(w, [x], [y], "TFLITE_BUILTINS_INT8")


def test_a_window_of_billions_of_products_is_refused() -> None:
    w = Writer()
    x, y = w.tensor((1, 2000, 2000, 1), 0.1), w.tensor((1, 2000, 2000, 1), 0.1)
    w.op(
        "MAX_POOL_2D", [x], [y], Padding=0, StrideH=1, StrideW=1, FilterHeight=60000,
        FilterWidth=60000, FusedActivationFunction=0,
    )  # fmt: skip
    check_refused(w, [x], [y], "")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("model/dense/Relu", "model_dense_relu"),
        ("int", "n_int"),
        ("2nd", "n_2nd"),
        ("x_config", "n_x_config"),
        ("a;b" * 30, "other"),
        ("", "other"),
        ("été", "t"),
    ],
)
def test_names_become_c_identifiers(name: str, found: str) -> None:
    made = identifier(name, "other")
    assert made.isidentifier() and made.isascii() and len(made) <= 26
    assert made == (f"n_{found}" if found == "t" else found)


def test_the_originals_of_names_are_kept() -> None:
    w = Writer()
    x, y = w.tensor((1, 4), 0.1, name="serving/x:0"), w.tensor((1, 4), 0.1, name="a;b/c" * 9)
    w.op("TANH", [x], [y])
    imported = parse(w.finish([x], [y]))
    assert imported.original == {"x": "serving/x:0", "tanh_0": "a;b/c" * 9}


def chain(count: int, shape: tuple[int, ...]) -> bytes:
    """Convolutions 1x1 of one channel, one behind the other."""
    w = Writer()
    x = last = w.tensor(shape, 0.1)
    weight = w.tensor((1, 1, 1, 1), 0.1, 0, np.ones((1, 1, 1, 1), np.int8))
    for _ in range(count):
        before, last = last, w.tensor(shape, 0.1)
        w.op(
            "CONV_2D", [before, weight, -1], [last], Padding=0, StrideH=1, StrideW=1,
            DilationHFactor=1, DilationWFactor=1, FusedActivationFunction=0,
        )  # fmt: skip
    return w.finish([x], [last])


def same_tensor_often(count: int) -> bytes:
    """One tensor of many scales, which the file names many times over."""
    w, x, y = tanh((1, 4))
    w.tensor((20000,), np.full(20000, 0.1), 0, dtype="INT8")
    return w.finish([x], [y], repeat_last=count)


def many_inputs(operators: int, inputs: int) -> bytes:
    """DEQUANTIZE, each of which reads one tensor so often."""
    w = Writer()
    x = w.tensor((1, 4), 0.1)
    outs = [w.tensor((1, 4), dtype="FLOAT32") for _ in range(operators)]
    for out in outs:
        w.op("DEQUANTIZE", [x] * inputs, [out])
    return w.finish([x], outs)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (chain(250, (1, 2048, 2048, 1)), "elements in all activations"),
        (same_tensor_often(4000), "its lists overlap"),
        (many_inputs(1000, 1000), "DEQUANTIZE"),
    ],
    ids=["activations", "overlap", "readers"],
)
def test_a_small_file_takes_neither_memory_nor_time(data: bytes, text: str) -> None:
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(ImportRefused) as error:
        parse(data)
    seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert text in str(error.value)
    assert seconds < 5 and peak < (64 << 20) + 4 * len(data), (seconds, peak)


def test_what_is_shared_within_a_file_is_read() -> None:
    data = chain(20, (1, 8, 8, 1))
    assert len(parse(data).graph.nodes) == 20


def test_sizes_that_are_computed_from_shapes_are_left_to_the_file() -> None:
    """SHAPE, STRIDED_SLICE, PACK, RESHAPE: what a converter makes of `reshape(x, (-1, n))`."""
    need("ai_edge_litert")
    w = Writer()
    x, y = w.tensor((1, 3, 4), 0.1, 5), w.tensor((1, 12), 0.1, 5)
    sizes, batch, to = (w.tensor(s, dtype="INT32") for s in ((3,), (), (2,)))
    w.op("SHAPE", [x], [sizes], OutType=2)
    ends = [w.constant([v]) for v in (0, 1, 1)]
    w.op("STRIDED_SLICE", [sizes, *ends], [batch], ShrinkAxisMask=1)
    w.op("PACK", [batch, w.constant(np.array(12))], [to], ValuesCount=2, Axis=0)
    w.op("RESHAPE", [x, to], [y])
    out = w.tensor((1, 12), 0.1)
    w.op("TANH", [y], [out])
    data = w.finish([x], [out])
    imported = parse(data)
    assert [n.KIND for n in imported.graph.nodes] == ["reshape", "tanh"]
    inputs = draw(imported.graph, 3, np.random.default_rng(0))
    assert differing(data, imported, inputs) == {}


@pytest.mark.parametrize(("first", "last"), [(0, 255), (131, 0), (255, 128)])
def test_uint8_at_the_edges_is_the_networks_own_code(first: int, last: int, tmp_path: Path) -> None:
    """inference_input_type and inference_output_type of uint8."""
    need("ai_edge_litert")
    w = Writer()
    x, a = w.tensor((1, 6), 0.1, first, dtype="UINT8"), w.tensor((1, 6), 0.1, first - 128)
    b, y = w.tensor((1, 6), 1 / 256, -128), w.tensor((1, 6), 1 / 256, last, dtype="UINT8")
    w.op("QUANTIZE", [x], [a])
    w.op("SOFTMAX", [a], [b], Beta=1.0)
    w.op("QUANTIZE", [b], [y])
    data = w.finish([x], [y])
    imported = parse(data)
    graph = imported.graph
    assert (graph.inputs[0].dtype, graph.tensors[graph.outputs[0]].dtype) == ("u8", "u8")
    inputs = draw(graph, 20, np.random.default_rng(0))
    assert differing(data, imported, inputs) == {}
    need("gcc")
    assert mismatches(graph, inputs, tmp_path) == 0


def test_the_first_of_several_subgraphs_is_read() -> None:
    w, x, y = tanh((1, 4))
    data = w.finish([x], [y], subgraphs=3)
    assert [n.KIND for n in parse(data).graph.nodes] == ["tanh"]


SMALL = [model(case, 0) for case in tflite_cases.CASES]
EXTREME = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\1\0")


@given(data=st.data())
@settings(max_examples=400, deadline=2000, suppress_health_check=list(HealthCheck))
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    """Cut short, with bits flipped or with numbers at their extremes: never another error."""
    original = data.draw(st.sampled_from(SMALL))
    damaged = bytearray(original[: data.draw(st.integers(0, len(original)))])
    if data.draw(st.booleans()):
        damaged = bytearray(original)
    for _ in range(data.draw(st.integers(0, 6)) if damaged else 0):
        at = data.draw(st.integers(0, len(damaged) - 1))
        if data.draw(st.booleans()):
            damaged[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            at &= ~3
            damaged[at : at + 4] = data.draw(st.sampled_from(EXTREME))
    try:
        graph = parse(bytes(damaged)).graph
    except ImportRefused:
        return
    inputs = {t.name: np.zeros((1, *t.shape), t.numpy_dtype) for t in graph.inputs}
    graph.run(inputs)
