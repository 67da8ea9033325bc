"""`spikelet doctor`: what is installed, what needs it, and the command that mends it."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.text import Text

from spikelet.board import doctor
from spikelet.cli.options import JsonOption
from spikelet.cli.terminal import Terminal, table

EXIT_MISSING = 2


def command(as_json: JsonOption = False) -> None:
    """Check what Spikelet uses; exit code 2 when something that it cannot do without is missing."""
    terminal = Terminal.open(as_json)
    with terminal.err.status("looking"):
        checks = doctor()
    ok = all(check.ok for check in checks if check.required)
    made = table("", "", "what", "found", "needed for", "mend it with")
    made.title = None
    for check in checks:
        state = ("ok", "green") if check.ok else ("missing", "bold red")
        if not check.ok and not check.required:
            state = ("absent", "yellow")
        made.add_row(
            Text(*state), Text(check.name), Text(check.found), Text(check.needed_for),
            Text(check.fix, "bold"),
        )  # fmt: skip
    line = Text("all that is required is there", "green")
    if not ok:
        missing = ", ".join(check.name for check in checks if check.required and not check.ok)
        line = Text(f"required and missing: {missing}", "bold red")
    terminal.result({"ok": ok, "checks": [asdict(check) for check in checks]}, made, "", line)
    if not ok:
        raise typer.Exit(EXIT_MISSING)
