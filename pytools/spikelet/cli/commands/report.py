"""`spikelet report`: a session as one self-contained page."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.options import JsonOption, application
from spikelet.cli.places import check_file, given_path
from spikelet.errors import UsageError

app = application()


@app.command("report")
def command(
    session: Annotated[
        Path,
        typer.Argument(metavar="SESSION", help="A session's folder.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="PATH",
            parser=given_path,
            help="Default: SESSION/report.html.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="SESSION", parser=given_path, show_default=False,
            help="An earlier session: what differs from it, layer by layer.",
        ),
    ] = None,
    bench: Annotated[
        Path | None,
        typer.Option(
            metavar="SESSION", parser=given_path, show_default=False,
            help="A session of `spikelet bench`, whose figures by layer are shown. Default: "
            "SESSION itself, where it was benched.",
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Write the HTML report of a session, complete or broken off."""
    with loading(as_json):
        from spikelet import Session
        from spikelet.cli.terminal import Terminal
    terminal = Terminal.open(as_json)
    _check_session(session)
    out = out or session / "report.html"
    _check(out)
    with terminal.err.status("drawing"):
        data = Session.load(session).report(out, against=against, bench=bench).shown
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


def _check_session(session: Path) -> None:
    if session.is_file():
        raise UsageError(
            f"{session}: is a file, not a session's folder",
            "a report is of what was run",
            f"`spikelet run {shlex.quote(str(session))}` writes a session"
            if session.suffix == ".spk"
            else "give the folder that `spikelet run` wrote",
        )


def _check(out: Path) -> None:
    if str(out) == "-":
        raise UsageError(
            "-o -: a report goes to a file, not to standard output",
            next="give a file's name, for instance -o report.html",
        )
    if not out.parent.exists():
        raise UsageError(
            f"{out}: the folder {out.parent} does not exist",
            "a mistyped path",
            "make the folder first, or choose another place with -o",
        )
    check_file(out)
