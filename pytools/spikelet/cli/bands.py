"""`--arena`: a package's first layers in bands of rows, and what that costs."""

from __future__ import annotations

from spikelet.board import Board
from spikelet.cli.terminal import Terminal
from spikelet.codegen import plan
from spikelet.package import Package
from spikelet.run import bands_text, with_arena


def in_bands(terminal: Terminal, package: Package, arena: int | None, board: Board) -> Package:
    """The package that fits the arena; says what it costs.

    Raises:
        UsageError: no bands take so little.
    """
    if arena is None:
        return package
    with terminal.err.status("planning bands"):
        fitting, tiling = with_arena(package, arena, board)
    if tiling is None:
        terminal.note(f"the arena takes no more than {arena} bytes as it is", "dim")
        return package
    before, after = (plan(p.graph, board.target).size for p in (package, fitting))
    terminal.note(f"{bands_text(tiling)}: an arena of {after} bytes in place of {before}", "dim")
    return fitting
