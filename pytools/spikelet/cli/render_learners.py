"""What a person is shown of learners and streams, and of the options of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType

from spikelet.cli.terminal import Terminal, table
from spikelet.learn.choices import explain_options, options


def show_one(terminal: Terminal, name: str, kind: type[Any]) -> None:
    """Print the options of one, with what they mean."""
    meaning = explain_options(kind)
    rows = [
        {"name": o.name, "default": o.default, "values": o.values, "meaning": meaning[o.name]}
        for o in options(kind).values()
    ]
    made = table(name, "option", "default", "values", "meaning")
    for option, row in zip(options(kind).values(), rows, strict=True):
        made.add_row(option.name, option.default_text, row["values"], row["meaning"])
    terminal.result(
        {"name": name, "description": _line(kind), **_publication(kind), "options": rows},
        f"{_line(kind)}.",
        *(f"{text}." for text in [_after(_publication(kind))] if text),
        "",
        made if rows else "It has no options.",
    )


def rows_of(kinds: Mapping[str, type[Any]]) -> list[dict[str, Any]]:
    """Each with what it is and its options, for JSON."""
    return [
        {
            "name": name,
            "description": _line(kind),
            **_publication(kind),
            "options": {o.name: o.default for o in options(kind).values()},
        }
        for name, kind in sorted(kinds.items())
    ]


def _line(kind: type[Any]) -> str:
    """The first line of a docstring, without the full stop."""
    text = getattr(kind, "DOC", "") or (kind.__doc__ or "").strip().partition("\n")[0]
    return str(text).rstrip(".")


def _publication(kind: type[Any]) -> dict[str, str]:
    """What a learner is made after, and the difference; nothing for what has a name of its own."""
    after = getattr(kind, "AFTER", "")
    return {"after": after, "differs": kind.DIFFERS} if after else {}


def _after(row: Mapping[str, Any]) -> str:
    return f"After {row['after']}. Here: {row['differs']}" if "after" in row else ""


def choices_table(title: str, rows: list[dict[str, Any]]) -> RenderableType:
    """The same, for a person."""
    made = table(title, "name", "what it is", "options")
    for row in rows:
        given = (f"{k}={'none' if v is None else v}" for k, v in row["options"].items())
        said = ". ".join(filter(None, (row["description"], _after(row))))
        made.add_row(row["name"], said, " ".join(given))
    return made
