"""Samples on the command line: an input that is named like the labels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from cli_support import Spikelet
from spikelet.graph import Array
from spikelet.package import Package
from spikelet.run import package_stream
from spikelet.samples import LABELS
from torch_modules import Sum


def draw(seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 1, (60, 5)).astype(np.float32)


def test_an_input_named_y(spikelet: Spikelet, tmp_path: Path) -> None:
    """Calibrated, stored, read and run; its labels have a key of their own."""
    path = tmp_path / "sum.onnx"
    held, example = io.BytesIO(), (torch.zeros(1, 5), torch.zeros(1, 5))
    torch.onnx.export(Sum(), example, held, input_names=["x", "y"], dynamo=False)
    path.write_bytes(held.getvalue())
    data, labels = tmp_path / "d.npz", np.arange(60) % 4
    np.savez(data, x=draw(), y=draw(seed=1), **{LABELS: labels})
    result = spikelet("import", path, "--calibrate", data, "-o", tmp_path / "s.spk", "--json")
    assert result.code == 0 and "float_accuracy" in result.json["manifest"]
    package = Package.load(tmp_path / "s.spk")
    np.testing.assert_array_equal(package_stream(package).labels, labels[1::2])
    ran = spikelet(
        "run", tmp_path / "s.spk", "--board", "native", "--data", data, "--json",
        "--session", tmp_path / "session",
    ).json  # fmt: skip
    assert ran["mismatches"] == 0 and ran["samples"] == 60 and ran["correct"] is not None
    np.savez(data, x=draw(), y=draw(seed=1))
    assert spikelet("import", path, "--calibrate", data, "-o", tmp_path / "t.spk").code == 0
    np.savez(data, x=draw(), labels=labels)
    refused = spikelet("import", path, "--calibrate", data)
    assert refused.code == 2 and "expected x, y and optionally y.labels" in refused.err
