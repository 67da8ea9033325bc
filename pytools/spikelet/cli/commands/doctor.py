"""`spikelet doctor`: what is installed, what needs it, and the command that mends it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.completion import doctor_uses
from spikelet.cli.options import JsonOption, application
from spikelet.errors import UsageError

EXIT_MISSING = 2


app = application()


@app.command("doctor")
def command(
    uses: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[USE]...", show_default=False, autocompletion=doctor_uses,
            help="What it is wanted for: run, import, nir, sign, train, flash or test. "
            "Default: all are shown, run is needed.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Check what Spikelet uses; exit code 2 when something that a USE needs is missing."""
    with loading(as_json):
        from spikelet.board import USES, doctor
        from spikelet.cli.render_doctor import missing_checks, render_doctor
        from spikelet.cli.terminal import Terminal
    terminal = Terminal.open(as_json)
    wanted = uses or ["run"]
    for use in wanted:
        if use not in USES:
            raise UsageError(
                f"doctor: no use is called {use!r}", "a mistyped word", f"one of {', '.join(USES)}"
            )
    with terminal.err.status("looking"):
        checks = doctor()
    ready = {use: not missing_checks(checks, use) for use in USES}
    ok = all(ready[use] for use in wanted)
    result = {"ok": ok, "uses": ready, "checks": [asdict(check) for check in checks]}
    terminal.result(result, *render_doctor(checks, uses))
    if not ok:
        raise typer.Exit(EXIT_MISSING)
