"""`spikelet boards`: the boards that come with Spikelet."""

from __future__ import annotations

from spikelet.cli import loading
from spikelet.cli.options import JsonOption, application

app = application()


@app.command("boards")
def command(as_json: JsonOption = False) -> None:
    """List the boards, their machines and toolchains."""
    with loading(as_json):
        from spikelet.board import boards, machines, toolchains
        from spikelet.cli.terminal import Terminal, table
    terminal = Terminal.open(as_json)
    rows = [
        {
            "name": board.name,
            "description": board.description,
            "isa": board.isa,
            "core": board.core,
            "tick": board.tick,
            "transport": board.transport,
            "needs_port": board.transport == "serial",
            "machines": {name: name in machines(board) for name in board.machines},
            "toolchains": {name: name in toolchains(board) for name in board.toolchains},
            "folder": str(board.folder),
        }
        for board in boards().values()
    ]
    made = table("", "board", "ISA", "ticks", "machines", "toolchains", "description")
    made.title = None
    for row in rows:
        made.add_row(
            str(row["name"]),
            str(row["isa"]),
            str(row["tick"]),
            _there(row["machines"]) or "needs --port",
            _there(row["toolchains"]),
            str(row["description"]),
        )
    terminal.result({"boards": rows}, made)


def _there(path: object) -> str:
    """Names; those in brackets are not installed."""
    items = path.items() if isinstance(path, dict) else ()
    return ", ".join(name if there else f"({name}: not installed)" for name, there in items)
