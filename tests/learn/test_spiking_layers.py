"""Spiking layers that learn: PyTorch's gradients, the network's own spikes, the device's bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as f

import spiking_learners
from graphs import digits_like, random_inputs
from learned_states import check_any_state
from learning import USUAL, device_equals_twin
from spikelet.board import find_board
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import Lif
from spikelet.learn import Setting, Twin
from spikelet.learn.backbone import readable
from spikelet.learn.continual.protocol import attach, learner
from spikelet.learn.layers.spiking_error import SpikingScores
from spikelet.learn.networks.training_plan import training_plan
from spikelet.learn.numbers.traces import Trace, packed, unpacked
from spiking_learners import CASES, SUM, learning, network, stream, taught

EVERY_DAY = ("counts", "leaky", "values_counts", "one_layer", "direct", "first_bias")
CODE = 256  # units of a learned weight or bias in one of its code


@pytest.mark.parametrize(
    "case", [c if c in EVERY_DAY else pytest.param(c, marks=pytest.mark.long) for c in CASES]
)
@pytest.mark.parametrize("target", USUAL)
def test_device_equals_twin(target: str, case: str, tmp_path: Path) -> None:
    graph = taught(case)
    twin = device_equals_twin(target, graph, *stream(graph, 24), tmp_path, block=12)
    assert any((v != graph.initial()[k]).any() for k, v in twin.learned.items() if "fc" in k)


@pytest.mark.parametrize(
    ("target", "case"), [("rv32-gcc-qemu", "leaky"), ("m4-gcc-qemu", "values_counts")]
)
def test_an_emulated_core_equals_its_twin(target: str, case: str, tmp_path: Path) -> None:
    graph = taught(case)
    device_equals_twin(target, graph, *stream(graph, 12), tmp_path, block=12)


def test_any_state_is_survived(tmp_path: Path) -> None:
    graph = taught("counts")
    check_any_state(graph, *stream(graph, 3), tmp_path)


@pytest.mark.parametrize("case", CASES)
def test_a_network_that_has_not_learned_spikes_as_it_did(case: str) -> None:
    before, after = network(**CASES[case][0]), taught(case)
    inputs, _ = stream(before, 8)
    was, now = (graph.run(inputs, trace=True).trace for graph in (before, after))
    names = [n for n in was if n.endswith(".spikes") or n == "scores" or n.startswith("fc")]
    assert names
    for name in names:
        np.testing.assert_array_equal(was[name], now[name], name)


def test_a_package_whose_head_is_a_label_goes_on_from_its_scores() -> None:
    graph, rate = readable(digits_like(), "lif1.spikes")
    inputs = random_inputs(graph, 24, np.random.default_rng(5))
    where = Setting(rate, 10, 0, inputs)
    taught_graph = attach(graph, learner("finetune,update=all"), where)
    assert {"fc1.weight", "fc2.weight"} <= set(taught_graph.initial())
    assert taught_graph.outputs == ["counts"]
    plan = training_plan(taught_graph, find_board("virt-rv32").target)
    assert [row.learns for row in plan.layers] == [
        "24 of 24 channels, bias",
        "10 of 10 channels, bias",
    ]
    assert [row.learned_bytes for row in plan.layers] == [
        2 * 64 * 24 + 4 * 24 + 8,
        2 * 24 * 10 + 4 * 10 + 8,
    ]
    assert plan.instructions == round(3.9 * plan.needs.learn_macs)


# --- the rule, in PyTorch ---


class Straight(torch.autograd.Function):
    """Spikes that are given, with a derivative that is given."""

    @staticmethod
    def forward(context: Any, potential: Any, spikes: Any, slope: Any) -> Any:
        context.save_for_backward(slope)
        return spikes.clone()

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        (slope,) = context.saved_tensors
        return gradients[0] * slope, None, None


def potentials(node: Lif, sums: Array, after: Array) -> Array:
    """What was compared with the threshold in each step, in codes; sums and membranes (T, m)."""
    if node.timing != "same_step":
        stored: Array = after / 2.0**node.input_shift
        return stored
    leak = node.leak / 2.0**node.leak_bits
    before = np.concatenate([np.full((1, sums.shape[1]), node.initial), after[:-1]])
    found: Array = np.trunc(before * leak) / 2.0**node.input_shift + sums
    return found


def gradients(graph: Graph, inputs: dict[str, Array], label: int, gain: float) -> dict[str, Array]:
    """Of the loss by each weight's and bias's code: errors of a step stay in that step."""
    trace = {k: v[:, 0].astype(np.float64) for k, v in graph.run(inputs, trace=True).trace.items()}
    steps, given = graph.steps, {}
    x: Any = torch.tensor(inputs["x"][0].astype(np.float64)).repeat(steps, 1)
    total: Any = 0.0
    for node in graph.nodes:
        if node.name == "encode":
            spikes = next(v for k, v in trace.items() if k in ("encode", "encode.spikes"))
            x = torch.tensor(spikes)
        elif isinstance(node, Dense):
            weight = torch.tensor(node.weight.astype(np.float64), requires_grad=True)
            bias = np.zeros(len(weight)) if node.bias is None else node.bias
            given[node.name] = weight, torch.tensor(bias.astype(np.float64), requires_grad=True)
            last = node
        elif isinstance(node, Lif | LeakyReadout):
            weight, drive = given[last.name]
            held, constant, keep = 0 * x[0], 0.0, node.leak / 2.0**node.leak_bits
            rows = []
            for t in range(steps):
                held, constant = held.detach() * keep + x[t], constant * keep + 1
                rows.append(weight @ held + drive * constant)
            if isinstance(node, LeakyReadout):
                kept = [keep ** (steps - 1 - t) for t in range(steps)]
                now = [k * (weight @ x[t] + drive) for t, k in enumerate(kept)]
                total = torch.stack(now).sum(0) * 2.0**node.input_shift
                continue
            sums = np.broadcast_to(trace[last.name], (steps, len(weight)))
            v = potentials(node, sums, trace[f"{node.name}.membrane"])
            threshold = node.threshold / 2.0**node.input_shift
            slope = np.clip(1 - np.abs(v - threshold) / threshold, 0, None) / threshold
            spikes = torch.tensor(trace[f"{node.name}.spikes"])
            x = torch.stack(
                [Straight.apply(rows[t], spikes[t], torch.tensor(slope[t])) for t in range(steps)]
            )
            total = x.sum(0)
    scores = torch.tensor(graph.run(inputs).outputs["scores"][0].astype(np.float64))
    logits = gain * (total - total.detach() + scores)
    f.cross_entropy(logits[None], torch.tensor([label])).backward()
    return {
        f"{name}.{part}": values.grad.numpy().T
        for name, pair in given.items()
        for part, values in zip(("weight", "bias"), pair, strict=True)
    }


def real_unit(graph: Graph, parameter: str, gain: float) -> Array:
    """What a code of a parameter adds to a potential in thresholds, or to a logit; x at most 1."""
    layer, _, part = parameter.partition(".")
    dense = next(i for i, n in enumerate(graph.nodes) if n.name == layer)
    behind = graph.nodes[dense + 1]
    most = 255 if part == "weight" and graph.nodes[dense].inputs == ("x",) else 1
    if isinstance(behind, Lif):
        return most * 2.0**behind.input_shift / behind.threshold
    assert isinstance(behind, LeakyReadout)
    return np.full(behind.ins[0].size, gain * 2.0**behind.input_shift * most)


@pytest.mark.parametrize(
    "made",
    [
        {"readout": SUM},
        {"readout": spiking_learners.LEAKY, "hidden": (9, 17)},
        {"reset": "subtract", "bias": True},
        {"encoder": "values", "hidden": (13, 8), "readout": SUM, "bias": True},
        {"encoder": "values", "hidden": (), "readout": spiking_learners.LEAKY},
        {"encoder": "latency", "timing": "next_step", "input_shift": 3, "spread": 80.0},
    ],
)
def test_a_step_is_that_of_pytorch(made: dict[str, Any]) -> None:
    graph = network(**made)
    rate = 0.02
    twin = Twin(learning(graph, learning_rate=rate, rounding="nearest"))
    gain = next(n.gain for n in twin.graph.nodes if isinstance(n, SpikingScores))
    inputs, labels = stream(graph, 6)
    start, moved_in_all = twin.state(), 0
    for i, label in enumerate(labels):
        twin.restore(start)
        one = {name: values[i : i + 1] for name, values in inputs.items()}
        expected = gradients(graph, one, int(label), gain)
        twin.observe(one, [label])
        for name, gradient in expected.items():
            wanted = -rate * CODE * gradient / real_unit(graph, name, gain) ** 2
            low, high = twin.graph.bounds[name]
            wanted = np.clip(start[name] + wanted, low, high) - start[name]
            moved = twin.learned[name].astype(float) - start[name]
            largest = np.abs(wanted).max()
            moved_in_all += largest > 20
            assert np.abs(moved - wanted).max() <= 1 + 0.03 * largest, name
    assert moved_in_all > 6


# --- what it is made of ---


@pytest.mark.parametrize("keep", [0, 1, 29491, 32767, 32768])
@pytest.mark.parametrize("steps", [1, 2, 40, 4095])
def test_traces_fit_and_are_as_fine_as_they_can_be(keep: int, steps: int) -> None:
    trace = Trace.of(keep, steps)
    total = sum((keep / 32768) ** t for t in range(steps))
    assert 0 < trace.one * total <= 4095 < (trace.one + 1) * total + 1
    steady = trace.steady(steps)
    assert steady[0] == trace.one and steady.max() <= 4095
    with pytest.raises(ValueError, match="4096 time steps"):
        Trace.of(32768, 4096)


def test_spikes_are_packed_and_unpacked() -> None:
    spikes = np.random.default_rng(1).integers(0, 2, (3, 5, 70), dtype=np.uint8)
    words = packed(spikes)
    assert words.shape == (3, 5, 3) and words.dtype == np.uint32
    assert int(words[0, 0, 1]) == sum(int(b) << i for i, b in enumerate(spikes[0, 0, 32:64]))
    np.testing.assert_array_equal(unpacked(words, 70), spikes)


@pytest.mark.parametrize(
    ("made", "options", "said"),
    [
        ({"refractory": 2}, {}, "lif0 .lif, refractory=2. depends on what learns"),
        ({"initial": 400}, {}, "start at the threshold"),
        ({}, {"momentum": 0.5}, "momentum=0.5 in a spiking network"),
        ({}, {"batch": 2}, "batch=2 in a spiking network"),
        ({}, {"update": "fc0:3"}, "a spiking layer learns whole"),
        ({"hidden": (), "steps": 4096, "leak": 1 << 15}, {}, "4096 time steps"),
    ],
)
def test_what_does_not_go_is_named(
    made: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        learning(network(**made), **options)
