"""The memory plan: where each tensor lies in the arena, from when to when.

Tensors that hold the same bytes share a place: a reshape, a slice of neighbours, the parts of a
concatenation. Places that are in use at the same time are apart, with one exception: an operator's
output may lie over an input that dies there, as far as the operator's kernel permits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from spikelet.codegen.arrange import Problem, arrange
from spikelet.graph import Array, Graph, Phase, Tensor, c
from spikelet.graph.c import Expression, Fields
from spikelet.graph.operator import Interval, Share
from spikelet.graph.target import ANY, Target

ALIGN = 8  # kernels may write words, and read pairs of words, past the last element
WORD = 4  # every tensor begins with a word


@dataclass(frozen=True)
class Slot:
    """One tensor's place.

    Attributes:
        tensor: what lies there.
        offset: first byte in the arena.
        size: bytes kept.
        first: number of the operator that writes it, -1 when it is there from the start; of the
            first tensor where several share a place.
        last: number of the last operator that needs it; the number of operators when it stays.
    """

    tensor: Tensor
    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Scratch:
    """What an operator works in, for as long as it runs.

    Attributes:
        offset: first byte in the arena.
        size: bytes.
    """

    offset: int
    size: int


@dataclass(frozen=True)
class Plan:
    """The arena.

    Attributes:
        slots: by tensor.
        scratch: by operator, of those that have one.
        size: bytes.
        bound: bytes that no plan of these tensors, in this order of execution, goes below.
        learned: bytes of it, from its beginning, that hold learned tensors and nothing else: they
            outlive a sample, and the rest does not.
    """

    slots: dict[str, Slot]
    scratch: dict[str, Scratch]
    size: int
    bound: int
    learned: int = 0

    def is_shared(self, share: Share) -> bool:
        """Whether the part lies where the whole holds the same bytes."""
        part, whole = self.slots[share.part], self.slots[share.whole]
        return part.offset == whole.offset + share.at


@dataclass(frozen=True)
class _Life:
    """From when to when a tensor is needed; `again` in every step, though no step writes it."""

    first: int
    last: int
    again: bool = False


@dataclass(frozen=True)
class _Place:
    """Tensors that share memory, and the byte at which each begins."""

    at: dict[str, int]
    size: int
    first: int
    last: int
    again: bool

    def in_use(self, moment: int) -> bool:
        return self.first <= moment <= self.last


def plan(graph: Graph, target: Target = ANY, keep_inputs: bool = False) -> Plan:
    """Place all tensors.

    Args:
        graph: the graph.
        target: the instruction set that kernels are for.
        keep_inputs: nothing is written over an input: it can be used again.
    """
    requests = _requests(graph, target, keep_inputs)
    places, problem = requests.places, requests.problem
    learned = sum(place.size for place in requests.learned)
    found, bound = arrange(problem, ALIGN, _most_in_use(places, problem, len(graph.order)))
    begins = accumulate((place.size for place in requests.learned), initial=0)
    blocks = [*zip(requests.learned, begins, strict=False)]
    blocks += [(place, learned + offset) for place, offset in zip(places, found, strict=True)]
    slots = {}
    for place, offset in blocks:
        for name, at in place.at.items():
            tensor = graph.tensors[name]
            slots[name] = Slot(tensor, offset + at, _up(tensor.nbytes), place.first, place.last)
    scratch = [Scratch(offset, place.size) for place, offset in blocks if not place.at]
    # Kernels read past a tensor's end, and one within another may end where that does.
    ends = [slot.offset + slot.size for slot in slots.values()]
    return Plan(
        slots={name: slots[name] for name in graph.tensors},
        scratch=dict(zip(requests.scratch, scratch, strict=True)),
        size=_up(max(learned + problem.extent(found), *ends)),
        bound=learned + bound,
        learned=learned,
    )


def least(graph: Graph, target: Target = ANY) -> int:
    """Bytes that no plan goes below; quickly found, and often too few."""
    requests = _requests(graph, target)
    learned = sum(place.size for place in requests.learned)
    return learned + _most_in_use(requests.places, requests.problem, len(graph.order))


@dataclass(frozen=True)
class _Requests:
    """What is to be placed.

    Attributes:
        learned: the places of learned tensors, which lie in front of all others.
        places: of the other tensors, then of scratch.
        scratch: the operators that have scratch.
        problem: how `places` may lie to one another.
    """

    learned: list[_Place]
    places: list[_Place]
    scratch: list[str]
    problem: Problem


def _requests(graph: Graph, target: Target, keep_inputs: bool = False) -> _Requests:
    sharing = _Sharing(graph, target, keep_inputs)
    known = {learned.tensor.name for learned in graph.learned}
    learned: list[_Place] = []
    places: list[_Place] = []
    for place in sharing.places():
        (learned if known.issuperset(place.at) else places).append(place)
    wanted = _Wanted(graph, target).sizes
    for number, node in enumerate(graph.order):
        if node.name in wanted:
            places.append(_Place({}, _up(wanted[node.name]), number, number, again=True))
    scratches = [node.name for node in graph.order if node.name in wanted]
    return _Requests(learned, places, scratches, sharing.problem(places))


def _up(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


_ANYTHING = c.name("anything")


class _Wanted:
    """An emitter that only notes how much scratch each operator asks for."""

    def __init__(self, graph: Graph, target: Target) -> None:
        self.bounds: Mapping[str, Interval] = graph.bounds
        self.target = target
        self.sizes: dict[str, int] = {}
        for node in graph.order:
            node.emit(self)

    def tensor(self, name: str) -> Expression:
        return _ANYTHING

    def const(self, name: str, values: Array, note: str) -> Expression:
        return _ANYTHING

    def config(self, name: str, c_struct: str, fields: Fields) -> Expression:
        return _ANYTHING

    def scratch(self, name: str, size: int) -> Expression:
        self.sizes[name] = size
        return _ANYTHING

    def is_shared(self, share: Share) -> bool:
        return False

    def include(self, header: str) -> None:
        pass

    def define(self, macro: str, value: int = 1) -> None:
        pass


class _Sharing:
    """Which tensors share a place."""

    def __init__(self, graph: Graph, target: Target, keep_inputs: bool) -> None:
        self.graph, self.target = graph, target
        self.lives = {name: _life(graph, tensor) for name, tensor in graph.tensors.items()}
        if keep_inputs:
            for tensor in graph.inputs:
                self.lives[tensor.name] = _Life(-1, len(graph.order), again=True)
        self.written = {t.name: n for n, node in enumerate(graph.order) for t in node.outs}
        self.within: dict[str, tuple[str, int]] = {}  # the tensor around it, and where in that
        for node in graph.order:
            for share in node.shares():
                self._share(share)

    def _root(self, name: str) -> tuple[str, int]:
        """The tensor around all, and the byte of it at which `name` begins."""
        at = 0
        while name in self.within:
            name, more = self.within[name]
            at += more
        return name, at

    def _offsets(self) -> dict[str, dict[str, int]]:
        """What lies within each tensor that is within none, itself at 0, and at which byte."""
        offsets: dict[str, dict[str, int]] = {n: {} for n in self.graph.tensors}
        for name in self.graph.tensors:
            root, at = self._root(name)
            offsets[root][name] = at
        return {root: inside for root, inside in offsets.items() if inside}

    def _place(self, offsets: dict[str, int]) -> _Place:
        lives = [self.lives[name] for name in offsets]
        return _Place(
            at=offsets,
            size=_up(max(self.graph.tensors[n].nbytes + at for n, at in offsets.items())),
            first=min(life.first for life in lives),
            last=max(life.last for life in lives),
            again=any(life.again for life in lives),
        )

    def places(self) -> list[_Place]:
        """All of them."""
        return [self._place(inside) for inside in self._offsets().values()]

    def _share(self, share: Share) -> None:
        part, before = self._root(share.part)
        whole, at = self._root(share.whole)
        tensors = self.graph.tensors
        if part == whole or tensors[part].persistent:
            return
        # What a tensor held in the step before is there until it is written anew.
        if tensors[whole].persistent and self.lives[share.part].last >= self.written[whole]:
            return
        fits = before == 0 and self._place(self._offsets()[part]).size <= _up(
            tensors[share.part].nbytes
        )
        if fits and (at + share.at) % WORD == 0:
            self.within[part] = whole, at + share.at

    def problem(self, places: list[_Place]) -> Problem:
        """How the places may lie to one another."""
        above, same = {}, set()
        for a, one in enumerate(places):
            for b, other in enumerate(places):
                if a != b and one.first <= other.last and other.first <= one.last:
                    above[a, b] = one.size
        index = {name: i for i, place in enumerate(places) for name in place.at}
        for number, node in enumerate(self.graph.order):
            if not node.outs or node.outs[0].name not in index:
                continue
            out = node.outs[0].name
            to, overlaps = index[out], node.overlaps(self.target)
            for source in {index[name] for name in node.inputs if name in index}:
                if not _meet(places[source], places[to], number):
                    continue
                pairs = [  # with the lead that the places need
                    (overlap, places[to].at[out] - places[source].at[name])
                    for name, overlap in zip(node.inputs, overlaps, strict=True)
                    if index.get(name) == source
                ]
                leads = [o.lead + at for o, at in pairs if o is not None and not o.exact]
                if len(leads) == len(pairs):
                    above[to, source] = min(max(0, _up(max(leads))), places[to].size)
                elif all(o is not None and o.exact and o.lead + at == 0 for o, at in pairs):
                    same |= {(to, source), (source, to)}
        return Problem([place.size for place in places], above, same)


def _meet(dies: _Place, born: _Place, number: int) -> bool:
    """Whether an operator is the last that needs one place and the first that needs the other."""
    return dies.last == number == born.first and not dies.again


def _most_in_use(places: list[_Place], problem: Problem, end: int) -> int:
    # Pairs that may overlap: of them one is born where the other dies.
    pairs: dict[int, list[tuple[int, int]]] = {}
    for (a, b), distance in problem.above.items():
        if distance < places[a].size or (a, b) in problem.same:
            pairs.setdefault(places[a].first, []).append((a, b))
    most = 0
    for moment in range(-1, end + 1):
        live = {i for i, place in enumerate(places) if place.in_use(moment)}
        over = [
            (a, b)
            for a, b in pairs.get(moment, ())
            if a in live and b in live and places[b].last == moment
        ]
        born, dying = {a for a, _ in over}, {b for _, b in over}
        stay = sum(places[i].size for i in live - born - dying)
        most = max(most, stay + max(sum(places[i].size for i in s) for s in (born, dying)))
    return most


def _life(graph: Graph, tensor: Tensor) -> _Life:
    order = graph.order
    end = len(order)
    steps = [i for i, node in enumerate(order) if graph.phase(node) is Phase.STEP]
    writer = next((i for i, n in enumerate(order) if tensor in n.outs), -1)
    readers = [i for i, n in enumerate(order) if tensor.name in n.reads]
    if tensor.persistent:
        return _Life(-1, end, again=True)
    last = end if tensor.kind == "output" else max([writer, *readers])
    before_loop = writer < 0 or graph.phase(order[writer]) is Phase.ONCE
    again = before_loop and any(i in steps for i in readers)  # every step reads it
    if steps and (again or writer < 0):  # a host may write an input between two steps
        last = max(last, steps[-1])
    return _Life(writer, last, again)
