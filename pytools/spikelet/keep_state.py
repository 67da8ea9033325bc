"""Networks whose neurons go on from one inference to the next."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from spikelet.errors import UsageError
from spikelet.graph import Graph
from spikelet.package import Package

SomePackage = TypeVar("SomePackage", bound=Package)


def keeping_state(package: SomePackage) -> SomePackage:
    """The package with neurons that may keep their states between inferences.

    It is another model: no number of steps bounds a membrane, so that it may take more bits, or
    be limited to its type in every step. Spike counts begin anew with each inference.

    Raises:
        UsageError: it has no neurons.
    """
    if package.graph.keeps_state:
        return package
    if not _has_neurons(package.graph):
        raise UsageError(
            f"--keep-state: package {package.graph.name} has no neurons",
            "states are kept of spiking networks",
            "leave out --keep-state",
        )
    graph = dataclasses.replace(package.graph, keeps_state=True)
    kept = {k: v for k, v in package.vectors.items() if not k.startswith("golden.")}
    made = dataclasses.replace(package, graph=graph, vectors=kept, manifest=dict(package.manifest))
    return made.with_golden()


def if_asked(package: SomePackage, keep_state: bool) -> SomePackage:
    """The package as it is, or `keeping_state`."""
    return keeping_state(package) if keep_state else package


def _has_neurons(graph: Graph) -> bool:
    return any(node.KEPT for node in graph.nodes)
