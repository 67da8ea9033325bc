"""Files of Larq Compute Engine against its reference interpreter: no sign differs.

What lies between two signs is exact. Outputs that are real are the nearest codes of the engine's.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import larq_models
import numpy as np
import pytest
import tflite
from flatbuffers import flexbuffers

from spikelet.frontends.tflite import floats, larq
from spikelet.graph import Array, Graph
from spikelet.graph.ops.binary_conv2d import BinaryConv2d
from spikelet.graph.ops.binary_max_pool2d import BinaryMaxPool2d
from spikelet.quantise import Network, Node, Quantised, encode, quantise, run
from spikelet.refusal import ImportRefused
from spikelet.train.data import load
from targets import check_graph

KEPT = Path(__file__).parents[1] / "fixtures" / "larq"


def quantised(folder: Path, name: str) -> tuple[Quantised, dict[str, Array]]:
    """A file, calibrated on its own samples, and what was written beside it."""
    with np.load(folder / f"{name}.npz") as data:
        kept = dict(data)
    imported = floats.parse((folder / f"{name}.tflite").read_bytes(), name)
    (x,) = imported.network.inputs
    return quantise(imported.network, {x: kept["x"]}), kept


def outputs(made: Quantised, x: Array) -> Array:
    """Codes of golden."""
    (given,) = made.network.inputs
    (name,) = made.graph.outputs
    return made.graph.run({made.names[given]: encode(made, x)}).outputs[name]


def check_codes(folder: Path, name: str) -> Graph:
    """Every output is the nearest code of the engine's, a sign the sign."""
    made, kept = quantised(folder, name)
    codes, wanted = outputs(made, kept["x"]), kept["y"]
    tensor = made.graph.tensors[made.graph.outputs[0]]
    nearest = np.rint(wanted / np.float32(tensor.scale)).astype(np.int64) + tensor.zero_point
    assert len(np.unique(nearest)) > 1
    assert np.array_equal(codes.reshape(nearest.shape), np.clip(nearest, -128, 127)), name
    return made.graph


def count(graph: Graph, kind: type) -> int:
    return sum(isinstance(node, kind) for node in graph.nodes)


def test_bits_from_end_to_end() -> None:
    graph = check_codes(KEPT, "pools")
    assert count(graph, BinaryConv2d) == 4 and count(graph, BinaryMaxPool2d) == 4
    assert any(n.inverted.any() for n in graph.nodes if isinstance(n, BinaryMaxPool2d))
    assert {n.outside for n in graph.nodes if isinstance(n, BinaryConv2d)} == {0, 1}


def test_margins_that_do_not_count_and_real_values_between() -> None:
    graph = check_codes(KEPT, "margins")
    assert count(graph, BinaryConv2d) == 3
    padded = [n for n in graph.nodes if isinstance(n, BinaryConv2d) and any(n.padding)]
    assert {n.outside for n in padded} == {0} and len(padded) == 2


def test_a_device_computes_the_same(tmp_path: Path) -> None:
    for name in ("pools", "margins"):
        check_graph("native-gcc-sanitized", quantised(KEPT, name)[0].graph, 4, tmp_path / name)


def edited(option: str, value: int) -> bytes:
    """The file `margins` with another value of an option of its first layer."""
    data = (KEPT / "margins.tflite").read_bytes()
    graph = tflite.Model.GetRootAs(data, 0).Subgraphs(0)
    options = [graph.Operators(i).CustomOptionsAsNumpy() for i in range(graph.OperatorsLength())]
    raw = next(o.tobytes() for o in options if not isinstance(o, int) and len(o))
    wanted = {**flexbuffers.Loads(raw), option: value}
    for at in range(len(raw)):
        other = raw[:at] + bytes([value]) + raw[at + 1 :]
        with contextlib.suppress(Exception):  # whatever a damaged buffer makes the reader raise
            if flexbuffers.Loads(other) == wanted:
                return data.replace(raw, other, 1)
    raise AssertionError(f"{option} is nowhere")


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("pad_values", 7, "padding with 7"),
        ("fused_activation_function", 4, "fused activation 4"),
        ("channels_in", 33, "for 33 channels on an input of 64"),
        ("stride_height", 0, "stride"),
        ("padding", 9, "padding 9"),
    ],
)
def test_other_options_are_refused_by_name(option: str, value: int, text: str) -> None:
    with pytest.raises(ImportRefused, match=f"(?s)LceBconv2d.*{text}"):
        floats.parse(edited(option, value))


def test_options_that_are_missing_are_named() -> None:
    data = (KEPT / "margins.tflite").read_bytes()
    with pytest.raises(ImportRefused, match=r"LceBconv2d.* has no pad_values"):
        floats.parse(data.replace(b"pad_values", b"pad_valuez"))


@pytest.mark.parametrize("seed", range(4))
def test_a_pool_moves_behind_the_sign_whichever_way_channels_turn(seed: int) -> None:
    """Factors of either sign, and 0, on both sides of the pool."""
    rng = np.random.default_rng(seed)
    network = Network("net", {"x": (1, 32, 6, 5)}, ["y"], [])
    known = network.constants
    known["w"] = rng.choice([-1.0, 1.0], (24, 32, 2, 2)).astype(np.float32)
    for name, spread in (("g", 1.0), ("h", 1.0), ("b", 9.0), ("c", 9.0)):
        known[name] = (rng.normal(0, spread, (24, 1, 1)) * rng.integers(0, 5, (24, 1, 1))).astype(
            np.float32
        )
    window = {"kernel_shape": [2, 2], "strides": [1, 2], "pads": [0, 1, 1, 0]}
    network.nodes += [
        Node("Trunc", "s", ("x",), {"mode": "SIGN"}),
        Node("Conv", "conv", ("s", "w")),
        Node("Mul", "mul", ("conv", "g")),
        Node("Add", "add", ("mul", "b")),
        Node("MaxPool", "pool", ("add",), window),
        Node("Clip", "clip", ("pool",), {"min": -20.0, "max": 30.0}),
        Node("Mul", "mul2", ("clip", "h")),
        Node("Add", "add2", ("mul2", "c")),
        Node("Trunc", "y", ("add2",), {"mode": "SIGN"}),
    ]
    network.codes |= {"s": larq.SIGNS, "y": larq.SIGNS, "w": larq.SIGN_WEIGHTS}
    x = rng.normal(size=(20, 32, 6, 5)).astype(np.float32)
    wanted = run(network, {"x": x})["y"]
    larq.settle_signs(network)
    assert [node.op for node in network.nodes[-2:]] == ["MaxPool", "Mul"]
    assert np.array_equal(run(network, {"x": x})["y"], wanted)
    assert 0.1 < (wanted > 0).mean() < 0.9


@pytest.mark.long
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the engine is there for Python 3.10, 3.11")
def test_what_larq_s_own_tools_make(tmp_path: Path) -> None:
    """In an environment of their own: conversion, reference interpreter, training."""
    mnist = load("mnist")
    images = np.concatenate([mnist.x_train[:6000], mnist.x_test[: larq_models.TESTED]])
    small = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).astype(np.float32) / 255
    labels = np.concatenate([mnist.y_train[:6000], mnist.y_test[: larq_models.TESTED]])
    np.savez(tmp_path / "samples.npz", x=small[..., None], y=labels)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    install = [python, "-m", "pip", "install", "--quiet", *larq_models.REQUIREMENTS]
    subprocess.run(install, check=True)
    made = [python, larq_models.__file__, tmp_path / "made", tmp_path / "samples.npz"]
    subprocess.run(made, check=True)
    for name in ("pools", "margins", "dense"):
        check_codes(tmp_path / "made", name)
    network, kept = quantised(tmp_path / "made", "trained")
    codes = outputs(network, kept["x"]).reshape(larq_models.TESTED, -1)
    ours, engine = codes.argmax(axis=1), kept["y"].argmax(axis=1)
    assert count(network.graph, BinaryConv2d) == 3 and count(network.graph, BinaryMaxPool2d) == 2
    assert (engine == kept["labels"]).mean() > 0.9
    assert (ours == engine).mean() >= 0.97
    assert (ours == kept["labels"]).mean() >= (engine == kept["labels"]).mean() - 0.01
