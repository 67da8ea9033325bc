"""The trained spiking networks in models/: what their manifests claim, and that they run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikelet.board import find_board
from spikelet.frontends.spiking.network import Delay, Linear, SpikingNetwork
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from spikelet.train.recipe import SpikingRecipe, load_recipe, load_spiking_model
from spikelet.train.recipe_figures import weight_bytes
from spikelet.train.start import module_dir

# By model: accuracy on the test part, at least; steps and bytes of weights, at most.
BARS = {
    "digits_direct": (0.980, 4, 12_288),
    "mnist_spiking_mlp": (0.978, 8, 32_768),
    "mnist_spiking_cnn": (0.992, 8, 32_768),
    "kws_spiking": (0.887, 8, 40_960),
    "mnist_rows": (0.970, 28, 8_192),
    "mnist_rows_ternary": (0.965, 28, 8_192),
    "har_delays": (0.940, 32, 16_384),
    "har_reservoir": (0.910, 128, 2_400),
}
CODES = {"fc0": 7, "fc3": 1, "fc6": 7}  # of mnist_rows_ternary: the largest


def load_shipped(name: str) -> Package:
    return Package.load(models_dir() / name / f"{name}.spk")


@pytest.mark.parametrize("name", BARS)
def test_a_spiking_package_meets_its_bars(name: str) -> None:
    package = load_shipped(name)
    accuracy, steps, weights = BARS[name]
    assert package.manifest["part"] == "test"
    assert package.manifest["integer_accuracy"] >= accuracy
    assert package.graph.steps <= steps
    assert weight_bytes(package.graph) <= weights
    # Thresholds, first membranes and biases are of each neuron or channel.
    assert sum(values.nbytes for values in package.graph.constants().values()) <= weights + 4096
    recipe = load_recipe(models_dir() / name).model_dump(mode="json", exclude_none=True)
    assert package.manifest["recipe"] == recipe, "train it again"
    if name == "mnist_rows_ternary":
        for node in package.graph.nodes:
            if node.name in CODES:
                assert np.abs(node.arrays()["weight"].astype(int)).max() == CODES[node.name]


@pytest.mark.parametrize(
    "name", ["mnist_spiking_cnn", "mnist_rows_ternary", "har_delays", "har_reservoir"]
)
def test_a_spiking_package_runs(name: str, tmp_path: Path) -> None:
    package = load_shipped(name)
    board = find_board("native")
    built = make(package, board, tmp_path / "build")
    summary, _ = run(
        package,
        SessionTarget(board, built, "native"),
        package_stream(package).head(16),
        SessionFolder(tmp_path / "session"),
    )
    assert summary["mismatches"] == 0


@pytest.mark.parametrize(
    ("name", "neurons", "delayed"),
    [
        ("mnist_rows", 64, True),
        ("mnist_rows/without_delays", 64, False),
        ("mnist_rows/few_delays", 64, True),
        ("mnist_rows/small", 16, True),
        ("mnist_rows/small_synapses", 16, True),
        ("mnist_rows/small_without_delays", 16, False),
        ("mnist_rows_ternary", 64, True),
    ],
)
def test_networks_of_rows_that_are_compared_differ_in_what_they_say(
    name: str, neurons: int, delayed: bool
) -> None:
    """They come from one module, and see the same rows."""
    folder = models_dir() / name
    recipe = load_recipe(folder)
    assert isinstance(recipe, SpikingRecipe)
    network = load_spiking_model(module_dir(folder), recipe.build or "build").build((28,), 10)
    assert isinstance(network, SpikingNetwork)
    late = [
        isinstance(layer, Delay) or (isinstance(layer, Linear) and layer.delays is not None)
        for layer in network.layers
    ]
    assert sum(late) == 2 * delayed
    assert ("delay" in recipe.spiking.learn) == delayed
    shapes = [layer.weight.shape for layer in network.layers if isinstance(layer, Linear)]
    assert shapes == [(neurons, 28), (neurons, neurons), (10, neurons)]
    assert recipe.spiking.steps == 28
    assert recipe.data.silent is None
