"""`spikelet doctor`: what is installed, what needs it, and the command that mends it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.options import JsonOption, application
from spikelet.errors import UsageError

EXIT_MISSING = 2


app = application()


@app.command("doctor")
def command(
    uses: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[USE]...", show_default=False,
            help="What it is wanted for: run, import or train. Default: run.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Check what Spikelet uses; exit code 2 when something that a USE needs is missing."""
    with loading(as_json):
        from rich.text import Text

        from spikelet.board import USES, doctor
        from spikelet.cli.terminal import Terminal, table
    terminal = Terminal.open(as_json)
    wanted = uses or ["run"]
    for use in wanted:
        if use not in USES:
            raise UsageError(
                f"doctor: no use is called {use!r}", "a mistyped word", f"one of {', '.join(USES)}"
            )
    with terminal.err.status("looking"):
        checks = doctor()
    missing = {u: [c.name for c in checks if c.use == u and not c.ok] for u in USES}
    ok = not any(missing[use] for use in wanted)
    made = table("", "", "what", "found", "needed for", "mend it with")
    made.title = None
    for check in checks:
        state = ("ok", "green") if check.ok else ("missing", "bold red")
        if not check.ok and check.use not in wanted:
            state = ("broken" if check.broken else "absent", "yellow")
        made.add_row(
            Text(*state), Text(check.name), Text(check.found), Text(check.needed_for),
            Text(check.fix, "bold"),
        )  # fmt: skip
    lines = []
    for use, meaning in USES.items():
        style = "green" if not missing[use] else "bold red" if use in wanted else "yellow"
        absent = ", ".join(missing[use])
        lines.append(Text(f"{use}: {f'missing {absent}' if absent else 'ready'}", style))
        lines[-1].append(f"   {meaning}", "dim")
    versions = {
        "ok": ok,
        "uses": {use: not names for use, names in missing.items()},
        "checks": [asdict(check) for check in checks],
    }
    terminal.result(versions, made, "", *lines)
    if not ok:
        raise typer.Exit(EXIT_MISSING)
