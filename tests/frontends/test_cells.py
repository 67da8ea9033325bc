"""Cells of our own: the expressive leaky memory neuron, trained, read, and run."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from support import need

need("torch")

# ruff: noqa: E402
import torch
from torch import nn

import spikelet
from spikelet.errors import UsageError
from spikelet.frontends.spiking.cells import ELM, AdaptiveLIFCell, Integrator
from spikelet.frontends.spiking.program import read
from targets import check_package

STEPS, INPUTS, CLASSES = 20, 5, 3


def samples(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, T, inputs) of noise; the class is the input that is raised early in it."""
    generator = torch.Generator().manual_seed(3)
    y = torch.randint(0, CLASSES, (count,), generator=generator)
    x = 0.5 * torch.rand(count, STEPS, INPUTS, generator=generator)
    x[torch.arange(count), :4, y] += 0.5
    return x, y


def trained(steps: int) -> tuple[ELM, list[float]]:
    torch.manual_seed(0)
    net = ELM(INPUTS, CLASSES, memories=8, branches=6, spread=(2.0, 40.0), horizon=STEPS)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    x, y = samples(64)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x.transpose(0, 1)).mean(0), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    return net, losses


@functools.cache
def exported(steps: int) -> spikelet.Package:
    net, losses = trained(steps)
    assert losses[-1] < 0.3 * losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    x, y = samples(64)
    options = spikelet.Spiking(steps=STEPS, encoder="frames")
    return spikelet.export(
        net, x[:1].numpy(), x.numpy(), labels=y.numpy(), name="elm", options=options
    )


def test_an_elm_is_trained_and_exported() -> None:
    package = exported(60)
    manifest = package.manifest
    assert manifest["float_accuracy"] > 0.95
    assert abs(manifest["drift"]) < 0.04
    assert manifest["spike_agreement"][-1]["share"] < 0.1  # error of the scores


@pytest.mark.long
@pytest.mark.parametrize("target", ["native-gcc-sanitized", "rv32-gcc-qemu", "m4-gcc-qemu"])
def test_an_elm_runs_on_a_target(target: str, tmp_path: Path) -> None:
    check_package(target, exported(60), tmp_path)


def test_memories_fill_within_their_horizon() -> None:
    for horizon, most in ((STEPS, 1.0), (None, 1 - np.exp(-STEPS / 100))):
        net = ELM(2, 2, memories=5, spread=(1.0, 100.0), horizon=horizon)
        v = None
        for _ in range(STEPS):
            v = net.memory(torch.ones(1, 5), v)
        assert v is not None and v.max() <= 1 + 1e-6
        assert v[0, -1] == pytest.approx(most, rel=1e-5)


class Clipped(nn.Module):
    """A function that is read two steps later, or one that nothing here carries."""

    def __init__(self, clip: nn.Module, late: bool = False) -> None:
        super().__init__()
        self.fc, self.out, self.clip, self.late = nn.Linear(4, 3), nn.Linear(3, 3), clip, late
        self.memory = Integrator(torch.tensor([0.9]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v, seen = None, [torch.zeros(len(x), 3)] * 2
        answers = []
        for _ in range(6):
            v = self.memory(self.fc(x), v)
            seen.append(self.clip(v))
            answers.append(self.out(seen[-3 if self.late else -1]))
        return torch.stack(answers)


@pytest.mark.parametrize(
    ("program", "text"),
    [
        (Clipped(nn.Hardtanh(-1, 2)), r"clip \(Hardtanh\): -1 to 2, expected a range around 0"),
        (Clipped(nn.Hardtanh(), late=True), "what it wrote in step 3 is read in step 5"),
    ],
)
def test_functions_that_are_not_carried_are_named(program: nn.Module, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        read(program, torch.rand(3, 4))


def test_adaptive_neurons_learn_and_their_published_form_is_theirs() -> None:
    """Published: w = b w + c u + j s, then u = a (u - s) + (1 - a) (x - w)."""
    torch.manual_seed(0)
    cell = AdaptiveLIFCell(6, kept=0.8, kept_adaptation=0.9, coupling=0.2, jump=0.7)
    x = 4 * torch.rand(60, 3, 6)
    u, w, s = torch.zeros(3, 6), torch.zeros(3, 6), torch.zeros(3, 6)
    state, counts = None, []
    for frame in x:
        spikes, state = cell(frame, state)
        w = 0.9 * w + 0.2 * u + (0.7 - 0.2) * s
        u = 0.8 * (u - s) + 0.2 * (frame - w)
        s = (u > 1).float()
        assert torch.equal(spikes, s)
        counts.append(spikes)
    assert 0.05 < float(torch.stack(counts).detach().mean()) < 0.6
    torch.stack(counts).sum().backward()  # type: ignore[no-untyped-call]
    for part in cell.parameters():
        assert part.grad is not None and bool((part.grad != 0).any())


def test_a_neuron_fires_as_often_as_its_limit_says() -> None:
    cell = AdaptiveLIFCell(1, kept=0.0, jump=0.0, coupling=0.0, most=3)
    levels = torch.tensor([[-1.0], [1.0], [1.5], [2.0], [2.1], [9.0]])
    assert cell(levels)[0].flatten().tolist() == [0, 0, 1, 1, 2, 3]
    with pytest.raises(UsageError, match="most is 256, expected 1 to 255"):
        AdaptiveLIFCell(1, most=256)
