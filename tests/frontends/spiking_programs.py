"""Programs with spiking neurons in the shapes that people write them, of three frameworks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import norse.torch.module.iaf as iaf
import norse.torch.module.leaky_integrator as li
import norse.torch.module.leaky_integrator_box as li_box
import norse.torch.module.lif as norse_lif
import norse.torch.module.lif_box as lif_box
import norse.torch.module.lif_refrac as refrac
import norse.torch.module.lsnn as lsnn
import snntorch as snn
import torch
import torch.nn.functional as functional
from norse.torch.module.sequential import SequentialState
from spikingjelly.activation_based import functional as jelly
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

from spikelet.frontends.spiking.cells import AdaptiveLIFCell, Integrator

STEPS = 20
VECTOR, IMAGE, SEQUENCE = (20,), (2, 10, 10), (3, 16)


class Loop(nn.Module):
    """The loop over time inside, states by hand, spikes and membranes stacked."""

    def __init__(self, kind: Callable[[], nn.Module], begin: str, answers: int = 1) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(20, 30), kind()
        self.fc2, self.lif2 = nn.Linear(30, 10), kind()
        self.begin, self.answers = begin, answers

    def _start(self, lif: nn.Module) -> list[Tensor]:
        state = getattr(lif, self.begin)()
        return list(state) if isinstance(state, tuple) else [state]

    def forward(self, x: Tensor) -> Any:
        one, two = self._start(self.lif1), self._start(self.lif2)
        spikes, membranes = [], []
        for _ in range(STEPS):
            first = self.lif1(self.fc1(x), *one)
            second = self.lif2(self.fc2(first[0]), *two)
            one, two = first[-len(one) :], second[-len(two) :]
            spikes.append(second[0])
            membranes.append(two[-1])
        made = torch.stack(spikes, dim=0), torch.stack(membranes, dim=0)
        return made if self.answers == 2 else made[0]


class Single(nn.Module):
    """One step a call; the states are given and returned, recurrences of the layers among them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(20, 30), snn.RLeaky(beta=0.9, linear_features=30)
        self.fc2 = nn.Linear(30, 10)
        self.lif2 = snn.RSynaptic(alpha=0.8, beta=0.9, all_to_all=False, V=torch.rand(10))

    def forward(
        self,
        x: Tensor,
        spk1: Tensor | None = None,
        mem1: Tensor | None = None,
        spk2: Tensor | None = None,
        syn2: Tensor | None = None,
        mem2: Tensor | None = None,
    ) -> Any:
        spk1, mem1 = self.lif1(self.fc1(x), spk1, mem1)
        spk2, syn2, mem2 = self.lif2(self.fc2(spk1), spk2, syn2, mem2)
        return spk2, spk1, mem1, spk2, syn2, mem2


class Memories(nn.Module):
    """Integrators whose clipped membranes go back in, through weights, in the next step."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.back, self.clip = nn.Linear(20, 30), nn.Linear(30, 30), nn.Hardtanh(-2, 2)
        self.squash, self.relu = nn.Tanh(), nn.Hardtanh(0, 3)
        self.fast = Integrator(torch.tensor([0.5]))
        self.slow = Integrator(torch.linspace(0.5, 0.99, 30), torch.linspace(0.5, 0.2, 30))
        self.out, self.lif = nn.Linear(30, 10), snn.Leaky(beta=0.9, init_hidden=True)

    def forward(self, x: Tensor) -> Any:
        fast, slow, spikes = None, None, []
        seen = torch.zeros(len(x), 30)
        for _ in range(STEPS):
            fast = self.fast(self.fc(x) + self.back(seen), fast)
            slow = self.slow(self.squash(fast), slow)
            seen = self.clip(slow)
            spikes.append(self.lif(self.out(self.relu(slow))))
        return torch.stack(spikes)


class Feedback(nn.Module):
    """A later layer's spikes go back into an earlier one; the answer is a sum over time."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(20, 30), snn.Leaky(beta=0.95)
        self.fc2, self.lif2 = nn.Linear(30, 30), snn.Leaky(beta=0.9, reset_mechanism="zero")
        self.back, self.skip, self.out = nn.Linear(30, 30), nn.Linear(20, 30), nn.Linear(30, 5)

    def forward(self, x: Tensor) -> Any:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk2: Any = torch.zeros(len(x), 30)
        total: Any = 0
        for _ in range(STEPS):
            spk1, mem1 = self.lif1(self.fc1(x) + self.back(spk2), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1) + self.skip(x), mem2)
            total = total + self.out(spk2)
        return total


class Convolutional(nn.Module):
    """Functions between the layers: max pooling of currents, view; neurons keep their state."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.lif1 = nn.Conv2d(2, 12, 3), snn.Leaky(beta=0.5, init_hidden=True)
        self.pool, self.conv2 = nn.MaxPool2d(2), nn.Conv2d(12, 8, 2, groups=4)
        self.lif2 = snn.Leaky(beta=0.5, init_hidden=True)
        self.fc = nn.Linear(72, 10)
        self.lif3 = snn.Leaky(beta=0.5, init_hidden=True, output=True)

    def forward(self, x: Tensor) -> Any:
        x = self.lif1(self.pool(self.conv1(x)))
        x = self.lif2(self.conv2(x))
        return self.lif3(self.fc(functional.dropout(x, training=False).view(len(x), -1)))


def stepped() -> Callable[[Tensor, Any], Any]:
    """Loose layers and a function that steps them."""
    fc1, fc2 = nn.Linear(20, 30), nn.Linear(30, 10)
    lif1 = snn.Synaptic(alpha=0.9, beta=0.8, reset_mechanism="zero")
    lif2 = snn.Leaky(beta=0.95, reset_mechanism="none")

    def step(x: Tensor, state: Any) -> Any:
        syn, mem1, mem2 = state or (None, None, None)
        spk, syn, mem1 = lif1(fc1(x), syn, mem1)
        _, mem2 = lif2(fc2(spk), mem2)
        return mem2, (syn, mem1, mem2)

    return step


def hidden(**options: Any) -> snn.Leaky:
    return snn.Leaky(beta=0.8, init_hidden=True, **options)


def images() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), hidden(), nn.AvgPool2d(2),
        nn.Conv2d(8, 6, 3, stride=2), nn.MaxPool2d(2), hidden(threshold=torch.tensor(0.3)),
        nn.Flatten(), nn.Linear(6, 10), nn.Identity(), hidden(output=True),
    )  # fmt: skip


def sequences() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 8, 3, dilation=2), hidden(), nn.AvgPool1d(2),
        nn.Conv1d(8, 4, 3, padding=1), hidden(), nn.Flatten(), nn.Linear(24, 5), hidden(),
    )  # fmt: skip


def by_neuron() -> nn.Module:
    return nn.Sequential(
        nn.Linear(20, 30), snn.Leaky(beta=torch.rand(30), threshold=torch.rand(30) + 0.5,
                                     init_hidden=True),
        nn.Linear(30, 10), hidden(),
    )  # fmt: skip


def inhibited() -> nn.Module:
    """Only one neuron of a layer spikes; spikes of 2.5, resets in both steps."""
    return nn.Sequential(
        nn.Linear(20, 30), hidden(graded_spikes_factor=2.5, reset_delay=False),
        nn.Linear(30, 30), hidden(inhibition=True, reset_mechanism="zero"),
        nn.Linear(30, 10), snn.Lapicque(R=2.0, C=3.0, threshold=0.1, init_hidden=True),
    )  # fmt: skip


def jelly_images(mode: str) -> nn.Module:
    network = nn.Sequential(
        layer.Conv2d(2, 8, 3, padding=1, bias=False), layer.BatchNorm2d(8),
        neuron.ParametricLIFNode(v_reset=0.1), layer.MaxPool2d(2), layer.Conv2d(8, 8, 3),
        neuron.LIFNode(decay_input=False, v_reset=None), layer.AvgPool2d(2), layer.Flatten(),
        layer.Linear(8, 10), neuron.CUBALIFNode(),
    )  # fmt: skip
    jelly.set_step_mode(network, mode)
    return network


def jelly_dense(*kinds: nn.Module) -> nn.Module:
    return nn.Sequential(layer.Linear(20, 30), kinds[0], layer.Linear(30, 10), kinds[1])


def norse_dense(*kinds: nn.Module) -> nn.Module:
    return SequentialState(nn.Linear(20, 30), kinds[0], nn.Linear(30, 10), kinds[1])


def parameters(**values: float) -> norse_lif.LIFParameters:
    return norse_lif.LIFParameters(**{name: torch.tensor(v) for name, v in values.items()})


def adaptive() -> lsnn.LSNNParameters:
    return lsnn.LSNNParameters(tau_adapt_inv=torch.tensor(20.0), beta=torch.tensor(0.4))


PROGRAMS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "leaky_loop": (lambda: Loop(lambda: snn.Leaky(beta=0.95), "init_leaky", 2), VECTOR),
    "zero_loop": (
        lambda: Loop(lambda: snn.Leaky(beta=0.9, reset_mechanism="zero"), "init_leaky"), VECTOR
    ),
    "synaptic_loop": (
        lambda: Loop(lambda: snn.Synaptic(alpha=0.9, beta=0.8), "init_synaptic", 2), VECTOR
    ),
    "rleaky_loop": (
        lambda: Loop(lambda: snn.RLeaky(beta=0.9, all_to_all=False), "init_rleaky"), VECTOR
    ),
    "alpha_loop": (
        lambda: Loop(lambda: snn.Alpha(alpha=0.9, beta=0.6, threshold=0.5), "init_alpha"), VECTOR
    ),
    "memories": (Memories, VECTOR),
    "single_step": (Single, VECTOR),
    "feedback": (Feedback, VECTOR),
    "loose_layers": (stepped, VECTOR),
    "functions": (Convolutional, IMAGE),
    "sequential_images": (images, IMAGE),
    "sequential_sequences": (sequences, SEQUENCE),
    "by_neuron": (by_neuron, VECTOR),
    "inhibited": (inhibited, VECTOR),
    "spikingjelly_if": (
        lambda: jelly_dense(neuron.IFNode(v_reset=-0.2), neuron.IFNode(v_reset=None)), VECTOR
    ),
    "spikingjelly_lif": (lambda: jelly_dense(neuron.LIFNode(tau=3.0), neuron.LIFNode()), VECTOR),
    "spikingjelly_plif": (
        lambda: jelly_dense(neuron.ParametricLIFNode(3.0), neuron.CUBALIFNode(0.4, 0.9)), VECTOR
    ),
    "spikingjelly_silent": (
        lambda: jelly_dense(neuron.IFNode(), neuron.NonSpikingLIFNode()), VECTOR
    ),
    "spikingjelly_sum": (lambda: jelly_dense(neuron.LIFNode(), neuron.NonSpikingIFNode()), VECTOR),
    "spikingjelly_single": (lambda: jelly_images("s"), IMAGE),
    "spikingjelly_multi": (lambda: jelly_images("m"), IMAGE),
    "norse_lif": (lambda: norse_dense(norse_lif.LIFCell(), li.LICell()), VECTOR),
    "norse_leak": (
        lambda: norse_dense(
            norse_lif.LIFCell(parameters(v_leak=0.2, v_reset=-0.1)), norse_lif.LIFCell()
        ),
        VECTOR,
    ),
    "norse_box": (lambda: norse_dense(lif_box.LIFBoxCell(), iaf.IAFCell()), VECTOR),
    "norse_refrac": (lambda: norse_dense(refrac.LIFRefracCell(), li_box.LIBoxCell()), VECTOR),
    "norse_recurrent": (
        lambda: SequentialState(nn.Linear(20, 30), norse_lif.LIFCell(),
                                norse_lif.LIFRecurrentCell(30, 12)),
        VECTOR,
    ),
    "norse_refrac_recurrent": (
        lambda: SequentialState(nn.Linear(20, 30), iaf.IAFCell(),
                                refrac.LIFRefracRecurrentCell(30, 12), nn.Linear(12, 5),
                                li.LICell()),
        VECTOR,
    ),
    "norse_adaptive": (
        lambda: SequentialState(nn.Linear(20, 30), iaf.IAFCell(),
                                lsnn.LSNNRecurrentCell(30, 24, adaptive()),
                                nn.Linear(24, 10), lsnn.LSNNCell(adaptive())),
        VECTOR,
    ),
    "adaptive_counts": (
        lambda: SequentialState(nn.Linear(20, 30), AdaptiveLIFCell(30, kept=0.2, most=4),
                                nn.Linear(30, 10), AdaptiveLIFCell(10, kept=0.1)),
        VECTOR,
    ),
    "norse_images": (
        lambda: SequentialState(nn.Conv2d(2, 6, 3), lif_box.LIFBoxCell(), nn.AvgPool2d(2),
                                nn.Flatten(), nn.Linear(96, 10), norse_lif.LIFCell()),
        IMAGE,
    ),
}  # fmt: skip


def made(name: str) -> tuple[Any, Tensor]:
    """A program with its weights drawn, so large that neurons fire, and samples for it."""
    torch.manual_seed(len(name))
    build, shape = PROGRAMS[name]
    program = build()
    if isinstance(program, nn.Module):
        for module in program.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                module.weight.data *= 2.5
    # Norse's time constants are ten to a hundred steps: it takes more to make its neurons fire.
    most = 9.0 if name.startswith("norse") else 3.0
    return program, most * torch.rand(40, *shape)
