"""Delays that are learned: a spike arrives spread over steps about its delay, ever more narrowly.

After Hammouamri, Khalfaoui-Hassani, Masquelier, "Learning delays in spiking neural networks using
dilated convolutions with learnable spacings", ICLR 2024; here one delay a neuron, not one a
synapse.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def spread(x: Tensor, delays: Tensor, width: float) -> Tensor:
    """Spikes (T, N, n) spread over time.

    Args:
        x: spikes.
        delays: (n,) real steps.
        width: standard deviation of the Gaussian, in steps.
    """
    steps = len(x)
    t = torch.arange(steps, dtype=x.dtype)
    reach = torch.arange(int(torch.ceil(delays.detach().max() + 3 * width)) + 1, dtype=x.dtype)
    share = torch.exp(-0.5 * ((reach - delays[:, None]) / width) ** 2)  # (n, reach)
    share = share / share.sum(dim=1, keepdim=True)
    ago = t[:, None] - t[None, :]  # (T, T): steps from a spike to an arrival
    seen = (ago >= 0) & (ago < len(reach))
    index = ago.clamp(0, len(reach) - 1).long()
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
