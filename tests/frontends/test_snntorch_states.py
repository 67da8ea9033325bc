"""How precise the neurons' state is: snnTorch's own spikes are the measure."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import snntorch as snn
import torch
from torch import Tensor, nn

from spikelet.frontends.snntorch import (
    DirectCurrent,
    Encoder,
    ExportError,
    Latency,
    Poisson,
    export,
)
from spikelet.frontends.snntorch.layers import NEURON_STATES
from spikelet.frontends.spiking import rounding
from spikelet.frontends.spiking.encoders import encode
from spikelet.frontends.spiking.package import STATE_SHARE
from spikelet.graph import Array, Graph
from spikelet.graph.states import neuron_states
from spikelet.package import Package
from spikelet.seeds import sample_seeds

INPUTS, NEURONS, SAMPLES = 32, 48, 3
RESETS = ("subtract", "zero", "none")


def grid_weights(m: int, n: int, most: int, step: float, seed: int) -> Tensor:
    """Whole multiples of a step, of at most `most` steps, more of them positive."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(-most // 3, most // 2 + 1, (m, n))
    codes[np.arange(m), rng.integers(0, n, m)] = most * rng.choice([-1, 1], m)
    return torch.tensor(codes * step, dtype=torch.float32)


def network(
    reset: str,
    beta: float,
    most: int = 127,
    step: float = 1 / 256,
    noise: float = 0.0,
    kind: Callable[..., nn.Module] = snn.Leaky,
) -> nn.Sequential:
    """Two layers of neurons; weights on a grid, or `noise` steps off it."""
    torch.manual_seed(3)

    def neurons() -> nn.Module:
        return kind(beta=beta, threshold=1.0, reset_mechanism=reset)

    net = nn.Sequential(
        nn.Linear(INPUTS, NEURONS, bias=False),
        neurons(),
        nn.Linear(NEURONS, NEURONS, bias=False),
        neurons(),
    )
    for layer, seed in ((net[0], 1), (net[2], 2)):
        layer.weight.data = grid_weights(*layer.weight.shape, most, step, seed)
        layer.weight.data += torch.randn_like(layer.weight) * step * noise
    return net


def codes(samples: int = SAMPLES) -> Array:
    return np.random.default_rng(1).integers(0, 256, (samples, INPUTS)).astype(np.uint8)


def snntorch_spikes(net: nn.Sequential, x: Array, encoder: Encoder, steps: int) -> list[Array]:
    """Of every layer of neurons (T, N, n), step by step as snnTorch's tutorials do; float32."""
    coded = encode(x, encoder, steps, sample_seeds(0, len(x)))
    neurons = [layer for layer in net if type(layer) in NEURON_STATES]
    states = [[torch.zeros(1) for _ in NEURON_STATES[type(layer)]] for layer in neurons]
    found: list[list[Array]] = [[] for _ in neurons]
    with torch.no_grad():
        for t in range(steps):
            values, at = coded if coded.dim() == 2 else coded[t], 0
            for layer in net:
                if type(layer) in NEURON_STATES:
                    values, *states[at] = layer(values, *states[at])
                    found[at].append(values.numpy().astype(np.uint8))
                    at += 1
                else:
                    values = layer(values)
    return [np.stack(rows) for rows in found]


def golden_spikes(graph: Graph, x: Array) -> list[Array]:
    inputs = {"x": x}
    if len(graph.inputs) > 1:
        inputs["seed"] = sample_seeds(0, len(x))
    trace = graph.run(inputs, trace=True).trace
    return [trace[f"{node.name}.spikes"] for node in graph.nodes if node.KIND == "lif"]


def shares(net: nn.Sequential, graph: Graph, encoder: Encoder, x: Array | None = None) -> Array:
    """By layer, spikes that differ from the module's, as a part of its spikes."""
    x = codes() if x is None else x
    wanted = snntorch_spikes(net, x, encoder, graph.steps)
    assert all(w.sum() > 1000 for w in wanted)
    pairs = zip(wanted, golden_spikes(graph, x), strict=True)
    return np.array([np.sum(w != found) / w.sum() for w, found in pairs])


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("reset", RESETS)
def test_exact_weights_give_the_spikes_of_the_module(reset: str, beta: float) -> None:
    net = network(reset, beta)
    graph = export(net, steps=400, encoder=Poisson())
    assert {(s.membrane, s.leak_bits) for s in neuron_states(graph)} == {("i32", 31)}
    assert shares(net, graph, Poisson()).max() <= 0.001


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.9), (0.9, 0.5), (0.9, 0.95)])
@pytest.mark.parametrize(
    ("reset", "delay"), [("subtract", True), ("zero", True), ("zero", False), ("none", True)]
)
def test_exact_weights_give_the_spikes_of_synaptic_neurons(
    reset: str, delay: bool, alpha: float, beta: float
) -> None:
    kind = functools.partial(snn.Synaptic, alpha=alpha, reset_delay=delay)
    net = network(reset, beta, kind=kind)
    graph = export(net, steps=400, encoder=Poisson())
    states = neuron_states(graph)
    assert [s.layer for s in states] == ["lif1_current", "lif1", "lif2_current", "lif2"]
    assert {(s.membrane, s.leak_bits) for s in states} == {("i32", 31)}
    # The neurons' fraction bits are the current's.
    assert states[0].fraction_bits == states[1].fraction_bits >= 12
    assert shares(net, graph, Poisson()).max() <= 0.001


def test_a_narrow_state_alone_moves_spikes() -> None:
    net = network("subtract", 0.9)
    graph = export(net, steps=400, encoder=Poisson(), state="narrow")
    assert {(s.membrane, s.leak_bits) for s in neuron_states(graph)} == {("i16", 15)}
    assert shares(net, graph, Poisson()).min() > 0.02


@pytest.mark.parametrize(("most", "step"), [(1, 0.25), (7, 1 / 16), (100, 0.0037), (127, 0.004)])
def test_any_grid_of_at_most_127_steps_is_exact(most: int, step: float) -> None:
    weight = grid_weights(20, 30, most, step, 5)
    found = rounding.weight_step(weight, torch.tensor([1.0]), 1.0, shared=False)
    held = rounding.weight_codes(weight, found)
    assert rounding.is_exact(weight, held, found[:, None])
    assert held.abs().max() > 63  # the finest such grid: most resolution for a bias
    off = weight + torch.randn(weight.shape) * step / 50
    found = rounding.weight_step(off, torch.tensor([1.0]), 1.0, shared=False)
    np.testing.assert_array_equal(found, off.double().abs().amax(dim=1) / 127)
    assert not rounding.is_exact(off, rounding.weight_codes(off, found), found[:, None])


@pytest.mark.parametrize("encoder", [DirectCurrent(), Latency()])
def test_exact_weights_of_few_bits_are_exact_for_every_encoder(encoder: Encoder) -> None:
    net = network("zero", 0.9, most=7, step=1 / 4)
    graph = export(net, steps=200, encoder=encoder)
    if isinstance(encoder, Latency):  # a spike an input is little to spike on
        wanted = snntorch_spikes(net, codes(60), encoder, graph.steps)
        for w, found in zip(wanted, golden_spikes(graph, codes(60)), strict=True):
            np.testing.assert_array_equal(w, found)
    else:
        assert shares(net, graph, encoder).max() <= 0.001


def test_with_exact_weights_the_state_is_exact_whatever_is_measured() -> None:
    made = export(network("none", 0.5), steps=20, encoder=Poisson(), test=codes())
    assert {(s["membrane"], s["leak_bits"]) for s in made.manifest["state"]} == {("i32", 31)}
    assert [row["differing"] for row in made.manifest["spike_agreement"]] == [0, 0]


@pytest.mark.parametrize("noise", [0.05, 1.0])
@pytest.mark.parametrize("reset", RESETS)
def test_a_state_adds_at_most_a_fifth_to_what_the_weights_cost(reset: str, noise: float) -> None:
    net = network(reset, 0.95, noise=noise)
    x = codes(12)
    made = export(net, steps=50, encoder=Poisson(), test=x)
    exact = export(net, steps=50, encoder=Poisson(), state="exact")
    by_weights = shares(net, exact, Poisson(), x)
    found = shares(net, made.graph, Poisson(), x)
    assert by_weights.min() > 0
    assert np.all(found <= (1 + STATE_SHARE) * by_weights)
    rows = made.manifest["spike_agreement"]
    np.testing.assert_allclose([row["share"] for row in rows], found)
    np.testing.assert_allclose([row["weights_share"] for row in rows], by_weights)
    # Weights that cost little leave little to the state.
    assert any(row["membrane"] == "i32" for row in made.manifest["state"]) == (noise < 1)
    # A layer is exact only where a narrow state costs too much, in it or behind it.
    for row in neuron_states(made.graph):
        if row.membrane == "i16":
            continue
        narrow = export(net, steps=50, encoder=Poisson(), state="narrow")
        other = {n.name: n for n in narrow.nodes}
        nodes = [other[n.name] if n.name == row.layer else n for n in made.graph.nodes]
        graph = made.graph
        tried = Graph(graph.name, graph.steps, graph.inputs, nodes, graph.outputs)
        assert np.any(shares(net, tried, Poisson(), x) > (1 + STATE_SHARE) * by_weights)


def test_the_package_says_what_it_is(tmp_path: Path) -> None:
    net = network("zero", 0.9, noise=1.0).double()
    net[1].mem = kept = torch.ones(2)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    x, labels = torch.from_numpy(codes(30)), torch.arange(30) % NEURONS
    path = tmp_path / "made.spk"
    made = export(
        net, steps=25, encoder=Poisson(), test=x, labels=labels, seed=4, name="made", out=path
    )
    assert net[1].mem is kept
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    manifest = Package.load(path).manifest
    coded = encode(x.numpy(), Poisson(), 25, sample_seeds(4, 30))
    counts = np.zeros((30, NEURONS))
    m1 = m2 = torch.zeros(30, NEURONS, dtype=torch.float64)
    with torch.no_grad():
        for step in coded.double():
            s1, m1 = net[1](net[0](step), m1)
            s2, m2 = net[3](net[2](s1.double()), m2)
            counts += s2.numpy()
    predicted = counts.argmax(axis=1)
    integer = made.vectors["golden.label"][:, 0]
    assert manifest["float_accuracy"] == np.mean(predicted == labels.numpy())
    assert manifest["integer_accuracy"] == np.mean(integer == labels.numpy())
    assert manifest["drift"] == manifest["integer_accuracy"] - manifest["float_accuracy"]
    assert manifest["label_agreement"] == np.mean(predicted == integer)
    assert manifest["samples"] == 30
    ram = sum(t.nbytes for n, t in made.graph.tensors.items() if n.endswith(".membrane"))
    assert sum(row["ram_bytes"] for row in manifest["state"]) == ram


@pytest.mark.parametrize("readout", ["membrane", "sum"])
def test_a_readout_that_does_not_spike_is_compared_in_real_units(readout: str) -> None:
    def scores(noise: float) -> dict[str, float]:
        net = network("zero", 0.9, noise=noise)
        net[3] = snn.Leaky(beta=0.9, reset_mechanism="none")
        layers = net if readout == "membrane" else net[:3]
        made = export(layers, steps=40, encoder=Poisson(), readout=readout, test=codes(8))  # type: ignore[call-overload]
        last: dict[str, float] = made.manifest["spike_agreement"][-1]
        return last

    assert scores(0.0)["share"] < 1e-5
    rounded = scores(1.0)
    assert 1e-4 < rounded["share"] <= (1 + STATE_SHARE) * rounded["weights_share"] < 0.2


@pytest.mark.parametrize("value", [3, None])
def test_an_unknown_argument_is_refused_as_python_does_it(value: int | None) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'sample'"):
        export(network("zero", 0.9), steps=5, sample=value)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"state": "wide"}, "state is 'wide'"),
        ({"labels": np.zeros(3, np.int64)}, "labels is given without test"),
        ({"out": "a.spk"}, "out is given without test"),
        ({"test": codes() / 255.0}, r"test is float64 of shape \(3, 32\), expected uint8"),
        ({"test": codes()[:, :5]}, r"expected uint8 codes \(N, 32\)"),
        ({"test": codes()[:0]}, r"test is uint8 of shape \(0, 32\)"),
        ({"test": codes(), "labels": np.zeros(2, np.int64)}, "labels are 2 int64 for 3 samples"),
        ({"test": codes(), "labels": np.zeros(3)}, "labels are 3 float64"),
        ({"test": codes(), "labels": np.array([0, 1, 48])}, "labels reach from 0 to 48"),
        ({"test": codes(), "labels": np.array([0, -1, 4])}, "labels reach from -1 to 4"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(ExportError, match=text) as caught:
        export(network("zero", 0.9), steps=5, **arguments)  # type: ignore[call-overload]
    assert caught.value.next


@pytest.mark.long
@pytest.mark.parametrize("beta", [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95])
@pytest.mark.parametrize(
    ("reset", "delay"), [("zero", True), ("zero", False), ("none", True), ("subtract", True)]
)
def test_the_grid_of_exact_weights(reset: str, delay: bool, beta: float) -> None:
    """Three grids of weights, two encoders; a threshold a neuron; 400 steps."""
    cases: list[tuple[int, float, Encoder]] = [
        (127, 1 / 256, Poisson()),
        (15, 1 / 32, DirectCurrent()),
        (127, 0.0037, Poisson()),
    ]
    for most, step, encoder in cases:
        net = network(reset, beta, most, step)
        for i in (1, 3):
            threshold = torch.linspace(0.5, 1.5, NEURONS)
            net[i] = snn.Leaky(
                beta=beta, threshold=threshold, reset_mechanism=reset, reset_delay=delay
            )
        graph = export(net, steps=400, encoder=encoder)
        assert shares(net, graph, encoder).max() <= 0.001, (most, step, encoder)
