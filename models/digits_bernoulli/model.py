"""The benchmark network: 64-128-10 leaky integrate-and-fire neurons, reset to zero, no bias."""

from __future__ import annotations

import snntorch as snn
from snntorch import surrogate
from torch import nn

BETA = 0.9
HIDDEN = 128


def build(inputs: int, classes: int) -> nn.Sequential:
    """Layers in order of execution."""
    gradient = surrogate.fast_sigmoid(slope=5)

    def neurons() -> snn.Leaky:
        return snn.Leaky(
            beta=BETA,
            threshold=1.0,
            spike_grad=gradient,
            reset_mechanism="zero",
            reset_delay=False,
            init_hidden=True,
        )

    return nn.Sequential(
        nn.Linear(inputs, HIDDEN, bias=False),
        neurons(),
        nn.Linear(HIDDEN, classes, bias=False),
        neurons(),
    )
