"""Programs of snnTorch, SpikingJelly and Norse come in: no spike differs from their own.

`read` executes a program and what it read of it side by side; a spike that differs is an error.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from support import need

for package in ("snntorch", "spikingjelly", "norse"):
    need(package)

# ruff: noqa: E402
import norse.torch.module.lif_adex as lif_adex
import norse.torch.module.lif_box as lif_box
import norse.torch.module.lif_refrac as refrac
import norse.torch.module.lsnn as lsnn
import snntorch as snn
import spiking_programs
import torch
from norse.torch.functional.reset import reset_subtract
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

import spikelet
from spikelet.errors import UsageError
from spikelet.frontends.spiking.cells import AdaptiveLIFCell
from spikelet.frontends.spiking.framework import frameworks
from spikelet.frontends.spiking.network import Neurons
from spikelet.frontends.spiking.program import read, replay
from spikelet.refusal import ImportRefused

STEPS = spiking_programs.STEPS


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.quick] * (name == "norse_box"))
        for name in spiking_programs.PROGRAMS
    ],
)
def test_a_program_comes_in_spike_by_spike(name: str) -> None:
    program, x = spiking_programs.made(name)
    found = read(program, x[:4], STEPS)
    assert found.spikes and all(0 < (s > 0).mean() < 0.9 for s in found.spikes.values())
    assert next(iter(found.spikes.values())).shape[:2] == (STEPS, 4)


@pytest.mark.parametrize(
    "name", ["leaky_loop", "single_step", "feedback", "sequential_images", "spikingjelly_multi",
             "norse_refrac_recurrent", "norse_adaptive", "inhibited", "alpha_loop", "memories"],
)  # fmt: skip
def test_a_program_runs_on_a_device(name: str) -> None:
    program, x = spiking_programs.made(name)
    options = spikelet.Spiking(steps=STEPS)
    samples = x[:30].numpy()
    package = spikelet.export(program, samples[:1], samples, name=name, options=options)
    assert package.run("native").mismatches == 0
    rows = package.manifest["spike_agreement"]
    assert all(row["share"] <= 1.5 * row["weights_share"] for row in rows)
    assert package.manifest["label_agreement"] > 0.4  # by chance .1


def snntorch_classes() -> list[tuple[str, nn.Module]]:
    """Each class with each of its conventions."""
    found: list[tuple[str, nn.Module]] = []
    product = itertools.product(("subtract", "zero", "none"), (True, False), (False, True))
    for reset, delay, inhibition in product:
        options: dict[str, Any] = {"reset_mechanism": reset, "init_hidden": True}
        options |= {"inhibition": inhibition}
        if delay:
            found.append(("Lapicque", snn.Lapicque(R=2.0, C=3.0, **options)))
        options |= {"reset_delay": delay, "beta": 0.9}
        height = 1.0 if inhibition else 0.5 + 2 * delay
        found.append(("Leaky", snn.Leaky(**options, graded_spikes_factor=height)))
        if inhibition and not delay and reset == "zero":
            continue  # refused: see below
        found += [
            ("Synaptic", snn.Synaptic(alpha=0.7, **options)),
            ("RLeaky", snn.RLeaky(linear_features=64, **options)),
            ("RLeaky", snn.RLeaky(all_to_all=False, V=-0.3, **options)),
        ]
        if delay:  # without it snnTorch's own forward fails
            found.append(("RSynaptic", snn.RSynaptic(alpha=0.7, linear_features=64, **options)))
    for reset in ("subtract", "zero", "none"):
        options = {"reset_mechanism": reset, "init_hidden": True, "threshold": 0.7}
        each = torch.linspace(0.3, 0.6, 64)
        found.append(("Alpha", snn.Alpha(alpha=0.9, beta=0.6, **options)))
        found.append(("Alpha", snn.Alpha(alpha=each + 0.3, beta=each, **options)))
    return found


def classes() -> list[tuple[str, nn.Module]]:
    """Each class of neurons with each of its conventions."""
    found = snntorch_classes()
    for value in (0.0, 0.1, None):
        found += [
            ("IFNode", neuron.IFNode(v_reset=value)),
            ("LIFNode", neuron.LIFNode(tau=3.0, v_reset=value, decay_input=False)),
            ("LIFNode", neuron.LIFNode(tau=1.5, v_reset=value)),
            ("ParametricLIFNode", neuron.ParametricLIFNode(v_reset=value)),
        ]
    found.append(("CUBALIFNode", neuron.CUBALIFNode()))
    p = lif_box.LIFBoxParameters(reset_method=reset_subtract)
    found.append(("LIFBoxCell", lif_box.LIFBoxCell(p)))
    found.append(("LIFRefracCell", refrac.LIFRefracCell()))
    for inverse, rest in ((1 / 800, 0.0), (80.0, 0.1)):  # a threshold that stays, or comes back
        p = lsnn.LSNNParameters(
            tau_adapt_inv=torch.tensor(inverse), beta=torch.tensor(0.3), v_leak=torch.tensor(rest)
        )
        found.append(("LSNNCell", lsnn.LSNNCell(p)))
    for most, slow in ((1, 0.95), (1, 0.0), (3, 0.9), (255, 1.0)):
        cell = AdaptiveLIFCell(64, kept=0.8, kept_adaptation=slow, coupling=-0.02, most=most)
        cell.jump.data = torch.linspace(0.0, 0.3, 64)
        found.append(("AdaptiveLIFCell", cell))
    return found


CLASSES = classes()


@pytest.mark.parametrize("number", range(len(CLASSES)), ids=lambda i: f"{i}-{CLASSES[i][0]}")
def test_each_class_of_neurons_in_400_steps(number: int) -> None:
    torch.manual_seed(number)
    front = nn.Linear(64, 64, bias=False)
    front.weight = nn.Parameter(torch.eye(64))
    lif = CLASSES[number][1]
    name = CLASSES[number][0]
    most = 30.0 if "Cell" in name else 2.0 if name == "ParametricLIFNode" else 1.0
    x = most * (torch.rand(400, 1, 64) * 1.6 - 0.5)
    program: nn.Module = nn.Sequential(front, lif)
    if "Cell" in name:
        program = spiking_programs.SequentialState(front, lif)
    found = read(program, x, 400, per_step=True)
    (spikes,) = found.spikes.values()
    assert spikes.shape == (400, 1, 64) and spikes.any()


def test_a_spike_that_is_not_the_programs_is_refused_by_the_layer() -> None:
    torch.manual_seed(0)
    x = torch.rand(20, 2, 16) * 2
    found = read(nn.Sequential(nn.Linear(16, 8), snn.Leaky(beta=0.9, init_hidden=True)), x, 20,
                 per_step=True)  # fmt: skip
    network = found.network
    replay(network, x.numpy(), found.spikes, 20, per_step=True)
    layers = [
        dataclasses.replace(layer, rule=dataclasses.replace(layer.rule, compare=">=", reset="zero"))
        if isinstance(layer, Neurons)
        else layer
        for layer in network.layers
    ]
    other = dataclasses.replace(network, layers=tuple(layers))
    with pytest.raises(ImportRefused, match=r"layer 1: \d+ of 16 spikes of step \d+ are not those"):
        replay(other, x.numpy(), found.spikes, 20, per_step=True)


def test_every_class_that_is_carried_has_a_program() -> None:
    met = set()
    for name in spiking_programs.PROGRAMS:
        program, _ = spiking_programs.made(name)
        if isinstance(program, nn.Module):
            met |= {type(module) for module in program.modules()}
    met |= {type(lif) for _, lif in CLASSES}
    for framework in frameworks():
        assert set(framework.neurons) <= met, framework.name


def test_frames_are_read_one_a_step() -> None:
    program, _ = spiking_programs.made("loose_layers")
    torch.manual_seed(1)
    x = (4 * torch.rand(30, STEPS, 20)).numpy()
    options = spikelet.Spiking(steps=STEPS, encoder="frames")
    package = spikelet.export(program, x[:1], x, name="frames", options=options)
    assert package.graph.tensors["x"].shape == (STEPS, 20)
    assert package.run("native").mismatches == 0
    assert package.manifest["spike_agreement"][0]["share"] < 0.3


def test_a_program_is_left_as_it_was() -> None:
    for name in ("leaky_loop", "loose_layers", "spikingjelly_multi"):
        program, x = spiking_programs.made(name)
        modules = (
            [program]
            if isinstance(program, nn.Module)
            else [c.cell_contents for c in program.__closure__]
        )
        before = [{k: v.clone() for k, v in m.state_dict().items()} for m in modules]
        modes = [m.training for m in modules]
        read(program, x[:2], STEPS)
        assert modes == [m.training for m in modules]
        for module, kept in zip(modules, before, strict=True):
            for key, value in module.state_dict().items():
                assert value.dtype == kept[key].dtype, key
                assert "mem" in key or "syn" in key or torch.equal(value, kept[key]), key


class Forgetful(nn.Module):
    """Begins with a new state in each call, and runs one step."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(20, 10), snn.Leaky(beta=0.9)

    def forward(self, x: Tensor) -> Any:
        return self.lif(self.fc(x), self.lif.init_leaky())


class Fixed(Forgetful):
    """A batch of a size that is written down."""

    def forward(self, x: Tensor) -> Any:
        x = x.view(128, -1)
        mem, spikes = self.lif.init_leaky(), []
        for _ in range(STEPS):
            spk, mem = self.lif(self.fc(x), mem)
            spikes.append(spk)
        return torch.stack(spikes)


class Softened(Forgetful):
    """A function between layers that nothing here carries."""

    def forward(self, x: Tensor) -> Any:
        mem, spikes = self.lif.init_leaky(), []
        for _ in range(STEPS):
            spk, mem = self.lif(torch.softmax(self.fc(x), dim=1), mem)
            spikes.append(spk)
        return torch.stack(spikes)


class Swapped(Forgetful):
    """A recurrent layer that is given its membrane where its spikes are expected."""

    def __init__(self) -> None:
        super().__init__()
        self.lif = snn.RLeaky(beta=0.9, all_to_all=False)

    def forward(self, x: Tensor) -> Any:
        spk, mem, spikes = *self.lif.init_rleaky(), []
        for _ in range(STEPS):
            spk, mem = self.lif(self.fc(x), mem)
            spikes.append(spk)
        return torch.stack(spikes)


def behind(lif: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(20, 3), lif)


def hidden(kind: Any = snn.Leaky, **options: Any) -> nn.Module:
    made: nn.Module = kind(beta=0.9, init_hidden=True, **options)
    return made


@pytest.mark.parametrize(
    ("program", "steps", "text"),
    [
        (Swapped, STEPS, "layer lif: its states are given in another order"),
        (Forgetful, STEPS, "layer lif: state is reset each call: T = 1"),
        (Fixed, STEPS, r"failed on samples \(4, 20\).*\n.*a batch of another size"),
        (Softened, STEPS, r"softmax\(\) between layers is not supported"),
        (lambda: spiking_programs.made("leaky_loop")[0], 7, "runs 20 steps a call, and steps is 7"),
        (lambda: spiking_programs.made("single_step")[0], None, "give steps="),
        (lambda: nn.Sequential(nn.Linear(20, 3)), 5, "called no neurons that are known"),
        (lambda: behind(snn.StateLeaky(beta=0.9, channels=3)), 5,
         r"layer 1 \(StateLeaky\): neurons that are not carried"),
        (lambda: behind(neuron.QIFNode()), 5,
         r"layer 1 \(QIFNode\): neurons that are not carried\n.*IFNode, LIFNode"),
        (lambda: behind(neuron.ILIFNode()), 5, "it rounds to the nearest number of spikes"),
        (lambda: spiking_programs.SequentialState(nn.Linear(20, 3), lif_adex.LIFAdExCell()), 5,
         r"\(LIFAdExCell\): neurons that are not carried\n.*LSNNCell"),
        (lambda: behind(hidden(reset_delay=False, inhibition=True, alpha=0.5, kind=snn.Synaptic,
                               reset_mechanism="zero")), 5, "with inhibition and reset to 0"),
        (lambda: behind(hidden(kind=snn.Alpha, alpha=0.95, inhibition=True)), 5, "inhibition=True"),
        (lambda: behind(snn.Alpha(alpha=0.95, beta=0.0, init_hidden=True)), 5, "beta is not above"),
        (lambda: behind(hidden(graded_spikes_factor=2.0, inhibition=True)), 5,
         "graded_spikes_factor has no effect with inhibition"),
        (lambda: behind(hidden(graded_spikes_factor=-2.0)), 5, "is not one positive number"),
        (lambda: behind(snn.Lapicque(R=0.5, C=0.5, init_hidden=True)), 5,
         "a step keeps -3 of its membrane"),
        (lambda: nn.Sequential(nn.Linear(20, 10), snn.Leaky(beta=0.9, init_hidden=True),
                               nn.Conv1d(1, 1, 1, padding="same"),
                               snn.Leaky(beta=0.9, init_hidden=True)),
         5, "failed on samples|padding"),
    ],
)  # fmt: skip
def test_what_does_not_come_in_is_named(program: Any, steps: int | None, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        read(program(), 4 * torch.rand(4, 20), steps)


def test_weights_that_are_no_numbers_are_named() -> None:
    program, x = spiking_programs.made("leaky_loop")
    program.fc2.weight.data[0, 0] = np.nan
    with pytest.raises(UsageError, match=r"layer fc2 \(Linear\): weight holds NaN"):
        read(program, x[:2], STEPS)
