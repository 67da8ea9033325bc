"""`spikelet import` of .nir files: what NIR leaves open is asked for, its effect told."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import nir
import numpy as np
import pytest

from cli_support import Spikelet
from spikelet import import_model
from spikelet.errors import UsageError
from spikelet.frontends.nir import NirOptions, read, write

SAID = ("--dt", "1e-4", "--reset", "subtract", "--timing", "next_step", "--compare", ">")


def written(folder: Path) -> Path:
    """Weights on a grid, so that a graph of integers has every spike of the network."""
    rng = np.random.default_rng(0)

    def lif(n: int) -> nir.LIF:
        return nir.LIF(*(np.full(n, value) for value in (1e-3, 10.0, 0.0, 1.0)))

    def grid(*shape: int) -> nir.Linear:
        return nir.Linear(rng.integers(-20, 41, shape) / 64)

    graph = nir.NIRGraph.from_list(grid(24, 12), lif(24), grid(5, 24), lif(5))
    nir.write(folder / "net.nir", graph)
    np.savez(folder / "x.npz", x=rng.random((12, 12)), y=rng.integers(0, 5, 12))
    return folder / "net.nir"


def test_a_file_becomes_a_package_that_runs(spikelet: Spikelet, tmp_path: Path) -> None:
    path = written(tmp_path)
    words = ("import", path, *SAID, "--steps", 20, "--calibrate", tmp_path / "x.npz")
    result = spikelet(*words, "--json")
    assert result.code == 0, result.out
    manifest = result.json["manifest"]
    assert manifest["source"] == "net.nir" and manifest["vectors"] == "x.npz, 12 samples"
    assert 0 <= manifest["integer_accuracy"] <= 1
    convention = manifest["convention"]
    said = {"dt": 1e-4, "reset": "subtract", "timing": "next_step", "compare": ">"}
    assert {key: convention[key] for key in said} == said
    counts = {(row["switch"], row["other"]): row["differing"] for row in convention["choices"]}
    assert counts["reset", "zero"] > 0 and counts["timing", "same_step"] > 0
    assert counts["dt", "x 10"] > 0
    assert [row["layer"] for row in manifest["spike_agreement"]] == ["lif", "lif_1"]
    assert sum(row["differing"] for row in manifest["spike_agreement"]) == 0
    assert "in place of" in spikelet(*words).out
    run = spikelet("run", tmp_path / "net.spk", "--board", "native", "--layers", "--json")
    assert run.code == 0 and run.json["mismatches"] == 0


@pytest.mark.parametrize("encoder", ["rate", "latency"])
def test_samples_may_become_spikes(spikelet: Spikelet, tmp_path: Path, encoder: str) -> None:
    path = written(tmp_path)
    result = spikelet("import", path, *SAID, "--steps", 20, "--encoder", encoder, "--json")
    assert result.code == 0 and "random" in result.json["manifest"]["vectors"]
    assert {"lif": 0, "lif_1": 0} == {
        row["layer"]: row["differing"] for row in result.json["manifest"]["spike_agreement"]
    }


@pytest.mark.parametrize("encoder", ["direct", "rate"])
def test_images_and_loops_come_in(spikelet: Spikelet, tmp_path: Path, encoder: str) -> None:
    rng = np.random.default_rng(1)

    def lif(*shape: int) -> nir.LIF:
        return nir.LIF(*(np.full(shape, value) for value in (1e-3, 10.0, 0.0, 1.0)))

    kernel = rng.integers(-20, 41, (4, 2, 3, 3)) / 64
    nodes = {
        "in": nir.Input(np.array([2, 6, 6])),
        "conv": nir.Conv2d((6, 6), kernel, 1, 0, 1, 1, np.ones(4) / 64),
        "l1": lif(4, 4, 4),
        "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flat": nir.Flatten(np.array([4, 2, 2]), 0, -1),
        "fc": nir.Linear(rng.integers(-20, 41, (6, 16)) / 64),
        "l2": lif(6),
        "own": nir.Linear(rng.integers(-20, 21, (6, 6)) / 64),
        "out": nir.Output(np.array([6])),
    }  # fmt: skip
    way = ["in", "conv", "l1", "pool", "flat", "fc", "l2", "out"]
    edges = [*itertools.pairwise(way), ("l2", "own"), ("own", "l2")]
    nir.write(tmp_path / "net.nir", nir.NIRGraph(nodes, edges))
    np.savez(tmp_path / "x.npz", x=rng.random((6, 2, 6, 6)).astype(np.float32))
    words = ("--calibrate", tmp_path / "x.npz", "--encoder", encoder, "--json")
    result = spikelet("import", tmp_path / "net.nir", *SAID, "--steps", 12, *words)
    assert result.code == 0, result.err
    manifest = result.json["manifest"]
    agreement = manifest["spike_agreement"]
    assert {row["layer"]: row["differing"] for row in agreement} == {"l1": 0, "l2": 0}
    assert manifest["convention"]["choices"][0]["spikes"] == sum(row["spikes"] for row in agreement)
    run = spikelet("run", tmp_path / "net.spk", "--board", "native", "--layers", "--json")
    assert run.code == 0 and run.json["mismatches"] == 0


def test_what_is_missing_is_named_with_its_option(
    spikelet: Spikelet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    for words, what in (
        ((), "NIR does not say its dt, reset, timing, compare"),
        (SAID, "how many steps an inference has"),
        ((*SAID, "--steps", 5, "--bits", "4"), "--steps goes with .nir files"),
        (("--bits", "4"), "options of quantisation or frames"),
        (("--frames", 2), "options of quantisation or frames"),
        ((*SAID[:-1], "="), "compare '='"),
    ):
        result = spikelet("import", path, *words)
        assert result.code == 2 and what in result.err, result.err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None)
    result = spikelet("import", path, *SAID, "--steps", 5)
    assert result.code == 2 and "pip install 'spikelet[nir,train]'" in result.err
    with pytest.raises(UsageError, match=r"is a \.onnx model"):
        import_model(tmp_path / "net.onnx", options=NirOptions(steps=3))


def test_our_own_files_need_steps_alone(tmp_path: Path) -> None:
    said = {"dt": 1e-4, "reset": "subtract", "timing": "next_step", "compare": ">"}
    network = read(written(tmp_path), **said)  # type: ignore[arg-type]
    write(tmp_path / "ours.nir", network)
    made = import_model(tmp_path / "ours.nir", options=NirOptions(steps=20))
    theirs = import_model(tmp_path / "net.nir", options=NirOptions(steps=20, **said))  # type: ignore[arg-type]
    assert made.manifest["convention"]["dt"] == 1e-4
    assert list(made.graph.tensors) == list(theirs.graph.tensors)
    for name in ("golden.label", "golden.counts"):
        assert np.array_equal(made.vectors[name], theirs.vectors[name])
