"""Graphs within graphs made flat, and where a loop waits for the next step.

NIR's loops run in continuous time. In steps, the spikes that close a loop arrive in the next one:
those that go to neurons no farther from the input than their own, counted in layers of neurons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spikelet.frontends.nir.file import FileNode
from spikelet.refusal import ImportRefused, shorten

Edge = tuple[str, str]
SPIKING = ("Threshold", "IF", "LIF", "CubaLIF")
INTEGRATING = ("I", "LI", "CubaLI")


@dataclass(frozen=True)
class Wired:
    """Nodes of all graphs.

    Attributes:
        nodes: by path, in an order of execution, without those that only name an end of a graph
            within another.
        edges: from and to.
        late: edges whose spikes arrive in the next step.
        inputs: paths of the network's inputs.
        output: path of its output.
    """

    nodes: dict[str, FileNode]
    edges: tuple[Edge, ...]
    late: frozenset[Edge]
    inputs: tuple[str, ...]
    output: str

    def sources(self, path: str) -> list[str]:
        """Of a node, in the order of its edges."""
        return [a for a, b in self.edges if b == path]


def wire(root: FileNode) -> Wired:
    """Raises ImportRefused for what is no network of one output."""
    nodes: dict[str, FileNode] = {}
    edges: list[Edge] = []
    _flatten(root, nodes, edges)
    inner = [path for path, node in nodes.items() if _is_end(node, root)]
    for path in inner:
        edges = _bypass(path, edges)
        del nodes[path]
    if len(set(edges)) != len(edges):
        raise root.refuse("two ways from one node to the same other one, through graphs in it")
    inputs = tuple(path for path, node in nodes.items() if node.kind == "Input")
    outputs = [path for path, node in nodes.items() if node.kind == "Output"]
    if not inputs or len(outputs) != 1:
        raise root.refuse(
            f"{len(inputs)} Input and {len(outputs)} Output nodes",
            "a network has one of each; more of the first",
        )
    for path, node in nodes.items():
        if node.kind != "Input" and not any(b == path for _, b in edges):
            raise node.refuse("nothing flows into it", "connect it, or leave it out")
        if node.kind != "Output" and not any(a == path for a, _ in edges):
            raise node.refuse("nothing reads it", "connect it, or leave it out")
    spiking = {path for path, node in nodes.items() if node.kind in SPIKING}
    stopping = {
        path for path, node in nodes.items() if node.kind in (*SPIKING, *INTEGRATING, "Output")
    }
    late = late_edges(list(nodes), edges, inputs, stopping)
    for edge in sorted(late):
        if edge[0] not in spiking:
            raise nodes[edge[0]].refuse(
                "a loop carries its membrane to the next step", "loops carry spikes"
            )
    order = _late_last(
        outputs[0], _order(list(nodes), [e for e in edges if e not in late]), edges, late
    )
    return Wired({path: nodes[path] for path in order}, tuple(edges), late, inputs, outputs[0])


def _is_end(node: FileNode, root: FileNode) -> bool:
    return node.kind in ("Input", "Output") and root.nodes.get(node.path) is not node


def _flatten(graph: FileNode, nodes: dict[str, FileNode], edges: list[Edge]) -> None:
    begins: dict[str, str] = {}
    ends: dict[str, str] = {}
    for name, node in graph.nodes.items():
        begins[name] = ends[name] = node.path
        if node.kind != "NIRGraph":
            if node.path in nodes:
                raise node.refuse("two nodes have this name, one in a graph of its own")
            nodes[node.path] = node
            continue
        _flatten(node, nodes, edges)
        for kind, table in (("Input", begins), ("Output", ends)):
            found = [inner.path for inner in node.nodes.values() if inner.kind == kind]
            if len(found) != 1:
                raise node.refuse(f"a graph within another, with {len(found)} {kind} nodes")
            table[name] = found[0]
    edges.extend((ends[a], begins[b]) for a, b in graph.edges)


def _bypass(path: str, edges: Sequence[Edge]) -> list[Edge]:
    """The edges without a node that only hands on, each reader's in the order they had."""
    before = [a for a, b in edges if b == path]
    made: list[Edge] = []
    for a, b in edges:
        if a == path:
            made.extend((source, b) for source in before)
        elif b != path:
            made.append((a, b))
    return made


def late_edges(
    nodes: Sequence[str], edges: Sequence[Edge], inputs: Sequence[str], stopping: set[str]
) -> frozenset[Edge]:
    """Edges out of neurons that close a loop.

    Args:
        nodes: all.
        edges: from and to.
        inputs: where the network begins.
        stopping: neurons and outputs: what is behind others is behind these.

    Raises:
        ImportRefused: a loop without neurons, or a node that hands on into a loop and out of it.
    """
    readers: dict[str, list[str]] = {name: [] for name in nodes}
    for a, b in edges:
        readers[a].append(b)
    behind = _behind(nodes, readers, stopping)
    ways = {
        name: sorted({t for reader in readers[name] for t in behind[reader]})
        for name in (*inputs, *stopping)
    }
    depth = dict.fromkeys(inputs, 0)
    front = list(inputs)
    while front:
        found = {t: depth[name] + 1 for name in front for t in ways[name] if t not in depth}
        depth |= found
        front = list(found)
    reached = {name: _reached(name, ways) for name in stopping}
    late = set()
    for name in nodes:
        if name not in stopping:
            continue
        for reader in readers[name]:
            closing = {
                depth.get(t, 0) <= depth.get(name, 0) and name in reached[t] for t in behind[reader]
            }
            if len(closing) > 1:
                raise ImportRefused(
                    f"node {shorten(reader)!r}: what it makes of the spikes of {shorten(name)!r} "
                    "goes both into a loop and on",
                    "NIR does not say which of the two gets the spikes of the step before",
                    "give the loop a node of its own",
                )
            if closing == {True}:
                late.add((name, reader))
    return frozenset(late)


def _behind(
    nodes: Sequence[str], readers: Mapping[str, list[str]], stopping: set[str]
) -> dict[str, set[str]]:
    """Of each node, the neurons and outputs that it flows into: a neuron is its own."""
    plain = [name for name in nodes if name not in stopping]
    edges = [(a, b) for a in plain for b in readers[a] if b not in stopping]
    behind = {name: {name} for name in stopping}
    for name in reversed(_order(plain, edges)):
        behind[name] = {t for reader in readers[name] for t in behind[reader]}
    return behind


def _reached(name: str, ways: Mapping[str, list[str]]) -> set[str]:
    """All that is somewhere behind a node, itself only by a loop."""
    found: set[str] = set()
    front = {name}
    while front:
        front = {t for each in front for t in ways[each]} - found
        found |= front
    return found


def _order(nodes: Sequence[str], edges: Sequence[Edge]) -> list[str]:
    """Nodes behind all that they read, else in the order given."""
    waiting = dict.fromkeys(nodes, 0)
    readers: dict[str, list[str]] = {name: [] for name in nodes}
    for a, b in edges:
        waiting[b] += 1
        readers[a].append(b)
    ready = [name for name in nodes if not waiting[name]]
    for name in ready:
        for reader in readers[name]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    if len(ready) < len(nodes):
        stuck = next(name for name in nodes if name not in set(ready))
        raise ImportRefused(
            f"node {shorten(stuck)!r}: in a loop, or behind one, without neurons in it",
            "a loop has to take a step: its spikes arrive in the next one",
            "put spiking neurons into the loop",
        )
    return ready


def _late_last(
    output: str, order: Sequence[str], edges: Sequence[Edge], late: frozenset[Edge]
) -> list[str]:
    """An order of execution in which what closes a loop comes just in front of its neurons.

    Args:
        output: where the network ends.
        order: any order of execution.
        edges: from and to.
        late: edges that close a loop.
    """
    sources: dict[str, list[str]] = {name: [] for name in order}
    for a, b in edges:
        if (a, b) not in late:
            sources[b].append(a)
    closing = {b for _, b in late}
    begun: dict[str, bool] = {}  # whether all that comes from outside of loops is there
    for name in order:
        inner = [begun[source] for source in sources[name]]
        begun[name] = any(inner) or (not inner and name not in closing)
    made: dict[str, None] = {}
    waiting = [*reversed(order), output]
    while waiting:
        name = waiting[-1]
        left = [source for source in sources[name] if source not in made]
        if name in made or not left:
            made.setdefault(waiting.pop())
            continue
        waiting.extend(sorted(left, key=lambda source: not begun[source], reverse=True))
    return list(made)
