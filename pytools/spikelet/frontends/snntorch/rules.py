"""What one step of each class of snnTorch's neurons does; read in snntorch 1.0.0."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import snntorch as snn
import torch
from torch import Tensor, nn

from spikelet.frontends.snntorch.layers import compare_of, refuse, reset_of
from spikelet.frontends.spiking.framework import Described, Framework, reals
from spikelet.frontends.spiking.network import Rule
from spikelet.graph import Array

STATES = {
    snn.Leaky: ("mem",),
    snn.Synaptic: ("syn", "mem"),
    snn.RLeaky: ("spk", "mem"),
    snn.RSynaptic: ("spk", "syn", "mem"),
}


def _kept(path: str, layer: nn.Module, part: str) -> Array:
    """Its alpha or beta, clipped as in its forward()."""
    return np.clip(reals(path, layer, part, getattr(layer, part)), 0, 1)


def describe(path: str, layer: Any) -> Described:
    """A layer of neurons, every switch read; raises ExportError by name of what is not carried."""
    if layer.inhibition:
        raise refuse(path, layer, "inhibition=True is not supported", "use inhibition=False")
    if layer.state_quant:
        raise refuse(path, layer, "state_quant is not supported", "use state_quant=False")
    graded = cast(Tensor, layer.graded_spikes_factor)
    if isinstance(graded, nn.Parameter) or not bool(torch.all(graded == 1)):
        raise refuse(
            path, layer, "graded spikes are not supported: a spike is one bit",
            "use graded_spikes_factor=1.0, not learnt, and scale the weights of the next layer",
        )  # fmt: skip
    reset, timing = reset_of(path, layer)
    if isinstance(layer, snn.RLeaky | snn.RSynaptic) and (reset, timing) == ("zero", "next_step"):
        timing = "next_step_input_lost"
    threshold = reals(path, layer, "threshold", layer.threshold)
    if (threshold < 0).any():
        raise refuse(
            path, layer, f"threshold {float(threshold.min()):g} is negative",
            "use thresholds of 0 or more: below it a neuron fires at rest",
        )  # fmt: skip
    current = isinstance(layer, snn.Synaptic | snn.RSynaptic)
    rule = Rule(
        kept=_kept(path, layer, "beta"),
        kept_current=_kept(path, layer, "alpha") if current else None,
        threshold=threshold,
        compare=compare_of(path, layer),
        reset=reset,
        timing=timing,
    )
    own: Any = None
    if isinstance(layer, snn.RLeaky | snn.RSynaptic):
        own = layer.recurrent
        if not isinstance(own, nn.Linear | nn.Conv2d):
            own = reals(path, layer, "V", layer.V)
    states = len(STATES[type(layer)])
    return Described(rule, own, membrane=states - (own is not None), states=states)


def reset(layer: nn.Module) -> None:
    """States as before the first step: of no size, which the next call fills with zeros."""
    for name in STATES[type(layer)]:
        setattr(layer, name, torch.zeros(0))


FRAMEWORK = Framework("snntorch", dict.fromkeys(STATES, describe), reset)
