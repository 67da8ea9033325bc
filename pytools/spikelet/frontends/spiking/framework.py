"""What a framework of spiking neurons tells of its classes; each has a folder of its own."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from spikelet.frontends.spiking.network import Rule
from spikelet.graph import Array
from spikelet.refusal import ImportRefused

Weights = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class Described:
    """One layer of neurons.

    Attributes:
        rule: of a step.
        own: weights on its own spikes of the step before: a layer, or (n,) or (1,) numbers for
            each neuron's own spike; None where there are none.
        front: weights in front of the neurons that are a part of them, (O, I); None: none.
        spikes: which of the tensors that a call returns holds the spikes.
        membrane: which holds the membrane; None where none does.
        states: how many tensors of state a call takes, if it takes any; None: it is not known.
    """

    rule: Rule
    own: nn.Module | Array | None = None
    front: Array | None = None
    spikes: int = 0
    membrane: int | None = None
    states: int | None = None


@dataclass(frozen=True)
class Framework:
    """A package with classes of neurons.

    Attributes:
        name: of the package, as it is imported.
        neurons: by class, what tells of an object of it; its path in the network is for messages.
        reset: gives a module of neurons the state that it has before the first step.
        prepare: makes a network run one step a call; None where it does that.
        where: how the names of the Python modules begin that hold its neurons or their bases.
        instead: by a class that is not carried, what would do in its place.
    """

    name: str
    neurons: Mapping[type[nn.Module], Callable[[str, Any], Described]]
    reset: Callable[[nn.Module], None]
    prepare: Callable[[nn.Module], None] | None = None
    where: tuple[str, ...] = ()
    instead: Mapping[str, str] = field(default_factory=dict)

    def supported(self) -> str:
        """Its classes, for messages."""
        return ", ".join(sorted(kind.__name__ for kind in self.neurons))


# A framework that nobody has imported has made no network: only what is there is asked.
KNOWN = {
    "snntorch": "spikelet.frontends.snntorch.rules",
    "spikingjelly": "spikelet.frontends.spikingjelly",
    "norse": "spikelet.frontends.norse",
    "spikelet.frontends.spiking.cells": "spikelet.frontends.spiking.cells",
}


def frameworks() -> Iterator[Framework]:
    """Those that are in use."""
    for package, module in KNOWN.items():
        if package in sys.modules:
            yield importlib.import_module(module).FRAMEWORK


def every_class() -> str:
    """The classes of neurons of the frameworks in use, for messages."""
    return "; ".join(f"{framework.name}: {framework.supported()}" for framework in frameworks())


def versions() -> dict[str, str]:
    """Of PyTorch and of the frameworks in use, for a manifest."""
    names = (framework.name for framework in frameworks())
    packages = ["torch", *(name for name in names if name != "spikelet")]
    return {package: importlib.metadata.version(package) for package in packages}


def framework_of(module: nn.Module) -> Framework | None:
    """The one that a class of neurons belongs to; None for other modules."""
    for framework in frameworks():
        if type(module) in framework.neurons:
            return framework
    return None


def check_carried(path: str, module: nn.Module) -> None:
    """Refuse neurons of a framework, or made of its neurons, whose class is not carried."""
    kind = type(module)
    for framework in frameworks():
        theirs = any(base.__module__.startswith(framework.where) for base in kind.__mro__)
        if framework.where and theirs and kind not in framework.neurons:
            raise ImportRefused(
                f"layer {path} ({kind.__name__}): neurons that are not carried",
                next=framework.instead.get(kind.__name__)
                or f"of {framework.name} there are {framework.supported()}",
            )


def reals(path: str, layer: nn.Module, part: str, values: Any) -> Array:
    """Parameters, float64, one-dimensional; refused by name where they are no finite numbers."""
    tensor = torch.as_tensor(values)
    if tensor.is_complex():
        raise ImportRefused(f"layer {path} ({type(layer).__name__}): {part} is complex")
    flat: Array = tensor.detach().double().cpu().numpy().reshape(-1)
    bad = int((~np.isfinite(flat)).sum())
    if bad or not flat.size:
        raise ImportRefused(
            f"layer {path} ({type(layer).__name__}): {part} holds NaN or infinity in {bad} of "
            f"{flat.size} elements",
            "the training diverged",
            "train again with a lower learning rate",
        )
    return flat
