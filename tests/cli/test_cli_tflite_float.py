"""Float TensorFlow Lite files on the command line: import with data, run on own samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tflite_networks
from tflite_floats import to_float

from cli_support import Spikelet
from spikelet.package import Package


def test_the_command_line_takes_data_as_the_file_has_it(spikelet: Spikelet, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(to_float(tflite_networks.separable()))
    refused = spikelet("import", path)
    assert refused.code == 2 and "--calibrate" in refused.err and "49, 10, 1" in refused.err
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.normal(0, 1, (60, 49, 10, 1)), y=rng.integers(0, 12, 60))
    shown = spikelet("import", path, "--calibrate", tmp_path / "x.npz", "-o", tmp_path / "a.spk")
    for text in ("SNR dB", "accuracy, float", "accuracy, integer", "every second sample, 30 of 60"):
        assert text in shown.out
    found = spikelet(
        "import", path, "--calibrate", tmp_path / "x.npz", "--ranges", "minmax", "--no-equalise",
        "--no-bias-correction", "-o", tmp_path / "b.spk", "--json",
    ).json["manifest"]  # fmt: skip
    assert found["quantisation"] == {
        "ranges": "minmax", "equalised": False, "bias_correction": False
    }  # fmt: skip
    assert found["layouts"]["x"]["shape"] == [49, 10, 1]
    assert Package.load(tmp_path / "b.spk").graph.inputs[0].shape == (49, 10, 1)
    result = spikelet(
        "run", tmp_path / "b.spk", "--board", "native", "--data", tmp_path / "x.npz", "--json",
        "--session", tmp_path / "s",
    )  # fmt: skip
    assert result.code == 0 and result.json["mismatches"] == 0
