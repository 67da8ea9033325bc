"""`spikelet run`: stream samples to a device, perhaps let it learn, compare all with golden."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spikelet.board import Board, find_board
from spikelet.cli.bands import in_bands
from spikelet.cli.options import (
    ArenaOption,
    BaudOption,
    BoardOption,
    ClassesOption,
    FeaturesOption,
    JsonOption,
    LearnOption,
    LimitOption,
    MachineOption,
    PackageArg,
    PortOption,
    ToolchainOption,
    check_learning,
)
from spikelet.cli.places import check_file, given_path
from spikelet.cli.shown import session_shown
from spikelet.cli.streaming import session_path, stream
from spikelet.cli.terminal import Terminal
from spikelet.errors import Disagreement, UsageError
from spikelet.package import Package
from spikelet.run import SessionFolder, Target, choose_stream, make

if TYPE_CHECKING:
    from spikelet.cli.learning import Choices


def command(
    package: PackageArg,
    board: BoardOption,
    port: PortOption = None,
    baud: BaudOption = None,
    machine: MachineOption = "auto",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            parser=given_path,
            help="An .npz file with x (N, ...) and, where known, y (N,); with --learn also "
            "x_test and y_test, or a data set's name. Default: the package's samples.",
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
    learn: LearnOption = None,
    stream_text: Annotated[
        str | None,
        typer.Option(
            "--stream", metavar="STREAM",
            help="Of --learn: NAME[,option=value...]. Default: class-incremental.",
        ),
    ] = None,
    features: FeaturesOption = None,
    classes: ClassesOption = None,
    tune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPTION=V:V...", help="Of --learn: choose a value by golden; may be repeated."
        ),
    ] = None,
    tune_on: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Of --tune: data as --data, or `validation` (default)."),
    ] = None,
    tuned: Annotated[
        Path | None,
        typer.Option(metavar="PATH", parser=given_path, help="Options that --tune chose."),
    ] = None,
    load_state: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", parser=given_path, help="Of --learn: begin with this learned state."
        ),
    ] = None,
    save_state: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", parser=given_path, help="Of --learn: keep the learned state there."
        ),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Of --learn: compute them as well.")
    ] = True,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Run a package on a board, compared with golden sample by sample.

    With --learn the device learns a stream of labelled samples; see `spikelet learners`.
    """
    terminal = Terminal.open(as_json)
    if port is not None:
        _check_port(port, machine, toolchain)
    elif baud is not None:
        raise UsageError(
            f"--baud {baud} without --port",
            "a machine has no line of its own",
            "give --port, or leave out --baud",
        )
    _check_learning(learn, {
        "--stream": stream_text, "--features": features, "--classes": classes, "--tune": tune,
        "--tune-on": tune_on, "--tuned": tuned, "--load-state": load_state,
        "--save-state": save_state, "--no-baselines": None if baselines else True,
    }, {"--limit": limit, "--layers": layers or None, "--arena": arena})  # fmt: skip
    loaded, found = Package.load(package), find_board(board)
    if learn is not None:
        from spikelet.cli.learning import STREAM, Choices  # it takes a while to load

        choices = Choices(
            learner=learn,
            stream=stream_text or STREAM,
            data=None if data is None else str(data),
            features=features,
            classes=classes,
            tune=tune or (),
            tune_on=tune_on,
            tuned=tuned,
            load_state=load_state,
            save_state=save_state,
            baselines=baselines,
        )
        path = session or Path(f"{session_path(loaded, found.name)}-{learn.partition(',')[0]}")
        _learn(
            terminal, loaded, package, found, choices, SessionFolder(path),
            port, baud, machine, toolchain, resume, None if session is None else str(session),
        )  # fmt: skip
        return
    loaded = in_bands(terminal, loaded, arena, found)
    samples = choose_stream(loaded, data, limit)
    folder = SessionFolder(session or session_path(loaded, found.name))
    if resume:
        folder.head()  # says at once when there is nothing to resume
    again = ["spikelet", "run", str(package), "--board", board]
    for option, value in (
        ("--port", port),
        ("--baud", baud),
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
        target = prepare(terminal, loaded, found, folder, port, baud, machine, toolchain, layers)
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


def _check_learning(
    learn: str | None, of_learn: dict[str, object], of_others: dict[str, object]
) -> None:
    """Options that mean nothing beside, or without, --learn; raises UsageError."""
    check_learning(learn, of_learn)
    for option, value in of_others.items():
        if learn is not None and value is not None:
            raise UsageError(
                f"{option} beside --learn",
                "it is of runs that do not learn",
                "--stream NAME,samples=N,evaluate=N limits a run that learns"
                if option == "--limit"
                else f"leave out {option}",
            )


def _learn(
    terminal: Terminal,
    package: Package,
    path: Path,
    board: Board,
    choices: Choices,
    folder: SessionFolder,
    port: str | None,
    baud: int | None,
    machine: str,
    toolchain: str,
    resume: bool,
    session: str | None,
) -> None:
    """A session that learns."""
    from spikelet.cli.learning import TUNED, learning_shown, play_shown, prepared

    if resume:
        folder.head()  # says at once when there is nothing to resume
    if choices.save_state is not None:
        check_file(choices.save_state, "--save-state")
    again = ["spikelet", "run", str(path), "--board", board.name]
    for option, value in (
        ("--port", port), ("--baud", baud), ("--machine", None if machine == "auto" else machine),
        ("--toolchain", None if toolchain == "auto" else toolchain), ("--data", choices.data),
        ("--session", session), ("--learn", choices.learner), ("--stream", choices.stream),
        ("--features", choices.features), ("--classes", choices.classes),
        ("--tuned", choices.tuned or (folder.path / TUNED if choices.tune else None)),
        ("--load-state", choices.load_state), ("--save-state", choices.save_state),
    ):  # fmt: skip
        again += [option, str(value)] if value is not None else []
    again += ["--no-baselines"] * (not choices.baselines) + ["--resume"]
    with folder.locked():
        found, tuned, state = prepared(terminal, package, board, choices, folder)
        target = prepare(
            terminal, found.package, board, folder, port, baud, machine, toolchain, layers=False
        )
        result = play_shown(terminal, found, choices, tuned, state, target, folder, resume, again)
    if folder.moved is not None:
        terminal.note(f"the earlier session had not ended: it is in {folder.moved}")
    terminal.result(result, *learning_shown(result))
    if not terminal.as_json:
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
    baud: int | None,
    machine: str,
    toolchain: str,
    layers: bool,
) -> Target:
    """What a session runs on; the image of a machine is built in the session's folder."""
    if port is not None or board.transport == "serial":
        return Target(board, port=port, baud=baud)
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
