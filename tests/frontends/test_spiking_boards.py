"""Every class of neurons with every convention, and every program, in one image on each target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import spiking_programs
import torch
from test_spiking_programs import CLASSES
from torch import nn

from spikelet.frontends.spiking.encoders import Frames
from spikelet.frontends.spiking.lower import lower, readout_of
from spikelet.frontends.spiking.network import SpikingNetwork
from spikelet.frontends.spiking.program import read
from spikelet.graph import Graph, Operator, Tensor
from targets import check_graph

STEPS = 12
NEURONS = 64
BOTH_SIGNS = Frames(1.6 / 255, 80)
POSITIVE = Frames()  # padding reads a 0


def class_networks() -> list[SpikingNetwork]:
    """A layer of weights and the neurons, of each class with each of its conventions."""
    found = []
    for number, (name, neurons) in enumerate(CLASSES):
        torch.manual_seed(number)
        front = nn.Linear(NEURONS, NEURONS, bias=False)
        most = 30.0 if "Cell" in name else 1.0
        front.weight = nn.Parameter(most * torch.eye(NEURONS))
        program: nn.Module = nn.Sequential(front, neurons)
        if "Cell" in name:
            program = spiking_programs.SequentialState(front, neurons)
        x = torch.rand(STEPS, 1, NEURONS) * 1.6 - 0.5
        found.append(read(program, x, STEPS, per_step=True).network)
    return found


def program_networks() -> list[SpikingNetwork]:
    """Each program of `spiking_programs`."""
    found = []
    for name in spiking_programs.PROGRAMS:
        program, x = spiking_programs.made(name)
        found.append(read(program, x[:2], spiking_programs.STEPS).network)
    return found


def joined(networks: list[SpikingNetwork], encoder: Frames, name: str) -> Graph:
    """One graph of them all, each with exact and with narrow states; inputs are shared by shape."""
    inputs: dict[tuple[int, ...], Tensor] = {}
    nodes: list[Operator] = []
    outputs = []
    for number, network in enumerate(networks):
        readout = readout_of(network)
        for narrow in (False, True):
            graph = lower(network, STEPS, encoder, readout, narrow=narrow).graph
            prefix = f"{'en'[narrow]}{number}_"
            (given,) = graph.inputs
            shared = inputs.setdefault(given.shape, replace(given, name=f"x{len(inputs)}"))
            for node in graph.nodes:
                sources = tuple(
                    shared.name if source == given.name else prefix + source
                    for source in node.inputs
                )
                changes: dict[str, Any] = {"name": prefix + node.name, "inputs": sources}
                if hasattr(node, "of"):
                    changes["of"] = prefix + node.of
                nodes.append(replace(node, **changes))
            outputs.append(prefix + graph.outputs[1])
    return Graph(name, STEPS, list(inputs.values()), nodes, outputs)


TARGETS = [
    "rv32-zig-unicorn",
    "native-gcc-sanitized",
    "rv32-gcc-qemu",
    "m4-gcc-qemu",
    "m0-gcc-qemu",
]


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
def test_every_class_and_convention_runs_on_a_target(target: str, tmp_path: Path) -> None:
    check_graph(target, joined(class_networks(), BOTH_SIGNS, "classes"), 3, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
def test_every_program_runs_on_a_target(target: str, tmp_path: Path) -> None:
    check_graph(target, joined(program_networks(), POSITIVE, "programs"), 3, tmp_path)
