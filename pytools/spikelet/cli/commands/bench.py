"""`spikelet bench`: what an inference costs, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.completion import boards
from spikelet.cli.options import (
    COUNTING_BOARD,
    ArenaOption,
    BaudOption,
    JsonOption,
    LimitOption,
    MachineOption,
    PackageArg,
    PortOption,
    ToolchainOption,
    TrustedOption,
    application,
    board_name,
)
from spikelet.cli.places import given_path

if TYPE_CHECKING:
    from spikelet.run.session_options import RunOptions

app = application()

BenchBoardOption = Annotated[
    str | None,
    typer.Option(
        "--board", "-b", show_default=False, autocompletion=boards,
        help=f"A board's name, or its folder. Default: {COUNTING_BOARD}, which counts.",
    ),
]  # fmt: skip


@app.command("bench")
def command(
    package: PackageArg,
    board: BenchBoardOption = None,
    port: PortOption = None,
    baud: BaudOption = None,
    limit: LimitOption = None,
    flash: Annotated[
        bool, typer.Option("--flash", help="Flash both images, one after the other (--port).")
    ] = False,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers", help="Of --port: add the layers to a session that was benched before; "
            "the device now holds the trace build.",
        ),
    ] = False,
    machine: MachineOption = "auto",
    session: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", parser=given_path, help="Default: spikelet-sessions/MODEL-BOARD-bench."
        ),
    ] = None,
    toolchain: ToolchainOption = "auto",
    arena: ArenaOption = None,
    trusted: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Instructions or cycles, per inference and per layer, and sizes of the image."""
    with loading(as_json):
        from spikelet.run.session_options import RunOptions
    options = RunOptions(
        board=board_name(board, port, COUNTING_BOARD), port=port, baud=baud, machine=machine,
        toolchain=toolchain, limit=limit, arena=arena, session=session, flash=flash, layers=layers,
        trusted=trusted,
    )  # fmt: skip
    _bench(package, options, as_json)


def _bench(package: Path, options: RunOptions, as_json: bool) -> None:
    with loading(as_json):
        from spikelet.api import Package
        from spikelet.cli.render_bench import render_bench
        from spikelet.cli.streaming import disagree, running
        from spikelet.cli.terminal import Terminal
        from spikelet.run.asked import BENCH, session_folder
    terminal, loaded = Terminal.open(as_json), Package.load(package, options.trusted)
    folder = session_folder(options, loaded.graph.name, BENCH)
    with running(terminal, options, package, folder, whole=False) as watch:
        bench = loaded.bench(options, watch=watch).result
    terminal.result(bench, *render_bench(bench))
    if bench["layer_measurement"] is None and not (options.builds or options.layers or as_json):
        terminal.note(
            "figures by layer: flash the image of `spikelet build --layers`, then the same command "
            "with --layers; or --flash",
            "dim",
        )
    if bench["mismatches"]:
        disagree(terminal, bench["mismatches"])
