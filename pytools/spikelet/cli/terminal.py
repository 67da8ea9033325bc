"""What all commands share: the two streams, JSON, errors, numbers."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from spikelet.errors import SpikeletError
from spikelet.text import visible

PIPED_WIDTH = 120  # columns where neither a terminal nor COLUMNS says how many
LINK_STATE = "; port "  # begins it in the errors of `spikelet.link`
PROSE = 28  # characters to which a column of prose is wrapped before others are left out
UNBOUND = 10_000  # columns; more than any table has
_COLUMNS = re.compile(r"0*[1-9][0-9]{0,3}")
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)


class _Plain(Console):
    """A console that colours what it prints itself: what is printed cannot steer it."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What is printed, in pieces."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else piece._replace(text=visible(piece.text, "\n\t"))

    def print(self, *objects: Any, **options: Any) -> None:
        """As ever; what a file or a pipe gets has no blanks at the ends of its lines."""
        if self.is_terminal:
            super().print(*objects, **options)
            return
        with self.capture() as printed:
            super().print(*objects, **options)
        self.file.write(_TRAILING.sub("", printed.get()))
        self.file.flush()


def _console(stderr: bool) -> Console:
    # No markup: names and paths may hold brackets.
    console = _Plain(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        columns = os.environ.get("COLUMNS", "")
        console.width = int(columns) if _COLUMNS.fullmatch(columns) else PIPED_WIDTH
    return console


@dataclass(frozen=True)
class Terminal:
    """Where a command prints.

    Attributes:
        as_json: standard output is one JSON object.
        out: standard output.
        err: standard error.
    """

    as_json: bool
    out: Console
    err: Console

    @classmethod
    def open(cls, as_json: bool) -> Terminal:
        """The process's own streams."""
        return cls(as_json, _console(stderr=False), _console(stderr=True))

    def result(self, data: Mapping[str, Any], *shown: RenderableType) -> None:
        """What the command found: JSON, or what a person is shown."""
        if self.as_json:
            print_json(data)
            return
        for part in shown:
            self.out.print(part, crop=False)

    def note(self, text: str, style: str = "") -> None:
        """A line on standard error."""
        self.err.print(Text(text, style), soft_wrap=True)

    @contextmanager
    def stage(self, name: str, spinner: bool = True) -> Iterator[Stage]:
        """A step of a longer command: shown as it goes, with its time when it is done.

        Args:
            name: one word.
            spinner: off where the step shows progress of its own.
        """
        stage = Stage()
        started = time.monotonic()
        with self.err.status(Text(name)) if spinner else nullcontext():
            yield stage
        line = Text(f"{name:<9}", "bold")
        line.append(f"{time.monotonic() - started:6.1f} s  ", "dim")
        line.append(stage.detail, "")
        self.err.print(line, soft_wrap=True)


@dataclass
class Stage:
    """What a stage says of itself when it is done."""

    detail: str = ""


def print_json(data: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(data, indent=1) + "\n")
    sys.stdout.flush()


def error_text(error: SpikeletError, head: str) -> Text:
    """An error as a person is shown it: what, likely cause, next step."""
    text = Text(head, "bold red")
    # The link's state with its hex dump comes after what a person can act on.
    what, dump, state = error.what.partition(LINK_STATE)
    text.append(what, "bold")
    for label, value in (("likely cause", error.cause), ("next", error.next)):
        if value:
            text.append(f"\n  {label}: ", "dim")
            text.append(value)
    for note in getattr(error, "__notes__", []):
        text.append(f"\n  {note}")
    if dump:
        text.append(f"\n  link: {dump.lstrip('; ')}{state}", "dim")
    return text


def fail(error: SpikeletError, as_json: bool) -> int:
    """Say what went wrong: what, likely cause, next step. Returns the exit code."""
    terminal = Terminal.open(as_json)
    head = "error: " if error.exit_code != 130 else ""
    terminal.err.print(error_text(error, head), soft_wrap=True)
    if as_json:
        print_json({"error": error.to_json()})
    return error.exit_code


def table(title: str, *columns: str) -> Table:
    """An empty table; a column whose name starts with > is aligned to the right."""
    made = Table(title=Text(title, "bold"), title_justify="left", box=None, pad_edge=False)
    made.header_style = "dim"
    for index, column in enumerate(columns):
        right = column.startswith(">")
        made.add_column(
            column.lstrip(">"),
            justify="right" if right else "left",
            no_wrap=right or index == 0,  # a name is whole
            overflow="fold",
        )
    return made


def without_empty(made: Table) -> Table:
    """The table without the columns in which nothing stands, or a total of 0 alone."""
    return _of_columns(made, lambda c: any(str(cell) not in ("", "0") for cell in c.cells))


def _of_columns(
    made: Table,
    wanted: Callable[[Column], bool],
    change: Callable[[Column], Column] = lambda column: column,
) -> Table:
    """A copy with some of its columns, numbered anew: rich finds their padding by their number."""
    copied = copy(made)
    kept = [change(c) for c in made.columns if wanted(c)]
    copied.columns = [replace(c, _index=i) for i, c in enumerate(kept)]
    return copied


@dataclass(frozen=True)
class Fitted:
    """A table that leaves out columns where the terminal is too narrow for all.

    Attributes:
        table: with all its columns.
        drop: names of columns, the first to go first.
        prose: names of columns whose text may be wrapped, to `PROSE` characters at the least;
            where there are some, all others stay whole.
    """

    table: Table
    drop: Sequence[str]
    prose: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        there = {c.header for c in self.table.columns}
        left = [name for name in self.drop if name in there]
        unbound = options.update(width=UNBOUND)
        gone = list[str]()

        def kept(change: Callable[[Column], Column]) -> Table:
            return _of_columns(self.table, lambda c: c.header not in gone, change)

        def too_wide() -> bool:
            least = Measurement.get(console, unbound, kept(self._least)).maximum
            return least > options.max_width

        wide = too_wide()
        while left and wide:
            gone.append(left.pop(0))
            wide = too_wide()
        yield kept((lambda column: column) if wide else self._whole)
        if gone:
            note = f"left out, {options.max_width} columns wide: {', '.join(gone)}"
            yield Text(f"{note}; --json has all", "dim")

    def _least(self, column: Column) -> Column:
        return replace(column, max_width=PROSE) if column.header in self.prose else column

    def _whole(self, column: Column) -> Column:
        whole = column.no_wrap if not self.prose else column.header not in self.prose
        return replace(column, no_wrap=whole)


class ToCopy(str):
    """Lines that a person copies: none is ever wrapped."""

    __slots__ = ()


@dataclass(frozen=True)
class Facts:
    """Names and values, one a line.

    Attributes:
        title: above them.
        rows: values by name.
    """

    title: str
    rows: Mapping[str, Text | ToCopy]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.title, "bold")
        first = max((len(name) for name in self.rows), default=0)
        width = max(1, options.max_width - first - 2)
        for name, value in self.rows.items():
            if isinstance(value, ToCopy):
                lines: Iterable[Text] = map(Text, value.splitlines() or [""])
            else:
                lines = value.wrap(console, width, overflow="fold")
            for number_, line in enumerate(lines):
                text = Text.assemble((f"{'' if number_ else name:<{first}}  ", "dim"), line)
                text.no_wrap, text.overflow = True, "ignore"
                yield text


def facts(title: str, rows: Mapping[str, object]) -> Facts:
    """Names and values, one a line; values of None are left out."""
    return Facts(
        title,
        {
            name: value if isinstance(value, Text | ToCopy) else Text(str(value))
            for name, value in rows.items()
            if value is not None
        },
    )


def number(value: float | None, unit: str = "", digits: int = 0) -> str | None:
    """A figure with thin groups of three, None where there is none."""
    if value is None:
        return None
    return f"{value:,.{digits}f}".replace(",", " ") + (f" {unit}" if unit else "")


def percent(value: float | None) -> str | None:
    """A share in percent."""
    return None if value is None else f"{100 * value:.2f} %"


def verdict(mismatches: int) -> Text:
    """The first number of every run."""
    return Text(f"{mismatches}", "bold green" if mismatches == 0 else "bold red")
