"""`spikelet run`: stream samples to a device, and compare all with golden."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.completion import boards
from spikelet.cli.options import (
    DEFAULT_BOARD,
    ArenaOption,
    BaudOption,
    DeviceKeyOption,
    FaultsOption,
    JsonOption,
    KeepOption,
    LimitOption,
    MachineOption,
    PackageArg,
    PortOption,
    ResumeOption,
    SessionOption,
    ToolchainOption,
    TrustedOption,
    application,
    board_name,
)
from spikelet.cli.places import given_path
from spikelet.errors import UsageError

if TYPE_CHECKING:
    from spikelet.run.session_options import RunOptions

app = application()

MaybeBoardOption = Annotated[
    str | None,
    typer.Option(
        "--board", "-b", show_default=False, autocompletion=boards,
        help=f"A board's name, or its folder. Default: {DEFAULT_BOARD}, this computer; of --roster "
        "all, otherwise only the devices that are this board.",
    ),
]  # fmt: skip
RosterOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", parser=given_path, show_default=False,
        help="A test bench: run on all devices of this file at once.",
    ),
]  # fmt: skip
WaitOption = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", min=0,
        help="Of --roster: how long to wait for a device that another process holds.",
    ),
]  # fmt: skip
BinOption = Annotated[
    int | None,
    typer.Option(
        metavar="MICROSECONDS", min=1, show_default=False,
        help="Of events: how long a step is. Default: what the package says.",
    ),
]  # fmt: skip
RealtimeOption = Annotated[
    bool,
    typer.Option("--realtime", help="Of events: an error where they take longer than they lasted."),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", parser=given_path,
        help="An .npz file with x (N, ...) and, where known, y (N,); or, of a network that takes "
        "events, a file or folder of recordings. Default: the package's samples.",
    ),
]  # fmt: skip
LayersOption = Annotated[
    bool, typer.Option("--layers", help="Compare every layer in every step (trace build).")
]
FlashOption = Annotated[
    bool, typer.Option("--flash", help="Flash first, with the board's own tool.")
]
DeltaOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", parser=given_path, show_default=False,
        help="Values of an adapter, NAME.spkd, that the device is sent first; see `adapt`.",
    ),
]  # fmt: skip


@app.command("run")
def command(
    package: PackageArg,
    board: MaybeBoardOption = None,
    port: PortOption = None,
    baud: BaudOption = None,
    machine: MachineOption = "auto",
    data: DataOption = None,
    bin_us: BinOption = None,
    keep_state: KeepOption = False,
    realtime: RealtimeOption = False,
    limit: LimitOption = None,
    layers: LayersOption = False,
    flash: FlashOption = False,
    delta: DeltaOption = None,
    resume: ResumeOption = False,
    session: SessionOption = None,
    toolchain: ToolchainOption = "auto",
    arena: ArenaOption = None,
    roster: RosterOption = None,
    wait: WaitOption = 60.0,
    trusted: TrustedOption = None,
    device_key: DeviceKeyOption = None,
    faults: FaultsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a package on a board or on a test bench, compared with golden sample by sample."""
    if roster is not None:
        _single({
            "--delta": delta, "--bin-us": bin_us, "--keep-state": keep_state or None,
            "--realtime": realtime or None, "--faults": faults, "--device-key": device_key,
        })  # fmt: skip
        with loading(as_json):
            from spikelet.cli.on_roster import RosterOptions, run_on_roster
        bench = RosterOptions(
            roster=roster, board=board, port=port, baud=baud, machine=machine,
            data=data, limit=limit, layers=layers, resume=resume, session=session,
            toolchain=toolchain, arena=arena, flash=flash, wait=wait,
            trusted=trusted,
        )  # fmt: skip
        run_on_roster(package, bench, as_json)
        return
    with loading(as_json):
        from spikelet.run.session_options import RunOptions
    _run_on_board(
        package, RunOptions(
            board=board_name(board, port), port=port, baud=baud, machine=machine, data=data,
            limit=limit, layers=layers, resume=resume, session=session, toolchain=toolchain,
            arena=arena, flash=flash, delta=delta, bin_us=bin_us,
            keep_state=keep_state, realtime=realtime, trusted=trusted, faults=faults,
            device_key=device_key,
        ),
        as_json,
    )  # fmt: skip


def _single(options: Mapping[str, object]) -> None:
    """Refuse what a roster does not take."""
    for option, given in options.items():
        if given is not None:
            raise UsageError(f"{option} with --roster", next="run one board with --board")


def _run_on_board(package: Path, options: RunOptions, as_json: bool) -> None:
    with loading(as_json):
        from spikelet.api import Package
        from spikelet.cli.render import render_session
        from spikelet.cli.streaming import running, show_session
        from spikelet.cli.terminal import Terminal
        from spikelet.run.asked import session_folder
    terminal, loaded = Terminal.open(as_json), Package.load(package, options.trusted)
    folder = session_folder(options, loaded.graph.name)
    with running(terminal, options, package, folder) as watch:
        session = loaded.run(options, watch=watch)
    show_session(terminal, session, *render_session(session.result))
