"""`spikelet compare`: two sessions or two packages, layer by layer, and bars on the difference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.completion import boards
from spikelet.cli.options import JsonOption, TrustedOption, application
from spikelet.cli.places import given_path

app = application()


def _side(letter: str, which: str) -> Path:
    argument: Path = typer.Argument(
        metavar=letter, help=f"{which}: a session's folder or a package.", show_default=False,
        parser=given_path,
    )  # fmt: skip
    return argument


@app.command("compare")
def command(
    a: Annotated[Path, _side("A", "The first")],
    b: Annotated[Path, _side("B", "The second")],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BAR", show_default=False,
            help="End with exit code 1 where B misses it: 'ram>+5%' (more than A's), "
            "'accuracy<-0.5' (points), 'mismatches>0'. May be repeated.",
        ),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(
            "--board", "-b", help="Of packages: whose kernels are counted.", autocompletion=boards
        ),
    ] = None,
    trusted: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Compare two sessions or two packages, figure by figure and layer by layer."""
    with loading(as_json):
        from spikelet import compare
        from spikelet.cli.render_compare import missed_text, render_comparison
        from spikelet.cli.terminal import Terminal
        from spikelet.errors import Disagreement
    terminal = Terminal.open(as_json)
    result = compare(a, b, fail_if or (), board, trusted)
    terminal.result(result, *render_comparison(result))
    if result["missed"]:
        terminal.note(missed_text(result["bars"]), "red")
        raise typer.Exit(Disagreement.exit_code)
