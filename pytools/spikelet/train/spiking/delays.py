"""Delays that are learned: a spike arrives spread over steps about its delay, ever more narrowly.

After Hammouamri, Khalfaoui-Hassani, Masquelier, "Learning delays in spiking neural networks using
dilated convolutions with learnable spacings", ICLR 2024: a delay a synapse, or one a neuron.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spikelet.frontends.spiking.late import MOST_STEPS


class Delays(nn.Module):
    """Real numbers of steps, which may be learned.

    Args:
        steps: to begin with, of any shape.
        learned: whether they have a gradient.

    Attributes:
        most: the longest that is allowed.
        factor: see `Executor.coarsen`.
    """

    def __init__(self, steps: Tensor, learned: bool) -> None:
        super().__init__()
        self.steps = nn.Parameter(steps, requires_grad=learned)
        self.most, self.factor = float(MOST_STEPS), 1
        self.held: Tensor
        self.register_buffer("held", torch.ones_like(steps))  # 0 where there is no delay

    def clamped(self) -> Tensor:
        """Within what is allowed."""
        return self.steps.clamp(0, self.most) * self.held

    def executed(self) -> Tensor:
        """In steps that are executed."""
        return self.clamped() / self.factor

    def whole(self) -> Tensor:
        """Whole steps of the network, int64."""
        return self.clamped().detach().round().long()

    def keep(self, share: float) -> None:
        """Delay only this share of them: of those that are delayed, the longest."""
        longest = (self.clamped().detach() + self.held).flatten().argsort(descending=True)
        held = torch.zeros(len(longest))
        held[longest[: round(share * len(held))]] = 1
        self.held = held.reshape(self.held.shape)


def arrivals(delays: Tensor, width: float) -> Tensor:
    """Shares of a spike, (..., reach), by how many steps later they arrive.

    Args:
        delays: (...,) real steps.
        width: standard deviation of the Gaussian, in steps, at least `recipe.NARROWEST`; 0 for
            the nearest whole step.
    """
    longest = float(delays.detach().max())
    reach = torch.arange(math.ceil(longest + 3 * width) + 1, dtype=delays.dtype)
    if not width:
        return (reach == delays.detach().round()[..., None]).to(delays.dtype)
    share = torch.exp(-0.5 * ((reach - delays[..., None]) / width) ** 2)
    return share / share.sum(dim=-1, keepdim=True)


def late_sums(x: Tensor, weight: Tensor, bias: Tensor | None, share: Tensor) -> Tensor:
    """Sums (N, O, T) of spikes (N, I, T), each synapse's spread over steps to come.

    Args:
        x: spikes.
        weight: (O, I).
        bias: (O,) or None.
        share: (O, I, reach), see `arrivals`.
    """
    kernel = (weight[:, :, None] * share).flip(2)  # the newest step is the last
    return functional.conv1d(functional.pad(x, (kernel.shape[2] - 1, 0)), kernel, bias)


def spread(x: Tensor, delays: Tensor, width: float) -> Tensor:
    """Spikes (T, N, n) spread over time.

    Args:
        x: spikes.
        delays: (n,) real steps.
        width: standard deviation of the Gaussian, in steps.
    """
    t = torch.arange(len(x), dtype=x.dtype)
    share = arrivals(delays, width)  # (n, reach)
    ago = t[:, None] - t[None, :]  # (T, T): steps from a spike to an arrival
    seen = (ago >= 0) & (ago < share.shape[1])
    index = ago.clamp(0, share.shape[1] - 1).long()
    arrival = share[:, index] * seen  # (n, T, T)
    return torch.einsum("nts,sbn->tbn", arrival, x)


def shifted(x: Tensor, delays: Tensor) -> Tensor:
    """Spikes (T, N, n) each later by its neuron's whole number of steps, (n,) int64."""
    late: Tensor = _Shift.apply(x, delays)  # type: ignore[no-untyped-call]
    return late


class _Shift(torch.autograd.Function):
    """Its gradient is shifted back: recorded, an indexed tensor's is summed, which is slow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, delays: Tensor) -> Tensor:
        ctx.save_for_backward(delays)
        return _moved(x, delays)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (delays,) = ctx.saved_tensors
        return _moved(grad, -delays), None


def _moved(x: Tensor, by: Tensor) -> Tensor:
    """Values (T, N, n) later by (n,) steps, or earlier where they are negative; 0 elsewhere."""
    steps = len(x)
    source = torch.arange(steps)[:, None] - by  # (T, n): the step that a value comes from
    there = (source >= 0) & (source < steps)
    index = source.clamp(0, steps - 1)[:, None].expand(x.shape)
    return x.gather(0, index) * there[:, None]
