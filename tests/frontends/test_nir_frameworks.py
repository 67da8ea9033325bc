"""Files that the frameworks' own exporters write, executed in steps: no spike differs from theirs.

Each row is a network of 8 inputs and 32 neurons, 200 steps, exported, read with the convention that
the file does not hold, and compared with its module, both in float64: 6,400 spikes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikelet.errors import UsageError
from spikelet.frontends.nir import choices, read, write
from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.frontends.spiking.simulate import Simulation
from spikelet.graph import Array

STEPS, INPUTS, NEURONS = 200, 8, 32


def stimulus(*shape: int) -> Tensor:
    rng = np.random.default_rng(3)
    return torch.from_numpy((rng.random((STEPS, 1, *(shape or (INPUTS,)))) < 0.4).astype(float))


def linear(bias: bool = True) -> nn.Linear:
    torch.manual_seed(1)
    made = nn.Linear(INPUTS, NEURONS, bias=bias).double()
    with torch.no_grad():
        made.weight.normal_(0.15, 0.4)
        if bias:
            made.bias.normal_(0, 0.05)
    return made


def read_out(network: SpikingNetwork, x: Tensor) -> Array:
    simulation = Simulation(network, 1)
    (name,) = network.inputs
    shape = network.inputs[name]
    steps = [simulation.step({name: now.numpy().reshape(1, *shape)}) for now in x]
    return np.stack([step[network.output] for step in steps])


def differing(graph: Any, path: Path, expected: Tensor, x: Tensor, **said: Any) -> int:
    """Of a graph by way of a file, then of that network by way of a file of ours."""
    nir.write(path / "theirs.nir", graph)
    network = read(path / "theirs.nir", **said)
    made = read_out(network, x)
    write(path / "ours.nir", network)
    assert np.array_equal(read_out(read(path / "ours.nir"), x), made)
    real = expected.detach().numpy().reshape(made.shape)
    assert real.size == STEPS * NEURONS and 200 < real.sum() < 6200, real.sum()
    return int((made != real).sum())


# snnTorch


def heaviside(membrane: Tensor) -> Tensor:
    """snnTorch's own, but for the type: it gives float32, which no layer of float64 reads."""
    return (membrane > 0).double()


def snn_module(make: Callable[[Any], nn.Module]) -> nn.Module:
    import snntorch

    torch.manual_seed(2)
    return nn.Sequential(linear(), make(snntorch)).double()


EACH = torch.linspace(0.7, 0.97, NEURONS).double()
SYN = torch.linspace(0.5, 0.9, NEURONS).double()
LEAKY: dict[str, Any] = {
    "beta": EACH, "threshold": torch.ones(NEURONS), "init_hidden": True, "spike_grad": heaviside,
}  # fmt: skip
SNNTORCH = {
    "Leaky subtract (default)": ("Leaky", LEAKY, "subtract", "next_step"),
    "Leaky zero": ("Leaky", {**LEAKY, "reset_mechanism": "zero"}, "zero", "next_step"),
    "Leaky zero, not delayed": (
        "Leaky", {**LEAKY, "reset_mechanism": "zero", "reset_delay": False}, "zero", "same_step",
    ),
    "Leaky subtract, not delayed": (
        "Leaky", {**LEAKY, "reset_delay": False}, "subtract", "both_steps",
    ),
    "Leaky none": ("Leaky", {**LEAKY, "reset_mechanism": "none"}, "none", None),
    "Synaptic subtract (default)": ("Synaptic", {**LEAKY, "alpha": SYN}, "subtract", "next_step"),
    "Synaptic zero, delayed": (
        "Synaptic", {**LEAKY, "alpha": SYN, "reset_mechanism": "zero"}, "zero",
        "next_step_input_lost",
    ),
    "Synaptic zero, not delayed": (
        "Synaptic", {**LEAKY, "alpha": SYN, "reset_mechanism": "zero", "reset_delay": False},
        "zero", "same_step",
    ),
    "RLeaky subtract (default)": (
        "RLeaky", {**LEAKY, "linear_features": NEURONS}, "subtract", "next_step",
    ),
    "RLeaky zero, delayed": (
        "RLeaky", {**LEAKY, "linear_features": NEURONS, "reset_mechanism": "zero"}, "zero",
        "next_step_input_lost",
    ),
    "RLeaky zero, not delayed": (
        "RLeaky", {**LEAKY, "linear_features": NEURONS, "reset_mechanism": "zero",
                   "reset_delay": False}, "zero", "same_step",
    ),
    "RLeaky one to one": (
        "RLeaky", {**LEAKY, "all_to_all": False, "V": torch.linspace(-0.5, 0.5, NEURONS)},
        "subtract", "next_step",
    ),
    "RSynaptic subtract (default)": (
        "RSynaptic", {**LEAKY, "alpha": SYN, "linear_features": NEURONS}, "subtract", "next_step",
    ),
    "RSynaptic zero": (
        "RSynaptic", {**LEAKY, "alpha": SYN, "linear_features": NEURONS, "reset_mechanism": "zero"},
        "zero", "next_step_input_lost",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [
        name if "default" in name else pytest.param(name, marks=pytest.mark.long)
        for name in SNNTORCH
    ],
)
def test_snntorch_files_fire_as_their_modules(row: str, tmp_path: Path) -> None:
    from snntorch.export_nir import export_to_nir

    kind, options, reset, timing = SNNTORCH[row]
    module = snn_module(lambda snn: getattr(snn, kind)(**options))
    x = stimulus()
    graph = export_to_nir(module, x[0], ignore_dims=[0])
    module[1].reset_mem()  # snnTorch's utils.reset leaves the spikes of RSynaptic
    with torch.no_grad():
        expected = torch.stack([_spikes(module(now)) for now in x])
    said = {"dt": 1e-4, "reset": reset, "timing": timing, "compare": ">"}
    assert differing(graph, tmp_path, expected, x, **said) == 0


def _spikes(made: Any) -> Tensor:
    spikes: Tensor = made[0] if isinstance(made, tuple) else made
    return spikes


# SpikingJelly


SPIKINGJELLY: dict[str, tuple[str, dict[str, Any]]] = {
    "IF": ("IFNode", {}),
    "IF, v_reset 0.1": ("IFNode", {"v_reset": 0.1}),
    "LIF": ("LIFNode", {"tau": 3.0}),
    "LIF, v_reset -0.1": ("LIFNode", {"tau": 3.0, "v_reset": -0.1}),
    "LIF, decay_input False": ("LIFNode", {"tau": 3.0, "decay_input": False}),
    "ParametricLIF": ("ParametricLIFNode", {"init_tau": 2.5}),
    "CUBALIF": ("CUBALIFNode", {"c_decay": 0.5, "v_decay": 0.75}),
}


@pytest.mark.long
@pytest.mark.parametrize("row", SPIKINGJELLY)
def test_spikingjelly_files_fire_as_their_modules(row: str, tmp_path: Path) -> None:
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    kind, options = SPIKINGJELLY[row]
    module = nn.Sequential(linear(), getattr(neuron, kind)(**options)).double().eval()
    x = stimulus()
    graph = export_to_nir(module, x[0])
    functional.reset_net(module)
    with torch.no_grad():
        expected = torch.stack([module(now) for now in x])
    said = {"dt": 1e-4, "reset": "value", "timing": "same_step", "compare": ">=",
            "initial": "reset"}  # fmt: skip
    assert differing(graph, tmp_path, expected, x, **said) == 0


# Norse


NORSE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "LIFBox": ("LIFBoxCell", "LIFBoxParameters", {}),
    "LIF": ("LIFCell", "LIFParameters", {"input": "jump"}),
    "IAF": ("IAFCell", "IAFParameters", {"input": "jump"}),
}


@pytest.mark.long
@pytest.mark.parametrize("row", NORSE)
def test_norse_files_fire_as_their_modules(row: str, tmp_path: Path) -> None:
    from norse.torch.functional import iaf, lif, lif_box
    from norse.torch.module import iaf as iaf_module
    from norse.torch.module import lif as lif_module
    from norse.torch.module import lif_box as lif_box_module
    from norse.torch.utils.export_nir import to_nir

    kind, parameters, more = NORSE[row]
    modules, functions = (lif_module, iaf_module, lif_box_module), (lif, iaf, lif_box)
    cell = next(getattr(m, kind) for m in modules if hasattr(m, kind))
    values = next(getattr(f, parameters) for f in functions if hasattr(f, parameters))
    each = {name: torch.full((NEURONS,), float(value)).double() for name, value in
            {"v_th": 0.4, "v_leak": 0.0, "v_reset": 0.0, "tau_mem_inv": 100.0,
             "tau_syn_inv": 200.0}.items() if name in values._fields}  # fmt: skip
    module = cell(values(**each))
    front, x = linear(), stimulus()
    with torch.no_grad():
        if row == "IAF":
            front.weight *= 0.2
        state, fired = None, []
        for now in x:
            spikes, state = module(front(now), state)
            fired.append(spikes)
    node = to_nir(module, torch.zeros(1, NEURONS).double()).nodes["norse"]
    graph = nir.NIRGraph.from_list(
        nir.Affine(front.weight.detach().numpy(), front.bias.detach().numpy()), node
    )
    # Norse writes dt / tau_inv for the time 1 / tau_inv: with its dt squared the step is its own.
    said = {"dt": 1e-6, "reset": "value", "timing": "same_step", "compare": ">", **more}
    assert differing(graph, tmp_path, torch.stack(fired), x, **said) == 0


@pytest.mark.long
def test_a_convolutional_file_of_snntorch_fires_as_its_module(tmp_path: Path) -> None:
    import snntorch as snn
    from snntorch import utils
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(4)
    shapes = (4, 8, 8), (6, 4, 4)

    def lif(shape: tuple[int, ...]) -> nn.Module:
        each = torch.full(shape, 0.9).double()
        return snn.Leaky(**{**LEAKY, "beta": each, "threshold": torch.ones(shape)})

    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), lif(shapes[0]), nn.AvgPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1, bias=False), lif(shapes[1]), nn.Flatten(),
        nn.Linear(96, NEURONS), lif((NEURONS,)),
    ).double()  # fmt: skip
    with torch.no_grad():
        for layer in (module[0], module[3], module[6]):
            layer.weight *= 3
    x = stimulus(1, 8, 8)
    graph = export_to_nir(module, x[0], ignore_dims=[0])
    utils.reset(module)
    with torch.no_grad():
        expected = torch.stack([module(now) for now in x])
    said = {"dt": 1e-4, "reset": "subtract", "timing": "next_step", "compare": ">"}
    assert differing(graph, tmp_path, expected, x, **said) == 0


def test_what_each_other_choice_would_change_is_counted(tmp_path: Path) -> None:
    lif = nir.LIF(*(np.full(NEURONS, v) for v in (1e-3, 10.0, 0.0, 1.0)))
    weight = linear().weight.detach().numpy()
    nir.write(tmp_path / "a.nir", nir.NIRGraph.from_list(nir.Linear(weight), lif))
    x = stimulus()

    def net(dt: float = 1e-4, compare: str = ">", reset: str = "subtract",
            timing: str = "next_step") -> SpikingNetwork:  # fmt: skip
        return read(tmp_path / "a.nir", dt=dt, compare=compare, reset=reset, timing=timing)

    base = read_out(net(), x)
    found = {(row.switch, row.other): row for row in choices(net(), x.numpy())}
    others: dict[tuple[str, str], dict[str, Any]] = {
        ("reset", "none"): {"reset": "none"},
        ("reset", "zero"): {"reset": "zero"},
        ("timing", "same_step"): {"timing": "same_step"},
        ("timing", "next_step_input_lost"): {"timing": "next_step_input_lost"},
        ("timing", "both_steps"): {"timing": "both_steps"},
        ("compare", ">="): {"compare": ">="},
        ("dt", "x 0.1"): {"dt": 1e-5},
        ("dt", "x 10"): {"dt": 1e-3},
    }
    assert found.keys() == others.keys()
    for key, said in others.items():
        row = found[key]
        assert row.differing == (read_out(net(**said), x) != base).sum(), key
        assert (row.elements, row.spikes) == (base.size, base.sum())
    assert found["timing", "same_step"].differing > 100
    with pytest.raises(UsageError, match=r"expected \(T, N, 8\)"):
        choices(net(), x.numpy()[0])
