"""Which kernel a layer has on a target: a few unusual channels do not cost it the fast one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import int8_graphs
from spikelet.codegen import generate
from spikelet.codegen.layers import Layer
from spikelet.graph import Graph, Operator, Tensor, operators
from spikelet.graph.quantised import Quantised
from spikelet.graph.target import ANY, Target

TARGETS = {
    "portable": ANY,
    "m4": Target.parse("armv7e-m"),
    "m55": Target.parse("armv8.1-m.main+mve"),
    "rv32": Target.parse("rv32imc"),
    "rv32e": Target.parse("rv32ec"),
}
FAST = {
    "conv2d": {"portable": "four", "m4": "dsp_quads", "m55": "mve_32", "rv32": "four",
               "rv32e": "planes_8"},
    "depthwise_conv2d": {"portable": "3x3", "m4": "dsp", "m55": "mve_sixteens", "rv32": "3x3",
                         "rv32e": "3x3"},
    "fully_connected": {
        "portable": "fours_twice", "m4": "quads_twice", "m55": "vectors_twice",
        "rv32": "fours_twice", "rv32e": "tables_8_twice",
    },
}  # fmt: skip


def layer(kind: str, **changes: Any) -> Graph:
    """A layer of 32 channels, all of them usual, but for what is changed."""
    rng = np.random.default_rng(2)
    shape = {"conv2d": (32, 1, 1, 32), "depthwise_conv2d": (3, 3, 32), "fully_connected": (32, 32)}
    weight = int8_graphs.codes(rng, shape[kind], 0)
    fields = {**int8_graphs.scale_fields(rng, 32, 32, 0), **changes}
    x = Tensor("x", "i8", (32,) if kind == "fully_connected" else (6, 6, 32), kind="input")
    node: Operator = operators()[kind](name="layer", inputs=("x",), weight=weight, **fields)
    return Graph("one", 1, [x], [node], ["layer"])


def row(graph: Graph, target: str, folder: Path) -> Layer:
    return generate(graph, "0" * 64, folder, target=TARGETS[target]).layers[0]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", FAST)
def test_an_unusual_channel_stays_on_the_fast_kernel(
    kind: str, target: str, tmp_path: Path
) -> None:
    usual = layer(kind)
    found = row(usual, target, tmp_path)
    assert (found.kernel, found.general) == (f"{kind}_{FAST[kind][target]}", "")
    (node,) = usual.nodes
    assert isinstance(node, Quantised)
    shift = node.shift.copy()
    shift[3], shift[9] = 0, -25
    found = row(layer(kind, shift=shift), target, tmp_path)
    stem = FAST[kind][target].removesuffix("_twice")
    assert found.kernel == f"{kind}_{stem}_wide"
    # A shift to the right of any length is usual where there are vectors.
    vectors = target == "m55" and kind != "fully_connected"
    assert f"channels {'3' if vectors else '3,9'}:" in found.general


@pytest.mark.parametrize("kind", FAST)
def test_what_counts_is_the_sum_that_can_occur(kind: str, tmp_path: Path) -> None:
    """A bias of 2^29 alone is beyond the fast rounding; with what is added to it, it is not."""
    usual = layer(kind).nodes[0]
    assert isinstance(usual, Quantised)
    bias = usual.bias.copy()
    bias[5] = 1 << 29
    assert "channels 5:" in row(layer(kind, bias=bias), "rv32", tmp_path).general
    bias[5] -= 200_000
    assert row(layer(kind, bias=bias), "rv32", tmp_path).general == ""


def test_a_channel_without_a_factor_is_usual(tmp_path: Path) -> None:
    """TensorFlow Lite writes shift 0 where a factor is below 2^-32."""
    (node,) = layer("conv2d").nodes
    assert isinstance(node, Quantised)
    multiplier, shift = node.multiplier.copy(), node.shift.copy()
    multiplier[7], shift[7] = 0, 0
    made = layer("conv2d", multiplier=multiplier, shift=shift)
    assert all(row(made, target, tmp_path).general == "" for target in TARGETS)


def test_a_general_kernel_says_why(tmp_path: Path) -> None:
    graph = int8_graphs.join(
        int8_graphs.convolutions(), int8_graphs.depthwise(), int8_graphs.dense_layers()
    )
    texts = set()
    for target in TARGETS.values():
        for found in generate(graph, "0" * 64, tmp_path, target=target).layers:
            slow = ("_any", "_wide", "stream", "many")
            assert bool(found.general) >= any(part in found.kernel for part in slow), found
            texts.add(found.general.split(":")[0])
    assert {
        "", "2 outputs a channel", "24 x 23 taps are more than 512",
        "two weights do not fit 16 bits, or a sum may not fit 24",
    } <= texts  # fmt: skip


def test_every_operator_names_its_kernel(tmp_path: Path) -> None:
    """The name is that of a function which the generated C calls."""
    made = generate(int8_graphs.elementwise(), "0" * 64, tmp_path)
    text = made.source.read_text(encoding="utf-8")
    for found in made.layers:
        assert f"spk_{found.kernel}(" in text
        assert dataclasses.asdict(found)["general"] == ""
    assert all(kind.general(kind.__new__(kind), ANY) == "" for kind in operators().values()
               if not issubclass(kind, Quantised))  # fmt: skip
