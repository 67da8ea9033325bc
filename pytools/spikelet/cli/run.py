"""`spikelet run`: stream samples to a device and compare every result with golden."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.board import Board, find_board
from spikelet.cli.bands import in_bands
from spikelet.cli.options import (
    ArenaOption,
    BoardOption,
    JsonOption,
    LimitOption,
    MachineOption,
    PackageArg,
    PortOption,
    ToolchainOption,
)
from spikelet.cli.places import given_path
from spikelet.cli.shown import session_shown
from spikelet.cli.streaming import session_path, stream
from spikelet.cli.terminal import Terminal
from spikelet.errors import Disagreement, UsageError
from spikelet.package import Package
from spikelet.run import SessionFolder, Target, choose_stream, make


def command(
    package: PackageArg,
    board: BoardOption,
    port: PortOption = None,
    machine: MachineOption = "auto",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            parser=given_path,
            help="An .npz file with x (N, ...) and, where known, y (N,). "
            "Default: the package's test samples.",
        ),
    ] = None,
    limit: LimitOption = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Compare every layer in every step (trace build).")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where this session broke off.")
    ] = False,
    session: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", parser=given_path, help="Default: spikelet-sessions/MODEL-BOARD."
        ),
    ] = None,
    toolchain: ToolchainOption = "auto",
    arena: ArenaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a package on a board, compared with golden sample by sample."""
    terminal = Terminal.open(as_json)
    if port is not None:
        _check_port(port, machine, toolchain)
    loaded, found = Package.load(package), find_board(board)
    loaded = in_bands(terminal, loaded, arena, found)
    samples = choose_stream(loaded, data, limit)
    folder = SessionFolder(session or session_path(loaded, found.name))
    if resume:
        folder.head()  # says at once when there is nothing to resume
    again = ["spikelet", "run", str(package), "--board", board]
    for option, value in (
        ("--port", port),
        ("--machine", None if machine == "auto" else machine),
        ("--data", data),
        ("--limit", limit),
        ("--session", session),
        ("--toolchain", None if toolchain == "auto" else toolchain),
        ("--arena", arena),
    ):
        again += [option, str(value)] if value is not None else []
    again += ["--layers"] * layers + ["--resume"]
    with folder.locked():
        target = prepare(terminal, loaded, found, folder, port, machine, toolchain, layers)
        result, _ = stream(
            terminal, loaded, target, samples, folder,
            layers=layers, resume=resume, shown=0 if layers else None, again=again,
        )  # fmt: skip
    if folder.moved is not None:
        terminal.note(f"the earlier session had not ended: it is in {folder.moved}")
    terminal.result(result, *session_shown(result))
    if not as_json:
        terminal.note(f"session in {folder.path}; `spikelet report {folder.path}`", "dim")
    if result["mismatches"]:
        disagree(terminal, result["mismatches"])


def _check_port(port: str, machine: str, toolchain: str) -> None:
    if not port.strip():
        raise UsageError(
            "--port is empty",
            "a variable of the shell that is not set",
            "give a device file or a pyserial URL",
        )
    for option, value in (("--machine", machine), ("--toolchain", toolchain)):
        if value != "auto":
            raise UsageError(
                f"{option} {value} beside --port {port}",
                "a device behind a port was flashed before: nothing is built or started for it",
                f"leave out either --port or {option}",
            )


def prepare(
    terminal: Terminal,
    package: Package,
    board: Board,
    folder: SessionFolder,
    port: str | None,
    machine: str,
    toolchain: str,
    layers: bool,
) -> Target:
    """What a session runs on; the image of a machine is built in the session's folder."""
    if port is not None or board.transport == "serial":
        return Target(board, port=port)
    with terminal.err.status("building"):
        built = make(package, board, folder.path / "build", toolchain=toolchain, trace=layers)
    return Target(board, built, machine)


def disagree(terminal: Terminal, mismatches: int) -> None:
    """End with exit code 1."""
    error = Disagreement(
        f"{mismatches} elements of the device differ from golden",
        "a kernel, a compiler or the memory of the device is at fault",
        "the first differences are named above; `--layers` compares every layer in every step",
    )
    terminal.note(str(error), "red")
    raise typer.Exit(error.exit_code)
