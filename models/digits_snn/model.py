"""64 Poisson-coded pixels, 144 leaky integrate-and-fire neurons, 10 integrators that vote."""

from __future__ import annotations

import snntorch as snn
from snntorch import surrogate
from torch import nn

HIDDEN = 144
BETA = 0.9


def build(inputs: int, classes: int) -> nn.Sequential:
    """Layers in order of execution."""
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN, bias=False),
        snn.Leaky(
            beta=BETA,
            threshold=1.0,
            spike_grad=surrogate.fast_sigmoid(slope=5),
            reset_mechanism="zero",
            reset_delay=False,
            init_hidden=True,
        ),
        nn.Linear(HIDDEN, classes, bias=False),
        snn.Leaky(beta=1.0, reset_mechanism="none", init_hidden=True),
    )
