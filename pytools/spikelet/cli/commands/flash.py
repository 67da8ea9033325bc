"""`spikelet flash`: a package or an image onto a board, with the board's own tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.completion import boards, packages, tools
from spikelet.cli.options import (
    DeviceKeyOption,
    JsonOption,
    ToolchainOption,
    TrustedOption,
    application,
    not_a_folder,
)
from spikelet.cli.places import check_folder, given_path

app = application()


ImageArg = Annotated[
    Path,
    typer.Argument(
        metavar="PKG|ELF", help="A package, NAME.spk, or an image that was built.",
        show_default=False, parser=given_path, callback=not_a_folder, autocompletion=packages,
    ),
]  # fmt: skip
ArgumentsArg = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[-- ARGUMENT...]", show_default=False,
        help="After --, for the tool: which probe to take, for instance.",
    ),
]  # fmt: skip
FlashBoardOption = Annotated[
    str,
    typer.Option(
        "--board", "-b", show_default=False, autocompletion=boards,
        help="A board with a [flash] table, by name or folder.",
    ),
]  # fmt: skip
FlashPortOption = Annotated[
    str | None,
    typer.Option("--port", help="Serial port that the tool flashes over, or the board's drive."),
]
ToolOption = Annotated[
    str,
    typer.Option(help="One of the board's flashing tools, or auto.", autocompletion=tools),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Write the files, print the command, and call nothing.")
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "-o", "--out", metavar="PATH", parser=given_path,
        help="Of a package's image. Default: spikelet-build/MODEL-BOARD.",
    ),
]  # fmt: skip
LayersOption = Annotated[
    bool, typer.Option("--layers", help="Of a package a trace build, for `run --layers`.")
]


@app.command("flash")
def command(
    image: ImageArg,
    arguments: ArgumentsArg = None,
    board: FlashBoardOption = "",
    port: FlashPortOption = None,
    tool: ToolOption = "auto",
    dry_run: DryRunOption = False,
    out: FolderOption = None,
    toolchain: ToolchainOption = "auto",
    layers: LayersOption = False,
    trusted: TrustedOption = None,
    device_key: DeviceKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a board's flash with its own tool, and the .hex, .bin or .uf2 that the tool reads.

    `spikelet run --port` talks to the board afterwards; `spikelet run --flash` does both.
    """
    with loading(as_json):
        from spikelet.board import choose_tool, find_board, plan_flash
        from spikelet.cli.flashing import image_of, render_flashing
        from spikelet.cli.streaming import TerminalWatch
        from spikelet.cli.terminal import Terminal
        from spikelet.run.asked import call_tool
    terminal = Terminal.open(as_json)
    if not board:
        raise typer.BadParameter("hardware has no default: give --board", param_hint="--board")
    on = find_board(board)
    tool = choose_tool(on, tool)
    elf = image_of(image, on, out, toolchain, layers, terminal, (trusted, device_key))
    check_folder(elf.parent)
    planned = plan_flash(elf, on, tool, port, tuple(arguments or ()))
    result = {
        "board": on.name,
        "image": str(elf),
        "tool": planned.tool,
        "commands": [list(c) for c in planned.commands],
        "files": {kind: str(path) for kind, path in planned.files.items()},
        "missing": planned.missing or None,
        "flashed": not dry_run,
    }
    if not dry_run:
        call_tool(planned, port, TerminalWatch(terminal))
    terminal.result(result, render_flashing(planned, flashed=not dry_run))
