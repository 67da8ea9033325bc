"""`spikelet fit`: which real parts hold a package, and in how many milliseconds."""

from __future__ import annotations

from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.completion import cores, parts
from spikelet.cli.options import (
    JsonOption,
    PackageArg,
    ToolchainOption,
    TrustedOption,
    application,
)

app = application()

EXIT_TOO_SMALL = 1


@app.command("fit")
def command(
    package: PackageArg,
    core: Annotated[
        str | None,
        typer.Option(
            metavar="CORE", show_default=False, autocompletion=cores,
            help="Only parts with this core, such as cortex-m4f.",
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="PART", show_default=False, autocompletion=parts,
            help="Only this part; exit code 1 where it does not fit.",
        ),
    ] = None,
    toolchain: ToolchainOption = "auto",
    trusted: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Compare a package with real parts: flash, RAM, and milliseconds of an inference.

    Sizes and instructions are measured on an emulated board with the part's instruction set; the
    range of cycles an instruction is an assumption, which --json gives with its source.
    """
    with loading(as_json):
        from spikelet.board.parts import parts as known_parts
        from spikelet.cli.render_fit import fit_summary, render_fit
        from spikelet.cli.terminal import Terminal
        from spikelet.package import Package
        from spikelet.run.fit import fits
    terminal = Terminal.open(as_json)
    known = known_parts()
    chosen, loaded = known.select(core, part), Package.load(package, trusted)
    with terminal.err.status("measuring") as status:
        doing = status.update if terminal.err.is_terminal else terminal.note
        rows = fits(loaded, known, chosen, toolchain, doing)
    terminal.result(fit_summary(loaded, rows), *render_fit(loaded, rows))
    if part is not None and not rows[0].fits:
        raise typer.Exit(EXIT_TOO_SMALL)
