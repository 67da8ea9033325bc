"""Spiking networks in real numbers and as graphs: where weights lie on a grid, no spike differs."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest

from spikelet.frontends.spiking.encoders import DirectCurrent, Encoder, Poisson
from spikelet.frontends.spiking.held import channels_last
from spikelet.frontends.spiking.lower import Lowered, lower
from spikelet.frontends.spiking.network import (
    Add,
    Conv2d,
    Delay,
    Flatten,
    Layer,
    Linear,
    Neurons,
    OneToOne,
    Pool2d,
    Previous,
    Rule,
    Seeded,
    SpikingNetwork,
)
from spikelet.frontends.spiking.shapes import output_shape
from spikelet.frontends.spiking.simulate import Simulation
from spikelet.graph import Array
from spikelet.graph.ops import one_to_one
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.refusal import ImportRefused

STEPS = 60


def on_grid(rng: np.random.Generator, *shape: int) -> Array:
    made: Array = rng.integers(-40, 41, shape) / 64
    return made


def images(rng: np.random.Generator, rules: list[Rule]) -> SpikingNetwork:
    """Convolutions, pools of spikes and of currents, and a recurrence, with three given rules."""
    layers: tuple[Layer, ...] = (
        Conv2d(name="c1", inputs=("x",), weight=on_grid(rng, 6, 2, 3, 3), bias=on_grid(rng, 6),
               padding=(1, 1, 1, 1)),
        Neurons(name="l1", inputs=("c1",), rule=rules[0]),
        Delay(name="w1", inputs=("l1",), steps=rng.integers(0, 4, 6 * 64)),
        Pool2d(name="p1", inputs=("w1",), mode="mean", window=(2, 2), stride=(2, 2)),
        Conv2d(name="c2", inputs=("p1",), weight=on_grid(rng, 8, 6, 3, 3)),
        Pool2d(name="p2", inputs=("c2",), mode="max", window=(2, 2), stride=(1, 1)),
        Neurons(name="l2", inputs=("p2",), rule=rules[1]),
        Flatten(name="flat", inputs=("l2",)),
        Linear(name="fc", inputs=("flat",), weight=on_grid(rng, 20, 8), bias=on_grid(rng, 20)),
        Previous(name="last", of="l3", shape=(20,)),
        Linear(name="all", inputs=("last",), weight=on_grid(rng, 20, 20)),
        OneToOne(name="own", inputs=("last",), weight=on_grid(rng, 20)),
        Add(name="both", inputs=("fc", "all", "own")),
        Neurons(name="l3", inputs=("both",), rule=rules[2]),
        Delay(name="late", inputs=("l3",), steps=rng.integers(0, 9, 20)),
        Linear(name="out", inputs=("late",), delays=rng.integers(0, 12, (5, 20)),
               weight=on_grid(rng, 5, 20)),
        Neurons(name="lo", inputs=("out",), rule=Rule(kept=np.array([0.9]))),
    )  # fmt: skip
    return SpikingNetwork("images", {"x": (2, 8, 8)}, layers, "lo")


def of_layer(values: Array) -> Array:
    """(T, N, ...), channels first."""
    return np.moveaxis(values, -1, 2) if values.ndim == 5 else values


def differing(network: SpikingNetwork, lowered: Lowered, encoder: Encoder, seed: int) -> int:
    """Spikes of all layers in all steps that differ; some of each layer must be there."""
    rng = np.random.default_rng(seed)
    shape = channels_last(network.inputs["x"])
    x = rng.integers(0, 256, (3, *shape)).astype(np.uint8)
    inputs = {"x": x}
    if isinstance(encoder, Poisson):
        inputs = {"x": x.reshape(3, -1), "seed": np.arange(1, 4, dtype=np.uint32)[:, None]}
    trace = lowered.graph.run(inputs, trace=True).trace
    simulation, count = Simulation(network, 3), 0
    for t in range(STEPS):
        if isinstance(encoder, Poisson):
            spikes = "spikes" if "spikes" in trace else "encode.spikes"
            seen = np.moveaxis(trace[spikes][t], -1, 1)
        else:
            seen = np.moveaxis((x.astype(np.float64) - encoder.zero_point) * encoder.scale, -1, 1)
        real = simulation.step({"x": seen})
        for layer in network.layers:
            if isinstance(layer, Neurons):
                made = of_layer(trace[lowered.held[layer.name].name])[t] * layer.rule.height
                count += int((made.reshape(real[layer.name].shape) != real[layer.name]).sum())
    for layer in network.layers:
        if isinstance(layer, Neurons) and layer.name != "lo":
            assert trace[lowered.held[layer.name].name].any(), layer.name
    return count


CONVENTIONS = [
    (reset, timing, compare)
    for reset, timing, compare in itertools.product(
        ("none", "zero", "value", "subtract"),
        ("same_step", "next_step", "next_step_input_lost", "both_steps"),
        (">", ">="),
    )
    if reset != "none" or timing == "same_step"
]


@pytest.mark.parametrize(("reset", "timing", "compare"), CONVENTIONS)
def test_no_spike_differs_where_weights_lie_on_a_grid(
    reset: str, timing: str, compare: str
) -> None:
    rng = np.random.default_rng(CONVENTIONS.index((reset, timing, compare)))
    convention = {"reset": reset, "timing": timing, "compare": compare}
    rules = [
        Rule(kept=rng.uniform(0.5, 1, 6 * 64), value=rng.uniform(-0.5, 0.3, 1), **convention),
        Rule(
            kept=np.array([0.8]), kept_current=rng.uniform(0.3, 0.9, 8), refractory=2,
            threshold=np.array([1.3]), **convention,
        ),
        Rule(
            kept=rng.uniform(0.5, 0.95, 20), gain=rng.uniform(0.2, 1, 20), drift=np.array([0.02]),
            threshold=rng.uniform(0.5, 1.5, 20), initial=0.3, value=np.array([0.1]), **convention,
        ),
    ]  # fmt: skip
    network = images(rng, rules)
    for encoder in (Poisson(), DirectCurrent(1 / 256, 0)):
        lowered = lower(network, STEPS, encoder)
        assert all(lowered.exact_weights.values())
        assert differing(network, lowered, encoder, 1) == 0


ALPHA = {"kept_current": np.array([0.9]), "kept_inhibitory": np.array([0.6]), "kept": np.zeros(1)}
SWITCHES: dict[str, dict[str, Any]] = {
    "alpha": {**ALPHA, "timing": "next_step_input_lost"},
    "alpha, subtract": {**ALPHA, "reset": "subtract", "timing": "next_step", "compare": ">="},
    "adaptive threshold": {"adapts": "threshold", "reset": "subtract"},
    "adaptive threshold, reset to zero": {"adapts": "threshold", "compare": ">="},
    "adaptive input": {"adapts": "input", "reset": "subtract"},
    "adaptive input, delayed": {"adapts": "input", "reset": "subtract", "timing": "next_step"},
    "adaptive input, both steps": {"adapts": "input", "timing": "both_steps", "refractory": 1},
    "inhibition": {"inhibition": True, "reset": "subtract", "timing": "next_step"},
    "inhibition, adaptive": {"inhibition": True, "adapts": "threshold", "refractory": 2},
    "several": {"most": 7, "reset": "subtract", "compare": ">="},
    "several, adaptive": {"most": 3, "reset": "subtract", "adapts": "threshold"},
    "heights": {"height": 0.5, "reset": "subtract"},
    "several heights": {"height": 0.25, "most": 4, "reset": "subtract"},
}


def dense(rng: np.random.Generator, switches: dict[str, Any]) -> SpikingNetwork:
    """Three layers of neurons with these switches, and a recurrence."""

    def rule(n: int, **more: Any) -> Rule:
        kept = rng.uniform(0.5, 0.95, n)
        if switches.get("adapts", "nothing") != "nothing":
            more |= {
                "kept_adaptation": rng.uniform(0.7, 0.95, n), "jump": rng.uniform(0.05, 0.4, n),
                "coupling": rng.uniform(0, 0.3, n),
            }  # fmt: skip
        return Rule(**{"kept": kept, **more, **switches})

    gain = np.array([0.7]) if "inhibition" in switches else rng.uniform(0.4, 1, 24)
    own: tuple[Layer, ...] = (OneToOne(name="own", inputs=("last",), weight=on_grid(rng, 20)),)
    sums: tuple[str, ...] = ("fc2", "all", "own")
    if "kept_inhibitory" in switches:
        gain = rng.uniform(1.5, 3, 24)
    late: tuple[Layer, ...] = (Delay(name="w1", inputs=("l1",), steps=np.arange(24) % 3),)
    first = "w1"
    if switches.get("most", 1) > 1:  # counts do not arrive late
        late, first = (), "l1"
    layers: tuple[Layer, ...] = (
        Linear(name="fc1", inputs=("x",), weight=on_grid(rng, 24, 16), bias=on_grid(rng, 24)),
        Neurons(name="l1", inputs=("fc1",), rule=rule(24, gain=gain)),
        *late,
        Linear(name="fc2", inputs=(first,), weight=on_grid(rng, 20, 24), bias=on_grid(rng, 20)),
        Previous(name="last", of="l2", shape=(20,)),
        Linear(name="all", inputs=("last",), weight=on_grid(rng, 20, 20)),
        *own,
        Add(name="both", inputs=sums),
        Neurons(name="l2", inputs=("both",), rule=rule(20, kept_current=np.array([0.5]))),
        Linear(name="out", inputs=("l2",), weight=on_grid(rng, 5, 20)),
        Neurons(name="lo", inputs=("out",), rule=rule(5)),
    )
    return SpikingNetwork("dense", {"x": (16,)}, layers, "lo")


R = Rule(kept=np.array([0.9]), reset="subtract")


def of_images(kind: str) -> SpikingNetwork:
    """Neurons of an image with a weight each, or a recurrence behind what is flattened."""
    rng, n = np.random.default_rng(4), 3 * 4 * 4
    conv = Conv2d(name="c", inputs=("x",), weight=on_grid(rng, 3, 2, 3, 3), padding=(1, 1, 1, 1))
    flat = Flatten(name="flat", inputs=("c",))
    own = partial(OneToOne, name="own", inputs=("last",))
    dense = Linear(name="own", inputs=("last",), weight=on_grid(rng, n, n))
    out = (
        Linear(name="out", inputs=("end",), weight=on_grid(rng, 5, n)),
        Neurons(name="lo", inputs=("out",), rule=R),
    )
    layers: tuple[Layer, ...] = {
        "recurrent": (
            conv, Previous(name="last", of="l1", shape=(3, 4, 4)),
            own(weight=on_grid(rng, 3, 4, 4)), Add(name="sums", inputs=("c", "own")),
            Neurons(name="l1", inputs=("sums",), rule=R), Flatten(name="end", inputs=("l1",)),
        ),
        "forward": (
            conv, Neurons(name="l0", inputs=("c",), rule=R), Flatten(name="flat", inputs=("l0",)),
            OneToOne(name="own", inputs=("flat",), weight=on_grid(rng, n)),
            Neurons(name="end", inputs=("own",), rule=R),
        ),
        "flattened": (
            conv, flat, Previous(name="last", of="end", shape=(n,)), own(weight=on_grid(rng, n)),
            Add(name="sums", inputs=("flat", "own")), Neurons(name="end", inputs=("sums",), rule=R),
        ),
        "flattened, dense": (
            conv, flat, Previous(name="last", of="end", shape=(n,)), dense,
            Add(name="sums", inputs=("flat", "own")), Neurons(name="end", inputs=("sums",), rule=R),
        ),
    }[kind]  # fmt: skip
    return SpikingNetwork("image", {"x": (2, 4, 4)}, (*layers, *out), "lo")


@pytest.mark.parametrize("kind", ["recurrent", "forward"])
def test_no_spike_differs_of_images_with_a_weight_a_neuron(kind: str) -> None:
    lowered = lower(of_images(kind), STEPS, Poisson())
    assert all(lowered.exact_weights.values())
    assert differing(of_images(kind), lowered, Poisson(), 1) == 0


@pytest.mark.parametrize("kind", ["flattened", "flattened, dense"])
def test_a_recurrence_behind_a_flattened_image_is_refused(kind: str) -> None:
    with pytest.raises(ImportRefused, match=r"layer sums: it adds own to (flat|c), an image") as e:
        lower(of_images(kind), STEPS, Poisson())
    assert e.value.next is not None and "put a Linear behind" in e.value.next


def test_a_weight_of_counts_beyond_16_bits_keeps_seven() -> None:
    rule = Rule(kept=np.array([0.9]), most=200, reset="subtract")
    weight = np.array([0.1, 0.1, 0.1, 2.0])
    layers: tuple[Layer, ...] = (
        Linear(name="fc", inputs=("x",), weight=np.full((4, 4), 0.01)),
        Previous(name="last", of="lo", shape=(4,)),
        OneToOne(name="own", inputs=("last",), weight=weight),
        Add(name="sums", inputs=("fc", "own")),
        Neurons(name="lo", inputs=("sums",), rule=rule),
    )
    network = SpikingNetwork("counts", {"x": (4,)}, layers, "lo")
    lowered = lower(network, STEPS, Poisson())
    nodes = {node.name: node for node in lowered.graph.order}
    own, shifted = nodes["own"], nodes["sums_1"]
    assert isinstance(own, one_to_one.OneToOne)
    assert isinstance(shifted, LeakyReadout)
    assert 64 <= own.weight.max() <= 32767 // 200
    np.testing.assert_allclose(own.weight / own.weight.max() * 2.0, weight, atol=2.0 * 2.0**-7)
    assert not lowered.exact_weights["own"]
    assert shifted.input_shift > 0


@pytest.mark.parametrize("name", SWITCHES)
def test_no_spike_differs_with_switches(name: str) -> None:
    rng = np.random.default_rng(len(name))
    network = dense(rng, SWITCHES[name])
    for encoder in (Poisson(), DirectCurrent(1 / 256, 0)):
        lowered = lower(network, STEPS, encoder)
        assert all(lowered.exact_weights.values())
        assert differing(network, lowered, encoder, 1) == 0


def test_weights_and_integrators_are_read_out() -> None:
    rng = np.random.default_rng(3)
    front: tuple[Layer, ...] = (
        Linear(name="fc", inputs=("x",), weight=on_grid(rng, 30, 10)),
        Neurons(name="lif", inputs=("fc",), rule=Rule(kept=np.array([0.9]))),
        Linear(name="out", inputs=("lif",), weight=on_grid(rng, 4, 30)),
    )
    integrator = Neurons(
        name="v", inputs=("out",), rule=Rule(kept=np.array([0.75]), threshold=None)
    )
    x = rng.integers(0, 256, (5, 10)).astype(np.uint8)
    for layers, output, readout in (
        (front, "out", "sum"), ((*front, integrator), "v", "membrane"),
    ):  # fmt: skip
        network = SpikingNetwork("read", {"x": (10,)}, layers, output)
        lowered = lower(network, 20, DirectCurrent(1 / 256), readout)  # type: ignore[arg-type]
        scores = lowered.graph.run({"x": x}).outputs[lowered.graph.outputs[1]] * lowered.unit
        simulation = Simulation(network, 5)
        steps = [simulation.step({"x": x / 256})[output] for _ in range(20)]
        real = np.sum(steps, axis=0) if readout == "sum" else steps[-1]
        assert np.abs(scores - real).max() < 1e-4 * np.abs(real).max()


def test_every_kind_of_layer_has_a_shape() -> None:
    assert set(Layer.__subclasses__()) <= set(output_shape.registry)


LINEAR = Linear(name="fc", inputs=("x",), weight=np.ones((4, 4)))
LIF = Neurons(name="lif", inputs=("fc",), rule=Rule(kept=np.array([0.9])))


@pytest.mark.parametrize(
    ("layers", "output", "text"),
    [
        ((LINEAR, Neurons(name="n", inputs=("fc",), rule=Rule(
            kept=np.ones(1), gain=np.array([1.0, 2, 2, 2]), inhibition=True))), "n",
         "inhibit each other, and their gain differs"),
        ((Neurons(name="lif", inputs=("x",), rule=LIF.rule),), "lif", "no weights in front"),
        ((LINEAR,), "fc", "it is read out by its spikes, and it does not spike"),
        ((LINEAR, LIF, Add(name="s", inputs=("lif", "lif")),
          Neurons(name="n", inputs=("s",), rule=LIF.rule)), "n", "put a layer of weights"),
        ((LINEAR, Linear(name="b", inputs=("fc",), weight=np.ones((4, 4))),
          Neurons(name="n", inputs=("b",), rule=LIF.rule)), "n", "no neurons between them"),
        ((LINEAR, Neurons(name="n", inputs=("fc",), rule=Rule(
            kept=np.ones(1), drift=np.ones(1), threshold=None))), "n", "drift without input"),
        ((LINEAR, LIF, Neurons(name="n", inputs=("fc",), rule=LIF.rule)), "n", "2 layers read"),
    ],
)  # fmt: skip
def test_what_a_graph_cannot_hold_is_refused_by_name(
    layers: tuple[Layer, ...], output: str, text: str
) -> None:
    network = SpikingNetwork("bad", {"x": (4,)}, layers, output)
    with pytest.raises(ImportRefused, match=text):
        lower(network, 5, DirectCurrent())


def test_sums_of_values_and_of_spikes_keep_their_bits_where_they_meet() -> None:
    """A recurrence beside pixels, whose unit is hundreds of times finer: both have weights left."""
    rng = np.random.default_rng(3)
    rule = Rule(kept=np.full(1, 0.9), threshold=np.full(1, 0.4), reset="subtract")
    layers = (
        Previous(name="before", of="cells", shape=(20,)),
        Linear(name="seen", inputs=("x",), weight=rng.normal(0, 0.3, (20, 12))),
        Linear(name="own", inputs=("before",), weight=rng.normal(0, 0.3, (20, 20))),
        Add(name="both", inputs=("own", "seen")),
        Neurons(name="cells", inputs=("both",), rule=rule),
    )
    network = SpikingNetwork("pixels", {"x": (12,)}, layers, "cells")
    lowered = lower(network, 12, DirectCurrent())
    weights = {node.name: node.arrays().get("weight") for node in lowered.graph.nodes}
    for name in ("seen", "own"):
        codes = np.abs(np.asarray(weights[name], int)).max(axis=1)
        assert codes.min() > 20 and codes.max() == 127
    x = rng.integers(0, 256, (30, 12)).astype(np.uint8)
    simulation, wanted = Simulation(network, 30), []
    for _ in range(12):
        wanted.append(simulation.step({"x": x / 255})["cells"])
    made = lowered.graph.run({"x": x}, trace=True).trace["cells.spikes"]
    assert 0.05 < np.mean(wanted) < 0.8
    assert np.mean(made != np.stack(wanted)) < 0.05


def test_layers_of_one_sum_may_stand_before_what_the_others_read() -> None:
    """Each delay right in front of its weights is the same network as all delays first."""
    rng = np.random.default_rng(5)
    rule = Rule(kept=np.full(1, 0.9), threshold=np.full(1, 0.5), reset="subtract")
    first = Linear(name="fc", inputs=("x",), weight=rng.normal(0, 0.5, (8, 4)))
    spikes = Neurons(name="lif", inputs=("fc",), rule=rule)
    delays = [Delay(name=f"d{k}", inputs=("lif",), steps=np.array([k])) for k in (1, 2)]
    taps = [
        Linear(name=f"w{k}", inputs=(of,), weight=rng.normal(0, 0.3, (6, 8)))
        for k, of in enumerate(("lif", "d1", "d2"))
    ]
    behind = (
        Add(name="both", inputs=("w0", "w1", "w2")),
        Neurons(name="cells", inputs=("both",), rule=rule),
    )
    x = rng.integers(0, 256, (9, 4)).astype(np.uint8)
    made = []
    for middle in ([*delays, *taps], [taps[0], delays[0], taps[1], delays[1], taps[2]]):
        network = SpikingNetwork("taps", {"x": (4,)}, (first, spikes, *middle, *behind), "cells")
        made.append(lower(network, 12, DirectCurrent()).graph.run({"x": x}, trace=True))
    assert made[0].trace["cells.spikes"].any()
    for name, values in made[0].trace.items():
        np.testing.assert_array_equal(made[1].trace[name], values)


def test_a_threshold_far_below_a_weight_has_fraction_bits() -> None:
    """In units of the weights it rounds to 0, which neurons of several spikes cannot have."""
    front = Seeded.of("fc", "x", (8, 8), seed=1, size=12.0)
    rule = Rule(kept=np.array([0.9]), reset="subtract", most=3)
    neurons = Neurons(name="lif", inputs=("fc",), rule=rule)
    network = SpikingNetwork("steep", {"x": (8,)}, (front, neurons), "lif")
    graph = lower(network, 4, Poisson(), narrow=False).graph
    node = next(node for node in graph.nodes if node.KIND == "lif")
    shift, threshold = int(node.attributes()["input_shift"]), node.arrays()["threshold"]
    assert shift > 8 and abs(int(threshold[0]) - (1 << shift) / 12) <= 1
