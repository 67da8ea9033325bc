"""`spikelet bench`: what an inference costs, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.options import (
    ArenaOption,
    BoardOption,
    JsonOption,
    LimitOption,
    MachineOption,
    PackageArg,
    ToolchainOption,
    application,
)
from spikelet.cli.places import given_path
from spikelet.errors import UsageError

app = application()


@app.command("bench")
def command(
    package: PackageArg,
    board: BoardOption,
    limit: LimitOption = None,
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
) -> None:
    """Instructions or cycles, per inference and per layer, and sizes of the image."""
    with loading(as_json):
        from spikelet.board import find_board
        from spikelet.cli.bands import in_bands
        from spikelet.cli.render_bench import render_bench
        from spikelet.cli.streaming import disagree, stream
        from spikelet.cli.terminal import Terminal
        from spikelet.package import Package
        from spikelet.run import SessionFolder, SessionTarget, connect, make, package_stream
        from spikelet.run.bench import LAYER_SAMPLES, bench_summary, effective_work, layer_ticks
        from spikelet.run.session_options import RunOptions
    terminal = Terminal.open(as_json)
    loaded, on = Package.load(package), find_board(board)
    if on.transport == "serial":
        raise UsageError(
            f"bench: board {on.name} is hardware",
            "per-layer figures need two images, one after the other",
            "`spikelet run --port` counts the cycles of whole inferences",
        )
    loaded = in_bands(terminal, loaded, arena, on)
    samples = package_stream(loaded).head(limit)
    options = RunOptions(
        package=package, board=board, machine=machine, toolchain=toolchain, limit=limit,
        arena=arena, session=session,
    )  # fmt: skip
    path = options.place(loaded.graph.name, f"{on.name}-bench")
    folder = SessionFolder(path)
    with terminal.err.status("building"):
        release = make(loaded, on, path / "build", toolchain=toolchain)
        trace = make(loaded, on, path / "build-trace", toolchain=toolchain, trace=True)
    target = SessionTarget(on, release, machine)
    result, outcome = stream(terminal, options, loaded, target, samples, folder, whole=False)
    measured = [s.ticks for s in outcome.samples[:LAYER_SAMPLES]]
    with (
        terminal.err.status("measuring the layers"),
        connect(SessionTarget(on, trace, machine), loaded) as (device, _),
    ):
        ticks = layer_ticks(loaded, device, samples, measured)
    work = effective_work(loaded, samples.inputs)
    bench = bench_summary(result, outcome, work, ticks, result["build"]["layers"])
    folder.keep_bench(bench)
    terminal.result(bench, *render_bench(bench))
    if bench["mismatches"]:
        disagree(terminal, bench["mismatches"])
