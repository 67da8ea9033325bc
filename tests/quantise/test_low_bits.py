"""Weights of 1 to 8 bits: codes and what they stand for, on the host and in the graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from int8_graphs import GRIDS, scale_fields
from spikelet.errors import UsageError
from spikelet.frontends.torch import from_torch
from spikelet.graph import Graph, GraphError, Tensor
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.quantised import pack
from spikelet.quantise import Code, Options, quantise
from spikelet.quantise.calibrate import integers, reals, weight_code
from spikelet.train.qat import round_to_grid

rng = np.random.default_rng(1)


@given(st.sampled_from(GRIDS), st.floats(2.0**-20, 2.0**20), st.integers(0, 1 << 20))
@settings(max_examples=60, deadline=None)
def test_what_lies_on_a_grid_keeps_its_code(
    grid: tuple[int, bool], scale: float, seed: int
) -> None:
    bits, odd = grid
    code = Code(np.array([scale], np.float32), bits=bits, odd=odd)
    half = 1 << (bits - 1)
    codes = np.random.default_rng(seed).integers(-half, half, (1, 50)).astype(np.int8)
    assert np.array_equal(integers(reals(codes, code), code), codes)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_fewer_bits_are_the_upper_ones_of_more(bits: int) -> None:
    weight = rng.normal(size=(4, 25000)).astype(np.float32)
    whole, few = (
        integers(weight, Code(np.full(4, 1.7 / (1 << b), np.float32), bits=b, odd=True))
        for b in (8, bits)
    )
    assert np.array_equal(whole >> (8 - bits), few)


@pytest.mark.parametrize(("bits", "odd"), GRIDS)
def test_the_scale_has_nearly_the_least_error(bits: int, odd: bool) -> None:
    if bits == 8:
        return  # its largest magnitude is 127
    weight = rng.standard_t(4, size=(3, 400)).astype(np.float32)
    code = weight_code(weight, True, bits, odd)
    ours = ((reals(integers(weight, code), code) - weight) ** 2).sum(axis=1)
    least = np.full(3, np.inf)
    levels = np.arange(-(1 << (bits - 1)), 1 << (bits - 1))
    levels = 2 * levels + 1 if odd else levels
    for scale in np.geomspace(0.01, 8, 3000):  # each weight to its nearest level
        nearest = np.abs(weight[..., None] - scale * levels).min(axis=-1)
        least = np.minimum(least, (nearest.astype(np.float64) ** 2).sum(axis=1))
    assert np.all(ours <= 1.03 * least)


@pytest.mark.parametrize(("bits", "odd"), GRIDS)
def test_training_rounds_as_the_export_does(bits: int, odd: bool) -> None:
    weight = torch.randn(6, 5, 3, 3)
    weight[2] = 0
    rounded, scale = round_to_grid(weight.requires_grad_(), bits, odd)
    code = Code(scale.numpy(), bits=bits, odd=odd)
    held = rounded.detach().numpy()
    assert np.allclose(reals(integers(held, code), code), held, rtol=1e-6, atol=0)
    rounded.sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None and torch.equal(weight.grad, torch.ones_like(weight))


def test_the_lowest_bits_come_first_and_rows_end_in_zeros() -> None:
    codes = np.array([[-8, 7, 0, 1, -1, 2, -2, 3, -8]], np.int8)
    assert [hex(word) for word in pack(codes, 4)[0]] == ["0xb6a798f0", "0x0"]
    signs = np.array([0, -1, 0, 0], np.int8)  # 1 where the weight is positive
    assert pack(signs, 1).tolist() == [0b1101]


def _net() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)
    return nn.Sequential(*layers)


@pytest.mark.parametrize("odd", [True, False])
@pytest.mark.parametrize("bits", [8, 4, 2, 1])
def test_a_network_has_the_bits_that_were_asked_for(bits: int, odd: bool) -> None:
    x = rng.normal(size=(32, 3, 6, 6)).astype(np.float32)
    network = from_torch(_net(), torch.from_numpy(x[:1]), "net")
    made = quantise(network, {next(iter(network.inputs)): x}, Options(bits=bits, odd=odd))
    layers = [node for node in made.graph.nodes if isinstance(node, Conv2d | FullyConnected)]
    assert [node.bits for node in layers] == [bits, bits]
    assert all(node.odd == (bits == 1 or (odd and bits < 8)) for node in layers)
    again = Graph.from_json(made.graph.to_json(), made.graph.constants())
    assert [n.attributes() for n in again.nodes] == [n.attributes() for n in made.graph.nodes]


def test_layers_by_name_and_what_is_refused() -> None:
    x = rng.normal(size=(32, 3, 6, 6)).astype(np.float32)
    network = from_torch(_net(), torch.from_numpy(x[:1]), "net")
    feeds = {next(iter(network.inputs)): x}
    names = list(Options(bits=4).bits_of(network))
    made = quantise(network, feeds, Options(bits={names[1]: 2}))
    widths = sorted(n.bits for n in made.graph.nodes if isinstance(n, Conv2d | FullyConnected))
    assert widths == [2, 8]
    with pytest.raises(UsageError, match="no such layer"):
        quantise(network, feeds, Options(bits={"nothing": 2}))
    with pytest.raises(UsageError, match="weights of 3 bits"):
        quantise(network, feeds, Options(bits=3))


def test_codes_that_the_bits_do_not_hold_are_refused() -> None:
    x = Tensor("x", "i8", (4,), kind="input")
    fields = scale_fields(rng, 2, 4, 0)
    weight = np.full((2, 4), 2, np.int8)
    for bits, odd, words in ((2, False, "weight codes are 2 to 2"), (1, False, "weight codes")):
        node = FullyConnected(
            name="fc", inputs=("x",), weight=weight, bits=bits, odd=odd, **fields
        )  # fmt: skip
        with pytest.raises(GraphError, match=words):
            Graph("g", 1, [x], [node], ["fc"])
    node = FullyConnected(name="fc", inputs=("x",), weight=weight * 0, bits=1, **fields)
    with pytest.raises(GraphError, match="expected odd"):
        Graph("g", 1, [x], [node], ["fc"])
