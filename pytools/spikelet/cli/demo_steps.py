"""The steps of the demonstration, and what a person is shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import RenderableType

from spikelet.board import Board
from spikelet.cli.places import check_file
from spikelet.cli.render import accuracy_rows, build_rows, link_line, render_differences
from spikelet.cli.streaming import training
from spikelet.cli.terminal import Terminal, facts, number, percent, verdict
from spikelet.package import Package
from spikelet.run import BuiltImage, make
from spikelet.train import model_path, train

MODEL = "digits_snn"


def demo_package(
    terminal: Terminal, given: Path | None, out: Path, seed: int | None, trusted: Path | None
) -> tuple[Package, Path]:
    """The package that was given, or one that is trained now, and its file."""
    if given is not None:
        return Package.load(given, trusted), given
    folder = model_path(MODEL)
    check_file(out / f"{MODEL}.spk")
    with terminal.stage("train", spinner=False) as stage:
        package = training(terminal, folder, lambda epoch: train(folder, seed, epoch))
        path = out / f"{package.graph.name}.spk"
        package.save(path)
        integer = percent(package.manifest["integer_accuracy"])
        stage.detail = f"{package.graph.name}, seed {package.manifest['seed']}: {integer} integer"
    return package, path


def demo_images(
    terminal: Terminal, package: Package, board: Board, out: Path, toolchain: str
) -> tuple[BuiltImage, BuiltImage]:
    """The release image and the trace image."""
    with terminal.stage("build") as stage:
        release = make(package, board, out / "build", toolchain=toolchain)
        trace = make(package, board, out / "build-trace", toolchain=toolchain, trace=True)
        stage.detail = (
            f"{board.name} with {release.firmware.toolchain}: "
            f"{number(release.firmware.flash_bytes)} B flash, "
            f"{number(release.firmware.ram_bytes)} B RAM"
        )
    return release, trace


def demo_result(
    package: Package,
    path: Path,
    checked: dict[str, Any],
    measured: dict[str, Any],
    report: Path,
    seconds: float,
) -> dict[str, Any]:
    """What `spikelet demo --json` prints."""
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


def render_demo(result: dict[str, Any]) -> list[RenderableType]:
    """The summary."""
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
        shown.append(render_differences(result["differences"]))
    return shown
