"""`spikelet demo`: train, build, run, check every layer of every step, report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.completion import boards
from spikelet.cli.options import (
    JsonOption,
    MachineOption,
    SeedOption,
    ToolchainOption,
    TrustedOption,
    application,
    not_a_folder,
)
from spikelet.cli.places import check_folder, given_path

app = application()

MachineBoardOption = Annotated[
    str,
    typer.Option(
        "--board", "-b", help="A board that a machine stands in for.", autocompletion=boards
    ),
]
FolderOption = Annotated[
    Path,
    typer.Option(
        "-o", "--out", metavar="PATH", parser=given_path, help="Folder for all that is made."
    ),
]
PackageOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PKG",
        parser=given_path,
        callback=not_a_folder,
        help="Run this package in place of training one.",
    ),
]


@app.command("demo")
def command(
    board: MachineBoardOption = "virt-rv32",
    out: FolderOption = Path("spikelet-demo"),
    seed: SeedOption = None,
    machine: MachineOption = "auto",
    toolchain: ToolchainOption = "auto",
    package: PackageOption = None,
    trusted: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """The whole path: a spiking network trained, built, run and checked, with a report."""
    with loading(as_json):
        from spikelet.board import find_board
        from spikelet.cli.demo_steps import demo_images, demo_package, demo_result, render_demo
        from spikelet.cli.streaming import disagree, running
        from spikelet.cli.terminal import Terminal, number
        from spikelet.run import SessionFolder, SessionTarget, package_stream, run
        from spikelet.run.session_options import RunOptions
        from spikelet.run.session_page import write_report
    terminal = Terminal.open(as_json)
    started = time.monotonic()
    on = find_board(board)
    check_folder(out)
    loaded, path = demo_package(terminal, package, out, seed, trusted)
    release, trace = demo_images(terminal, loaded, on, out, toolchain)
    samples = package_stream(loaded)
    options = RunOptions(board=board, machine=machine, toolchain=toolchain)
    with terminal.stage("check", spinner=False) as stage:
        folder = SessionFolder(out / "session")
        target = SessionTarget(on, trace, machine)
        with running(terminal, options, path, folder, whole=False) as watch:
            checked, _ = run(loaded, target, samples, folder, layers=True, shown=0, watch=watch)
        cells = len(loaded.graph.traced_tensors)
        stage.detail = (
            f"{checked['samples']} samples on {checked['machine']}, {cells} tensors in "
            f"{loaded.graph.steps} steps each: {checked['mismatches']} mismatches"
        )
    with terminal.stage("measure", spinner=False) as stage:
        target, plain = SessionTarget(on, release, machine), SessionFolder(out / "session-release")
        with running(terminal, options, path, plain, whole=False) as watch:
            measured, _ = run(loaded, target, samples, plain, watch=watch)
        cost = number(measured["instructions_per_inference"], "instructions an inference")
        stage.detail = cost or f"{measured['samples']} samples"
    with terminal.stage("report") as stage:
        folder.finish({**checked, "release": measured})
        report = out / "report.html"
        write_report(folder, report)
        stage.detail = str(report)
    result = demo_result(loaded, path, checked, measured, report, time.monotonic() - started)
    terminal.result(result, *render_demo(result))
    if result["mismatches"]:
        disagree(terminal, result["mismatches"])
