"""`spikelet import`: from a model file to a package that runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tflite_cases

from cli_support import Spikelet
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
