"""The interval pass, the trace, the package and the inputs of a graph."""

from __future__ import annotations

import json
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphs
from spikelet.graph import Graph, GraphError, Tensor, tune
from spikelet.package import Package, PackageError


@given(st.integers(0, 2**32 - 1), st.integers(0, 7))
@settings(max_examples=24, deadline=None)
def test_nothing_ever_leaves_its_interval(seed: int, part: int) -> None:
    graph = graphs.neuron_zoo(graphs.conventions()[part::8], "zoo")
    run = graph.run(graphs.random_inputs(graph, 8, np.random.default_rng(seed)), trace=True)
    for name, values in run.trace.items():
        low, high = graph.bounds[name]
        assert (values >= low).all() and (values <= high).all(), name


def test_the_interval_of_a_sum_is_reached() -> None:
    graph = graphs.operator_zoo()
    low, high = graph.bounds["values_u8"]
    weight = next(n for n in graph.nodes if n.name == "values_u8").arrays()["weight"]
    inputs = graphs.random_inputs(graph, 1, np.random.default_rng(0))
    inputs["x"] = np.where(weight[2] > 0, 255, 0).astype(np.uint8)[None]
    assert graph.run(inputs, trace=True).trace["values_u8"][0, 0, 2] == high[2]
    assert low[2] < 0


@given(st.integers(1, 100), st.sampled_from(["bit", "u8", "i8", "i16", "i32", "u32"]), st.data())
def test_wire_bytes_round_trip(n: int, dtype: str, data: st.DataObject) -> None:
    tensor = Tensor("t", dtype, (n,))
    low, high = tensor.limits
    values = np.array(
        data.draw(st.lists(st.integers(low, high), min_size=n, max_size=n)), tensor.numpy_dtype
    )
    wire = tensor.to_bytes(values)
    assert len(wire) == tensor.nbytes
    assert np.array_equal(tensor.from_bytes(wire), values)
    if dtype == "bit":
        as_number = int.from_bytes(wire, "little")
        assert as_number == sum(int(v) << i for i, v in enumerate(values))


def test_digests_are_zlib_crc_of_each_layer_in_each_step() -> None:
    graph = graphs.digits_like()
    run = graph.run(graphs.random_inputs(graph, 3, np.random.default_rng(1)), trace=True)
    table = graph.digests(run, 2)
    assert table.shape == (6, len(graph.traced_tensors))
    column = [t.name for t in graph.traced_tensors].index("lif1.membrane")
    expected = zlib.crc32(run.trace["lif1.membrane"][4, 2].astype("<i2").tobytes())
    assert table[4, column] == expected
    label = [t.name for t in graph.traced_tensors].index("label")
    assert table[:5, label].tolist() == [0] * 5 and table[5, label] != 0


def test_one_sample_computes_as_in_a_batch() -> None:
    graph = graphs.digits_like()
    inputs = graphs.random_inputs(graph, 5, np.random.default_rng(2))
    together = graph.run(inputs).outputs
    for i in range(5):
        alone = graph.run({k: v[i : i + 1] for k, v in inputs.items()}).outputs
        assert all(np.array_equal(alone[k][0], together[k][i]) for k in together)


def test_tune_changes_the_work_and_not_one_result() -> None:
    graph = graphs.digits_like()
    rng = np.random.default_rng(3)
    inputs = graphs.random_inputs(graph, 6, rng)
    inputs["x"] = rng.choice([0, 255], inputs["x"].shape).astype(np.uint8)  # hardly ever change
    tuned = tune(graph, inputs)
    changed = {n.name: n.attributes().get("by_change") for n in tuned.nodes}
    assert changed["fc1"] is True
    before, after = graph.run(inputs, trace=True), tuned.run(inputs, trace=True)
    assert all(np.array_equal(v, after.trace[k]) for k, v in before.trace.items())
    inputs["x"] = np.full_like(inputs["x"], 20)  # seldom spike, never twice in a row
    assert tune(graph, inputs).nodes[1].attributes()["by_change"] is False


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"x": np.zeros((2, 63), np.uint8)}, r"shape \(2, 63\), expected uint8 of shape \(N, 64\)"),
        ({"x": np.zeros((2, 64), np.int8)}, "int8"),
        ({"x": np.zeros((3, 64), np.uint8)}, "2 samples, expected 3|3 samples, expected 2"),
        ({"other": np.zeros((2, 64), np.uint8)}, "inputs"),
    ],
)
def test_wrong_inputs_are_refused(change: dict[str, np.ndarray], text: str) -> None:
    graph = graphs.digits_like()
    inputs = {"x": np.zeros((2, 64), np.uint8), "seed": np.ones((2, 1), np.uint32), **change}
    with pytest.raises(GraphError, match=text):
        graph.run(inputs)


def make_package() -> Package:
    graph = graphs.digits_like()
    inputs = graphs.random_inputs(graph, 4, np.random.default_rng(0))
    return Package(graph, {**inputs, "y": np.arange(4)}, {"seed": 3}).with_golden()


def test_a_package_round_trips_to_the_same_bytes(tmp_path: Path) -> None:
    package = make_package()
    package.save(tmp_path / "a.spk")
    loaded = Package.load(tmp_path / "a.spk")
    loaded.save(tmp_path / "b.spk")
    assert (tmp_path / "a.spk").read_bytes() == (tmp_path / "b.spk").read_bytes()
    assert loaded.sha256 == package.sha256
    assert loaded.manifest == package.manifest
    again = loaded.graph.run(loaded.inputs).outputs
    assert all(np.array_equal(v, loaded.vectors[f"golden.{k}"]) for k, v in again.items())


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, -1])
def test_a_truncated_package_is_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.spk"
    make_package().save(path)
    data = path.read_bytes()
    size = int(len(data) * keep) if 0 < keep < 1 else int(keep)
    path.write_bytes(data[:size])
    with pytest.raises(PackageError, match="truncated") as caught:
        Package.load(path)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("member", ["graph.json", "tensors.npz", "vectors.npz"])
def test_an_altered_package_is_refused(tmp_path: Path, member: str) -> None:
    path = tmp_path / "a.spk"
    make_package().save(path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    altered = bytearray(contents[member])
    altered[len(altered) // 2] ^= 1
    contents[member] = bytes(altered)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    with pytest.raises(PackageError, match=f"{member} does not match the hash"):
        Package.load(path)


def test_a_graph_of_another_kind_is_refused() -> None:
    graph = graphs.digits_like()
    data = graph.to_json()
    with pytest.raises(GraphError, match="format 99"):
        Graph.from_json({**data, "format": 99}, graph.constants())
    data = json.loads(json.dumps(graph.to_json()))
    data["nodes"][1]["op"] = "conv3d"
    with pytest.raises(GraphError, match="layer fc1: unknown operator 'conv3d'"):
        Graph.from_json(data, graph.constants())
    with pytest.raises(GraphError, match=r"constant .weight. is missing"):
        Graph.from_json(graph.to_json(), {})


def test_golden_of_a_package_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graphs.digits_like()
    inputs = graphs.random_inputs(graph, 40, np.random.default_rng(3))
    whole = Package(graph, inputs).with_golden()
    assert [part.stop - part.start for part in graph.parts(130)] == [64, 64, 2]
    monkeypatch.setattr("spikelet.graph.graph.PART_BYTES", 20_000)
    sizes = {part.stop - part.start for part in graph.parts(40)}
    assert max(sizes) < 16
    assert max(part.stop - part.start for part in graph.parts(40, trace=True)) < max(sizes)
    tracemalloc.start()
    in_parts = Package(graph, inputs).with_golden()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 20_000
    for name, values in whole.vectors.items():
        np.testing.assert_array_equal(in_parts.vectors[name], values)
    monkeypatch.setattr("spikelet.graph.graph.PART_BYTES", 1)
    assert [part.stop for part in graph.parts(3)] == [1, 2, 3]
