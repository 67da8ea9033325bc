"""What one step of Norse's neurons does; read in norse 1.1.0. Its parameters are inverse times."""

from __future__ import annotations

from typing import Any

import numpy as np
from norse.torch.functional.reset import reset_subtract, reset_value
from norse.torch.module.iaf import IAFCell
from norse.torch.module.leaky_integrator import LICell
from norse.torch.module.leaky_integrator_box import LIBoxCell
from norse.torch.module.lif import LIFCell, LIFRecurrentCell
from norse.torch.module.lif_box import LIFBoxCell
from norse.torch.module.lif_refrac import LIFRefracCell, LIFRefracRecurrentCell
from norse.torch.module.lsnn import LSNNCell, LSNNRecurrentCell
from torch import nn

from spikelet.frontends.spiking.framework import Described, Framework, reals
from spikelet.frontends.spiking.network import Rule
from spikelet.graph import Array
from spikelet.refusal import ImportRefused


def _membrane(path: str, layer: Any, p: Any) -> dict[str, Any]:
    """What the membrane keeps and takes in; it starts where it leaks to."""
    part: Array = layer.dt * reals(path, layer, "tau_mem_inv", p.tau_mem_inv)
    rest = reals(path, layer, "v_leak", p.v_leak)
    if len(set(rest.tolist())) > 1:
        raise ImportRefused(f"layer {path}: v_leak differs between neurons, expected one value")
    return {"kept": 1 - part, "gain": part, "drift": part * rest, "initial": float(rest[0])}


def _current(path: str, layer: Any, p: Any) -> dict[str, Any]:
    return {"kept_current": 1 - layer.dt * reals(path, layer, "tau_syn_inv", p.tau_syn_inv)}


def _fired(path: str, layer: Any, p: Any) -> dict[str, Any]:
    value = reals(path, layer, "v_reset", p.v_reset)
    threshold = reals(path, layer, "v_th", p.v_th)
    method = getattr(p, "reset_method", reset_value)
    if method not in (reset_value, reset_subtract):
        raise ImportRefused(
            f"layer {path} ({type(layer).__name__}): reset_method {method!r} is not known",
            next="use reset_value or reset_subtract",
        )
    fields = {"threshold": threshold, "compare": ">", "timing": "same_step"}
    if method is reset_subtract:
        return {**fields, "reset": "subtract"}
    return {**fields, "reset": "value" if value.any() else "zero", "value": value}


def _lif(path: str, layer: Any) -> Described:
    p = layer.p
    parts = (_membrane(path, layer, p), _current(path, layer, p), _fired(path, layer, p))
    return Described(_rule(*parts))


def _adaptive(path: str, layer: Any) -> dict[str, Any]:
    """The threshold leaks to v_th before it is compared, and jumps by beta behind that.

    Less v_th, as it is compared: w = kept * (w + beta * s).
    """
    kept = 1 - layer.dt * reals(path, layer, "tau_adapt_inv", layer.p.tau_adapt_inv)
    jump = kept * reals(path, layer, "beta", layer.p.beta)
    return {"adapts": "threshold", "kept_adaptation": kept, "jump": jump, "late": True}


def _lsnn(path: str, layer: Any) -> Described:
    p = layer.p
    parts = (_membrane(path, layer, p), _current(path, layer, p), _fired(path, layer, p))
    return Described(_rule(*parts, _adaptive(path, layer)))


def _recurrent(path: str, layer: Any) -> Described:
    p = getattr(layer.p, "lif", layer.p)
    parts = [_membrane(path, layer, p), _current(path, layer, p), _fired(path, layer, p)]
    if p is not layer.p:
        parts.append(_refractory(path, layer))
    if isinstance(layer, LSNNRecurrentCell):
        parts.append(_adaptive(path, layer))
    hidden = len(layer.recurrent_weights)
    own = nn.Linear(hidden, hidden, bias=False)
    own.weight = nn.Parameter(layer.recurrent_weights.detach().clone())
    front = layer.input_weights.detach().double().numpy()
    return Described(_rule(*parts), own, front)


def _refractory(path: str, layer: Any) -> dict[str, Any]:
    steps = reals(path, layer, "rho_reset", layer.p.rho_reset)
    if not 0 <= steps[0] <= 255 or steps[0] != round(steps[0]) or np.ptp(steps):
        raise ImportRefused(
            f"layer {path} ({type(layer).__name__}): rho_reset is {steps[0]:g}, expected 0 to 255"
        )
    return {"refractory": int(steps[0])}


def _refrac(path: str, layer: Any) -> Described:
    p = layer.p.lif
    parts = (_membrane(path, layer, p), _current(path, layer, p), _fired(path, layer, p))
    return Described(_rule(*parts, _refractory(path, layer)))


def _box(path: str, layer: Any) -> Described:
    return Described(_rule(_membrane(path, layer, layer.p), _fired(path, layer, layer.p)))


def _integrate(path: str, layer: Any) -> Described:
    return Described(_rule({"kept": np.ones(1)}, _fired(path, layer, layer.p)))


def _silent(path: str, layer: Any) -> Described:
    parts = [_membrane(path, layer, layer.p), {"threshold": None, "reset": "none"}]
    if isinstance(layer, LICell):
        parts.append(_current(path, layer, layer.p))
    return Described(_rule(*parts))


def _rule(*parts: dict[str, Any]) -> Rule:
    return Rule(**{name: value for part in parts for name, value in part.items()})


def _nothing(_network: nn.Module) -> None:
    """States are given and returned, never kept in a module."""


FRAMEWORK = Framework(
    "norse",
    {
        LIFCell: _lif,
        LIFRecurrentCell: _recurrent,
        LIFBoxCell: _box,
        LIFRefracCell: _refrac,
        LIFRefracRecurrentCell: _recurrent,
        LSNNCell: _lsnn,
        LSNNRecurrentCell: _recurrent,
        IAFCell: _integrate,
        LICell: _silent,
        LIBoxCell: _silent,
    },
    _nothing,
    where=("norse.torch.module.snn",),
    instead={
        "LIFAdExCell": "its membrane has an exponential term; the threshold of LSNNCell adapts, "
        "and LIFCell does without the term",
        "LIFAdExRecurrentCell": "its membrane has an exponential term; use LSNNRecurrentCell, "
        "whose threshold adapts",
    },
)
