"""Cells that no framework has, as PyTorch modules: trained by autograd, exported as others are."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from spikelet.errors import UsageError
from spikelet.frontends.spiking.framework import Described, Framework, reals
from spikelet.frontends.spiking.network import Rule
from spikelet.frontends.spiking.seeded import SeededLinear
from spikelet.graph.ops.lif import MOST_SPIKES


class Integrator(nn.Module):
    """`v = kept * v + gain * x`: leaky integrators, whose membrane is what they answer.

    Args:
        kept: (n,) or (1,), what a step keeps, 0 to 1.
        gain: (n,) or (1,), of the input.
    """

    kept: Tensor
    gain: Tensor

    def __init__(self, kept: Tensor, gain: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("kept", kept)
        self.register_buffer("gain", torch.ones(1) if gain is None else gain)

    def forward(self, x: Tensor, v: Tensor | None = None) -> Tensor:
        """The membranes (N, n) after a step, for an input (N, n) and those before it."""
        taken = self.gain * x
        return taken if v is None else self.kept * v + taken


class EchoState(nn.Module):
    """A fixed random reservoir (Jaeger, 2001): `h = clip(k h + (1 - k) clip(W x + V h))`.

    W and V are made of seeds, h is clipped to -1..1. Only the readout of h and of its positive part
    is trained, which the device adds up over time: their means tell of levels and of sizes.
    `forward` takes (T, N, inputs) and answers (T, N, outputs).

    Args:
        inputs: of a step.
        outputs: classes.
        neurons: in the reservoir.
        seed: W has it, and V the one behind it.
        gain: of every weight of W.
        radius: about the spectral radius of V.
        kept: k, the part of its state that a neuron keeps in a step.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        neurons: int = 100,
        seed: int = 0,
        gain: float = 0.3,
        radius: float = 0.9,
        kept: float = 0.5,
    ) -> None:
        super().__init__()
        self.neurons = neurons
        self.into = SeededLinear(inputs, neurons, seed=seed, size=gain)
        self.again = SeededLinear(
            neurons, neurons, seed=(seed + 1) % (1 << 32), size=radius / math.sqrt(neurons)
        )
        self.squashed = nn.Hardtanh()
        self.state = Integrator(torch.tensor([kept]), torch.tensor([1 - kept]))
        self.seen, self.positive = nn.Hardtanh(), nn.Hardtanh(0.0, 1.0)
        self.readout = nn.Linear(neurons, outputs)
        self.of_positive = nn.Linear(neurons, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """What the reservoir says in each step."""
        state: Tensor | None = None
        seen, answers = x.new_zeros((x.shape[1], self.neurons)), []
        for frame in x.unbind(0):
            proposal = self.squashed(self.into(frame) + self.again(seen))
            state = self.state(proposal, state)
            seen = self.seen(state)
            answers.append(self.readout(seen) + self.of_positive(self.positive(state)))
        return torch.stack(answers)


class ELM(nn.Module):
    """The expressive leaky memory neuron (Spieler et al., 2023): slow memories and a small network.

    Traces of weighted inputs by branch, `b = k_b * b + W x`; a proposal for the memories,
    `d = tanh(W2 relu(W1 [b, m]) + c)`; memories with a time constant each,
    `m = k_m * m + g * d`; and `y = W m`. b, m and the hidden layer are clipped to a range, which
    their 8 bits on a device hold. g is such that no memory leaves 1 within `horizon` steps.

    The network between has twice as many neurons as there are memories. `forward` takes
    (T, N, inputs) and answers (T, N, outputs); the device adds these up over time.

    Args:
        inputs: of a step.
        outputs: classes.
        memories: how many.
        branches: traces; each is a weighted sum of inputs.
        branch_steps: time constant of the traces, in steps.
        spread: the shortest and the longest time constant of the memories, in steps, which are
            spaced evenly in their logarithm.
        horizon: steps that a memory takes to fill; None for any number.
    """

    TRACE_LIMIT: ClassVar[float] = 4.0

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        memories: int = 20,
        branches: int = 20,
        branch_steps: float = 5.0,
        spread: tuple[float, float] = (1.0, 100.0),
        horizon: int | None = None,
    ) -> None:
        super().__init__()
        hidden = 2 * memories
        steps = torch.logspace(math.log10(spread[0]), math.log10(spread[1]), memories)
        kept = torch.exp(-1 / steps)
        gain = 1 - kept if horizon is None else (1 - kept) / (1 - kept**horizon)
        self.memories = memories
        self.synapses = nn.Linear(inputs, branches, bias=False)
        self.branches = Integrator(torch.tensor([math.exp(-1 / branch_steps)]))
        self.trace = nn.Hardtanh(-self.TRACE_LIMIT, self.TRACE_LIMIT)
        self.from_trace = nn.Linear(branches, hidden)
        self.from_memory = nn.Linear(memories, hidden, bias=False)
        self.hidden = nn.ReLU6()
        self.proposal = nn.Linear(hidden, memories)
        self.squashed = nn.Tanh()
        self.memory = Integrator(kept, gain)
        self.seen = nn.Hardtanh()
        self.readout = nn.Linear(memories, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """What the memories say in each step."""
        trace: Tensor | None = None
        memory: Tensor | None = None
        seen, answers = x.new_zeros((x.shape[1], self.memories)), []
        for frame in x.unbind(0):
            trace = self.branches(self.synapses(frame), trace)
            known = self.from_trace(self.trace(trace)) + self.from_memory(seen)
            proposal = self.squashed(self.proposal(self.hidden(known)))
            memory = self.memory(proposal, memory)
            seen = self.seen(memory)
            answers.append(self.readout(seen))
        return torch.stack(answers)


class _Counts(torch.autograd.Function):
    """How often neurons fire in a step, of `u = v / threshold - 1`: 0 to most."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, most: int, steepness: float) -> Tensor:
        """Counts of u, both (N, n)."""
        ctx.save_for_backward(u)
        ctx.most, ctx.steepness = most, steepness
        return torch.where(u > 0, torch.ceil(u), 0).clamp(max=most)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """The fast sigmoid's gradient at the step that is nearest."""
        (u,) = ctx.saved_tensors
        off = u - u.round().clamp(0, ctx.most - 1)
        return grad / (1 + ctx.steepness * off.abs()) ** 2, None, None


class AdaptiveLIFCell(nn.Module):
    """Leaky neurons with an adaptation, by its input (adLIF; Bittar and Garner, 2022).

        v = k v + (1 - k) (x - w);  s = v > 1, or how often 1 fits below v, to `most`
        v = v - s;                  w = r w + c v + j s

    Where `most` is above 1 a neuron fires several times in a step, and its spikes are counts. k, r,
    c and j are trained, one a neuron; `forward` holds k and r between 0 and 1. The published form
    adds c v with v before its reset: its b is j - c.

    Args:
        neurons: n.
        kept: k at first.
        kept_adaptation: r at first.
        coupling: c at first.
        jump: j at first.
        most: spikes of a neuron in a step, 1 to 255.
        steepness: of the surrogate gradient, 1 / (1 + steepness |v - 1|)^2.
    """

    def __init__(
        self,
        neurons: int,
        *,
        kept: float = 0.9,
        kept_adaptation: float = 0.95,
        coupling: float = 0.1,
        jump: float = 0.5,
        most: int = 1,
        steepness: float = 5.0,
    ) -> None:
        super().__init__()
        if not 1 <= most <= MOST_SPIKES:
            raise UsageError(
                f"most is {most}, expected 1 to {MOST_SPIKES}", next="choose how often it may fire"
            )
        self.most, self.steepness = most, steepness
        self.kept = nn.Parameter(torch.full((neurons,), kept))
        self.kept_adaptation = nn.Parameter(torch.full((neurons,), kept_adaptation))
        self.coupling = nn.Parameter(torch.full((neurons,), coupling))
        self.jump = nn.Parameter(torch.full((neurons,), jump))

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Spikes or counts (N, n) of a step, and v and w behind it, for an input (N, n)."""
        v, w = state if state is not None else (torch.zeros_like(x), torch.zeros_like(x))
        kept, kept_adaptation = self.kept.clamp(0, 1), self.kept_adaptation.clamp(0, 1)
        v = kept * v + (1 - kept) * (x - w)
        spikes: Tensor = _Counts.apply(  # type: ignore[no-untyped-call]
            v - 1, self.most, self.steepness
        )
        v = v - spikes.detach()
        w = kept_adaptation * w + self.coupling * v + self.jump * spikes
        return spikes, (v, w)


def _adaptive(path: str, layer: Any) -> Described:
    kept = np.clip(reals(path, layer, "kept", layer.kept), 0, 1)
    rule = Rule(
        kept=kept,
        gain=1 - kept,
        reset="subtract",
        most=layer.most,
        adapts="input",
        kept_adaptation=np.clip(reals(path, layer, "kept_adaptation", layer.kept_adaptation), 0, 1),
        coupling=reals(path, layer, "coupling", layer.coupling),
        jump=reals(path, layer, "jump", layer.jump),
    )
    return Described(rule, membrane=1, states=2)


def _integrators(path: str, layer: Any) -> Described:
    kept = np.clip(reals(path, layer, "kept", layer.kept), 0, 1)
    gain = reals(path, layer, "gain", layer.gain)
    return Described(Rule(kept=kept, gain=gain, threshold=None, reset="none"), states=1)


def _nothing(_network: nn.Module) -> None:
    """States are given and returned."""


FRAMEWORK = Framework("spikelet", {Integrator: _integrators, AdaptiveLIFCell: _adaptive}, _nothing)
