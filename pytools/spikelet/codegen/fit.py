"""A network into a given arena: its first layers in bands of rows, where that is what it takes."""

from __future__ import annotations

from spikelet.codegen.plan import least, plan
from spikelet.errors import UsageError
from spikelet.graph import Graph
from spikelet.graph.target import ANY, Target
from spikelet.graph.tile import Tiling, tilings

TRIED = 12  # ways with the least work, of those that might do, whose memory is planned


class ArenaTooSmall(UsageError):
    """No bands take so little.

    Attributes:
        best: bytes of arena that the best of those tried take.
    """

    best: int = 0


def fit_arena(graph: Graph, arena: int, target: Target = ANY) -> Tiling | None:
    """The bands with the least work that take at most `arena` bytes; None where none are needed.

    Raises:
        ArenaTooSmall: no bands take so little.
    """
    whole = best = plan(graph, target).size
    if whole <= arena:
        return None
    ways = [(least(tiling.graph, target), tiling) for tiling in tilings(graph)]
    hopeful = [tiling for size, tiling in ways if size <= arena]
    if ways and not hopeful:
        hopeful = [min(ways, key=lambda way: way[0])[1]]
    for tiling in hopeful[:TRIED]:
        size = plan(tiling.graph, target).size
        if size <= arena:
            return tiling
        best = min(best, size)
    bands = (
        f"{best} with its first layers in bands of rows" if best < whole else "bands are no help"
    )
    error = ArenaTooSmall(
        f"model {graph.name}: an arena of {arena} bytes is too small: it takes {whole}, {bands}",
        "its input, or what lies behind its first layers, is as large",
        "a board with more memory, or a smaller model",
    )
    error.best = best
    raise error
