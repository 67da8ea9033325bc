"""`spikelet learners`: what `--learn` and `--stream` take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType

from spikelet.cli.options import JsonOption
from spikelet.cli.terminal import Terminal, table
from spikelet.learn.choices import options
from spikelet.learn.learner import learners
from spikelet.learn.streams import STREAMS


def command(as_json: JsonOption = False) -> None:
    """List the learners and the streams with their options."""
    terminal = Terminal.open(as_json)
    found = {"learners": _rows(learners()), "streams": _rows(STREAMS)}
    terminal.result(
        found,
        _table("--learn", found["learners"]),
        "",
        _table("--stream", found["streams"]),
        "",
        "NAME[,option=value...]; options are shown with their defaults.",
    )


def _rows(kinds: Mapping[str, type[Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "description": _line(kind),
            "options": {o.name: o.default for o in options(kind).values()},
        }
        for name, kind in sorted(kinds.items())
    ]


def _line(kind: type[Any]) -> str:
    """The first line of a docstring, without the full stop."""
    text = getattr(kind, "DOC", "") or (kind.__doc__ or "").strip().partition("\n")[0]
    return str(text).rstrip(".")


def _table(title: str, rows: list[dict[str, Any]]) -> RenderableType:
    made = table(title, "name", "what it is", "options")
    for row in rows:
        given = [f"{name}={value}" for name, value in row["options"].items()]
        made.add_row(row["name"], row["description"], " ".join(given))
    return made
