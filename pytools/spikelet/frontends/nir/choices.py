"""What another convention would change: spikes that differ, on samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.frontends.nir.convention import VALUES
from spikelet.frontends.spiking.network import Layer, Neurons, Rule, SpikingNetwork
from spikelet.graph import Array


@dataclass(frozen=True)
class Choice:
    """A network executed with one thing otherwise.

    Attributes:
        switch: dt, reset, timing or compare.
        chosen: how the network is read; `mixed` where its layers differ.
        other: how it is executed here.
        differing: spikes of all layers that differ; None where a step so long has no meaning.
        elements: neurons x steps x samples, that they are of.
        spikes: of the network as it is read.
    """

    switch: str
    chosen: str
    other: str
    differing: int | None
    elements: int
    spikes: int

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def choices(network: SpikingNetwork, x: Array) -> list[Choice]:
    """What each other choice of what NIR leaves open would change.

    Args:
        network: with one input, as it was read.
        x: (T, N, *shape) real values or spikes, a step after the other.

    Returns:
        One row for each other reset, timing and comparison, and for a step of a tenth and of ten
        times its length.

    Raises:
        UsageError: no layer spikes, or samples of another shape.
    """
    rules = [layer.rule for layer in _spiking(network)]
    if not rules:
        raise UsageError(
            f"network {network.name}: none of its layers spikes", next="no choice changes a spike"
        )
    first = _fired(network, x)
    spikes, elements = int(sum(v.sum() for v in first)), sum(v.size for v in first)
    made = []
    for switch, other, changed in _others(network, rules):
        differing = None
        if changed is not None:
            pairs = zip(first, _fired(changed, x), strict=True)
            differing = int(sum((a != b).sum() for a, b in pairs))
        made.append(Choice(switch, _chosen(switch, rules), other, differing, elements, spikes))
    return made


def _spiking(network: SpikingNetwork) -> list[Neurons]:
    return [
        layer
        for layer in network.layers
        if isinstance(layer, Neurons) and layer.rule.threshold is not None
    ]


def _chosen(switch: str, rules: list[Rule]) -> str:
    if switch == "dt":
        return "x 1"
    values = {str(getattr(rule, switch)) for rule in rules}
    return values.pop() if len(values) == 1 else "mixed"


def _others(
    network: SpikingNetwork, rules: list[Rule]
) -> Iterator[tuple[str, str, SpikingNetwork | None]]:
    for switch in ("reset", "timing", "compare"):
        if switch == "timing" and all(rule.reset == "none" for rule in rules):
            continue
        for other in VALUES[switch]:
            if other == "value" and not any(np.any(rule.value) for rule in rules):
                continue
            if all(getattr(rule, switch) == other for rule in rules):
                continue
            yield switch, other, _changed(network, {switch: other})
    for factor in (0.1, 10.0):
        yield "dt", f"x {factor:g}", _with_step(network, factor)


def _changed(network: SpikingNetwork, fields: dict[str, Any]) -> SpikingNetwork:
    """The network, its spiking neurons with other conventions."""

    def layer(old: Layer) -> Layer:
        if not isinstance(old, Neurons) or old.rule.threshold is None:
            return old
        return replace(old, rule=replace(old.rule, **fields))

    return replace(network, layers=tuple(map(layer, network.layers)))


def _with_step(network: SpikingNetwork, factor: float) -> SpikingNetwork | None:
    """The network with steps of another length; None where Euler's rule has no meaning."""
    layers: list[Layer] = []
    for layer in network.layers:
        if isinstance(layer, Neurons) and not _is_threshold(layer.rule):
            rule = _longer(layer.rule, factor)
            current = np.zeros(1) if rule.kept_current is None else rule.kept_current
            if np.any(rule.kept < 0) or np.any(current < 0):
                return None
            layer = replace(layer, rule=rule)
        layers.append(layer)
    return replace(network, layers=tuple(layers))


def _is_threshold(rule: Rule) -> bool:
    """Neurons without a memory: no step is too long for them."""
    return rule.reset == "none" and not np.any(rule.kept) and rule.kept_current is None


def _longer(rule: Rule, factor: float) -> Rule:
    fields: dict[str, Any] = {
        "kept": 1 - factor * (1 - rule.kept),
        "gain": factor * rule.gain,
        "drift": factor * rule.drift,
    }
    if rule.kept_current is not None:
        fields["kept_current"] = 1 - factor * (1 - rule.kept_current)
        fields["gain"] = factor * fields["gain"]
    return replace(rule, **fields)


def _fired(network: SpikingNetwork, x: Array) -> list[Array]:
    """Spikes of each layer, (T, N, ...)."""
    from spikelet.frontends.spiking.simulate import Simulation  # PyTorch, which takes seconds

    ((name, shape),) = network.inputs.items()
    if x.ndim < 2 or int(np.prod(x.shape[2:])) != int(np.prod(shape)):
        raise UsageError(
            f"samples of shape {x.shape}, expected (T, N, {', '.join(map(str, shape))})",
            next="a step after the other: np.repeat(x[None], T, axis=0) for a constant input",
        )
    simulation = Simulation(network, x.shape[1])
    made: dict[str, list[Array]] = {layer.name: [] for layer in _spiking(network)}
    for now in x:
        tensors = simulation.step({name: now.reshape(len(now), *shape).astype(np.float64)})
        for layer, values in made.items():
            values.append(tensors[layer])
    return [np.stack(values) for values in made.values()]
