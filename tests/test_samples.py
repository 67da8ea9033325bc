"""One way for samples and labels into every command and function."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import spikelet
from spikelet.errors import UsageError
from spikelet.frontends import network_package, onnx
from spikelet.graph import Array, Graph, Tensor
from spikelet.graph.ops.add import Add
from spikelet.package import Package
from spikelet.run import data_stream, package_stream
from spikelet.samples import LABELS, GivenArrays, labels_key
from torch_modules import Sum


def onnx_file(module: nn.Module, names: list[str], path: Path) -> Path:
    """A file by PyTorch's own exporter."""
    held, example = io.BytesIO(), tuple(torch.zeros(1, 5) for _ in names)
    torch.onnx.export(module, example, held, input_names=names, output_names=["z"], dynamo=False)
    path.write_bytes(held.getvalue())
    return path


def draw(count: int = 60, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 1, (count, 5)).astype(np.float32)


LINE = nn.Linear(5, 4).eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_file(LINE, ["x"], tmp_path_factory.mktemp("line") / "line.onnx")


def export_file(file: Path, folder: Path, x: Array, y: Array | None) -> Package:
    return spikelet.export(LINE, torch.zeros(1, 5), x, labels=y)


@functools.cache
def exported() -> Package:
    return spikelet.export(LINE, torch.zeros(1, 5), draw())


def import_file(file: Path, folder: Path, x: Array, y: Array | None) -> Package:
    path = folder / "given.npz"
    np.savez(path, **({"x": x} if y is None else {"x": x, "y": y}))
    model = onnx.load(file)
    return network_package.package(
        model, "f", network_package.read_samples(GivenArrays.of_file(path, "--calibrate"), model)
    )


def run(file: Path, folder: Path, x: Array, y: Array | None) -> Package:
    path = folder / "given.npz"
    np.savez(path, **({"x": x} if y is None else {"x": x, "y": y}))
    package = exported()
    stream = data_stream(package, path)
    return Package(package.graph, stream.inputs, package.manifest)


WAYS: dict[str, Callable[[Path, Path, Array, Array | None], Package]] = {
    "export": export_file, "import": import_file, "run": run,
}  # fmt: skip
SAMPLES: dict[str, tuple[Any, str]] = {
    "complex": (draw() + 5j * draw(seed=1), "complex"),
    "integers": (np.arange(300).reshape(60, 5), "expected float"),
    "bytes": (np.zeros((60, 5), np.uint8), "uint8"),
    "truths": (draw() > 0, "bool"),
    "texts": (np.full((60, 5), "1.5"), "<U3|expected tensors or arrays of numbers"),
    "nan": (np.where(draw() > 1, np.nan, draw()), "NaN or infinity"),
    "beyond float32": (draw().astype(np.float64) * 1e300, "NaN or infinity|spans"),
    "another shape": (draw()[:, :4], r"\(60, 4\)"),
    "nothing": (draw()[:0], r"\(0, 5\)"),
}
CLASSES = np.arange(60) % 4
WRONG_LABELS: dict[str, tuple[Array, str]] = {
    "negative": (CLASSES - 1, "label -1 of sample 0 is negative"),
    "one too high": (CLASSES + 1, "1 to 4.*classes 0 to 3"),
    "255": (np.where(CLASSES == 3, 255, CLASSES).astype(np.uint8), "0 to 255"),
    "fractions": (CLASSES.astype(np.float32), "expected integers"),
    "truths": (CLASSES > 1, "expected integers"),
    "one-hot": (np.eye(4, dtype=int)[CLASSES], "expected integers"),
    "too few": (CLASSES[:30], "30 values for"),
    "one for all": (np.array(3), "1 .*for 60 samples"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_of_another_kind_are_refused_everywhere(
    way: str, kind: str, file: Path, tmp_path: Path
) -> None:
    x, text = SAMPLES[kind]
    with pytest.raises(UsageError, match=text):
        WAYS[way](file, tmp_path, x, None)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", WRONG_LABELS)
def test_wrong_labels_are_refused_everywhere(
    way: str, kind: str, file: Path, tmp_path: Path
) -> None:
    y, text = WRONG_LABELS[kind]
    with pytest.raises(UsageError, match=text):
        WAYS[way](file, tmp_path, draw(), y)


@pytest.mark.parametrize("way", WAYS)
def test_a_column_of_labels_is_taken_everywhere(way: str, file: Path, tmp_path: Path) -> None:
    WAYS[way](file, tmp_path, draw(), CLASSES[:, None].astype(np.uint8))


def test_a_module_with_an_input_named_y(tmp_path: Path) -> None:
    feeds = {"x": draw(), "y": draw(seed=1)}
    example = (torch.zeros(1, 5), torch.zeros(1, 5))
    path = tmp_path / "sum.spk"
    made = spikelet.export(Sum(), example, feeds, labels=np.arange(60) % 4, out=path)
    loaded = Package.load(path)
    assert loaded.sha256 == made.sha256 and loaded.labels is not None
    assert loaded.labels.tolist() == (np.arange(60) % 4).tolist()


@pytest.mark.parametrize("names", [("x", LABELS), ("y", LABELS), (LABELS, "labels")])
def test_inputs_named_as_labels_are(names: tuple[str, str], tmp_path: Path) -> None:
    file = onnx_file(Sum().eval(), list(names), tmp_path / "two.onnx")
    feeds = {names[0]: draw(), names[1]: draw(seed=1)}
    key = labels_key(names)
    assert key not in names
    np.savez(tmp_path / "given.npz", **feeds, **{key: CLASSES})
    model = onnx.load(file)
    samples = network_package.read_samples(
        GivenArrays.of_file(tmp_path / "given.npz", "--calibrate"), model
    )
    package = network_package.package(model, "f", samples)
    assert package.labels is not None and package.labels.tolist() == CLASSES[1::2].tolist()
    stream = data_stream(package, tmp_path / "given.npz")
    assert stream.labels is not None and stream.labels.tolist() == CLASSES.tolist()


def test_a_graph_with_an_input_named_y(tmp_path: Path) -> None:
    inputs = [Tensor(name, "i8", (3,), kind="input", scale=0.1) for name in ("x", "y")]
    add = Add(name="sum", inputs=("x", "y"), output_scale=0.2)
    graph = Graph("two", 1, inputs, [add], ["sum"])
    codes = np.arange(12, dtype=np.int8).reshape(4, 3)
    vectors = {"x": codes, "y": codes + 1, labels_key("xy"): np.arange(4) % 3}
    Package(graph, vectors).with_golden().save(tmp_path / "two.spk")
    loaded = Package.load(tmp_path / "two.spk")
    stream = package_stream(loaded)
    assert stream.labels is not None and stream.labels.tolist() == [0, 1, 2, 0]
    assert np.array_equal(stream.inputs["y"], codes + 1)
    with pytest.raises(UsageError, match="hold no input y"):
        Package(graph, {"x": codes, LABELS: np.arange(4)}).with_golden()


def test_both_keys_hold_labels_where_no_input_has_their_name(file: Path, tmp_path: Path) -> None:
    package = export_file(file, tmp_path, draw(), None)
    for key in ("y", LABELS):
        np.savez(tmp_path / "d.npz", **{"x": draw(4), key: np.arange(4)})
        assert data_stream(package, tmp_path / "d.npz").labels is not None
        vectors = {**package.inputs, key: np.arange(60)}
        Package(package.graph, vectors).with_golden().save(tmp_path / "p.spk")
        stored = Package.load(tmp_path / "p.spk").labels
        assert stored is not None and stored.tolist() == list(range(60))
