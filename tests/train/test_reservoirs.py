"""Reservoirs: a readout fitted to the integers of the graph, and what cannot be fitted."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from support import need

need("torch")

# ruff: noqa: E402
from spikelet.errors import UsageError
from spikelet.graph.ops.dense import Dense
from spikelet.graph.target import ANY
from spikelet.package import Package
from spikelet.run.overview import summarise
from spikelet.train import train
from spikelet.train.spiking.ridge import ridge, rounded

RECIPE = """
name = "rows"

[data]
name = "digits"

[spiking]
steps = 8
encoder = "frames"
"""
ECHO = """
from spikelet.train.spiking import Builder

def build(shape, classes):
    net = Builder(shape)
    again = net.seeded(net.previous("state", (60,)), 60, 0.1)
    sums = net.add(net.seeded(net.input, 60, 0.3), again)
    state, positive = net.activation(sums, "clip", name="state"), net.activation(sums, "relu")
    return net.network(net.add(net.linear(state, classes), net.linear(positive, classes)))
"""
LIQUID = """
from spikelet.train.spiking import Builder

def build(shape, classes):
    net = Builder(shape)
    again = net.seeded(net.previous("liquid", (60,)), 60, 0.2, fan_out=8)
    spikes = net.lif(net.add(net.seeded(net.input, 60, 1.0), again), kept=0.9, name="liquid")
    return net.network({output})
"""
SUMS = "net.linear(spikes, classes)"


def folder(path: Path, model: str, more: str = "\n[ridge]\n") -> Path:
    (path / "recipe.toml").write_text(RECIPE + more)
    (path / "model.py").write_text(model)
    return path


@functools.cache
def made(kind: str, folder_: Path) -> Package:
    model = ECHO if kind == "echo" else LIQUID.format(output=SUMS)
    return train(folder(folder_, model))


@pytest.mark.parametrize(("kind", "bar"), [("echo", 0.9), ("liquid", 0.65)])
def test_a_readout_is_fitted_to_a_reservoir(kind: str, bar: float, tmp_path: Path) -> None:
    package = made(kind, tmp_path)
    assert package.manifest["integer_accuracy"] > bar
    assert abs(package.manifest["drift"]) < 0.02
    seeded = [n.name for n in package.graph.nodes if n.KIND == "seeded_dense"]
    table = summarise(package, ANY).layers
    flash = {row["name"]: row["flash_bytes"] for row in table}
    assert [flash[name] for name in seeded] == [0, 0]
    readout = [n for n in package.graph.nodes if isinstance(n, Dense)]
    assert max(int(np.abs(n.weight).max()) for n in readout) == 127
    again = train(tmp_path)
    assert again.sha256 == package.sha256


def test_weights_are_those_of_least_squares_with_a_penalty() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(1, 2, (90, 7)), rng.integers(0, 3, 90)
    weight, bias = ridge(x, labels, 3, 0.1)
    # The same as a least squares with rows more: the penalty, where nothing is wanted.
    centred, wanted = x - x.mean(0), 2.0 * np.eye(3)[labels] - 1
    least = 0.1 * np.mean((centred**2).sum(0))
    rows = np.concatenate([centred, np.sqrt(least) * np.eye(7)])
    ends = np.concatenate([wanted - wanted.mean(0), np.zeros((7, 3))])
    assert np.allclose(weight, np.linalg.lstsq(rows, ends, rcond=None)[0].T)
    units = np.full(7, 0.5)
    coarse, moved = rounded(weight, bias, x, units)
    steps = coarse * units / (np.abs(weight * units).max() / 127)
    assert np.allclose(steps, np.round(steps)) and np.abs(steps).max() == pytest.approx(127)
    assert np.allclose((x @ coarse.T + moved).mean(0), wanted.mean(0))


@pytest.mark.parametrize(
    ("output", "more", "text"),
    [
        ("spikes", "\n[ridge]\n", r"\[ridge\] with a readout of spike_count"),
        ("net.seeded(spikes, classes, 0.1)", "\n[ridge]\n", "made of seeded5"),
        (SUMS, "\n[ridge]\npenalties = []\n", "penalties"),
        (SUMS, "\n[ridge]\npenalties = [0.0]\n", "penalties"),
        (SUMS, "\n[ridge]\n[train]\nepochs = 1\n", "the readout alone"),
        (SUMS, "", r"\[train\] and \[quantise\], or \[ridge\]"),
        (
            SUMS,
            "\n[train]\nepochs = 1\n[quantise]\nepochs = 0\n",
            "weights of a seed are not trained",
        ),
        ("net.linear(net.seeded(spikes, 9, -1.0), classes)", "\n[ridge]\n", "size -1"),
    ],
)
def test_what_cannot_be_fitted_is_named(output: str, more: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=text):
        train(folder(tmp_path, LIQUID.format(output=output), more))


def test_the_readout_has_no_other_weights(tmp_path: Path) -> None:
    graph = made("echo", tmp_path).graph
    weights = {n.name: n.weight.shape for n in graph.nodes if isinstance(n, Dense)}
    assert list(weights.values()) == [(10, 60), (10, 60)]
