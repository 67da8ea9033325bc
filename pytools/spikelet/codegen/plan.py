"""The memory plan: where each tensor lies in the arena, from when to when."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from spikelet.graph import Graph, Phase, Tensor

ALIGN = 8  # kernels may write whole words past the last element


@dataclass(frozen=True)
class Slot:
    """One tensor's place.

    Attributes:
        tensor: what lies there.
        offset: first byte in the arena.
        size: bytes kept, a multiple of `ALIGN`.
        first: number of the operator that writes it, -1 when it is there from the start.
        last: number of the last operator that needs it; the number of operators when it stays.
    """

    tensor: Tensor
    offset: int
    size: int
    first: int
    last: int

    def overlaps(self, first: int, last: int) -> bool:
        """Whether it is in use at some time of [first, last]."""
        return self.first <= last and first <= self.last


@dataclass(frozen=True)
class Plan:
    """Slots by tensor name, bytes of the arena, and the most bytes ever in use at one time."""

    slots: dict[str, Slot]
    size: int
    bound: int


def _lifetime(graph: Graph, tensor: Tensor) -> tuple[int, int]:
    order = graph.order
    end = len(order)
    steps = [i for i, node in enumerate(order) if graph.phase(node) is Phase.STEP]
    writer = next((i for i, n in enumerate(order) if tensor in graph.written(n)), -1)
    readers = [i for i, n in enumerate(order) if tensor.name in n.inputs]
    if tensor.persistent:
        return -1, end
    last = end if tensor.kind == "output" else max([writer, *readers])
    before_loop = writer < 0 or graph.phase(order[writer]) is Phase.ONCE
    if before_loop and any(i in steps for i in readers):
        last = max(last, steps[-1])  # every step reads it again
    if writer < 0 and steps:
        last = max(last, steps[-1])  # a host may write it between two steps
    return writer, last


def _roots(graph: Graph) -> dict[str, str]:
    """For each tensor the one whose memory it is: its own, but for views."""
    roots = {name: name for name in graph.tensors}
    for node in graph.order:
        if node.VIEW:
            roots[graph.written(node)[0].name] = roots[node.inputs[0]]
    return roots


def plan(graph: Graph) -> Plan:
    """Place all tensors, the largest first, each at the lowest free offset."""
    slots: dict[str, Slot] = {}
    roots = _roots(graph)
    times = {name: _lifetime(graph, tensor) for name, tensor in graph.tensors.items()}
    pending = []
    for tensor in graph.tensors.values():
        if roots[tensor.name] == tensor.name:
            shared = [times[name] for name, root in roots.items() if root == tensor.name]
            first, last = min(t[0] for t in shared), max(t[1] for t in shared)
            pending.append((tensor, -(-tensor.nbytes // ALIGN) * ALIGN, first, last))
    for tensor, size, first, last in sorted(pending, key=lambda p: (-p[1], p[2], p[0].name)):
        offset = 0
        for slot in sorted(slots.values(), key=lambda s: s.offset):
            if slot.overlaps(first, last) and slot.offset < offset + size:
                offset = max(offset, slot.offset + slot.size)
        slots[tensor.name] = Slot(tensor, offset, size, first, last)
    moments = range(-1, len(graph.order) + 1)
    bound = max(sum(s.size for s in slots.values() if s.overlaps(t, t)) for t in moments)
    total = max(s.offset + s.size for s in slots.values())
    ordered = {
        name: dataclasses.replace(slots[roots[name]], tensor=tensor)
        for name, tensor in graph.tensors.items()
    }
    return Plan(ordered, total, bound)
