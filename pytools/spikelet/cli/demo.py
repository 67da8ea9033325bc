"""`spikelet demo`: train, build, run, check every layer of every step, report."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from spikelet.board import Board, find_board
from spikelet.cli.options import (
    JsonOption,
    MachineOption,
    SeedOption,
    ToolchainOption,
    not_a_folder,
)
from spikelet.cli.places import check_file, check_folder, given_path
from spikelet.cli.shown import accuracy_rows, build_rows, differences_shown, link_line
from spikelet.cli.streaming import disagree, stream, training
from spikelet.cli.terminal import Terminal, facts, number, percent, verdict
from spikelet.cli.train import model_path
from spikelet.package import Package
from spikelet.run import Built, SessionFolder, Target, make, package_stream
from spikelet.run.options import RunOptions
from spikelet.run.report import write_report
from spikelet.train import train

MODEL = "digits_snn"


def command(
    board: Annotated[
        str, typer.Option("--board", "-b", help="A board that a machine stands in for.")
    ] = "virt-rv32",
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", metavar="PATH", parser=given_path, help="Folder for all that is made."
        ),
    ] = Path("spikelet-demo"),
    seed: SeedOption = None,
    machine: MachineOption = "auto",
    toolchain: ToolchainOption = "auto",
    package: Annotated[
        Path | None,
        typer.Option(
            metavar="PKG",
            parser=given_path,
            callback=not_a_folder,
            help="Run this package in place of training one.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The whole path: a spiking network trained, built, run and checked, with a report."""
    terminal = Terminal.open(as_json)
    started = time.monotonic()
    found = find_board(board)
    check_folder(out)
    loaded, path = _package(terminal, package, out, seed)
    release, trace = _images(terminal, loaded, found, out, toolchain)
    samples = package_stream(loaded)
    options = RunOptions(package=path, board=board, machine=machine, toolchain=toolchain)
    with terminal.stage("check", spinner=False) as stage:
        folder = SessionFolder(out / "session")
        checked, _ = stream(
            terminal, replace(options, layers=True), loaded, Target(found, trace, machine),
            samples, folder, whole=False,
        )  # fmt: skip
        cells = len(loaded.graph.traced)
        stage.detail = (
            f"{checked['samples']} samples on {checked['machine']}, {cells} tensors in "
            f"{loaded.graph.steps} steps each: {checked['mismatches']} mismatches"
        )
    with terminal.stage("measure", spinner=False) as stage:
        measured, _ = stream(
            terminal, options, loaded, Target(found, release, machine), samples,
            SessionFolder(out / "session-release"), whole=False,
        )  # fmt: skip
        cost = number(measured["instructions_per_inference"], "instructions an inference")
        stage.detail = cost or f"{measured['samples']} samples"
    with terminal.stage("report") as stage:
        folder.finish({**checked, "release": measured})
        report = out / "report.html"
        write_report(folder, report)
        stage.detail = str(report)
    result = _result(loaded, path, checked, measured, report, time.monotonic() - started)
    terminal.result(result, *_shown(result))
    if result["mismatches"]:
        disagree(terminal, result["mismatches"])


def _package(
    terminal: Terminal, given: Path | None, out: Path, seed: int | None
) -> tuple[Package, Path]:
    if given is not None:
        return Package.load(given), given
    folder = model_path(MODEL)
    check_file(out / f"{MODEL}.spk")
    with terminal.stage("train", spinner=False) as stage:
        package = training(terminal, folder, lambda epoch: train(folder, seed, epoch))
        path = out / f"{package.graph.name}.spk"
        package.save(path)
        integer = percent(package.manifest["integer_accuracy"])
        stage.detail = f"{package.graph.name}, seed {package.manifest['seed']}: {integer} integer"
    return package, path


def _images(
    terminal: Terminal, package: Package, board: Board, out: Path, toolchain: str
) -> tuple[Built, Built]:
    with terminal.stage("build") as stage:
        release = make(package, board, out / "build", toolchain=toolchain)
        trace = make(package, board, out / "build-trace", toolchain=toolchain, trace=True)
        stage.detail = (
            f"{board.name} with {release.firmware.toolchain}: "
            f"{number(release.firmware.flash_bytes)} B flash, "
            f"{number(release.firmware.ram_bytes)} B RAM"
        )
    return release, trace


def _result(
    package: Package,
    path: Path,
    checked: dict[str, Any],
    measured: dict[str, Any],
    report: Path,
    seconds: float,
) -> dict[str, Any]:
    manifest = package.manifest
    return {
        **measured,
        "mismatches": checked["mismatches"] + measured["mismatches"],
        "mismatches_layers": checked["mismatches"],
        "mismatches_release": measured["mismatches"],
        "differences": [*checked["differences"], *measured["differences"]],
        "float_accuracy": manifest.get("float_accuracy"),
        "integer_accuracy": manifest.get("integer_accuracy"),
        "drift": manifest.get("drift"),
        "seed": manifest.get("seed"),
        "package": str(path),
        "report": str(report),
        "session": str(report.parent / "session"),
        "link": checked["link"],
        "seconds": round(seconds, 2),
    }


def _shown(result: dict[str, Any]) -> list[RenderableType]:
    mismatches = verdict(result["mismatches"])
    mismatches.append("   (every layer in every step, and the release image)", "dim")
    shown: list[RenderableType] = [
        "",
        facts(
            f"{result['model']} on {result['board']} ({result['machine']})",
            {
                "mismatches": mismatches,
                "samples": result["samples"],
                **accuracy_rows(result),
                "accuracy, device": percent(result["accuracy"]),
                "instructions": number(result["instructions_per_inference"], "an inference"),
                **build_rows(result["build"]),
                "stack, measured": number(result["stack_bytes"], "B"),
                "link": link_line(result["link"]),
                "seed": result["seed"],
                "sha256": result["package_sha256"],
                "time": f"{result['seconds']:.1f} s",
                "report": result["report"],
            },
        ),
    ]
    if result["differences"]:
        shown.append(differences_shown(result["differences"]))
    return shown
