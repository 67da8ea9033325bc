"""A NIR graph as a spiking network of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from typing_extensions import TypedDict

from spikelet.frontends.nir.convention import Convention, metadata
from spikelet.frontends.nir.file import FileNode, graph_of_tree
from spikelet.frontends.nir.file import read as read_file
from spikelet.frontends.nir.nodes import PLAIN, delay, neurons, shape_of
from spikelet.frontends.nir.wiring import INTEGRATING, SPIKING, Wired, wire
from spikelet.frontends.spiking.network import Add, Layer, Previous, SpikingNetwork
from spikelet.frontends.spiking.shapes import Shape, infer_shapes
from spikelet.graph.names import identifier


class Said(TypedDict, total=False):
    """Fields of `Convention`."""

    dt: float | None
    reset: str | None
    timing: str | None
    compare: str | None
    initial: str | None
    input: str | None


def read(source: Path | str | Any, *, name: str = "", **said: Unpack[Said]) -> SpikingNetwork:
    """The network of a .nir file, or of a graph of the package `nir`.

    A file of Spikelet holds what NIR does not: how the network is executed in steps. For others'
    it has to be given: see `Convention`.

    Args:
        source: a path, or a `nir.NIRGraph`.
        name: of the network; by default the file's, as an identifier.
        said: dt, reset, timing, compare, and initial and input where they matter.

    Raises:
        UsageError: the file is not there, or a value that is none.
        ImportRefused: names the node that is not carried over, and what is; or what has to be said.
    """
    convention = Convention(**said)
    if isinstance(source, str | Path):
        root, _ = read_file(Path(source))
        return network_of(root, convention, name or Path(source).stem)
    return network_of(graph_of_tree(source.to_dict()), convention, name or "net")


def network_of(root: FileNode, convention: Convention, name: str) -> SpikingNetwork:
    """The network of a checked graph; raises ImportRefused."""
    convention = convention.with_file(root)
    told = metadata(root).get("name")
    name = told if isinstance(told, str) else name
    return _Reading(wire(root), convention, identifier(name, "net", 40)).network()


class _Reading:
    """The layers as they grow."""

    def __init__(self, wired: Wired, convention: Convention, name: str) -> None:
        self.wired, self.convention, self.name = wired, convention, name
        self.names = _names(list(wired.nodes))
        self.layers: list[Layer] = []

    def network(self) -> SpikingNetwork:
        nodes, names = self.wired.nodes, self.names
        plain, inputs = self._plain()
        sources = {names[p]: [names[s] for s in self.wired.sources(p)] for p in nodes}
        shapes = infer_shapes(inputs, plain, {n: sources[n] for n in plain})
        for path in dict.fromkeys(a for a, _ in sorted(self.wired.late)):
            self.layers.append(
                Previous(
                    name=_late(names[path]), of=names[path], shape=shapes[names[path]], source=path
                )
            )
        for path, node in nodes.items():
            if node.kind == "Input":
                continue
            self._add(path, node, plain, shapes)
        output = self.wired.output
        (last,) = self._read(output)
        return SpikingNetwork(self.name, inputs, tuple(self.layers), last)

    def _plain(self) -> tuple[dict[str, Layer], dict[str, Shape]]:
        """Layers by name, neurons and the output as what keeps a shape; and the inputs."""
        plain: dict[str, Layer] = {}
        inputs: dict[str, Shape] = {}
        for path, node in self.wired.nodes.items():
            name = self.names[path]
            named = {"name": name, "input": "?"}
            if node.kind == "Input":
                inputs[name] = shape_of(node)
            elif node.kind in PLAIN:
                plain[name] = PLAIN[node.kind](node, named)
            elif node.kind in (*SPIKING, *INTEGRATING, "Delay", "Output"):
                plain[name] = Add(name=name, source=path)
            else:
                raise node.refuse("not here")
        return plain, inputs

    def _add(
        self, path: str, node: FileNode, plain: Mapping[str, Layer], shapes: Mapping[str, Shape]
    ) -> None:
        name = self.names[path]
        if node.kind == "Output":
            sources = self._sources(path)
            if len(sources) > 1:
                self.layers.append(Add(name=f"{name}_sum", inputs=sources, source=path))
            return
        (read,) = self._read(path)
        if read == f"{name}_sum":
            self.layers.append(Add(name=read, inputs=self._sources(path), source=path))
        if node.kind in PLAIN:
            self.layers.append(replace(plain[name], inputs=(read,)))
            return
        named = {"name": name, "input": read}
        if node.kind == "Delay":
            self.layers.append(delay(node, named, shapes[name], self.convention))
            return
        self.layers.append(neurons(node, named, shapes[name], self.convention))

    def _sources(self, path: str) -> tuple[str, ...]:
        """Tensors that flow into a node, in the order of its edges."""
        names = self.names
        return tuple(
            _late(names[a]) if (a, path) in self.wired.late else names[a]
            for a in self.wired.sources(path)
        )

    def _read(self, path: str) -> tuple[str]:
        """The tensor that a node reads: a sum where there are several."""
        sources = self._sources(path)
        return (sources[0] if len(sources) == 1 else f"{self.names[path]}_sum",)


def _late(name: str) -> str:
    return f"{name}_last"


def _names(paths: list[str]) -> dict[str, str]:
    """An identifier for each path; no two, with what is added to them, are the same."""
    made: dict[str, str] = {}
    taken: set[str] = set()
    for i, path in enumerate(paths):
        word = identifier(path.replace(".", "_"), f"node_{i}")
        while word in taken or word.endswith(("_sum", "_last", "_current")):
            word = f"{word[:16]}_{i}"
        made[path] = word
        taken.add(word)
    return made
