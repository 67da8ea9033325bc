"""Which layers of a spiking network lie in loops, and in which order parts are executed."""

from __future__ import annotations

from spikelet.frontends.spiking.network import Layer, Previous, SpikingNetwork


def parts_in_order(network: SpikingNetwork) -> list[list[Layer]]:
    """Layers that form a loop together, others alone; each behind what it reads.

    Within a loop layers keep the network's order, its `Previous` first.
    """
    reads = {
        layer.name: [
            name
            for name in ((layer.of,) if isinstance(layer, Previous) else layer.inputs)
            if name not in network.inputs
        ]
        for layer in network.layers
    }
    behind = {name: _reached(name, reads) for name in reads}
    parts: list[list[Layer]] = []
    placed: set[str] = set()
    for layer in network.layers:
        if layer.name in placed:
            continue
        loop = [
            other
            for other in network.layers
            if other is layer
            or (other.name in behind[layer.name] and layer.name in behind[other.name])
        ]
        loop.sort(key=lambda each: not isinstance(each, Previous))
        parts.append(loop)
        placed |= {each.name for each in loop}
    ordered: list[list[Layer]] = []
    ready: set[str] = set()
    while parts:
        for part in parts:
            own = {layer.name for layer in part}
            if all(name in ready | own for layer in part for name in reads[layer.name]):
                break
        parts.remove(part)
        ordered.append(part)
        ready |= own
    return ordered


def _reached(name: str, reads: dict[str, list[str]]) -> set[str]:
    """All that a layer reads, directly or not."""
    found: set[str] = set()
    waiting = list(reads[name])
    while waiting:
        other = waiting.pop()
        if other not in found:
            found.add(other)
            waiting += reads[other]
    return found
