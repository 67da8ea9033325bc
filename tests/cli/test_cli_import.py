"""`spikelet import`: from a model file to a package that runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tflite_cases

from cli_support import Spikelet
from spikelet import load as spikelet_load
from spikelet.package import Package


def model(path: Path, case: str = "fully_connected") -> Path:
    w, x, rng = tflite_cases.start(0)
    path.write_bytes(w.finish([x], tflite_cases.CASES[case](w, x, rng)))
    return path


def test_a_package_with_random_vectors_is_written(spikelet: Spikelet, tmp_path: Path) -> None:
    result = spikelet("import", model(tmp_path / "My Net.tflite"), "--json")
    assert result.code == 0
    found = result.json
    assert found["model"] == "my_net" and found["package"] == "my_net.spk"
    assert [layer["op"] for layer in found["layers"]] == ["fully_connected"]
    manifest = found["manifest"]
    assert manifest["source"] == "My Net.tflite" and len(manifest["source_sha256"]) == 64
    assert manifest["source_names"]["x"] == "input"
    assert "random" in manifest["vectors"]
    package = Package.load(tmp_path / "my_net.spk")
    assert package.sha256 == found["package_sha256"]
    assert len(package.inputs["x"]) == 16
    assert spikelet("inspect", "my_net.spk").code == 0


def test_given_data_become_the_vectors(spikelet: Spikelet, tmp_path: Path) -> None:
    path = model(tmp_path / "net.tflite")
    graph_input = Package.load(
        tmp_path / spikelet("import", path, "--json").json["package"]
    ).graph.inputs[0]
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 127, (7, *graph_input.shape), endpoint=True).astype(np.int8)
    np.savez(tmp_path / "x.npz", x=x, y=np.zeros(7, np.int64))
    result = spikelet(
        "import", path, "--calibrate", tmp_path / "x.npz", "-o", tmp_path / "o.spk", "--json"
    )
    package = Package.load(tmp_path / "o.spk")
    assert np.array_equal(package.inputs["x"], x)
    assert 0 <= result.json["manifest"]["integer_accuracy"] <= 1
    assert "x.npz, 7 samples" in result.json["manifest"]["vectors"]


def test_frames_of_a_network_with_a_state(spikelet: Spikelet, tmp_path: Path) -> None:
    path = model(tmp_path / "net.tflite", "svdf")
    once = spikelet("import", path, "-o", tmp_path / "once.spk")
    assert "--frames N" in once.err
    tensor = Package.load(tmp_path / "once.spk").graph.inputs[0]
    rng = np.random.default_rng(0)
    low, high = ((end - tensor.zero_point) * tensor.scale for end in tensor.limits)
    x = rng.uniform(low, high, (9, 4, *tensor.shape)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    np.savez(tmp_path / "flat.npz", x=x[:, 0])
    words = ("import", path, "--frames", 4, "-o", tmp_path / "net.spk", "--calibrate")
    result = spikelet(*words, tmp_path / "x.npz", "--json")
    assert result.code == 0 and "--frames" not in result.err
    assert result.json["steps"] == 4
    assert result.json["inputs"][0]["shape"] == [4, *tensor.shape]
    package = Package.load(tmp_path / "net.spk")
    codes = np.rint(x / np.float32(tensor.scale)) + tensor.zero_point
    assert np.abs(package.inputs["x"] - codes).max() <= 1
    result = spikelet("run", tmp_path / "net.spk", "-b", "native", "--data", tmp_path / "x.npz",
                      "--layers", "--session", tmp_path / "s", "--json")  # fmt: skip
    assert result.json["mismatches"] == 0 and result.json["samples"] == 9
    result = spikelet(*words, tmp_path / "flat.npz")
    assert result.code == 2 and "--calibrate" in result.err and "(N, 4, " in result.err


def test_frames_that_cannot_be(spikelet: Spikelet, tmp_path: Path) -> None:
    plain = model(tmp_path / "plain.tflite")
    state = model(tmp_path / "state.tflite", "lstm")
    (tmp_path / "net.onnx").write_bytes(b"")
    for path, frames, said in (
        (plain, 3, "has no state"),
        (tmp_path / "net.onnx", 3, "from .tflite alone"),
        (state, 0, "--frames"),
        (state, 10**9, "not for a microcontroller"),
    ):
        result = spikelet("import", path, "--frames", frames)
        assert result.code == 2 and said in result.err, frames


def test_no_file_that_is_read_is_written(spikelet: Spikelet, tmp_path: Path) -> None:
    path = model(tmp_path / "net.tflite")
    before = path.read_bytes()
    result = spikelet("import", path, "-o", path)
    assert result.code == 2 and "is a file that is read" in result.err
    assert path.read_bytes() == before
    result = spikelet("inspect", path)
    assert result.code == 2 and f"spikelet import {path}" in result.err


def test_what_cannot_be_imported_exits_2(spikelet: Spikelet, tmp_path: Path) -> None:
    (tmp_path / "cut.tflite").write_bytes(model(tmp_path / "net.tflite").read_bytes()[:200])
    (tmp_path / "net.h5").write_bytes(b"")
    for name, said in (
        ("cut.tflite", "cut.tflite"),
        ("nowhere.tflite", "no such file"),
        ("net.h5", ".h5 is not a format"),
    ):
        result = spikelet("import", tmp_path / name)
        assert result.code == 2 and said in result.err and "next:" in result.err


def test_classes_are_named_from_a_list_or_a_file(spikelet: Spikelet, tmp_path: Path) -> None:
    path = model(tmp_path / "net.tflite")
    plain = Package.load(tmp_path / spikelet("import", path, "--json").json["package"])
    assert "class_names" not in plain.manifest  # as in packages of before
    names = [f"class <{n}>" for n in range(plain.graph.highest_prediction + 1)]
    Path("names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    for given in (", ".join(names), "names.txt"):
        words = ("--class-names", given, "-o", "named.spk", "--json")
        result = spikelet("import", path, *words).json
        assert result["manifest"]["class_names"] == names
        named = Package.load(Path("named.spk"))
        assert repr(named.graph) == repr(plain.graph) and named.sha256 != plain.sha256
    x, labels = plain.inputs["x"], plain.graph.run(plain.inputs).outputs[plain.graph.outputs[0]]
    predicted = spikelet_load(Path("named.spk")).predict(x).label
    assert list(predicted) == [names[n] for n in plain.graph.predicted(labels)]
    for given, said in (
        ("a,b,c", "3 names, and the model knows"),
        (",".join(["same"] * len(names)), "are called same"),
        ("nowhere.txt", "--class-names nowhere.txt"),
    ):
        result = spikelet("import", path, "--class-names", given, "-o", "never.spk")
        assert result.code == 2 and said in result.err and not Path("never.spk").exists()
