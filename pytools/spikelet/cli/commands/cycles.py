"""`spikelet cycles`: an estimate of cycles on a core, without that core."""

from __future__ import annotations

from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.options import JsonOption, PackageArg, ToolchainOption, TrustedOption, application

app = application()


def cores(incomplete: str) -> list[str]:
    """Cores whose timings are known."""
    from spikelet.run.cycles import CORES

    return [name for name in CORES if name.startswith(incomplete)]


@app.command("cycles")
def command(
    package: PackageArg,
    core: Annotated[
        str, typer.Option(autocompletion=cores, help="cortex-m4, ibex or cv32e40p.")
    ] = "cortex-m4",
    flash_wait: Annotated[
        int,
        typer.Option(
            min=0, max=100, help="Wait states of flash (cortex-m4): cycles that a line takes "
            "beyond the first.",
        ),
    ] = 0,
    flash_line: Annotated[
        int, typer.Option(min=4, max=256, help="Bytes of flash that are read at once.")
    ] = 16,
    cache_lines: Annotated[
        int, typer.Option(min=1, max=65536, help="Lines that the cache of instructions keeps.")
    ] = 64,
    data_lines: Annotated[
        int,
        typer.Option(
            min=0, max=65536, help="Lines that the cache of loads keeps; with 0 each load waits."
        ),
    ] = 8,
    toolchain: ToolchainOption = "auto",
    trusted: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Estimate cycles of an inference from the instructions it executes and a core's manual.

    One sample of the package is executed in an emulator, and its outputs are compared with golden.
    What the estimate assumes is printed. `spikelet bench --board ibex-rtl` measures cycles.
    """
    with loading(as_json):
        from spikelet.cli.render_cycles import cycles_summary, render_cycles
        from spikelet.cli.terminal import Terminal
        from spikelet.package import Package
        from spikelet.run.cycles import predict
        from spikelet.run.cycles.flash import Flash
    terminal, loaded = Terminal.open(as_json), Package.load(package, trusted)
    with terminal.err.status("executing"):
        flash = Flash(flash_wait, flash_line, cache_lines, data_lines)
        made = predict(loaded, core, flash=flash, toolchain=toolchain)
    terminal.result(cycles_summary(loaded, made), *render_cycles(loaded, made))
    if made.mismatches:
        raise typer.Exit(1)
