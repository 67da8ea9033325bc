"""What one step of each class of snnTorch's neurons does; read in snntorch 1.0.0."""

from __future__ import annotations

from typing import Any

import numpy as np
import snntorch as snn
import torch
from torch import nn

from spikelet.frontends.snntorch.layers import compare_of, refuse, reset_of
from spikelet.frontends.spiking.framework import Described, Framework, reals
from spikelet.frontends.spiking.network import Rule
from spikelet.graph import Array

STATES = {
    snn.Leaky: ("mem",),
    snn.Synaptic: ("syn", "mem"),
    snn.RLeaky: ("spk", "mem"),
    snn.RSynaptic: ("spk", "syn", "mem"),
    snn.Lapicque: ("mem",),
    snn.Alpha: ("syn_exc", "syn_inh", "mem"),
}


def _kept(path: str, layer: nn.Module, part: str) -> Array:
    """Its alpha or beta, clipped as in its forward()."""
    return np.clip(reals(path, layer, part, getattr(layer, part)), 0, 1)


def _height(path: str, layer: Any) -> float:
    """Of a spike: one for all neurons."""
    heights = reals(path, layer, "graded_spikes_factor", layer.graded_spikes_factor)
    if np.ptp(heights) or heights[0] <= 0:
        raise refuse(
            path, layer, "graded_spikes_factor is not one positive number",
            "use one, and put what differs into the weights of the next layer",
        )  # fmt: skip
    if layer.inhibition and heights[0] != 1:
        raise refuse(
            path, layer, "graded_spikes_factor has no effect with inhibition=True",
            "use graded_spikes_factor=1.0",
        )  # fmt: skip
    return float(heights[0])


def _threshold(path: str, layer: Any) -> Array:
    threshold = reals(path, layer, "threshold", layer.threshold)
    if (threshold < 0).any():
        raise refuse(
            path, layer, f"threshold {float(threshold.min()):g} is negative",
            "use thresholds of 0 or more: below it a neuron fires at rest",
        )  # fmt: skip
    return threshold


def describe(path: str, layer: Any) -> Described:
    """A layer of neurons, every switch read; raises ExportError by name of what is not carried."""
    if layer.state_quant:
        raise refuse(path, layer, "state_quant is not supported", "use state_quant=False")
    reset, timing = reset_of(path, layer)
    parts: dict[str, Any] = {"kept": _kept(path, layer, "beta")}
    if isinstance(layer, snn.Synaptic | snn.RSynaptic):
        parts["kept_current"] = _kept(path, layer, "alpha")
    if isinstance(layer, snn.Alpha):
        parts |= _synapse(path, layer)
    if isinstance(layer, snn.Lapicque):
        parts = _circuit(path, layer)
    rule = Rule(
        **parts,
        threshold=_threshold(path, layer),
        compare=compare_of(path, layer),
        reset=reset,
        timing=timing,
        inhibition=bool(layer.inhibition),
        height=_height(path, layer),
    )
    own: Any = None
    if isinstance(layer, snn.RLeaky | snn.RSynaptic):
        own = layer.recurrent
        if not isinstance(own, nn.Linear | nn.Conv2d):
            own = reals(path, layer, "V", layer.V)
    states = len(STATES[type(layer)])
    return Described(rule, own, membrane=states - (own is not None), states=states)


def _synapse(path: str, layer: snn.Alpha) -> dict[str, Any]:
    """An alpha-shaped synapse: its two currents, and the factor of what they differ by."""
    if layer.inhibition:
        raise refuse(path, layer, "inhibition=True is not supported", "use inhibition=False")
    rises, falls = _kept(path, layer, "beta"), _kept(path, layer, "alpha")
    if (rises <= 0).any() or (rises >= falls).any():
        raise refuse(
            path, layer, "beta is not above 0 and below alpha",
            "use such a beta: else the membrane is no number",
        )  # fmt: skip
    gain = np.log(falls) / (np.log(rises) - np.log(falls)) + 1
    currents = {"kept_current": falls, "kept_inhibitory": rises}
    return {**currents, "kept": np.zeros(1), "gain": gain}


def _circuit(path: str, layer: Any) -> dict[str, Any]:
    """Lapicque's resistance and capacity as factors of a step."""
    step, r, c = (
        reals(path, layer, part, getattr(layer, part)) for part in ("time_step", "R", "C")
    )
    kept = 1 - step / (r * c)
    if (kept < 0).any() or (kept > 1).any():
        raise refuse(
            path, layer, f"a step keeps {float(kept.min()):g} of its membrane, not 0 to 1",
            "use a time_step of at most R * C",
        )  # fmt: skip
    return {"kept": kept, "gain": step / c}


def reset(layer: nn.Module) -> None:
    """States as before the first step: of no size, which the next call fills with zeros."""
    for name in STATES[type(layer)]:
        setattr(layer, name, torch.zeros(0))


FRAMEWORK = Framework(
    "snntorch", dict.fromkeys(STATES, describe), reset, where=("snntorch._neurons",)
)
