"""`spikelet boards`: the boards that come with Spikelet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spikelet.cli import loading
from spikelet.cli.options import JsonOption, application

if TYPE_CHECKING:
    from spikelet.board import Board

app = application()

LESS_IMPORTANT = ("description", "ticks", "toolchains", "flashed by", "ISA", "machines")
PROSE_COLUMNS = ("description", "machines", "toolchains", "flashed by")


@app.command("boards")
def command(as_json: JsonOption = False) -> None:
    """List the boards: core, clock, flash, RAM, and what builds, runs and flashes them."""
    with loading(as_json):
        from spikelet.board import boards
        from spikelet.cli.terminal import Fitted, Terminal, number, table
    terminal = Terminal.open(as_json)
    rows = [_row(board) for board in boards().values()]
    made = table(
        "", "board", "core", ">MHz", ">flash KiB", ">RAM KiB", "ISA", "ticks", "machines",
        "toolchains", "flashed by", "description",
    )  # fmt: skip
    made.title = None
    for row in rows:
        made.add_row(
            row["name"], row["core"], number(row["mhz"]), _kib(row["flash_bytes"]),
            _kib(row["ram_bytes"]), row["isa"], row["tick"],
            _there(row["machines"]) or "needs --port", _there(row["toolchains"]),
            _there(row["flash_tools"], {"copy": "no drive there"}),
            f"{row['description']} ({row['silicon']})" if row["silicon"] else row["description"],
        )  # fmt: skip
    terminal.result({"boards": rows}, Fitted(made, LESS_IMPORTANT, PROSE_COLUMNS))


def _row(board: Board) -> dict[str, Any]:
    """A board, for JSON."""
    from spikelet.board import machines, toolchains
    from spikelet.board.flashing import how_to_get

    memory = board.memory
    return {
        "name": board.name,
        "description": board.description,
        "isa": board.isa,
        "core": board.core,
        "mhz": board.mhz,
        "flash_bytes": memory.flash.bytes if memory else None,
        "ram_bytes": memory.ram.bytes if memory else None,
        "tick": board.tick,
        "transport": board.transport,
        "silicon": board.silicon,
        "proof": board.proof,
        "needs_port": board.transport == "serial",
        "machines": {name: name in machines(board) for name in board.machines},
        "toolchains": {name: name in toolchains(board) for name in board.toolchains},
        "flash_tools": {name: not how_to_get(name, spec) for name, spec in board.flash.items()},
        "folder": str(board.folder),
    }


def _kib(size: int | None) -> str:
    return "" if size is None else f"{size / 1024:,.0f}".replace(",", " ")


def _there(path: object, why: Mapping[str, str] | None = None) -> str:
    """Names; those in brackets cannot be used now, and why, where they are no programs."""
    items = path.items() if isinstance(path, dict) else ()
    why = why or {}
    return ", ".join(
        name if there else f"({name}: {why.get(name, 'not installed')})" for name, there in items
    )
