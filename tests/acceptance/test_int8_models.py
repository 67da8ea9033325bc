"""The trained int8 networks in models/: what their manifests claim, and that they run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikelet.board import find_board
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from spikelet.train.recipe import load_recipe
from spikelet.train.recipe_figures import weight_bytes

# By model: accuracy and macro-F1 on the test part, at least; bytes of codes with all other
# constants, and of the arena, at most.
BARS = {
    "fashion_cnn": (0.915, 0.91, 60_000, 16_384),
    "fashion_bits": (0.92, 0.919, 300_000, 16_384),  # the store is an array of each width's layer
    "fashion_xnor": (0.90, 0.90, 130_000, 16_384),
    "kws_dscnn": (0.742, 0.74, 60_000, 16_384),
    "kws_4bit": (0.902, 0.90, 60_000, 16_384),
    "kws_2bit": (0.892, 0.89, 60_000, 16_384),
    "har_cnn": (0.93, 0.93, 20_000, 8_192),
    "ecg_cnn": (0.90, 0.45, 20_000, 8_192),
    "mnist_cnn": (0.989, 0.989, 24_000, 4_096),
    "mnist_cnn_wide": (0.995, 0.995, 80_000, 4_096),
    "mnist_xnor_cnn": (0.990, 0.990, 64_000, 8_192),
    "mnist_mlp": (0.96, 0.96, 11_000, 2_048),
    "mnist_xnor_mlp": (0.972, 0.97, 140_000, 4_096),
}
SAMPLES = {"fashion_cnn": 10_000, "kws_dscnn": 1_226, "har_cnn": 950, "ecg_cnn": 49_668}
SAMPLES |= dict.fromkeys(("kws_4bit", "kws_2bit"), 1_226)
SAMPLES |= dict.fromkeys(("fashion_bits", "fashion_xnor"), 10_000)
SAMPLES |= {name: 10_000 for name in BARS if name.startswith("mnist")}
WEIGHT_BYTES = {"mnist_cnn": 3_276, "mnist_mlp": 1_100, "mnist_xnor_mlp": 16_000}  # packed, at most
WEIGHT_BYTES |= {"mnist_cnn_wide": 11_264, "mnist_xnor_cnn": 8_192}
WEIGHT_BYTES |= {"kws_4bit": 24_400, "kws_2bit": 14_400}
DRIFT = dict.fromkeys(BARS, 0.005) | {"mnist_mlp": 0.02}  # its float weights lose all but a bit
DRIFT["kws_2bit"] = 0.015
DRIFT["fashion_bits"] = 0.0075  # one store for four widths costs the widest one most
WEIGHT_BYTES |= {"fashion_bits": 70_000, "fashion_xnor": 16_000}
BY_BITS = {"fashion_bits": {"8": 0.920, "4": 0.918, "2": 0.913, "1": 0.905}}  # accuracy, at least

pytestmark = pytest.mark.parametrize("name", BARS)


def load_shipped(name: str) -> Package:
    return Package.load(models_dir() / name / f"{name}.spk")


def test_a_trained_package_meets_its_bars(name: str) -> None:
    package = load_shipped(name)
    manifest = package.manifest
    accuracy, macro_f1, weights, _ = BARS[name]
    assert (manifest["part"], manifest["samples"]) == ("test", SAMPLES[name])
    assert manifest["integer_accuracy"] >= accuracy
    assert manifest["macro_f1"]["integer"] >= macro_f1
    assert manifest["integer_accuracy"] - manifest["float_accuracy"] >= -DRIFT[name]
    assert sum(values.nbytes for values in package.graph.constants().values()) <= weights
    assert weight_bytes(package.graph) <= WEIGHT_BYTES.get(name, weights)
    for bits, least in BY_BITS.get(name, {}).items():
        assert manifest["accuracy_by_bits"][bits] >= least
    recipe = load_recipe(models_dir() / name).model_dump(mode="json", exclude_none=True)
    assert manifest["recipe"] == recipe, "train it again"


def test_golden_of_a_trained_package_is_the_graphs(name: str) -> None:
    package = load_shipped(name)
    again = package.graph.run(package.inputs).outputs
    for output, values in again.items():
        np.testing.assert_array_equal(values, package.vectors[f"golden.{output}"])
    labels = package.vectors["y"]
    found = float(np.mean(package.graph.predicted(again[package.graph.outputs[0]]) == labels))
    stated = package.manifest["integer_accuracy"]
    # The vectors are drawn from the samples of the figure: four standard deviations.
    assert abs(found - stated) <= 4 * np.sqrt(stated * (1 - stated) / len(labels))


def test_a_trained_package_runs(name: str, tmp_path: Path) -> None:
    package = load_shipped(name)
    board = find_board("native")
    built = make(package, board, tmp_path / "build")
    summary, _ = run(
        package,
        SessionTarget(board, built, "native"),
        package_stream(package).head(32),
        SessionFolder(tmp_path / "session"),
    )
    assert summary["mismatches"] == 0
    assert summary["golden_accuracy"] == summary["accuracy"]
    assert built.facts()["arena_bytes"] <= BARS[name][3]
