"""What each layer of an snnTorch network computes: read, checked, or refused by its name.

The rules were read in snntorch 1.0.0 and are tested against it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import snntorch as snn
import torch
from snntorch._neurons.neurons import LIF
from torch import Tensor, nn

from spikelet.frontends.spiking.network import Compare, Reset, Timing
from spikelet.frontends.spiking.neurons import current_name
from spikelet.graph.graph import NAME_BYTES
from spikelet.refusal import ImportRefused

# Classes of neurons and what each keeps from step to step, in the order of its `forward`.
NEURON_STATES: Mapping[type[nn.Module], tuple[str, ...]] = {
    snn.Leaky: ("mem",),
    snn.Synaptic: ("syn", "mem"),
}
NEURON_NAMES = " or ".join(f"snn.{kind.__name__}" for kind in NEURON_STATES)
SUPPORTED = (
    f"nn.Linear and {NEURON_NAMES} in turn; nn.Flatten, nn.Dropout, nn.Identity and nested "
    "nn.Sequential between them"
)
_TRANSPARENT: tuple[type[nn.Module], ...] = (nn.Sequential, nn.Flatten, nn.Dropout, nn.Identity)
Readout = Literal["spike_count", "membrane", "sum"]
RESETS: tuple[Reset, ...] = ("subtract", "zero", "none")  # by their stored value
READOUTS: tuple[Readout, ...] = ("spike_count", "membrane", "sum")


ExportError = ImportRefused


@dataclass(frozen=True)
class Neurons:
    """The convention of one layer of neurons, read and checked.

    Attributes:
        kind: the name of its class.
        alpha: kept part of the synaptic current in a step, 0 to 1; None where there is no current
            and the membrane gets the layer's sums.
        beta: kept part of the membrane in a step, 0 to 1.
        threshold: (1,) or (n,) float64.
        compare, reset, timing: as in the operator `lif`.
    """

    kind: str
    alpha: float | None
    beta: float
    threshold: Tensor
    compare: Compare
    reset: Reset
    timing: Timing


@dataclass(frozen=True)
class Stage:
    """A linear layer and the neurons behind it; None where its sums are the readout.

    `path` and `neurons_path` are the modules' names in the network, for messages and for access;
    `name` and `neurons_name` those in the graph.
    """

    path: str
    name: str
    linear: nn.Linear
    neurons_path: str
    neurons_name: str
    neurons: Neurons | None

    @property
    def current(self) -> str:
        """Name of the synaptic current in the graph; empty where there is none."""
        if self.neurons is None or self.neurons.alpha is None:
            return ""
        return current_name(self.neurons_name)


def stages(network: nn.Module | Mapping[str, nn.Module], readout: Readout) -> list[Stage]:
    """The network as a chain of stages, every layer checked; raises ExportError."""
    if readout not in READOUTS:
        raise ExportError(
            f"readout {readout!r} is not known", next=f"choose one of {', '.join(READOUTS)}"
        )
    layers = list(leaves(network))
    _check_shared_state(layers)
    chain: list[Stage] = []
    names = _Names()
    position = 0
    while position < len(layers):
        path, layer = layers[position]
        if type(layer) in NEURON_STATES:
            raise refuse(path, layer, "it has no nn.Linear before it", "put one in front")
        linear = _linear(path, layer)
        if chain and chain[-1].linear.out_features != linear.in_features:
            raise refuse(
                path,
                layer,
                f"it takes {linear.in_features} inputs, but layer {chain[-1].path} in front has "
                f"{chain[-1].linear.out_features} outputs",
                "make the sizes equal",
            )
        after = layers[position + 1] if position + 1 < len(layers) else None
        if after is None and readout == "sum":
            chain.append(Stage(path, names.give(path, "fc"), linear, "sum", "sum", None))
            break
        if after is None or type(after[1]) is nn.Linear:
            raise refuse(
                path,
                layer,
                f"no {NEURON_NAMES} follows it",
                "put one behind it, merge two nn.Linear into one, or end the network with it and "
                'export with readout="sum"',
            )
        neurons = _neurons(after[0], after[1], linear.out_features)
        chain.append(
            Stage(
                path,
                names.give(path, "fc"),
                linear,
                after[0],
                names.give(after[0], "lif"),
                neurons,
            )
        )
        position += 2
    if not chain:
        raise ExportError("the network has no layer", next=f"supported are {SUPPORTED}")
    _check_readout(chain[-1], readout)
    return chain


def _check_readout(last: Stage, readout: Readout) -> None:
    neurons = last.neurons
    if neurons is None:
        return
    layer = f"layer {last.neurons_path} ({neurons.kind})"
    if readout == "sum":
        raise ExportError(
            f'{layer}: it is the last layer, but the readout is "sum"',
            'the readout "sum" adds up the outputs of a last nn.Linear',
            'export with readout="spike_count" or "membrane"',
        )
    if readout == "membrane" and neurons.reset != "none":
        raise ExportError(
            f'{layer}: reset_mechanism "{neurons.reset}" with the readout "membrane"',
            "a membrane that is reset does not hold the whole evidence",
            'use reset_mechanism="none" in the last layer, or readout="spike_count"',
        )


def leaves(network: nn.Module | Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Layers in order of execution with their path, those without effect left out."""
    if isinstance(network, Mapping):
        pairs = list(network.items())
    elif isinstance(network, nn.Sequential):
        _check_plain("network", network)
        # named_children() names a layer that is used several times only once
        pairs = [(path, layer) for path, layer in network._modules.items() if layer is not None]
    else:
        raise ExportError(
            f"the network is a {type(network).__name__}, not a chain of layers",
            "the order of execution of a module with its own forward() is not known",
            "pass an nn.Sequential, or a dict of its layers by name in order of execution",
        )
    for path, layer in pairs:
        _check_plain(path, layer)
        if isinstance(layer, nn.Sequential):
            for inner, leaf in leaves(layer):
                yield f"{path}.{inner}", leaf
        elif isinstance(layer, nn.Flatten):
            if layer.start_dim != 1 or layer.end_dim != -1:
                raise refuse(path, layer, "it keeps some dimensions", "flatten all but the first")
        elif not isinstance(layer, nn.Dropout | nn.Identity):
            yield path, layer


def _check_plain(path: str, layer: nn.Module) -> None:
    """Refuse what changes the function that a layer's class is known for."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        raise refuse(
            path,
            layer,
            "it has forward hooks, which may change what it computes",
            "remove them, or weight_norm and its like, before the export",
        )
    # Other subclasses are refused by their type; of these, one that only builds its layers is fine.
    known = next((kind for kind in _TRANSPARENT if isinstance(layer, kind)), None)
    own = known is not None and type(layer).forward is not known.forward
    if own or "forward" in vars(layer):
        raise refuse(
            path,
            layer,
            "it has a forward() of its own, whose function is not known",
            f"supported are {SUPPORTED}",
        )


def _check_shared_state(layers: list[tuple[str, nn.Module]]) -> None:
    """Refuse neurons that keep their own membrane and are used more than once in a step."""
    used: dict[int, str] = {}
    for path, layer in layers:
        first = used.setdefault(id(layer), path)
        if first != path and getattr(layer, "init_hidden", False):
            raise refuse(
                path,
                layer,
                f"it is layer {first} again, and with init_hidden=True both share one membrane",
                "use a layer of its own in each place, or init_hidden=False",
            )


def _linear(path: str, layer: nn.Module) -> nn.Linear:
    if type(layer) is not nn.Linear:
        raise refuse(path, layer, "it is not supported here", f"supported are {SUPPORTED}")
    for part, values in (("weight", layer.weight), ("bias", layer.bias)):
        if values is not None:
            _finite(path, layer, part, values)
    return layer


def _neurons(path: str, layer: nn.Module, n: int) -> Neurons:
    if not isinstance(layer, snn.Leaky | snn.Synaptic) or type(layer) not in NEURON_STATES:
        raise refuse(path, layer, "it is not supported here", f"supported are {SUPPORTED}")
    if layer.inhibition:
        raise refuse(path, layer, "inhibition=True is not supported", "use inhibition=False")
    if layer.state_quant:
        raise refuse(
            path,
            layer,
            "state_quant is not supported",
            "use state_quant=False: the graph has its own membrane of 16 or 32 bits",
        )
    graded = cast(Tensor, layer.graded_spikes_factor)
    if isinstance(graded, nn.Parameter) or not bool(torch.all(graded == 1)):
        raise refuse(
            path,
            layer,
            "graded spikes are not supported: a spike is one bit",
            "use graded_spikes_factor=1.0, not learnt, and scale the weights of the next layer",
        )
    reset, timing = reset_of(path, layer)
    beta = _decay(path, layer, "beta", n)
    alpha = _decay(path, layer, "alpha", n) if isinstance(layer, snn.Synaptic) else None
    threshold = _finite(path, layer, "threshold", cast(Tensor, layer.threshold))
    if len(threshold) not in (1, n):
        raise refuse(
            path,
            layer,
            f"threshold has {len(threshold)} values for {n} neurons",
            "use one threshold, or one a neuron",
        )
    if bool((threshold < 0).any()):
        raise refuse(
            path,
            layer,
            f"threshold {float(threshold.min()):g} is negative",
            "use thresholds of 0 or more: below it a neuron fires at rest",
        )
    compare = compare_of(path, layer)
    if (reset, timing, compare) == ("zero", "same_step", ">=") and bool((threshold == 0).any()):
        raise refuse(
            path,
            layer,
            "a threshold of 0 that fires at 0, with reset_delay=False and reset to 0",
            "use reset_delay=True, or a threshold above 0",
            cause="a membrane that was reset fires again, and snnTorch then leaves it as it is",
        )
    return Neurons(type(layer).__name__, alpha, beta, threshold, compare, reset, timing)


def _decay(path: str, layer: nn.Module, part: str, n: int) -> float:
    """Its alpha or beta, clipped as in its forward()."""
    decay = _finite(path, layer, part, cast(Tensor, getattr(layer, part))).clamp(0, 1)
    if not bool((decay == decay[0]).all()) or len(decay) not in (1, n):
        raise refuse(
            path,
            layer,
            f"{part} has {len(decay)} values",
            f"use one {part} a layer; only the threshold may differ between neurons",
        )
    return float(decay[0])


def reset_of(path: str, layer: LIF) -> tuple[Reset, Timing]:
    """Reset kind and timing; what snnTorch would execute, not only what the attribute says."""
    kind = layer.reset_mechanism
    executed = {"_base_sub": "subtract", "_base_zero": "zero", "_base_int": "none"}
    stored = RESETS[int(layer.reset_mechanism_val)]
    runs = executed.get(layer.state_function.__name__)
    if not kind == stored == runs:
        raise refuse(
            path,
            layer,
            f"reset_mechanism is {kind!r}, its stored value {stored!r}, but it executes {runs!r}",
            "it was changed, or loaded, after construction: construct the layer with it",
        )
    delayed = getattr(layer, "reset_delay", True)  # Lapicque has no choice
    # Without a delay snnTorch resets by what the spike differs by from the reset of the step's
    # start. A membrane that was reset to 0 does not fire again (_neurons refuses the exception),
    # so that is the plain reset there, but not where the threshold is taken off, or where a neuron
    # above its threshold did not spike.
    if kind == "none":
        return stored, "same_step"
    lost = kind == "zero" and not isinstance(layer, snn.Leaky)
    if delayed:
        # Leaky sets the membrane to 0 and adds the input; the others add it and set it to 0.
        return stored, "next_step_input_lost" if lost else "next_step"
    if kind == "zero" and not layer.inhibition:
        return stored, "same_step"
    if lost:
        raise refuse(
            path, layer, "reset_delay=False with inhibition and reset to 0 is not supported",
            "use reset_delay=True",
            cause="neurons that did not spike are reset after the input",
        )  # fmt: skip
    return stored, "both_steps"


def compare_of(path: str, layer: LIF) -> Compare:
    """The comparison that the layer's spike function makes, found by asking it."""
    tiny = float(np.finfo(np.float32).tiny)
    probe = torch.tensor([-1e30, -1.0, -tiny, 0.0, tiny, 1.0, 1e30])
    remedy = "use a surrogate of snntorch.surrogate whose forward pass is the Heaviside step"
    try:
        with torch.no_grad():
            spikes = [float(s) for s in layer.spike_grad(probe)]
    except Exception as e:
        what = f"its spike function fails ({type(e).__name__}: {e})"
        raise refuse(path, layer, what, remedy) from e
    if spikes == [0, 0, 0, 0, 1, 1, 1]:
        return ">"
    if spikes == [0, 0, 0, 1, 1, 1, 1]:
        return ">="
    raise refuse(
        path,
        layer,
        f"its spike function gives {spikes} around the threshold, not a step of 0 to 1",
        remedy,
    )


def _finite(path: str, layer: nn.Module, part: str, values: Tensor) -> Tensor:
    if values.is_complex():
        raise refuse(path, layer, f"its {part} is complex", "real numbers")
    flat = values.detach().double().cpu().reshape(-1)
    bad = int((~torch.isfinite(flat)).sum())
    if bad:
        raise ExportError(
            f"layer {path} ({type(layer).__name__}): {part} holds NaN or infinity in {bad} of "
            f"{len(flat)} elements, shape {tuple(values.shape)}",
            "the training diverged",
            "train again with a lower learning rate",
        )
    return flat


def refuse(path: str, layer: nn.Module, what: str, next: str, cause: str = "") -> ExportError:
    """The error that names a layer."""
    return ExportError(f"layer {path} ({type(layer).__name__}): {what}", cause, next)


_LONGEST = NAME_BYTES - len(current_name("_99"))  # room for _2, _3, ..., and a current


class _Names:
    """Names in the graph: the module's own where it has one, else fc1, lif1, fc2, ..."""

    def __init__(self) -> None:
        self._taken = {"x", "seed", "encode", "counts", "label", "sum", "trace"}
        self._count = {"fc": 0, "lif": 0}

    def give(self, path: str, prefix: str) -> str:
        self._count[prefix] += 1
        name = re.sub("_+", "_", path.replace(".", "_"))
        if not (name.isidentifier() and name.isascii()) or len(name) > _LONGEST:
            name = f"{prefix}{self._count[prefix]}"
        base, again = name, 1
        while name in self._taken:
            again += 1
            name = f"{base}_{again}"
        self._taken.add(name)
        return name
