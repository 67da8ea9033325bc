"""Float TensorFlow Lite models: the network against LiteRT, then int8, then a device."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tflite_cases
import tflite_networks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tflite_floats import CASES, draw, real_values, to_float, worst
from tflite_models import Writer

from spikelet.frontends.network_package import Samples, package
from spikelet.frontends.tflite import file as tflite_file
from spikelet.frontends.tflite import floats as tflite_float
from spikelet.quantise import decode, encode, quantise, run
from spikelet.refusal import ImportRefused
from support import need
from targets import check_graph

# Folder of the models of MLPerf Tiny; they are not in this tree.
SHARED = Path(os.environ.get("SPIKELET_MODELS", "models-missing"))
REFUSED = ("gather", "reduce_max", "lstm", "svdf", "resize_bilinear", "transpose_conv", "quantize")


def model(case: str, seed: int) -> bytes:
    w, x, rng = tflite_cases.start(seed)
    return to_float(w.finish([x], tflite_cases.CASES[case](w, x, rng)))


def reference(name: str) -> Path:
    path = SHARED / f"{name}.tflite"
    if not path.is_file():
        pytest.skip(f"{path} is missing: SPIKELET_MODELS names the folder of reference models")
    return path


def ratio(wanted: np.ndarray, found: np.ndarray) -> float:
    """Signal to noise in dB."""
    noise = float(((wanted - found) ** 2).sum())
    return 10 * np.log10(max(float((wanted**2).sum()), 1e-9) / max(noise, 1e-12))


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32))
def test_every_operator_is_litert_s(case: str, seed: int) -> None:
    need("ai_edge_litert")
    data = model(case, seed)
    try:
        imported = tflite_float.parse(data, case)
    except ImportRefused as error:  # some of the means are over all samples
        assert case == "mean" and "it is over the batch axis" in str(error)
        return
    feeds = draw(imported, 3, np.random.default_rng(seed))
    found = worst(data, imported, feeds)
    assert found
    assert max(found.values()) < 1e-4, found


# Without those that write nothing, or take an image apart that no layer has read as one.
LAID_OUT = sorted(set(CASES) - {"arg_max", "fully_connected_rows", "transpose", "mean"})


@pytest.mark.parametrize("case", LAID_OUT)
def test_every_operator_is_quantised_and_moves_nothing(case: str) -> None:
    for seed in range(2):
        imported = tflite_float.parse(model(case, seed), case)
        feeds = draw(imported, 40, np.random.default_rng(seed))
        made = quantise(imported.network, feeds)
        assert "transpose" not in [node.KIND for node in made.graph.nodes]
        codes = {made.names[name]: encode(made, x, name) for name, x in feeds.items()}
        (name, *_) = imported.network.outputs
        found = decode(made, made.graph.run(codes).outputs[made.names[name]], name)
        wanted = run(imported.network, feeds)[name]
        if np.abs(wanted).max() > 1e-3:
            assert ratio(wanted, found) > 18


@pytest.mark.parametrize("case", REFUSED)
def test_other_operators_are_refused_by_name(case: str) -> None:
    with pytest.raises(ImportRefused, match=r"node '.*' \([A-Z_0-9]+.*not supported in a float"):
        tflite_float.parse(model(case, 0), case)


@pytest.mark.parametrize("name", tflite_networks.NETWORKS)
def test_a_whole_network_is_litert_s_and_has_no_detours(name: str) -> None:
    need("ai_edge_litert")
    int8 = tflite_networks.NETWORKS[name]()
    data = to_float(int8)
    imported = tflite_float.parse(data, name)
    feeds = {k: np.tanh(v) for k, v in draw(imported, 4, np.random.default_rng(0)).items()}
    assert max(worst(data, imported, feeds).values()) < 1e-4
    made = quantise(imported.network, feeds)
    kinds = [node.KIND for node in made.graph.nodes]
    assert not {"transpose", "table", "pad"} & set(kinds)
    weighted = ("conv2d", "depthwise_conv2d", "fully_connected", "add")
    plain = [o.kind for o in tflite_file.parse(int8, name).operators]
    assert sum(kinds.count(k) for k in weighted) == sum(
        k in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD") for k in plain
    )


def test_a_reference_model_is_litert_s_and_runs(tmp_path: Path) -> None:
    need("ai_edge_litert")
    path = reference("pretrainedResnet")
    imported = tflite_float.load(path)
    feeds = {"input_1": np.random.default_rng(0).uniform(0, 255, (24, 32, 32, 3)).astype("f4")}
    few = {k: v[:2] for k, v in feeds.items()}
    assert max(worst(path.read_bytes(), imported, few).values()) < 1e-4
    made = package(imported, path.name, Samples("x.npz", feeds, None))
    assert len(made.graph.nodes) == 16  # as many as the converter's own int8 model has
    assert min(row["snr_db"] for row in made.manifest["layer_drift"]) > 15
    check_graph("rv32-zig-unicorn", made.graph, 1, tmp_path)


def test_weights_of_fewer_bits_become_real() -> None:
    path = reference("kws_ref_model_float32")  # int8 weights, float activations
    need("ai_edge_litert")
    held = tflite_file.read(path)
    assert {t.dtype for t in held.tensors if t.data is not None} >= {"INT8", "FLOAT32"}
    imported = tflite_float.load(path)
    stored = [real_values(t) for t in held.tensors if t.dtype == "INT8"]
    kept = list(imported.network.constants.values())
    for weight in stored:
        moved = weight.transpose(0, 3, 1, 2) if weight.ndim == 4 else weight
        assert any(np.array_equal(moved, k) for k in kept)
    data = to_float(path.read_bytes())
    feeds = draw(imported, 2, np.random.default_rng(0))
    assert max(worst(data, tflite_float.parse(data), feeds).values()) < 1e-4
    assert max(worst(data, imported, feeds).values()) < 1e-4


def test_half_precision_weights_become_real() -> None:
    w = Writer()
    x = w.tensor((1, 6), dtype="FLOAT32", name="x")
    weight = np.random.default_rng(0).normal(0, 1, (4, 6)).astype(np.float16)
    stored, real = w.tensor((4, 6), data=weight), w.tensor((4, 6), dtype="FLOAT32")
    y = w.tensor((1, 4), dtype="FLOAT32", name="y")
    w.op("DEQUANTIZE", [stored], [real])
    w.op("FULLY_CONNECTED", [x, real], [y], FusedActivationFunction=4)
    network = tflite_float.parse(w.finish([x], [y])).network
    values = np.random.default_rng(1).normal(0, 1, (3, 6)).astype(np.float32)
    wanted = np.tanh(values @ weight.astype(np.float32).T)
    assert np.allclose(run(network, {"x": values})[network.outputs[0]], wanted, atol=1e-6)


def test_an_affine_function_behind_a_convolution_goes_into_it() -> None:
    w = Writer()
    rng = np.random.default_rng(0)
    x = w.tensor((1, 5, 5, 2), dtype="FLOAT32", name="x")
    shapes = [(1, 5, 5, 4)] * 4
    a, b, c, d = (w.tensor(shape, dtype="FLOAT32") for shape in shapes)
    weight = w.constant(rng.normal(0, 1, (4, 3, 3, 2)), np.float32)
    scale, shift = (w.constant(rng.normal(1, 1, 4), np.float32) for _ in range(2))
    w.op("CONV_2D", [x, weight], [a], Padding=0, StrideH=1, StrideW=1, DilationHFactor=1,
         DilationWFactor=1, FusedActivationFunction=0)  # fmt: skip
    w.op("MUL", [a, scale], [b], FusedActivationFunction=0)
    w.op("ADD", [b, shift], [c], FusedActivationFunction=0)
    w.op("RELU6", [c], [d])
    imported = tflite_float.parse(w.finish([x], [d]))
    made = quantise(imported.network, draw(imported, 30, rng))
    assert [node.KIND for node in made.graph.nodes] == ["conv2d"]


def test_litert_tells_the_float_figures() -> None:
    need("ai_edge_litert")
    imported = tflite_float.parse(model("concatenation", 3), "joined")
    feeds = draw(imported, 40, np.random.default_rng(0))
    manifest = package(imported, "f", Samples("x", feeds, None)).manifest
    assert manifest["float"].startswith("LiteRT")
    assert min(row["snr_db"] for row in manifest["layer_drift"]) > 20


def test_a_mean_over_the_samples_is_refused_by_name() -> None:
    w = Writer()
    x, y = w.tensor((1, 4, 4, 2), name="x"), w.tensor((1, 1, 4, 2), name="y")
    w.op("MEAN", [x, w.constant([0, 1])], [y], KeepDims=True)
    with pytest.raises(ImportRefused, match=r"MEAN.*it is over the batch axis"):
        tflite_float.parse(to_float(w.finish([x], [y])), "m")
