"""The counters of a trace build, in C: see `spikelet.graph.counters`.

The agent serves them between two operators. So the code of a model is that of one without counters.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spikelet.codegen.emitter import CEmitter, array
from spikelet.graph import Array, Graph, Phase, c
from spikelet.graph.c import Fields, Value
from spikelet.graph.counters import Counted, Counter, counters

COUNTS = "trace.counts"  # the tensor that holds them
_BYTES = {"bit": 0, "u8": 1, "i8": 1, "i16": 2, "f16": 2}  # of an element; 4 of the others
_FIRST = {Phase.ONCE: "SPK_AT_START", Phase.STEP: "SPK_AT_STEP", Phase.END: "SPK_AT_FINISH"}


def counter_lines(graph: Graph, em: CEmitter) -> list[str]:
    """The counts, the counters and what they read; nothing where a graph has none."""
    kept = counters(graph)
    if not kept:
        return []
    lines = [f"static uint64_t counts[{len(kept)}];"]
    of_nodes = ([k for k in kept if k.node is node] for node in graph.order)
    if words := max(map(_words, of_nodes)):
        lines.append(f"static uint32_t counted_before[{words}]; // of one operator at a time")
    for number, counter in enumerate(kept):
        if counter.weights is not None:
            note = f"of {counter.tensor.name}: weights that an element meets"
            lines.append(array(_table(number), _narrow(counter.weights), note))
    rows = list(_rows(graph, kept, em))
    lines.append(f"static const struct spk_counter counters[{len(rows)}] = {{")
    return [*lines, *(f"    {c.literal(row)}," for row in rows), "};"]


def counter_fields(graph: Graph) -> list[str]:
    """What the model says of them."""
    if not counters(graph):
        return []
    size = "sizeof counters / sizeof *counters"
    return ["    .counters = counters,", f"    .counter_count = {size},"]


def _rows(graph: Graph, kept: list[Counter], em: CEmitter) -> Iterator[Fields]:
    """Operator by operator: what is served in front of it, then what is served behind it."""
    for number, node in enumerate(graph.order):
        own = {i: counter for i, counter in enumerate(kept) if counter.node is node}
        in_front, behind, at = _in_front(graph, number), [], 0
        for i, counter in own.items():
            tensor, weights = counter.tensor, counter.weights
            row: Fields = {
                "data": em.at(em.places.slots[tensor.name]),
                "elements": tensor.size,
                "bytes": _BYTES.get(tensor.dtype, 4),
            }
            counts: Fields = {"count": c.name("counts") + i}
            if weights is not None:
                table: Fields = {
                    "weights": c.name(_table(i)),
                    "weight_bytes": _narrow(weights).itemsize,
                }
                yield {**row, **counts, **table, "place": in_front}
                continue
            if counter.counted is Counted.UPDATES:
                row["before"] = c.name("counted_before") + at
                at += _words([counter])
                yield {**row, "place": in_front}
            behind.append({**row, **counts, "place": number})
        yield from behind


def _in_front(graph: Graph, number: int) -> Value:
    """The place in front of an operator: behind the one before it, or before all of its phase."""
    phase = graph.phase(graph.order[number])
    if number and graph.phase(graph.order[number - 1]) is phase:
        return number - 1
    return c.name(_FIRST[phase])


def _words(some: list[Counter]) -> int:
    """32-bit words that copies of the membranes among them take."""
    return sum(-(-k.tensor.nbytes // 4) for k in some if k.counted is Counted.UPDATES)


def _narrow(weights: Array) -> Array:
    """Numbers of weights in the narrowest type."""
    return weights.astype(np.min_scalar_type(int(weights.max())))


def _table(number: int) -> str:
    return f"counter_{number}_weights"
