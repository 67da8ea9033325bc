"""`spikelet run`: stream samples to a device, and compare all with golden."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.options import (
    ArenaOption,
    BaudOption,
    BoardOption,
    JsonOption,
    LimitOption,
    MachineOption,
    PackageArg,
    PortOption,
    ResumeOption,
    SessionOption,
    ToolchainOption,
    application,
)
from spikelet.cli.places import given_path

app = application()


@app.command("run")
def command(
    package: PackageArg,
    board: BoardOption,
    port: PortOption = None,
    baud: BaudOption = None,
    machine: MachineOption = "auto",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", parser=given_path,
            help="An .npz file with x (N, ...) and, where known, y (N,). "
            "Default: the package's samples.",
        ),
    ] = None,
    limit: LimitOption = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Compare every layer in every step (trace build).")
    ] = False,
    resume: ResumeOption = False,
    session: SessionOption = None,
    toolchain: ToolchainOption = "auto",
    arena: ArenaOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Run a package on a board, compared with golden sample by sample."""
    with loading(as_json):
        from spikelet.board import find_board
        from spikelet.cli.bands import in_bands
        from spikelet.cli.render import render_session
        from spikelet.cli.streaming import prepare, show_result, stream
        from spikelet.cli.terminal import Terminal
        from spikelet.package import Package
        from spikelet.run import SessionFolder, choose_stream
        from spikelet.run.session_options import RunOptions
    terminal = Terminal.open(as_json)
    options = RunOptions(
        package=package, board=board, port=port, baud=baud, machine=machine, data=data,
        limit=limit, layers=layers, resume=resume, session=session, toolchain=toolchain,
        arena=arena,
    )  # fmt: skip
    loaded, on = Package.load(package), find_board(board)
    loaded = in_bands(terminal, loaded, arena, on)
    samples = choose_stream(loaded, data, limit)
    folder = SessionFolder(options.place(loaded.graph.name, on.name))
    if resume:
        folder.head()  # says at once when there is nothing to resume
    with folder.lock():
        target = prepare(terminal, options, loaded, on, folder)
        result, _ = stream(terminal, options, loaded, target, samples, folder)
    show_result(terminal, folder, result, *render_session(result))
