"""Neurons of every class and convention behind synapses of every kind, as small networks.

What the networks hold is discovered: classes of neurons are those of the frameworks, conventions
are what `Rule` can say, kinds of synapses are the layers of `network`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import spiking_programs
import torch
from test_spiking_programs import CLASSES
from torch import nn

from spikelet.frontends.spiking import network as real
from spikelet.frontends.spiking.encoders import (
    DirectCurrent,
    Encoder,
    EventBits,
    EventCounts,
    Frames,
    Latency,
    Poisson,
)
from spikelet.frontends.spiking.lower import lower, readout_of
from spikelet.frontends.spiking.network import (
    Activation,
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
from spikelet.frontends.spiking.program import read
from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.ops.delayed_dense import DelayedDense
from spikelet.refusal import ImportRefused

STEPS = 12
NEURONS = 64
IMAGE = (4, 4, 4)  # as many neurons
SPIKES = Poisson()
BOTH_SIGNS = Frames(1.6 / 255, 80)
POSITIVE = Frames()  # padding reads a 0


# Neurons


@functools.cache
def classes() -> dict[str, SpikingNetwork]:
    """A layer of weights and the neurons, of each class with each of its conventions."""
    made = {}
    for number, (name, neurons) in enumerate(CLASSES):
        torch.manual_seed(number)
        front = nn.Linear(NEURONS, NEURONS, bias=False)
        front.weight = nn.Parameter(gain_of(name) * torch.eye(NEURONS))
        program: nn.Module = nn.Sequential(front, neurons)
        if "Cell" in name:
            program = spiking_programs.SequentialState(front, neurons)
        x = torch.rand(STEPS, 1, NEURONS) * 1.6 - 0.5
        made[f"{number}-{name}"] = read(program, x, STEPS, per_step=True).network
    return made


def gain_of(name: str) -> float:
    """Norse's time constants are ten to a hundred steps: it takes more to make its neurons fire."""
    return 30.0 if "Cell" in name else 1.0


EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "current": {"kept_current": np.array([0.6])},
    "late": {"kept_current": np.array([0.6]), "late": True},
    "drift": {"drift": np.linspace(-0.05, 0.1, NEURONS), "initial": 0.3},
    "each": {"kept": np.linspace(0, 1, NEURONS), "threshold": np.linspace(0.3, 1, NEURONS)},
    "gain": {"gain": np.array([0.4])},
    "refractory": {"refractory": 2},
    "inhibition": {"inhibition": True},
    "several": {"most": 3},
    "height": {"height": 2.5},
    **{
        f"adapts {what}": {
            "adapts": what, "kept_adaptation": np.array([0.8]), "jump": np.array([0.2]),
            "coupling": np.array([-0.05]),
        }
        for what in get_args(real.Adapts)
        if what != "nothing"
    },
}  # fmt: skip


def conventions() -> dict[str, Rule]:
    """Every comparison, reset and timing, with each of what a rule may have besides."""
    made = {}
    for compare, reset, timing, (extra, fields) in itertools.product(
        get_args(real.Compare), get_args(real.Reset), get_args(real.Timing), EXTRAS.items()
    ):
        rule: dict[str, Any] = {
            "kept": np.array([0.9]), "compare": compare, "reset": reset, "timing": timing,
            "value": np.array([-0.2]), **fields,
        }  # fmt: skip
        made[f"{compare} {reset} {timing} {extra}"] = Rule(**rule)
    for compare, reset in itertools.product(get_args(real.Compare), ("none", "zero", "subtract")):
        timing = "next_step" if reset == "subtract" else "next_step_input_lost"
        made[f"{compare} {reset} alpha"] = Rule(
            kept=np.zeros(1), kept_current=np.array([0.9]), kept_inhibitory=np.array([0.6]),
            gain=np.array([2.0]), compare=compare, reset=reset, timing=timing,  # type: ignore[arg-type]
        )  # fmt: skip
    made["integrator"] = Rule(kept=np.array([0.9]), threshold=None)
    made["sum"] = Rule(kept=np.ones(1), threshold=None)
    return made


# Synapses

Build = Callable[[np.random.Generator, float, str, str], list[Layer]]


@dataclass(frozen=True)
class Synapse:
    """Layers between the input and neurons.

    Attributes:
        encoder: of the input.
        shape: of it, channels first.
        build: layers that read x, of a generator, the size of weights, the name of the last one,
            and the neurons' own name.
        image: whether its sums are an image.
        gather: of delays a synapse, whether they look back.
    """

    encoder: Encoder
    shape: tuple[int, ...]
    build: Build
    image: bool = False
    gather: bool = False


def weights(rng: np.random.Generator, size: float, *shape: int) -> Array:
    return rng.normal(0.1, 0.5, shape) * size


def few(rng: np.random.Generator, size: float, levels: list[int], *shape: int) -> Array:
    return rng.choice(np.array(levels, np.float64), shape) * size / max(levels)


def linear(name: str, source: str, weight: Array, **fields: Any) -> Linear:
    return Linear(name=name, inputs=(source,), weight=weight, **fields)


def dense(
    levels: list[int] | None = None, delays: int | None = None, biased: bool = False, n: int = 24
) -> Build:
    def build(rng: np.random.Generator, size: float, out: str, _: str) -> list[Layer]:
        drawn = weights(rng, size, NEURONS, n) if levels is None else few(
            rng, size, levels, NEURONS, n
        )  # fmt: skip
        late = None if delays is None else rng.integers(0, delays + 1, drawn.shape)
        bias = rng.normal(0, 0.1, NEURONS) * size if biased else None
        return [linear(out, "x", drawn, bias=bias, delays=late)]

    return build


def seeded(fan_out: int | None, n: int = 24) -> Build:
    def build(rng: np.random.Generator, size: float, out: str, _: str) -> list[Layer]:
        seed = int(rng.integers(1 << 32))
        return [Seeded.of(out, "x", (NEURONS, n), seed, 0.4 * size, fan_out)]

    return build


def convolution(depth: int, kernel: tuple[int, int], **fields: Any) -> Build:
    def build(rng: np.random.Generator, size: float, out: str, _: str) -> list[Layer]:
        weight = weights(rng, size, IMAGE[0], depth, *kernel)
        return [Conv2d(name=out, inputs=("x",), weight=weight, **fields)]

    return build


def pooled(mode: Any, of_spikes: bool) -> Build:
    """(2, 8, 8) of spikes, or their sums, to (4, 4, 4)."""

    def build(rng: np.random.Generator, size: float, out: str, _: str) -> list[Layer]:
        weight = weights(rng, size, IMAGE[0], 2, 3, 3)
        first, second = ("x", "between"), ("between", out)
        (read, written), (given, made) = (second, first) if of_spikes else (first, second)
        conv = Conv2d(name=written, inputs=(read,), weight=weight, padding=(1, 1, 1, 1))
        pool = Pool2d(name=made, inputs=(given,), mode=mode, window=(2, 2), stride=(2, 2))
        return [pool, conv] if of_spikes else [conv, pool]

    return build


def axonal(rng: np.random.Generator, size: float, out: str, _: str) -> list[Layer]:
    steps = rng.integers(0, 8, 24)
    late = Delay(name="late", inputs=("x",), steps=steps)
    return [late, linear(out, "late", weights(rng, size, NEURONS, 24))]


def one_to_one(shape: tuple[int, ...]) -> Build:
    def build(rng: np.random.Generator, size: float, out: str, _: str) -> list[Layer]:
        return [OneToOne(name=out, inputs=("x",), weight=rng.uniform(0.3, 1.5, shape) * size)]

    return build


def recurrent(own: bool) -> Build:
    """Weights of the input, and of the neurons' spikes of the step before."""

    def build(rng: np.random.Generator, size: float, out: str, neurons: str) -> list[Layer]:
        before = Previous(name="again", of=neurons, shape=(NEURONS,))
        back: Layer = linear("back", "again", 0.3 * weights(rng, size, NEURONS, NEURONS))
        if own:
            weight = rng.normal(-0.2, 0.2, NEURONS) * size
            back = OneToOne(name="back", inputs=("again",), weight=weight)
        first = linear("first", "x", weights(rng, size, NEURONS, 24))
        return [before, first, back, Add(name=out, inputs=("first", "back"))]

    return build


def activation(function: Any) -> Build:
    def build(rng: np.random.Generator, size: float, out: str, _: str) -> list[Layer]:
        return [
            linear("first", "x", weights(rng, 1.0, 20, 24)),
            Activation(name="values", inputs=("first",), function=function, limit=1.5),
            linear(out, "values", weights(rng, size, NEURONS, 20)),
        ]

    return build


def echo(rng: np.random.Generator, size: float, out: str, _: str) -> list[Layer]:
    """A reservoir of seeded weights, whose values go round."""
    return [
        Previous(name="again", of="values", shape=(20,)),
        Seeded.of("into", "x", (20, 24), 5, 0.3),
        Seeded.of("round", "again", (20, 20), 6, 0.2),
        Add(name="sums", inputs=("into", "round")),
        Activation(name="values", inputs=("sums",), function="tanh"),
        linear(out, "values", weights(rng, size, NEURONS, 20)),
    ]


def flat(rng: np.random.Generator, size: float, out: str, _: str) -> list[Layer]:
    """Spikes of an image, flattened, into dense weights."""
    return [
        Flatten(name="flat", inputs=("x",)),
        linear(out, "flat", weights(rng, size, NEURONS, 24)),
    ]


SYNAPSES: dict[str, Synapse] = {
    "values": Synapse(BOTH_SIGNS, (24,), dense()),
    "constant values": Synapse(DirectCurrent(), (24,), dense()),
    "counts of events": Synapse(EventCounts(), (24,), dense(levels=[-9, 1, 7])),
    "dense": Synapse(SPIKES, (24,), dense(biased=True)),
    "dense, events": Synapse(EventBits(), (24,), dense()),
    "dense, latency": Synapse(Latency(), (24,), dense()),
    "dense, flattened": Synapse(SPIKES, (2, 3, 4), flat),
    "dense, 4 bits": Synapse(SPIKES, (24,), dense([-7, -2, 0, 3, 7])),
    "dense, 2 bits": Synapse(SPIKES, (24,), dense([-3, -1, 1, 3])),
    "dense, ternary": Synapse(SPIKES, (24,), dense([-1, 0, 1])),
    "dense, 1 bit": Synapse(SPIKES, (24,), dense([-1, 1])),
    "delays, scatter": Synapse(SPIKES, (24,), dense(delays=7)),
    "delays, gather": Synapse(SPIKES, (24,), dense(delays=40, biased=True), gather=True),
    "delays, axonal": Synapse(SPIKES, (24,), axonal),
    "seeded, values": Synapse(BOTH_SIGNS, (24,), seeded(None)),
    "seeded, spikes": Synapse(SPIKES, (24,), seeded(None)),
    "seeded, fan-out": Synapse(SPIKES, (24,), seeded(9)),
    "reservoir": Synapse(BOTH_SIGNS, (24,), echo),
    "conv2d, values": Synapse(POSITIVE, (2, 4, 4), convolution(2, (3, 3), padding=(1,) * 4), True),
    "conv2d": Synapse(
        SPIKES, (3, 8, 8), convolution(3, (3, 3), padding=(1, 1, 0, 0), stride=(2, 2)), True
    ),
    "conv2d, depthwise": Synapse(
        SPIKES, (4, 6, 6), convolution(1, (2, 2), groups=4, dilation=(2, 2)), True
    ),
    "conv1d": Synapse(SPIKES, (3, 1, 18), convolution(3, (1, 3)), True),
    **{
        f"{mode} of {'spikes' if of_spikes else 'sums'}": Synapse(
            SPIKES, (2, 8, 8), pooled(mode, of_spikes), True
        )
        for mode, of_spikes in itertools.product(("sum", "mean", "max"), (True, False))
    },
    "one to one": Synapse(SPIKES, (NEURONS,), one_to_one((NEURONS,))),
    "one to one, by channel": Synapse(SPIKES, IMAGE, one_to_one((4,)), True),
    "recurrent, dense": Synapse(SPIKES, (24,), recurrent(own=False)),
    "recurrent, one to one": Synapse(SPIKES, (24,), recurrent(own=True)),
    **{
        f"activation, {function}": Synapse(BOTH_SIGNS, (24,), activation(function))
        for function in ("clip", "relu", "tanh")
    },
}


def with_synapse(network: SpikingNetwork, kind: str, size: float) -> SpikingNetwork:
    """A network with other layers between the input and its neurons; size: of the weights."""
    (front,) = network.readers("x")
    others = [layer for layer in network.layers if layer is not front]
    neurons = next(layer for layer in others if isinstance(layer, Neurons))
    rng = np.random.default_rng(len(kind))
    made = SYNAPSES[kind].build(rng, size, front.name, neurons.name)
    before = [layer for layer in others if isinstance(layer, Previous)]
    behind = [layer for layer in others if not isinstance(layer, Previous)]
    found = replace(
        network, inputs={"x": SYNAPSES[kind].shape}, layers=(*before, *made, *behind)
    )  # fmt: skip
    if not SYNAPSES[kind].image:
        return found
    out = linear("out", "flat", weights(rng, 1.0, 3, NEURONS))  # an image is not read out
    more = Flatten(name="flat", inputs=(network.output,)), out
    return replace(found, layers=(*found.layers, *more), output="out")


def exists(network: SpikingNetwork, kind: str) -> bool:
    """Whether the graph has it: no image is added to a recurrence's sums, one to one reads bits."""
    if any(isinstance(layer, Previous) for layer in network.layers):
        return not SYNAPSES[kind].image
    counts = any(isinstance(layer, Neurons) and layer.rule.most > 1 for layer in network.layers)
    return not (counts and kind == "recurrent, one to one")


def plain_network(rule: Rule) -> SpikingNetwork:
    """Neurons behind a layer of weights."""
    front = linear("fc", "x", np.eye(NEURONS))
    neurons = Neurons(name="neurons", inputs=("fc",), rule=rule)
    return SpikingNetwork("plain", {"x": (NEURONS,)}, (front, neurons), "neurons")


# Images


def lowered(network: SpikingNetwork, encoder: Encoder, narrow: bool, gather: bool = False) -> Graph:
    """Its graph; delays a synapse look back with `gather`."""
    graph = lower(network, STEPS, encoder, readout_of(network), narrow=narrow).graph
    nodes = [
        replace(node, gather=gather) if isinstance(node, DelayedDense) else node
        for node in graph.nodes
    ]
    return Graph(graph.name, graph.steps, graph.inputs, nodes, graph.outputs)


def joined(graphs: list[Graph], name: str) -> Graph:
    """One graph of them all; inputs are shared by type and shape."""
    inputs: dict[Any, Tensor] = {}
    nodes: list[Operator] = []
    outputs = []
    for number, graph in enumerate(graphs):
        names = {}
        for given in graph.inputs:
            key = given.dtype, given.shape, given.per_step
            shared = inputs.setdefault(key, replace(given, name=f"x{len(inputs)}"))
            names[given.name] = shared.name
        for node in graph.nodes:
            sources = tuple(names.get(source, f"n{number}_{source}") for source in node.inputs)
            changes: dict[str, Any] = {"name": f"n{number}_{node.name}", "inputs": sources}
            if hasattr(node, "of"):
                changes["of"] = f"n{number}_{node.of}"
            nodes.append(replace(node, **changes))
        outputs.append(f"n{number}_{graph.outputs[1]}")
    return Graph(name, STEPS, list(inputs.values()), nodes, outputs)


def class_graphs(kind: str) -> dict[str, Graph]:
    """Every class with every convention behind a kind of synapses, by name.

    States are exact and narrow by turns: of the next kind of synapses the other way round.
    """
    synapse, turn = SYNAPSES[kind], list(SYNAPSES).index(kind)
    return {
        name: lowered(
            with_synapse(network, kind, gain_of(name)), synapse.encoder, bool((turn + number) % 2),
            synapse.gather,
        )
        for number, (name, network) in enumerate(classes().items())
        if exists(network, kind)
    }  # fmt: skip


def convention_graphs() -> tuple[dict[str, Graph], list[str]]:
    """Every convention that the graph holds, behind dense weights, and names of those refused.

    States are exact and narrow by turns.
    """
    found, refused = {}, []
    for number, (name, rule) in enumerate(conventions().items()):
        network = with_synapse(plain_network(rule), "dense", 1.0)
        try:
            found[name] = lowered(network, SPIKES, bool((number + number // len(EXTRAS)) % 2))
        except ImportRefused:
            refused.append(name)
    return found, refused


def program_graphs() -> dict[str, Graph]:
    """Each program of `spiking_programs`, with exact and with narrow states."""
    found = {}
    for name in spiking_programs.PROGRAMS:
        program, x = spiking_programs.made(name)
        network = read(program, x[:2], spiking_programs.STEPS).network
        for narrow in (False, True):
            found[f"{name}, {'narrow' if narrow else 'exact'}"] = lowered(network, POSITIVE, narrow)
    return found
