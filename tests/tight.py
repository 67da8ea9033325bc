"""Memory plans that put every output over an input that dies there, as near as it may lie."""

from __future__ import annotations

from collections.abc import Iterator

from spikelet.codegen import Plan, Slot
from spikelet.codegen.plan import ALIGN, Scratch, _life, _up, _Wanted
from spikelet.graph import Graph, Operator
from spikelet.graph.operator import Overlap, operators
from spikelet.graph.target import Target


def claims(node: Operator, target: Target) -> dict[str, Overlap]:
    """By input, how an operator says that its output may lie over it."""
    found: dict[str, Overlap | None] = {}
    for name, overlap in zip(node.inputs, node.overlaps(target), strict=True):
        before = found.get(name, overlap)  # one that is read twice may not die twice
        if before is None or overlap is None or before.exact != overlap.exact:
            found[name] = None
        else:
            found[name] = max(before, overlap, key=lambda o: o.lead)
    return {name: overlap for name, overlap in found.items() if overlap is not None}


def claiming() -> set[str]:
    """The kinds of operators that state an overlap: all that have a statement of their own."""
    return {kind for kind, cls in operators().items() if cls.overlaps is not Operator.overlaps}


def _same(graph: Graph) -> dict[str, str]:
    """By tensor, the first one that holds the same bytes and is to lie at the same place."""
    same = {name: name for name in graph.tensors}
    for node in graph.order:
        for share in node.shares():
            if graph.tensors[share.part].nbytes == graph.tensors[share.whole].nbytes:
                new, old = (share.part, share.whole)
                if node.outs[0].name != new:
                    new, old = old, new
                same[new] = same[old]
    return same


def pairs(graph: Graph, target: Target, turn: int = 0) -> Iterator[tuple[Operator, str, Overlap]]:
    """Operator, the input that its output is to lie over, and how.

    turn: which of several inputs that an operator would take.
    """
    same = _same(graph)
    lives = {name: _life(graph, tensor) for name, tensor in graph.tensors.items()}
    last = {
        name: max(lives[other].last for other, first in same.items() if first == same[name])
        for name in same
    }
    for number, node in enumerate(graph.order):
        written = node.outs
        if not written or written[0].persistent or same[written[0].name] != written[0].name:
            continue
        dying = [
            (name, overlap)
            for name, overlap in claims(node, target).items()
            if last[name] == number == lives[written[0].name].first and not lives[name].again
        ]
        if dying:
            name, overlap = dying[turn % len(dying)]
            yield node, name, overlap


def tight(graph: Graph, target: Target, turn: int = 0, more: int = 0) -> Plan:
    """Tensors that are no such pair lie apart from all others.

    more: bytes by which outputs begin earlier than they must, but for those that lie exactly over
        their input; where it is negative, later than they may.
    """
    over = {
        node.outs[0].name: (source, _distance(overlap, more))
        for node, source, overlap in pairs(graph, target, turn)
    }
    # Chains of outputs over inputs, each with its place relative to the first one's.
    at: dict[str, tuple[str, int]] = {}
    for name, first in _same(graph).items():
        if first != name:
            at[name] = at[first]
        elif name in over:
            source, lead = over[name]
            root, place = at[source]
            at[name] = (root, place - lead)
        else:
            at[name] = (name, 0)
    slots: dict[str, Slot] = {}
    end = 0
    for root in dict.fromkeys(root for root, _ in at.values()):
        chain = {name: place for name, (of, place) in at.items() if of == root}
        low = min(chain.values())
        for name, place in chain.items():
            tensor = graph.tensors[name]
            life = _life(graph, tensor)
            slots[name] = Slot(tensor, end + place - low, _up(tensor.nbytes), life.first, life.last)
        end = max(slots[n].offset + slots[n].size for n in chain) + ALIGN
    scratch = {}
    for name, size in _Wanted(graph, target).sizes.items():
        scratch[name] = Scratch(end, _up(size))
        end += _up(size)
    return Plan({name: slots[name] for name in graph.tensors}, scratch, end, end)


def _distance(overlap: Overlap, more: int) -> int:
    lead = _up(overlap.lead)
    return lead if overlap.exact or lead + more < 0 else lead + more
