"""Sessions as they are asked for: the image built and flashed, the samples run, all recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from spikelet.board import (
    Board,
    await_port,
    boards,
    choose_tool,
    find_board,
    flash,
    held_port,
    plan_flash,
)
from spikelet.board.flashing import Flashing
from spikelet.codegen import plan
from spikelet.errors import UsageError
from spikelet.graph.target import Target
from spikelet.keep_state import keeping_state
from spikelet.learn.delta import Delta
from spikelet.package import Package
from spikelet.run.bench import recorded_bench, with_layers
from spikelet.run.reals import Given, samples_of
from spikelet.run.session import Outcome
from spikelet.run.session_folder import SessionFolder
from spikelet.run.session_options import RunOptions, SessionOptions
from spikelet.run.watch import Watch
from spikelet.run.workflow import (
    SessionTarget,
    bands_text,
    choose_stream,
    make,
    run,
    with_arena,
)
from spikelet.streams import SampleStream

BENCH = "-bench"  # behind the board's name in the folder of a bench


def as_board(board: str | Board) -> Board:
    """A board by name or folder, or as it was read."""
    return find_board(board) if isinstance(board, str) else board


def core_or_board(target: str | Board) -> Target | Board:
    """The core that a name means; or the board, by its name or folder."""
    if isinstance(target, str):
        try:
            return Target.of_core(target)
        except ValueError as e:
            if target not in boards() and not Path(target).is_dir():
                raise UsageError(str(e), next="name a core or a board") from e
    return as_board(target)


def run_options(board: str | Board | RunOptions, **given: Any) -> RunOptions:
    """What is asked for: of a board, or as options say; what is given beside them counts."""
    asked = {name: value for name, value in given.items() if value}
    if "session" in asked:
        asked["session"] = Path(asked["session"])
    if isinstance(board, RunOptions):
        return replace(board, **asked)
    return RunOptions(board=board, **asked)


def in_arena(package: Package, arena: int, board: Board, watch: Watch) -> Package:
    """The package that fits the arena; says what it costs.

    Raises:
        UsageError: no bands take so little.
    """
    with watch.step("planning bands"):
        fitting, tiling = with_arena(package, arena, board)
    if tiling is None:
        watch.note(f"the arena takes no more than {arena} bytes as it is")
        return package
    before, after = (plan(p.graph, board.target).size for p in (package, fitting))
    watch.note(f"{bands_text(tiling)}: an arena of {after} bytes in place of {before}")
    return fitting


def call_tool(planned: Flashing, port: str | None, watch: Watch) -> None:
    """Flash the device at a port, if it has one; tell what is called and what it says."""
    with held_port(port):
        for line in planned.lines:
            watch.note(line, minor=False)
        flash(planned, watch.note)


def session_target(
    package: Package, options: SessionOptions, board: Board, folder: SessionFolder, watch: Watch
) -> SessionTarget:
    """What a session runs on; an image is built in the session's folder, and flashed if asked."""
    if not options.builds or (board.transport == "serial" and options.port is None):
        return SessionTarget(
            board, port=options.port, baud=options.baud, faults=options.faults,
            keyed=options.device_key is not None,
        )  # fmt: skip
    trace = isinstance(options, RunOptions) and options.layers
    tool = choose_tool(board) if options.port is not None else ""
    with watch.step("building"):
        built = make(
            package, board, folder.path / "build", toolchain=options.toolchain, trace=trace,
            device_key=options.device_key,
        )  # fmt: skip
    if options.port is not None:
        planned = plan_flash(built.firmware.elf, board, tool, options.port)
        call_tool(planned, options.port, watch)
        await_port(options.port)
    return SessionTarget(
        board, built, options.machine, options.port, options.baud, faults=options.faults
    )


def session_folder(options: SessionOptions, model: str, kind: str = "") -> SessionFolder:
    """Where a session of a model is recorded; `kind` is behind the board's name in it."""
    return SessionFolder(options.place(model, as_board(options.board).name + kind))


def run_asked(
    package: Package,
    options: RunOptions,
    x: Given | None,
    y: npt.ArrayLike | None,
    watch: Watch,
) -> tuple[SessionFolder, dict[str, Any]]:
    """Build, flash, run and record, as far as that is asked for.

    Args:
        package: what is run.
        options: how.
        x, y: samples and their classes; None for those that the options name.
        watch: told what happens.

    Returns:
        the session's folder, and its summary, as `spikelet run --json` prints it.
    """
    board = as_board(options.board)
    delta = None if options.delta is None else Delta.load(options.delta, package, options.trusted)
    if delta is not None and options.device_key is not None:
        delta.signed(package)  # said before anything is built
    package = package if delta is None else delta.places(package)
    if options.keep_state:
        package = keeping_state(package)
    if options.arena is not None:
        package = in_arena(package, options.arena, board, watch)
    stream = _stream(package, options, x, y)
    folder = session_folder(options, package.graph.name)
    if options.resume:
        folder.head()  # says at once when there is nothing to resume
    with folder.lock():
        target = replace(session_target(package, options, board, folder, watch), delta=delta)
        return folder, _run(package, options, target, stream, folder, watch)[0]


def bench_asked(
    package: Package, options: RunOptions, x: Given | None, watch: Watch
) -> tuple[SessionFolder, dict[str, Any]]:
    """Measure the release image, then the layers on a trace build.

    Args:
        package: what is measured.
        options: with `layers` and a port, the layers are added to a session that was benched
            before: the device holds the trace build now.
        x: samples; None for those that the options name.
        watch: told what happens.

    Returns:
        the session's folder, and what `spikelet bench --json` prints.

    Raises:
        UsageError: the device holds a trace build where the release image is to be measured.
    """
    board, again = as_board(options.board), options.layers
    if again and options.builds:
        raise UsageError(
            "bench --layers is for a device behind a port that you flash yourself",
            "machines, and devices with --flash, are measured in layers anyway",
            "leave out --layers",
        )
    if options.keep_state:
        package = keeping_state(package)
    if options.arena is not None:
        package = in_arena(package, options.arena, board, watch)
    stream = _stream(package, options, x, None)
    folder = session_folder(options, package.graph.name, BENCH)
    traced = None
    with folder.lock():
        if again:
            result, outcome = recorded_bench(folder, package, board)
            traced = SessionTarget(board, port=options.port, baud=options.baud)
        else:
            target = session_target(package, options, board, folder, watch)
            result, outcome = _run(package, options, target, stream, folder, watch)
            if options.port is not None and outcome.ticks is None and board.tick != "none":
                raise UsageError(
                    f"{options.port}: the device holds a trace build, whose ticks are not the "
                    "model's",
                    "it was flashed with --layers",
                    "flash the release image and bench it; then the trace build, with --layers",
                )
            if target.built is not None:
                traced = _traced(package, options, board, folder.path, watch)
        with watch.step("measuring the layers"):
            bench = with_layers(package, board, traced, stream, result, outcome)
        folder.keep_bench(bench)
    return folder, bench


def _stream(
    package: Package, options: RunOptions, x: Given | None, y: npt.ArrayLike | None
) -> SampleStream:
    if x is None:
        return choose_stream(package, options.data, options.limit, options.bin_us, options.realtime)
    return samples_of(package, x, y).head(options.limit)


def _traced(
    package: Package, options: RunOptions, board: Board, folder: Path, watch: Watch
) -> SessionTarget:
    """The trace build of what was measured, flashed where that one was."""
    inner = SessionFolder(folder / "trace")
    return session_target(package, replace(options, layers=True), board, inner, watch)


def _run(
    package: Package,
    options: RunOptions,
    target: SessionTarget,
    stream: SampleStream,
    folder: SessionFolder,
    watch: Watch,
) -> tuple[dict[str, Any], Outcome]:
    return run(
        package, target, stream, folder, layers=options.layers, resume=options.resume,
        shown=0 if options.layers else None, watch=watch,
    )  # fmt: skip
