"""`spikelet bench`: what an inference costs, layer by layer."""

from __future__ import annotations

from dataclasses import replace
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
    application,
    board_name,
)
from spikelet.cli.places import given_path
from spikelet.errors import UsageError

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
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Instructions or cycles, per inference and per layer, and sizes of the image."""
    with loading(as_json):
        from spikelet.run.session_options import RunOptions
    options = RunOptions(
        package=package, board=board_name(board, port, COUNTING_BOARD), port=port, baud=baud,
        machine=machine, toolchain=toolchain, limit=limit, arena=arena, session=session,
        flash=flash,
    )  # fmt: skip
    if layers and (port is None or flash):
        raise UsageError(
            "bench --layers is for a device behind a port that you flash yourself",
            "machines, and devices with --flash, are measured in layers anyway",
            "leave out --layers",
        )
    _bench(options, layers, as_json)


def _bench(options: RunOptions, layers: bool, as_json: bool) -> None:
    with loading(as_json):
        from spikelet.board import find_board
        from spikelet.cli.bands import in_bands
        from spikelet.cli.render_bench import render_bench
        from spikelet.cli.streaming import disagree, prepare, stream
        from spikelet.cli.terminal import Terminal
        from spikelet.package import Package
        from spikelet.run import SessionFolder, SessionTarget, package_stream
        from spikelet.run.bench import recorded_bench, with_layers
    terminal = Terminal.open(as_json)
    loaded, on = Package.load(options.package), find_board(options.board)
    loaded = in_bands(terminal, loaded, options.arena, on)
    samples = package_stream(loaded).head(options.limit)
    folder = SessionFolder(options.place(loaded.graph.name, f"{on.name}-bench"))
    traced = None
    with folder.lock():
        if layers:
            result, outcome = recorded_bench(folder, loaded, on)
            traced = SessionTarget(on, port=options.port, baud=options.baud)
        else:
            target = prepare(terminal, options, loaded, on, folder)
            result, outcome = stream(
                terminal, options, loaded, target, samples, folder, whole=False
            )
            if options.port is not None and outcome.ticks is None and on.tick != "none":
                raise UsageError(
                    f"{options.port}: the device holds a trace build, whose ticks are not the "
                    "model's",
                    "it was flashed with --layers",
                    "flash the release image and bench it; then the trace build, with --layers",
                )
            if target.built is not None:
                inner = SessionFolder(folder.path / "trace")
                traced = prepare(terminal, replace(options, layers=True), loaded, on, inner)
        with terminal.err.status("measuring the layers"):
            bench = with_layers(loaded, on, traced, samples, result, outcome)
        folder.keep_bench(bench)
    terminal.result(bench, *render_bench(bench))
    if traced is None and not as_json:
        terminal.note(
            "figures by layer: flash the image of `spikelet build --layers`, then the same command "
            "with --layers; or --flash",
            "dim",
        )
    if bench["mismatches"]:
        disagree(terminal, bench["mismatches"])
