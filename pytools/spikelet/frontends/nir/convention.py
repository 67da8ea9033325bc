"""What a NIR file leaves open of a step, from the caller or from the metadata of our own files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np

from spikelet.errors import UsageError
from spikelet.frontends.nir.file import FileNode, Tree
from spikelet.frontends.spiking.network import Compare, Reset, Timing
from spikelet.graph import Array

KEY = "spikelet"  # of the metadata
VERSION = 1

Initial = Literal["zero", "reset", "leak"]
Input = Literal["current", "jump"]
VALUES: dict[str, tuple[str, ...]] = {
    "reset": get_args(Reset),
    "timing": get_args(Timing),
    "compare": get_args(Compare),
    "initial": get_args(Initial),
    "input": get_args(Input),
}
MEANING = {
    "dt": "seconds of a step, as 1e-4: snnTorch and SpikingJelly export with that",
    "reset": "zero (to v_reset: value), subtract (the threshold) or none: what a spike does",
    "timing": "same_step, next_step (snnTorch's default) or next_step_input_lost",
    "compare": "> (snnTorch, Norse) or >= (SpikingJelly): whether v at the threshold fires",
    "initial": "membrane before the first step: zero, reset (v_reset) or leak (v_leak)",
    "input": "current (times dt) or jump (Norse): what reaches IF and the synapses",
}


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How a network of NIR, which is in continuous time, is executed in steps.

    Attributes:
        dt: seconds of a step; time constants become factors by Euler's rule, 1 - dt / tau.
        reset: what a spike does to the membrane: `zero` (where v_reset is 0), `value` (to v_reset),
            `subtract` or `none`.
        timing: when.
        compare: whether a membrane at the threshold fires.
        initial: membrane before the first step; asked for where v_reset or v_leak is not 0.
        input: whether what flows into IF and into synaptic currents is a current, which acts for a
            step of dt, or what they jump by.

    None stands for what is not said.
    """

    dt: float | None = None
    reset: str | None = None
    timing: str | None = None
    compare: str | None = None
    initial: str | None = None
    input: str | None = None

    def __post_init__(self) -> None:
        if self.dt is not None and not (
            isinstance(self.dt, int | float) and math.isfinite(self.dt) and self.dt > 0
        ):
            raise UsageError(f"dt {self.dt!r}: expected {MEANING['dt']}")
        for name, values in VALUES.items():
            given = getattr(self, name)
            if given is not None and given not in values:
                raise UsageError(
                    f"{name} {given!r:.60}: expected {', '.join(values)}",
                    next=f"{name}: {MEANING[name]}",
                )

    def said(self) -> dict[str, Any]:
        """What is said."""
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in values if value is not None}

    def with_file(self, node: FileNode) -> Convention:
        """This with what a node's metadata says; raises ImportRefused where the two differ."""
        told = metadata(node)
        made = self.said()
        for name in (each.name for each in fields(self)):
            if name not in told:
                continue
            value = _number(node, name, told[name]) if name == "dt" else _text(told[name])
            if made.setdefault(name, value) != value:
                raise node.refuse(
                    f"{name} {made[name]} was asked for, the file says {value}",
                    "leave it out: Spikelet wrote how the network is executed into the file",
                )
        try:
            return Convention(**made)
        except UsageError as error:
            raise node.refuse(f"its metadata: {error}") from error

    def need(self, node: FileNode, *names: str) -> None:
        """Raises ImportRefused for values that a node cannot do without and nobody said."""
        missing = [name for name in names if getattr(self, name) is None]
        if "timing" in missing and self.reset == "none":
            missing.remove("timing")
        if missing:
            raise node.refuse(
                f"NIR does not say its {', '.join(missing)}, on which its spikes depend",
                "; ".join(f"--{name} ({MEANING[name]})" for name in missing),
            )


def metadata(node: FileNode) -> Mapping[str, Any]:
    """What Spikelet wrote beside a node; empty in others' files."""
    told = node.metadata.get(KEY)
    return told if isinstance(told, Mapping) else {}


def told_array(node: FileNode, name: str) -> Array | None:
    """An array of finite numbers of a node's metadata, float64."""
    value = metadata(node).get(name)
    if value is None:
        return None
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all() or not array.size:
        raise node.refuse(f"its metadata: {name} is no array of finite numbers")
    return array.astype(np.float64).reshape(-1)


def told_number(node: FileNode, name: str, default: float = 0.0) -> float:
    """A number of a node's metadata."""
    value = metadata(node).get(name)
    return default if value is None else _number(node, name, value)


def _number(node: FileNode, name: str, value: Any) -> float:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise node.refuse(f"its metadata: {name} is {value!s:.60}, expected a number")
    return float(array.reshape(-1)[0])


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def tree_of(convention: Mapping[str, Any]) -> Tree:
    """Metadata of a node."""
    return {KEY: dict(convention)} if convention else {}
