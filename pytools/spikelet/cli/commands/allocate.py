"""`spikelet allocate`: fewer bits a weight, layer by layer, within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.completion import boards
from spikelet.cli.options import JsonOption, PackageArg, TrustedOption, application
from spikelet.cli.places import check_file, given_path

app = application()

BudgetOption = Annotated[
    str,
    typer.Option(
        metavar="KIND=AMOUNT", show_default=False,
        help="flash (bytes of constants), ram (bytes of arena) or instructions (of an "
        "inference, with --board): flash=24k, instructions=2.5M, or a share of what the "
        "package takes now, flash=60%.",
    ),
]  # fmt: skip


@app.command("allocate")
def command(
    package: PackageArg,
    budget: BudgetOption,
    board: Annotated[
        str | None,
        typer.Option(
            "--board", "-b", show_default=False, autocompletion=boards,
            help="Whose kernels are counted: a board's name, or its folder. Default: portable C.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="D.npz|SET", show_default=False,
            help="Real samples x and y, or a data set's training part. Default: the package's own "
            "data set, or else its vectors.",
        ),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            show_default=False,
            help="error, hessian or information. Default: the one whose widths disturb the "
            "outputs least, on samples that none of them saw.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="PATH", parser=given_path,
                     help="Default: NAME_bits.spk."),
    ] = None,
    trusted: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Choose the bits of each layer's weights under a budget of flash, RAM or instructions.

    What a layer costs and what it adds to the error are measured at 8, 4, 2 and 1 bit. Random
    widths within the same budget stand beside those that were chosen.
    """
    with loading(as_json):
        from spikelet.cli.render_allocation import allocation_summary, render_allocation
        from spikelet.cli.terminal import Terminal
        from spikelet.package import Package
        from spikelet.run.allocation import Budget, allocate, parts
        from spikelet.run.asked import as_board
    terminal = Terminal.open(as_json)
    asked, loaded = Budget.of(budget), Package.load(package, trusted)
    on = None if board is None else as_board(board)
    out = out or Path(f"{loaded.graph.name}_bits.spk")
    check_file(out)
    samples, test = parts(loaded, data)
    with terminal.err.status("measuring costs and errors"):
        found = allocate(loaded, asked, samples, on, criterion, test)
    found.package.save(out)
    terminal.result(allocation_summary(found, out), *render_allocation(found, samples.source, out))
