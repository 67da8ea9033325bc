"""`spikelet learners`: what `learn` takes as --learner and --stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from spikelet.cli.options import JsonOption
from spikelet.cli.terminal import Terminal, table
from spikelet.errors import UsageError
from spikelet.learn.choices import explained, options
from spikelet.learn.continual.streams import STREAMS
from spikelet.learn.learner import learners


def command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A learner or a stream: what its options mean."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the learners and the streams with their options, or explain the options of one."""
    terminal = Terminal.open(as_json)
    if name is not None:
        known: dict[str, type[Any]] = {**learners(), **STREAMS}
        if name not in known:
            raise UsageError(
                f"{name!r} is neither a learner nor a stream",
                "a misspelt name",
                f"choose one of {', '.join(known)}",
            )
        _one(terminal, name, known[name])
        return
    found = {"learners": _rows(learners()), "streams": _rows(STREAMS)}
    terminal.result(
        found,
        _table("--learner", found["learners"]),
        "",
        _table("--stream", found["streams"]),
        "",
        "NAME[,option=value...]; options are shown with their defaults. "
        "`spikelet learners NAME` explains them.",
    )


def _one(terminal: Terminal, name: str, kind: type[Any]) -> None:
    meaning = explained(kind)
    rows = [
        {"name": o.name, "default": o.default, "values": o.values, "meaning": meaning[o.name]}
        for o in options(kind).values()
    ]
    made = table(name, "option", "default", "values", "meaning")
    for option, row in zip(options(kind).values(), rows, strict=True):
        made.add_row(option.name, option.written, row["values"], row["meaning"])
    terminal.result(
        {"name": name, "description": _line(kind), **_published(kind), "options": rows},
        f"{_line(kind)}.",
        *(f"{text}." for text in [_after(_published(kind))] if text),
        "",
        made if rows else "It has no options.",
    )


def _rows(kinds: Mapping[str, type[Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "description": _line(kind),
            **_published(kind),
            "options": {o.name: o.default for o in options(kind).values()},
        }
        for name, kind in sorted(kinds.items())
    ]


def _line(kind: type[Any]) -> str:
    """The first line of a docstring, without the full stop."""
    text = getattr(kind, "DOC", "") or (kind.__doc__ or "").strip().partition("\n")[0]
    return str(text).rstrip(".")


def _published(kind: type[Any]) -> dict[str, str]:
    """What a learner is made after, and the difference; nothing for what has a name of its own."""
    after = getattr(kind, "AFTER", "")
    return {"after": after, "differs": kind.DIFFERS} if after else {}


def _after(row: Mapping[str, Any]) -> str:
    return f"After {row['after']}. Here: {row['differs']}" if "after" in row else ""


def _table(title: str, rows: list[dict[str, Any]]) -> RenderableType:
    made = table(title, "name", "what it is", "options")
    for row in rows:
        given = (f"{k}={'none' if v is None else v}" for k, v in row["options"].items())
        said = ". ".join(filter(None, (row["description"], _after(row))))
        made.add_row(row["name"], said, " ".join(given))
    return made
