"""Reservoirs in PyTorch: weights of a seed are read as such, and are on devices what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support import need

need("torch")
snn = pytest.importorskip("snntorch")

# ruff: noqa: E402
import torch
from torch import Tensor, nn

import spikelet
from spikelet.frontends.spiking.cells import EchoState
from spikelet.frontends.spiking.encoders import DirectCurrent
from spikelet.frontends.spiking.lower import lower
from spikelet.frontends.spiking.network import Linear, Seeded, SpikingNetwork
from spikelet.frontends.spiking.seeded import SeededLinear
from spikelet.graph.ops.seeded_dense import SeededDense, seeded_signs
from spikelet.refusal import ImportRefused
from targets import check_package

STEPS = 12


class Liquid(nn.Module):
    """Spiking neurons that read the input and their own spikes through weights of seeds."""

    def __init__(self) -> None:
        super().__init__()
        self.into = SeededLinear(5, 40, seed=3, size=0.5)
        self.again = SeededLinear(40, 40, seed=4, size=0.3, fan_out=6)
        self.liquid = snn.Leaky(beta=0.9, reset_mechanism="subtract", reset_delay=False)
        self.readout = nn.Linear(40, 3)

    def forward(self, x: Tensor) -> Tensor:
        membrane, spikes, answers = self.liquid.init_leaky(), x.new_zeros((x.shape[1], 40)), []
        for frame in x.unbind(0):
            spikes, membrane = self.liquid(self.into(frame) + self.again(spikes), membrane)
            answers.append(self.readout(spikes))
        return torch.stack(answers)


def exported(net: nn.Module) -> spikelet.Package:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(0, 1, (24, STEPS, 5)).astype(np.float32)
    options = spikelet.Spiking(steps=STEPS, encoder="frames")
    return spikelet.export(net, x[:1], x, name="reservoir", options=options)


def seeded(package: spikelet.Package) -> list[SeededDense]:
    return [node for node in package.graph.nodes if isinstance(node, SeededDense)]


@pytest.mark.parametrize("target", ["native-gcc-sanitized", "rv32-gcc-qemu", "m4-gcc-qemu"])
def test_reservoirs_are_the_same_on_devices(target: str, tmp_path: Path) -> None:
    for kind in (Liquid, lambda: EchoState(5, 3, neurons=40, seed=7)):
        package = exported(kind())
        check_package(target, package, tmp_path / str(kind))


def test_a_liquid_is_read_with_its_seeds() -> None:
    package = exported(Liquid())
    (into, again), agreement = seeded(package), package.manifest["spike_agreement"]
    assert (into.seed, into.fan_out, again.seed, again.fan_out) == (3, None, 4, 6)
    assert into.zero == package.graph.inputs[0].zero_point != 0
    ratio = 0.3 / (0.5 * package.graph.inputs[0].scale)
    assert again.size / into.size == pytest.approx(ratio / 16, rel=0.03)  # shifted by 4 bits
    assert agreement[0]["spikes"] > 1000
    assert agreement[0]["share"] < 0.1


def test_an_echo_state_has_the_weights_of_its_seeds() -> None:
    net = EchoState(5, 3, neurons=40, seed=2**32 - 1, gain=0.4, radius=0.8)
    into, again = seeded(exported(net))
    assert (into.seed, again.seed) == (2**32 - 1, 0)
    signs = seeded_signs(0, 40, 40)
    assert np.allclose(net.again.weight.numpy(), 0.8 / np.sqrt(40) * signs)
    assert not [name for name in net.state_dict() if "into" in name or "again" in name]


def network(*layers: Linear) -> SpikingNetwork:
    return SpikingNetwork("net", {"x": (5,)}, layers, layers[-1].name)


def test_alone_its_weights_are_one_step() -> None:
    made = lower(network(Seeded.of("y", "x", (4, 5), 1, 0.37)), 2, DirectCurrent(), "sum")
    (node,) = [n for n in made.graph.nodes if isinstance(n, SeededDense)]
    assert node.size == 1
    assert made.exact_weights == {"y": True}
    assert made.unit == pytest.approx(0.37 * DirectCurrent().scale)


@pytest.mark.parametrize(
    ("seed", "size", "outputs", "fan_out"),
    [(-1, 1.0, 4, None), (2**32, 1.0, 4, None), (0, 0.0, 4, None), (0, float("nan"), 4, None),
     (0, float("inf"), 4, None), (0, 1.0, 0, None), (0, 1.0, 4, 0), (0, 1.0, 1 << 21, None)],
)  # fmt: skip
def test_a_seed_or_size_out_of_range_is_named(
    seed: int, size: float, outputs: int, fan_out: int | None
) -> None:
    with pytest.raises(ImportRefused, match=f"seed {seed}.*{outputs} outputs"):
        SeededLinear(5, outputs, seed=seed, size=size, fan_out=fan_out)
