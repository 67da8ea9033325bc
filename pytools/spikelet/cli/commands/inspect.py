"""`spikelet inspect`: what a package holds and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.completion import boards
from spikelet.cli.options import (
    ClassesOption,
    FeaturesOption,
    JsonOption,
    LearnDataOption,
    LearnOption,
    PackageArg,
    TrustedOption,
    application,
    check_learning,
)
from spikelet.cli.places import given_path

app = application()


@app.command("inspect")
def command(
    package: PackageArg,
    board: Annotated[
        str | None,
        typer.Option(
            "--board",
            "-b",
            autocompletion=boards,
            help="Figures are those of this board's instruction set.",
        ),
    ] = None,
    bench: Annotated[
        Path | None,
        typer.Option(
            "--bench", metavar="SESSION", parser=given_path,
            help="Add what a `spikelet bench` of this package measured.",
        ),
    ] = None,
    learn: LearnOption = None,
    features: FeaturesOption = None,
    classes: ClassesOption = None,
    data: LearnDataOption = None,
    trusted: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Show a package's layers, memory, accuracy and origin; with --learn, what learning takes."""
    with loading(as_json):
        from spikelet.api import Package
        from spikelet.board import find_board
        from spikelet.cli.render_package import package_summary, render_package
        from spikelet.cli.terminal import Terminal
    terminal = Terminal.open(as_json)
    check_learning(learn, {"--features": features, "--classes": classes, "--data": data})
    known = find_board(board) if board is not None else None
    loaded = Package.load(package, trusted)
    if learn is not None:
        with loading(as_json):
            from spikelet.cli.render_learning import render_plan
        loaded = loaded.with_learner(learn, data, classes=classes, features=features, board=known)
    summary = loaded.summary(known)
    result = package_summary(summary if bench is None else summary.with_bench(bench), package)
    where = "in portable C" if known is None else f"for {known.name} ({known.target})"
    result["target"] = where
    shown = render_package(result)
    if learn is not None:
        plan = loaded.learning_plan(known)
        result["learning"] = {**loaded.manifest["learning"], **plan.as_dict()}
        shown += ["", *render_plan(f"--learn {learn}", plan, known)]
    terminal.result(result, *shown)
