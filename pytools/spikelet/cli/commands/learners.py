"""`spikelet learners`: what `learn` takes as --learner and --stream."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from spikelet.cli import loading
from spikelet.cli.completion import learners_and_streams
from spikelet.cli.options import JsonOption, application
from spikelet.errors import UsageError

app = application()


@app.command("learners")
def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="A learner or a stream: what its options mean.",
            autocompletion=learners_and_streams,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the learners and the streams with their options, or explain the options of one."""
    with loading(as_json):
        from spikelet.cli.render_learners import choices_table, rows_of, show_one
        from spikelet.cli.terminal import Terminal
        from spikelet.learn.continual.streams import STREAMS
        from spikelet.learn.learner import learners
    terminal = Terminal.open(as_json)
    if name is not None:
        known: dict[str, type[Any]] = {**learners(), **STREAMS}
        if name not in known:
            raise UsageError(
                f"{name!r} is neither a learner nor a stream",
                "a misspelt name",
                f"choose one of {', '.join(known)}",
            )
        show_one(terminal, name, known[name])
        return
    published = {"learners": rows_of(learners()), "streams": rows_of(STREAMS)}
    terminal.result(
        published,
        choices_table("--learner", published["learners"]),
        "",
        choices_table("--stream", published["streams"]),
        "",
        "NAME[,option=value...]; options are shown with their defaults. "
        "`spikelet learners NAME` explains them.",
    )
