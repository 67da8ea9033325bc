"""ONNX on the command line: import with data, run on a user's own samples, export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx_networks import SHAPE, export_model, quantise_model, samples

from cli_support import Spikelet, small_package
from spikelet.package import Package
from spikelet.quantise import Options


def net(folder: Path, data: bytes | None = None) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(data or export_model("Residual"))
    return path


def arrays(folder: Path, count: int = 60, name: str = "x.npz") -> Path:
    labels = np.random.default_rng(0).integers(0, 10, count)
    np.savez(folder / name, x=samples(count), y=labels)
    return folder / name


def test_a_float_model_is_quantised_with_data(spikelet: Spikelet, tmp_path: Path) -> None:
    data = arrays(tmp_path)
    result = spikelet("import", net(tmp_path), "--calibrate", data, "-o", tmp_path / "a.spk")
    assert result.code == 0
    for text in ("SNR dB", "cosine", "accuracy, float", "accuracy, integer", "drift",
                 "every second sample, 30 of 60", f"{Options().method} ranges"):  # fmt: skip
        assert text in result.out
    found = spikelet(
        "import", net(tmp_path), "--calibrate", data, "--ranges", "minmax", "--no-equalise",
        "--no-bias-correction", "-o", tmp_path / "b.spk", "--json",
    ).json["manifest"]  # fmt: skip
    assert found["quantisation"] == {
        "ranges": "minmax", "equalised": False, "bias_correction": False
    }  # fmt: skip
    assert found["source_names"]["x"] == "x" and len(found["layer_drift"]) == 7


def test_a_users_samples_run_as_the_source_has_them(spikelet: Spikelet, tmp_path: Path) -> None:
    path = net(tmp_path, quantise_model("Residual", "QDQ", "QUInt8", True))
    package = tmp_path / "net.spk"
    assert spikelet("import", path, "-o", package).code == 0
    assert "random" in Package.load(package).manifest["vectors"]
    shown = spikelet("inspect", package).out
    assert f"x (N, {', '.join(map(str, SHAPE))})" in shown and "net.onnx, SHA-256" in shown
    given = spikelet("inspect", package, "--json").json["inputs"][0]
    assert given["real_values"] == [(c - given["zero_point"]) * given["scale"] for c in (-128, 127)]
    result = spikelet(
        "run", package, "--board", "native", "--data", arrays(tmp_path, 12), "--json",
        "--session", tmp_path / "s",
    )  # fmt: skip
    assert result.code == 0
    assert result.json["mismatches"] == 0 and result.json["samples"] == 12
    x = samples(12).transpose(0, 2, 3, 1)
    loaded = Package.load(package)
    tensor = loaded.graph.inputs[0]
    codes = np.clip(np.rint(x / tensor.scale) + tensor.zero_point, -128, 127).astype(np.int8)
    labels = np.random.default_rng(0).integers(0, 10, 12)
    first = loaded.graph.outputs[0]
    predicted = loaded.graph.predicted(loaded.graph.run({"x": codes}).outputs[first])
    assert result.json["correct"] == int(np.sum(predicted == labels))
    lies = {"x": {**loaded.manifest["layouts"]["x"], "axes": [1, 1, 2]}}
    Package(loaded.graph, loaded.vectors, {"layouts": lies}).save(tmp_path / "lies.spk")
    result = spikelet("run", tmp_path / "lies.spk", "--board", "native", "--data",
                      tmp_path / "x.npz")  # fmt: skip
    assert result.code == 2 and "layouts do not fit" in result.err
    np.savez(tmp_path / "last.npz", x=x)
    result = spikelet("run", package, "--board", "native", "--data", tmp_path / "last.npz")
    assert result.code == 2 and "channels at the other end" in result.err


def test_samples_that_do_not_fit_are_refused(spikelet: Spikelet, tmp_path: Path) -> None:
    path = net(tmp_path)
    for name, values, text in (
        ("no x", {"z": samples(3)}, "arrays ['z'], expected x"),
        ("another shape", {"x": samples(3).transpose(0, 2, 3, 1)}, "(N, 3, 8, 8)"),
        ("no number", {"x": np.full((3, *SHAPE), np.nan, np.float32)}, "no finite number"),
        ("one-hot", {"x": samples(3), "y": np.eye(3)}, "expected integers (3,)"),
    ):
        np.savez(tmp_path / "x.npz", **values)
        result = spikelet("import", path, "--calibrate", tmp_path / "x.npz")
        assert result.code == 2 and text in result.err, name


def test_what_cannot_be_is_told(spikelet: Spikelet, tmp_path: Path) -> None:
    path = net(tmp_path)
    integer = tmp_path / "int.onnx"
    integer.write_bytes(quantise_model("Residual", "QDQ", "QInt8", True))
    for arguments, text in (
        ((path,), "a float model, and no data"),
        ((path, "--ranges", "widest"), "--ranges widest: expected"),
        ((integer, "--ranges", "mse"), "has its codes already"),
        ((tmp_path / "none.onnx",), "no such file"),
    ):
        result = spikelet("import", *arguments)
        assert result.code == 2 and text in result.err


def test_an_int8_package_is_written_as_onnx(spikelet: Spikelet, tmp_path: Path) -> None:
    path = net(tmp_path, quantise_model("Residual", "QDQ", "QInt8", True))
    package, out = tmp_path / "net.spk", tmp_path / "there" / "out.onnx"
    assert spikelet("import", path, "-o", package).code == 0
    result = spikelet("export", package, "-o", out, "--json")
    assert result.code == 0 and result.json["bytes"] == out.stat().st_size
    onnx.checker.check_model(onnx.load(out), full_check=True)
    assert "QDQ" in spikelet("export", package, "-o", out).out
    again = spikelet("import", out, "-o", tmp_path / "again.spk", "--json").json
    assert [layer["op"] for layer in again["layers"]] == [
        node.KIND for node in Package.load(package).graph.nodes
    ]


def test_a_spiking_package_is_not_written_as_onnx(spikelet: Spikelet, tmp_path: Path) -> None:
    small_package().save(tmp_path / "small.spk")
    result = spikelet("export", tmp_path / "small.spk")
    assert result.code == 2 and "fc1 (dense)" in result.err
    result = spikelet("export", tmp_path / "small.spk", "-o", tmp_path / "net.tflite")
    assert result.code == 2 and ".tflite" in result.err
