"""Gains and biases that are folded into a layer, against layers that are made with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import floor, frexp
from pathlib import Path

import numpy as np
import pytest

import graphs
from gained_graphs import gained_layers, halved_layers
from int8_classifier import classifier
from spikelet.graph import Array, Graph, GraphError, Learned
from spikelet.graph.adapted import Adapter, with_places
from spikelet.graph.gains import with_gain, with_gain_once
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.quantised import Quantised
from spikelet.graph.requantise import quantize_multiplier
from spikelet.graph.tile import tilings
from spikelet.package import Package
from targets import check_package

GAINS = np.array([-128, -127, -126, -65, -64, -1, 0, 1, 63, 126, 127])


def drawn_factors(rng: np.random.Generator) -> tuple[Array, Array]:
    """Multipliers as they are normalised, their ends among them, and shifts."""
    multiplier = rng.integers(1 << 30, 1 << 31, 400)
    multiplier[:3] = 1 << 30, (1 << 31) - 1, (1 << 30) + 1
    return multiplier, rng.integers(-30, 30, 400)


def test_a_folded_multiplier_is_the_one_that_a_float_factor_has() -> None:
    multiplier, shift = drawn_factors(np.random.default_rng(0))
    for gain in GAINS:
        made = with_gain(multiplier, shift, np.full(400, gain, np.int8))
        for i, pair in enumerate(zip(*made, strict=True)):
            real = float(multiplier[i]) * 2.0 ** (shift[i] - 31) * (1 + gain / 128)  # exact
            wanted = quantize_multiplier(real)
            assert pair == wanted if wanted[0] else pair[0] == 0, (multiplier[i], shift[i], gain)


def test_a_folded_fraction_is_the_nearest() -> None:
    rng = np.random.default_rng(1)
    multiplier, shift = drawn_factors(rng)
    fraction = rng.integers(0, 1 << 22, 400)
    fraction[:2] = 0, (1 << 22) - 1
    for gain in GAINS[1:]:
        made = with_gain_once(multiplier, fraction, shift, np.full(400, gain, np.int8))
        for i, (high, low, moved) in enumerate(zip(*made, strict=True)):
            mantissa = (int(multiplier[i]) << 22) + int(fraction[i])
            real = Fraction(mantissa, 1 << 53) * Fraction(2) ** int(shift[i])
            exact = real * Fraction(128 + int(gain), 128)
            if exact < Fraction(1, 1 << 32):
                assert (high, low) == (0, 0)
                continue
            exponent = frexp(float(exact))[1]  # or one more, where it was rounded up to a power
            exponent -= exact < Fraction(2) ** (exponent - 1)
            nearest = floor(exact / Fraction(2) ** exponent * (1 << 53) + Fraction(1, 2))
            carry = nearest >> 53
            assert (int(high) << 22) + int(low) == nearest >> carry, (i, gain)
            assert moved == exponent + carry


def made_with(node: Quantised, gain: Array, bias: Array) -> Quantised:
    """The layer as it would be quantised with such a factor, and biases in half codes to codes."""
    fields = {"inputs": node.inputs[:1]}
    right = np.clip(-node.shift.astype(np.int64), 0, 16)
    fields["bias"] = (node.bias + bias.astype(np.int64) * 2**right).astype(np.int32)
    real = np.ldexp(node.multiplier.astype(np.float64), node.shift - 31) * (1 + gain / 128)
    if isinstance(node, FullyConnected) and node.fraction is not None:
        fields |= dict(zip(
            ("multiplier", "fraction", "shift"),
            (v.astype(np.int32) for v in
             with_gain_once(node.multiplier, node.fraction, node.shift, gain)), strict=True,
        ))  # fmt: skip
        return replace(node, **fields)
    pairs = np.array([quantize_multiplier(float(value)) for value in real], np.int32)
    return replace(node, **fields, multiplier=pairs[:, 0], shift=pairs[:, 1])


def plain(graph: Graph) -> Graph:
    """Of layers that are made with what the graph's adapters begin with."""
    held = graph.initial()
    nodes = [
        made_with(node, *(held[name] for name in node.inputs[1:]))
        for node in graph.nodes
        if isinstance(node, Quantised)
    ]
    return Graph(graph.name, graph.steps, graph.inputs, nodes, graph.outputs)


def test_golden_is_a_layer_that_was_made_with_the_factor() -> None:
    graph = gained_layers()
    inputs = graphs.random_inputs(graph, 4, np.random.default_rng(2))
    expected = plain(graph).run(inputs, trace=True).trace
    without = graph.run(
        inputs, learned={name: 0 * v for name, v in graph.initial().items()}, trace=True
    ).trace
    base = Graph(graph.name, 1, graph.inputs,
                 [replace(n, inputs=n.inputs[:1]) for n in graph.nodes], graph.outputs)  # fmt: skip
    unchanged = base.run(inputs, trace=True).trace
    moved = 0
    for name, (values, *_) in graph.run(inputs, trace=True).trace.items():
        assert np.array_equal(values, expected[name][0]), name
        assert np.array_equal(without[name][0], unchanged[name][0]), name
        moved += int((values != unchanged[name][0]).sum())
    assert moved > 1000


def test_half_is_a_layer_of_half_the_factor_and_no_activation() -> None:
    graph = halved_layers()
    inputs = graphs.random_inputs(graph, 4, np.random.default_rng(2))
    trace, negative = graph.run(inputs, trace=True).trace, 0
    for number, node in enumerate(graph.nodes):
        assert isinstance(node, Quantised)
        alone = replace(node, inputs=node.inputs[:1])
        if number % 3:
            alone = replace(
                made_with(alone, np.array(-64), 0 * node.bias),  # a factor of a half
                output_zero_point=0, activation=(-128, 127),
            )  # fmt: skip
        base = Graph("base", 1, graph.inputs, [alone], [node.name])
        expected = base.run(inputs, trace=True).trace[node.name][0]
        assert np.array_equal(trace[node.name][0], expected), node.name
        negative += int((expected < -113 / 2).sum()) if number % 3 else 0
    assert negative > 100  # which the activation would cut off


@pytest.mark.parametrize("made", [gained_layers, halved_layers])
@pytest.mark.parametrize("target", [
    "native-gcc-sanitized", "rv32-gcc-qemu", "m4-gcc-qemu",
    *(pytest.param(name, marks=pytest.mark.long)
      for name in ("m55-gcc-qemu", "m0-gcc-qemu", "rv32e-gcc-qemu", "rv32b-gcc-qemu")),
])  # fmt: skip
def test_devices_fold_the_same(target: str, made: Callable[[], Graph], tmp_path: Path) -> None:
    graph = made()
    inputs = graphs.random_inputs(graph, 3, np.random.default_rng(4))
    check_package(target, Package(graph, inputs, {}).with_golden(), tmp_path)


def test_layers_with_gains_are_not_executed_in_bands() -> None:
    base = classifier()
    assert any(tiling.layers > 1 for tiling in tilings(base))
    assert not tilings(with_places(base, Adapter("scale_bias")))


def test_what_takes_no_gains_is_refused() -> None:
    base = classifier()
    place = with_places(base, Adapter("scale_bias"))
    taken = {node.KIND for node in place.nodes if len(node.inputs) == 3}
    assert taken == {"conv2d", "fully_connected"}
    gained = next(node for node in place.nodes if isinstance(node, Conv2d))
    for inputs, learned, match in (
        (gained.inputs[:2], place.learned, "beside its input"),
        ((*gained.inputs[:2], "x"), place.learned, "beside its input"),
        (gained.inputs, [replace(k, tensor=replace(k.tensor, shape=(1, *k.tensor.shape)))
                         for k in place.learned[1:]], "beside its input"),
    ):  # fmt: skip
        nodes = [replace(gained, inputs=inputs)]
        with pytest.raises(GraphError, match=match):
            Graph("odd", 1, place.inputs, nodes, [gained.name], learned)
    deep = next(node for node in base.nodes if node.KIND == "depthwise_conv2d")
    values = [Learned.of(f"deep_delta.{part}", "i8", (8,)) for part in ("gain", "bias")]
    inputs = (*deep.inputs, *(k.tensor.name for k in values))
    nodes = [*base.nodes[: base.nodes.index(deep)], replace(deep, inputs=inputs)]
    with pytest.raises(GraphError, match="beside its input"):
        Graph("odd", 1, base.inputs, nodes, [deep.name], values)
    even = replace(base.nodes[0], offset=np.zeros((len(base.nodes[0].bias), 2), np.int32))
    other = replace(base, nodes=[even, *base.nodes[1:]])
    with pytest.raises(GraphError, match="halves"):
        with_places(other, Adapter("scale_bias"))
    with pytest.raises(GraphError, match="8 bits"):
        Adapter("scale_bias", 0, 1)
