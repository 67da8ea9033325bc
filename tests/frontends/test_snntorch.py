"""snnTorch itself is the oracle: the exported graph must spike where it spikes."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import snntorch as snn
import torch
from snntorch import surrogate
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
from spikelet.graph import Array, Execution, Graph, Operator
from spikelet.seeds import sample_seeds

Kind = Callable[..., nn.Module]  # makes neurons
INPUTS, HIDDEN, CLASSES, SAMPLES = 20, 24, 7, 16
# (reset_mechanism, reset_delay): all that the graph carries.
RESETS = [
    ("subtract", True),
    ("subtract", False),
    ("zero", True),
    ("zero", False),
    ("none", True),
    ("none", False),
]


def leaky(**options: Any) -> snn.Leaky:
    return snn.Leaky(**{"beta": 0.9, **options})


def synaptic(**options: Any) -> snn.Synaptic:
    return snn.Synaptic(**{"alpha": 0.5, "beta": 0.9, **options})


def network(
    reset: str = "subtract",
    delay: bool = True,
    beta: float = 0.5,
    bias: bool = False,
    per_neuron: bool = False,
    seed: int = 0,
    amplitude: float = 1.0,
    kind: Kind = leaky,
) -> nn.Sequential:
    """A random net that fires often, with sums of both signs."""
    torch.manual_seed(seed)

    def neurons(n: int) -> nn.Module:
        threshold = torch.rand(n) + 0.5 if per_neuron else 1.0
        return kind(beta=beta, threshold=threshold, reset_mechanism=reset, reset_delay=delay)

    layers = nn.Sequential(
        nn.Linear(INPUTS, HIDDEN, bias=bias),
        neurons(HIDDEN),
        nn.Linear(HIDDEN, CLASSES, bias=bias),
        neurons(CLASSES),
    )
    with torch.no_grad():
        layers[0].weight.normal_(0.05, 0.4 / amplitude)
        layers[2].weight.normal_(0.05, 0.4)
    return layers


def samples(encoder: Encoder) -> dict[str, Array]:
    rng = np.random.default_rng(5)
    inputs: dict[str, Array] = {"x": rng.integers(0, 256, (SAMPLES, INPUTS)).astype(np.uint8)}
    if isinstance(encoder, Poisson):
        inputs["seed"] = sample_seeds(3, SAMPLES)
    return inputs


def kept(node: Operator) -> Tensor:
    attributes = node.attributes()
    return torch.tensor(attributes["leak"] / 2.0 ** attributes["leak_bits"], dtype=torch.float64)


def quantise_layers(layers: nn.Sequential, graph: Graph) -> nn.Sequential:
    """The same snnTorch layers in float64, with the integers of the graph as their numbers."""
    nodes = {n.name: n for n in graph.nodes}
    oracle = copy.deepcopy(layers).double()
    for i, (fc, lif) in enumerate((("fc1", "lif1"), ("fc2", "lif2"))):
        linear, neurons = oracle[2 * i], oracle[2 * i + 1]
        numbers, attributes = nodes[fc].arrays(), nodes[lif].attributes()
        linear.weight.data = torch.from_numpy(numbers["weight"].astype(np.float64))
        if linear.bias is not None:
            linear.bias.data = torch.from_numpy(numbers["bias"].astype(np.float64))
        neurons.beta = kept(nodes[lif])
        shift = attributes["input_shift"]
        if isinstance(neurons, snn.Synaptic):
            current = nodes[f"{lif}_current"]
            neurons.alpha, shift = kept(current), current.attributes()["input_shift"]
        neurons.threshold = torch.from_numpy(nodes[lif].arrays()["threshold"] / 2.0**shift)
    return oracle


def simulate(layers: nn.Sequential, source: Array) -> list[Array]:
    """Spikes (T, N, n) of both layers, one step after the other, as snnTorch's tutorials do."""
    hidden, output = [], []
    with torch.no_grad():
        zeros = torch.zeros(1, dtype=torch.float64)
        state1, state2 = ([zeros for _ in NEURON_STATES[type(layers[at])]] for at in (1, 3))
        for step in source:
            x = torch.from_numpy(step.astype(np.float64))
            spikes1, *state1 = layers[1](layers[0](x), *state1)
            spikes2, *state2 = layers[3](layers[2](spikes1.double()), *state2)
            hidden.append(spikes1.numpy())
            output.append(spikes2.numpy())
    return [np.stack(hidden), np.stack(output)]


def first_layer_codes(encoder: Encoder, graph: Graph, execution: Execution, x: Array) -> Array:
    """What the first layer gets in each step, (T, N, n), in codes."""
    if isinstance(encoder, DirectCurrent):
        return np.broadcast_to(x.astype(np.float64), (graph.steps, *x.shape))
    return execution.trace["encode.spikes" if isinstance(encoder, Poisson) else "encode"]


def differing(
    layers: nn.Sequential, encoder: Encoder, graph: Graph, run: Graph | None = None
) -> tuple[int, int]:
    """Spikes that differ between snnTorch and golden, and spikes in all."""
    inputs = samples(encoder)
    execution = (run or graph).run(inputs, trace=True)
    codes = first_layer_codes(encoder, graph, execution, inputs["x"])
    oracle = simulate(quantise_layers(layers, graph), codes)
    found = [execution.trace["lif1.spikes"], execution.trace["lif2.spikes"]]
    assert execution.saturations.sum() == 0
    wrong = sum(int((a != b).sum()) for a, b in zip(oracle, found, strict=True))
    return wrong, int(sum(a.sum() for a in oracle))


@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("reset", "delay"), RESETS)
def test_spikes_equal_snntorch_for_every_convention(
    reset: str, delay: bool, beta: float, bias: bool, per_neuron: bool
) -> None:
    for seed in range(3):
        layers = network(reset, delay, beta, bias, per_neuron, seed)
        # 12 fraction bits hold 12 halvings exactly, so that rounding plays no part.
        graph = export(layers, steps=12, encoder=Poisson(), fraction_bits=12)
        wrong, spikes = differing(layers, Poisson(), graph)
        assert spikes > 200
        assert wrong == 0


@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("reset", "delay"), RESETS)
def test_spikes_of_synaptic_neurons_equal_snntorch_for_every_convention(
    reset: str, delay: bool, beta: float, alpha: float, per_neuron: bool
) -> None:
    for seed in range(3):
        kind = functools.partial(synaptic, alpha=alpha)
        layers = network(reset, delay, beta, per_neuron, per_neuron, seed, kind=kind)
        graph = export(layers, steps=12, encoder=Poisson(), fraction_bits=12)
        wrong, spikes = differing(layers, Poisson(), graph)
        assert spikes > 200
        assert wrong == 0


@pytest.mark.parametrize("kind", [leaky, synaptic])
@pytest.mark.parametrize("encoder", [DirectCurrent(), Poisson(), Latency()])
@pytest.mark.parametrize(("reset", "delay"), RESETS)
def test_spikes_equal_snntorch_for_every_encoder(
    encoder: Encoder, reset: str, delay: bool, kind: Kind
) -> None:
    layers = network(reset, delay, 0.5, bias=True, amplitude=1.5, kind=kind)
    graph = export(layers, steps=8, encoder=encoder, fraction_bits=8)
    wrong, spikes = differing(layers, encoder, graph)
    assert spikes > 100
    assert wrong == 0


@pytest.mark.parametrize("beta", [0.3, 0.85, 0.9, 0.97])
@pytest.mark.parametrize(("reset", "delay"), RESETS)
def test_spikes_equal_snntorch_for_any_beta_when_it_rounds_down_too(
    reset: str, delay: bool, beta: float
) -> None:
    """floor(beta v) + x is floor(beta v + x): snnTorch with a flooring state_quant."""
    layers = network(reset, delay, beta, bias=True, seed=4)
    graph = export(layers, steps=20, encoder=Poisson(), fraction_bits=0)
    floored = [
        dataclasses.replace(n, leak_round="floor") if n.KIND == "lif" else n for n in graph.nodes
    ]
    run = Graph(graph.name, graph.steps, graph.inputs, floored, graph.outputs)
    for layer in (layers[1], layers[3]):
        layer.state_quant = torch.floor
    exported = graph
    inputs = samples(Poisson())
    execution = run.run(inputs, trace=True)
    oracle = simulate(quantise_layers(layers, exported), execution.trace["encode.spikes"])
    assert oracle[0].sum() > 500
    assert int((oracle[0] != execution.trace["lif1.spikes"]).sum()) == 0
    assert int((oracle[1] != execution.trace["lif2.spikes"]).sum()) == 0


@pytest.mark.parametrize(
    ("kind", "reset", "wrong"),
    [
        (leaky, "subtract", {"timing": "same_step"}),
        (leaky, "subtract", {"reset": "zero"}),
        (leaky, "subtract", {"reset": "none"}),
        (leaky, "subtract", {"compare": ">="}),
        (leaky, "zero", {"timing": "next_step_input_lost"}),
        (synaptic, "zero", {"timing": "next_step"}),
    ],
)
def test_a_wrong_convention_is_seen(kind: Kind, reset: str, wrong: dict[str, Any]) -> None:
    layers = network(reset, True, 0.5, kind=kind)
    with torch.no_grad():  # sums of a few whole thresholds: equality with it happens
        layers[0].weight.copy_(
            torch.sign(layers[0].weight) * (torch.rand_like(layers[0].weight) > 0.5)
        )
        layers[1].threshold = torch.tensor(1.0)
    graph = export(layers, steps=12, encoder=Poisson(), fraction_bits=12)
    assert differing(layers, Poisson(), graph)[0] == 0
    nodes = [dataclasses.replace(n, **wrong) if n.KIND == "lif" else n for n in graph.nodes]
    run = Graph(graph.name, graph.steps, graph.inputs, nodes, graph.outputs)
    assert differing(layers, Poisson(), graph, run)[0] > 20


def test_a_membrane_at_the_threshold_does_not_fire() -> None:
    def spikes(spike_grad: Any) -> float:
        layers = nn.Sequential(
            nn.Linear(1, 1, bias=False), snn.Leaky(beta=0.0, threshold=0.25, spike_grad=spike_grad)
        )
        layers[0].weight.data.fill_(0.25)
        graph = export(layers, steps=3, encoder=Latency())
        return float(graph.run({"x": np.array([[255]], np.uint8)}).outputs["counts"].sum())

    assert spikes(None) == 0
    assert spikes(lambda v: (v >= 0).float()) == 1


def test_membrane_readout_is_the_last_membrane() -> None:
    layers = network()
    layers[3] = snn.Leaky(beta=1.0, reset_mechanism="none")
    graph = export(layers, steps=10, encoder=Poisson(), readout="membrane", fraction_bits=10)
    nodes = {n.name: n for n in graph.nodes}
    inputs = samples(Poisson())
    execution = graph.run(inputs, trace=True)
    weight = nodes["fc2"].arrays()["weight"].astype(np.int64)
    expected = (execution.trace["lif1.spikes"].astype(np.int64) @ weight.T).sum(axis=0) << 10
    assert graph.outputs == ["label", "lif2"]
    np.testing.assert_array_equal(execution.outputs["lif2"], expected)
    np.testing.assert_array_equal(execution.outputs["label"][:, 0], expected.argmax(axis=1))
    # One step for all classes: the ratio of codes is the ratio of weights.
    float_weight = layers[2].weight.detach().numpy()
    step = np.abs(float_weight).max() / 127
    assert np.abs(weight * step - float_weight).max() <= step / 2 * 1.0001


@pytest.mark.parametrize("bits", [None, 6])
def test_membrane_readout_of_synaptic_neurons_is_the_last_membrane(bits: int | None) -> None:
    layers = network()
    layers[3] = synaptic(alpha=1.0, beta=1.0, reset_mechanism="none")
    graph = export(layers, steps=10, encoder=Poisson(), readout="membrane", fraction_bits=bits)
    execution = graph.run(samples(Poisson()), trace=True)
    expected = execution.trace["fc2"].cumsum(axis=0, dtype=np.int64).sum(axis=0) << (bits or 0)
    np.testing.assert_array_equal(execution.outputs["lif2"], expected)


def test_sum_readout_adds_up_the_last_linear() -> None:
    layers = network()[:3]
    graph = export(layers, steps=6, encoder=Poisson(), readout="sum")
    execution = graph.run(samples(Poisson()), trace=True)
    np.testing.assert_array_equal(
        execution.outputs["sum"], execution.trace["fc2"].astype(np.int64).sum(axis=0)
    )


def test_weights_bias_threshold_and_zero_point_are_carried_in_the_channel_units() -> None:
    layers = network("zero", False, 0.5, bias=True, per_neuron=True)
    encoder = DirectCurrent(scale=0.01, zero_point=100)
    graph = export(layers, steps=4, encoder=encoder, fraction_bits=3)
    nodes = {n.name: n for n in graph.nodes}
    weight = layers[0].weight.detach().double().numpy()
    step = np.abs(weight).max(axis=1) / 127
    fc, lif = nodes["fc1"].arrays(), nodes["lif1"].arrays()
    assert np.abs(fc["weight"] * step[:, None] - weight).max() <= step.max() / 2 * 1.0001
    real = layers[0].bias.detach().double().numpy()
    shifted = (fc["bias"] + 100 * fc["weight"].astype(np.int64).sum(axis=1)) * step * 0.01
    assert np.all(np.abs(shifted - real) <= step * 0.01 / 2 * 1.0001)
    threshold = layers[1].threshold.double().numpy()
    unit = step * 0.01 / 8
    assert np.all(lif["threshold"] * unit <= threshold)
    assert np.all(threshold < (lif["threshold"] + 1) * unit)
    x = graph.inputs[0]
    assert (x.scale, x.zero_point) == (0.01, 100)


@pytest.mark.parametrize(
    ("beta", "factor"), [(1.0, 32768), (0.5, 16384), (0.9, 29491), (0.95, 31129), (0.0, 0)]
)
def test_beta_becomes_an_exact_or_odd_factor(beta: float, factor: int) -> None:
    graph = export(network(beta=beta), steps=3, encoder=Poisson(), state="narrow")
    assert [n.attributes()["leak"] for n in graph.nodes if n.KIND == "lif"] == [factor] * 2


def test_a_dead_channel_keeps_the_membranes_narrow() -> None:
    layers = network("zero", False, 0.5)
    layers[0].weight.data[3] = 1e-12
    layers[0].weight.data[4] = 0
    graph = export(layers, steps=4, encoder=Poisson(), state="narrow")
    assert graph.tensors["lif1.membrane"].dtype == "i16"
    execution = graph.run(samples(Poisson()), trace=True)
    assert not execution.trace["lif1.spikes"][:, :, 3:5].any()
    assert execution.trace["lif1.spikes"].any()


def test_layers_without_effect_are_skipped_and_names_kept() -> None:
    plain = network()
    named: dict[str, nn.Module] = {
        "flat": nn.Flatten(),
        "body": nn.Sequential(plain[0], plain[1], nn.Dropout(0.5), nn.Identity()),
        "seed": plain[2],
        "out": plain[3],
    }
    graph = export(named, steps=5, encoder=Poisson(), name="named")
    assert [n.name for n in graph.nodes] == [
        "encode",
        "body_0",
        "body_1",
        "seed_2",
        "out",
        "counts",
        "label",
    ]
    same = export(plain, steps=5, encoder=Poisson())
    inputs = samples(Poisson())
    np.testing.assert_array_equal(
        graph.run(inputs).outputs["counts"], same.run(inputs).outputs["counts"]
    )


@pytest.mark.quick
@pytest.mark.parametrize(
    "gradient",
    [
        surrogate.atan(),
        surrogate.fast_sigmoid(),
        surrogate.sigmoid(),
        surrogate.straight_through_estimator(),
        surrogate.triangular(),
        surrogate.spike_rate_escape(),
        surrogate.SSO(),
    ],
)
def test_every_surrogate_of_snntorch_is_a_strict_step(gradient: Any) -> None:
    graph = export(nn.Sequential(nn.Linear(4, 3), leaky(spike_grad=gradient)), steps=4)
    assert [n.attributes()["compare"] for n in graph.nodes if n.KIND == "lif"] == [">"]


def counts_of(order: list[nn.Module], x: Tensor, steps: int) -> Tensor:
    """Spikes of the last layer; each place of a neuron in `order` has a membrane of its own."""
    states = [torch.zeros_like(x) for _ in order]
    counts = torch.zeros_like(x)
    with torch.no_grad():
        for _ in range(steps):
            y = x
            for i, layer in enumerate(order):
                if isinstance(layer, nn.Linear):
                    y = layer(y)
                else:
                    y, states[i] = layer(y, states[i])
            counts += y
    return counts


@pytest.mark.parametrize("seed", range(6))
def test_layers_that_are_used_again_run_again(seed: int) -> None:
    """Random chains of few layers, nested or not; weights are exact, so most counts are equal."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    linears = [nn.Linear(12, 12) for _ in range(2)]
    neurons = [snn.Leaky(beta=0.5, threshold=1.0, reset_mechanism=r) for r in ("zero", "none")]
    for layer in linears:
        layer.weight.data = torch.tensor(rng.integers(-127, 128, (12, 12)) / 128.0).float()
        layer.weight.data[:, 0] = 127 / 128
        layer.bias.data.zero_()
    pairs = [(linears[i], neurons[j]) for i, j in rng.integers(0, 2, (4, 2))]
    flat = [layer for pair in pairs for layer in pair]
    block = nn.Sequential(*pairs[0])
    forms: list[tuple[Any, list[nn.Module]]] = [
        (nn.Sequential(*flat), flat),
        (nn.Sequential(block, nn.Sequential(*pairs[1]), block), [*pairs[0], *pairs[1], *pairs[0]]),
        ({"a": pairs[0][0], "b": pairs[0][1], "c": pairs[0][0], "d": pairs[0][1]}, [*pairs[0]] * 2),
    ]
    x = rng.integers(0, 256, (40, 12)).astype(np.uint8)
    for form, order in forms:
        graph = export(form, steps=12, fraction_bits=8)
        assert [node.KIND for node in graph.nodes[: len(order)]] == ["dense", "lif"] * (
            len(order) // 2
        )
        counts = counts_of(order, torch.tensor(x / 255.0).float(), 12)
        got = graph.run({"x": x}).outputs["counts"]
        assert np.mean(got == counts.numpy()) > 0.97, (seed, len(order))


def test_one_membrane_for_two_places_is_refused() -> None:
    fc, lif = nn.Linear(4, 4), snn.Leaky(beta=0.9, init_hidden=True)
    with pytest.raises(ExportError, match=r"layer 3 .*it is layer 1 again"):
        export(nn.Sequential(fc, lif, fc, lif), steps=3)
