"""Spiking networks that learn, with options and conventions at both ends of their ranges."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphs import random_inputs, seed, values, weights
from spikelet.graph import Array, Graph, Operator
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.latency import Latency
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import Lif
from spikelet.graph.ops.poisson import Poisson
from spikelet.graph.ops.spike_count import SpikeCount
from spikelet.learn import Setting
from spikelet.learn.learners.finetune import FineTune

INPUTS, CLASSES = 37, 5
LEAK = 29491  # Q15 of 0.9

Options = dict[str, Any]


def network(
    *,
    hidden: tuple[int, ...] = (13,),
    steps: int = 6,
    encoder: str = "poisson",
    readout: Options | None = None,
    bias: bool = False,
    spread: float = 40.0,
    **neuron: Any,
) -> Graph:
    """Dense layers with lif neurons, and a readout.

    Args:
        hidden: widths of the hidden layers.
        steps: T.
        encoder: poisson, latency, or values: the first layer reads the input itself, once.
        readout: fields of an integrator; None for counts of spikes.
        bias: whether layers have one.
        spread: of the weights' codes.
        neuron: fields of all lif neurons.
    """
    rng = np.random.default_rng(11)
    nodes: list[Operator] = []
    x = {"poisson": "encode.spikes", "latency": "encode", "values": "x"}[encoder]
    if encoder == "poisson":
        nodes.append(Poisson(name="encode", inputs=("x", "seed")))
    elif encoder == "latency":
        nodes.append(Latency(name="encode", inputs=("x",)))
    fan_in = INPUTS
    for i, width in enumerate((*hidden, CLASSES)):
        last = i == len(hidden)
        size = 3.0 if x == "x" else 1.0
        drawn = rng.integers(-30, 30, width).astype(np.int32) if bias else None
        weight = weights(rng, width, fan_in, spread)
        nodes.append(Dense(name=f"fc{i}", inputs=(x,), weight=weight, bias=drawn))
        if last and readout is not None:
            nodes.append(LeakyReadout(name="scores", inputs=(f"fc{i}",), **readout))
            break
        threshold = rng.integers(80, 160, width) * (255 if x == "x" else 1) / size
        shift = neuron.get("input_shift", 0)
        fields = {"threshold": (threshold * 2**shift).astype(np.int32), "leak": LEAK} | neuron
        nodes.append(Lif(name=f"lif{i}", inputs=(f"fc{i}",), **fields))
        x, fan_in = f"lif{i}.spikes", width
    else:
        nodes.append(SpikeCount(name="scores", inputs=(x,)))
    inputs = [values(INPUTS), *([seed()] if encoder == "poisson" else [])]
    return Graph("spiking", steps, inputs, nodes, ["scores"])


SUM: Options = {"leak": 1 << 15}
LEAKY: Options = {"leak": LEAK, "input_shift": 2}
# By name: the network, and the options of the learner.
CASES: dict[str, tuple[Options, Options]] = {
    "counts": ({"reset": "subtract", "bias": True}, {"rounding": "nearest"}),
    "sums": ({"readout": SUM}, {"surrogate_width": 0.125}),
    "leaky": ({"readout": LEAKY, "hidden": (9, 33)}, {"surrogate_width": 8.0}),
    "direct": ({"readout": LEAKY, "hidden": (9, 7)}, {"feedback": "direct"}),
    "direct_counts": ({"hidden": (33,), "compare": ">="}, {"feedback": "direct"}),
    "values": ({"encoder": "values", "readout": SUM, "bias": True}, {"rounding": "nearest"}),
    "values_counts": ({"encoder": "values", "hidden": (5, 6)}, {}),
    "latency": ({"encoder": "latency", "reset": "none", "readout": SUM}, {}),
    "one_layer": ({"hidden": (), "reset": "value", "reset_value": np.array([-9], np.int32)}, {}),
    "one_readout": ({"hidden": (), "readout": LEAKY}, {"rounding": "nearest"}),
    "values_readout": ({"hidden": (), "encoder": "values", "readout": LEAKY, "bias": True}, {}),
    "one_step": ({"steps": 1, "readout": SUM}, {}),
    "late": ({"timing": "next_step", "reset": "subtract", "input_shift": 4}, {}),
    "lost": ({"timing": "next_step_input_lost", "leak": 0, "readout": LEAKY}, {}),
    "kept": ({"leak": 1 << 31, "leak_bits": 31, "hidden": (6, 70), "steps": 40}, {}),
    "head": ({"bias": True}, {"update": "head"}),
    "first": ({"readout": SUM}, {"update": "fc0"}),
    "biases": ({"hidden": (8, 8)}, {"update": "biases"}),
    "first_bias": ({"encoder": "values", "hidden": (8, 8)}, {"update": "fc0:bias+fc1"}),
    "slow": ({"readout": SUM}, {"learning_rate": 1e-6}),
    "fast": ({"bias": True}, {"learning_rate": 100.0}),
    "wide": ({"spread": 400.0, "hidden": (300,), "steps": 3, "readout": SUM}, {}),
}  # fmt: skip


def taught(case: str) -> Graph:
    """The network of a case, with its learner."""
    made, options = CASES[case]
    return learning(network(**made), **options)


def learning(graph: Graph, **options: Any) -> Graph:
    """A network that finetune teaches."""
    given = {"update": "all", "learning_rate": 0.01} | options
    calibration = random_inputs(graph, 20, np.random.default_rng(2))
    return FineTune(**given).attach(graph, Setting("", CLASSES, 3, calibration))


def stream(graph: Graph, samples: int) -> tuple[dict[str, Array], Array]:
    """Inputs that say which class they are, and labels."""
    rng = np.random.default_rng(4)
    inputs = random_inputs(graph, samples, rng)
    labels = rng.integers(0, CLASSES, samples)
    for x, label in zip(inputs["x"], labels, strict=True):
        x[label::CLASSES] |= 0xC0
    return inputs, labels
