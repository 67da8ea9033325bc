"""LiteRT files with weights of 4 bits against LiteRT's reference kernels: no code differs."""

from __future__ import annotations

import numpy as np
import pytest
import tflite_cases
from tflite_few_bits import four_bits, packed, quantised
from tflite_oracle import differing, draw

from spikelet.frontends import tflite
from spikelet.frontends.tflite.file import parse
from spikelet.graph import Array
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.refusal import ImportRefused


@pytest.mark.parametrize("name", ["separable", "autoencoder"])
def test_what_litert_quantises_is_its_reference_to_the_code(name: str) -> None:
    data = quantised(name)
    imported = tflite.parse(data, name)
    layers = [n for n in imported.graph.nodes if isinstance(n, Conv2d | FullyConnected)]
    assert len(layers) >= 6 and {node.bits for node in layers} == {4}
    assert differing(data, imported, draw(imported.graph, 10, np.random.default_rng(3))) == {}
    file = parse(data, name)
    stored = [t for t in file.tensors if t.dtype == "INT4"]
    assert len(stored) == len(layers)
    assert all(len(t.scales) == len(t.data) for t in stored if t.data is not None)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("case", ["conv_2d", "fully_connected", "fully_connected_rows"])
def test_a_layer_of_four_bits_is_litert_s(case: str, seed: int) -> None:
    w, x, rng = tflite_cases.start(seed, (1, 4, 5, 3))
    outputs = tflite_cases.CASES[case](w, x, rng)
    data = four_bits(w).finish([x], outputs)
    imported = tflite.parse(data, case)
    (node,) = (n for n in imported.graph.nodes if isinstance(n, Conv2d | FullyConnected))
    assert node.bits == 4
    assert differing(data, imported, draw(imported.graph, 6, rng)) == {}


def test_the_low_half_of_a_byte_comes_first() -> None:
    codes = np.array([[-8, 7, -1], [0, 1, 2], [-3, 4, 5]], np.int8)
    assert packed(codes).tolist() == [0x78, 0x0F, 0x21, 0x4D, 0x05]
    assert np.array_equal(weights_of(packed(codes)), codes)


def weights_of(raw: Array) -> Array:
    """Weights (3, 3) that lie as `raw` in a file."""
    w, x, _ = tflite_cases.start(0, (1, 1, 1, 3))
    weight = w.tensor((3, 3), 0.5, data=np.zeros((3, 3), np.int8))
    w.tensors[weight] |= {"data": raw, "dtype": "INT4"}
    y = w.tensor((1, 3), 1.0)
    data = w.finish([x], w.op("FULLY_CONNECTED", [x, weight, -1], [y]))
    (node,) = (n for n in tflite.parse(data, "m").graph.nodes if isinstance(n, FullyConnected))
    return node.weight


def test_data_of_another_length_is_refused() -> None:
    with pytest.raises(ImportRefused, match=r"INT4 of shape .3, 3.: 5 bytes, its data has 9"):
        weights_of(np.zeros(9, np.uint8))
