"""Delays that are learned: a spike arrives spread over steps about its delay, ever more narrowly.

After Hammouamri, Khalfaoui-Hassani, Masquelier, "Learning delays in spiking neural networks using
dilated convolutions with learnable spacings", ICLR 2024; here one delay a neuron, not one a
synapse.
"""

from __future__ import annotations

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
    late = torch.zeros_like(x)
    for ago in torch.unique(delays).tolist():
        if ago < len(x):
            chosen = torch.nonzero(delays == ago)[:, 0]
            late[ago:, :, chosen] = x[: len(x) - ago, :, chosen]
    return late
