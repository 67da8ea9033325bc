"""What one step of SpikingJelly's neurons does; read in spikingjelly 2.0.0, activation_based."""

from __future__ import annotations

from typing import Any

import numpy as np
from spikingjelly.activation_based import functional, neuron
from torch import nn

from spikelet.frontends.spiking.framework import Described, Framework, reals
from spikelet.frontends.spiking.network import Rule
from spikelet.graph import Array
from spikelet.refusal import ImportRefused


def _fired(path: str, layer: Any) -> dict[str, Any]:
    """Threshold and reset: a membrane at the threshold fires, and is reset at once."""
    threshold = reals(path, layer, "v_threshold", layer.v_threshold)
    fields: dict[str, Any] = {"threshold": threshold, "compare": ">=", "timing": "same_step"}
    if layer.v_reset is None:
        return {**fields, "reset": "subtract"}
    value = reals(path, layer, "v_reset", layer.v_reset)
    return {**fields, "reset": "value" if value.any() else "zero", "value": value}


def _rest(layer: Any) -> float:
    """Where a membrane starts, and what it leaks to."""
    return 0.0 if layer.v_reset is None else float(layer.v_reset)


def _integrate(path: str, layer: Any) -> Described:
    rule = Rule(kept=np.ones(1), initial=_rest(layer), **_fired(path, layer))
    return Described(rule)


def _leaky(path: str, layer: Any) -> Described:
    part: Array
    if isinstance(layer, neuron.ParametricLIFNode):
        part = 1 / (1 + np.exp(-reals(path, layer, "w", layer.w)))
    else:
        part = 1 / reals(path, layer, "tau", layer.tau)
    rest = _rest(layer)
    rule = Rule(
        kept=1 - part,
        gain=part if layer.decay_input else np.ones(1),
        drift=part * rest,
        initial=rest,
        **_fired(path, layer),
    )
    return Described(rule)


def _current_based(path: str, layer: Any) -> Described:
    rule = Rule(
        kept=reals(path, layer, "v_decay", layer.v_decay),
        kept_current=reals(path, layer, "c_decay", layer.c_decay),
        initial=_rest(layer),
        **_fired(path, layer),
    )
    return Described(rule)


def _silent(path: str, layer: Any) -> Described:
    """Integrators that write their membrane."""
    if getattr(layer, "decode", None) is not None:
        raise ImportRefused(
            f"layer {path} ({type(layer).__name__}): decode={layer.decode!r} is not supported",
            next="use decode=None: the readout takes the membrane after the last step",
        )
    part = np.zeros(1)
    if isinstance(layer, neuron.NonSpikingLIFNode):
        part = 1 / reals(path, layer, "tau", layer.tau)
    gain = part if part.any() else np.ones(1)
    return Described(Rule(kept=1 - part, gain=gain, threshold=None, reset="none"))


def one_step(network: nn.Module) -> None:
    """A call is one step from now on."""
    functional.set_step_mode(network, "s")


FRAMEWORK = Framework(
    "spikingjelly",
    {
        neuron.IFNode: _integrate,
        neuron.LIFNode: _leaky,
        neuron.ParametricLIFNode: _leaky,
        neuron.CUBALIFNode: _current_based,
        neuron.NonSpikingIFNode: _silent,
        neuron.NonSpikingLIFNode: _silent,
    },
    functional.reset_net,
    one_step,
    where=("spikingjelly.activation_based.neuron",),
    instead={
        "ILIFNode": "it rounds to the nearest number of spikes, halves to even; use LIFNode with "
        "decay_input=False, v_reset=None and more steps",
    },
)
