"""`spikelet report`: a session as one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli.options import JsonOption
from spikelet.cli.terminal import Terminal
from spikelet.run import SessionFolder
from spikelet.run.report import write_report


def command(
    session: Annotated[
        Path,
        typer.Argument(metavar="SESSION", help="A session's folder.", show_default=False),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: SESSION/report.html.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the HTML report of a session, complete or broken off."""
    terminal = Terminal.open(as_json)
    out = out or session / "report.html"
    with terminal.err.status("drawing"):
        data = write_report(SessionFolder(session), out)
    terminal.result(
        {
            "report": str(out),
            "bytes": out.stat().st_size,
            "session": str(session),
            "samples": data["samples"],
            "mismatches": data["mismatches"],
            "complete": data["complete"],
        },
        str(out),
    )
    if show:
        typer.launch(out.resolve().as_uri())
