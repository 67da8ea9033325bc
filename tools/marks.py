"""Generated parts of Markdown pages: what stands between `<!-- NAME -->` and `<!-- /NAME -->`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path


def replace(page: str, mark: str, text: str) -> str:
    """The page with `text` between the marks; raises ValueError where there is no single pair."""
    marked = f"<!-- {mark} -->\n{text}\n<!-- /{mark} -->"
    pattern = rf"<!-- {mark} -->\n.*?<!-- /{mark} -->"
    new, count = re.subn(pattern, lambda _: marked, page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"no single pair of {mark} marks")
    return new


def place(path: Path, mark: str, text: str) -> None:
    """Put `text` between the marks of a page."""
    try:
        new = replace(path.read_text(encoding="utf-8"), mark, text)
    except ValueError as e:
        sys.exit(f"{path}: {e}")
    path.write_text(new, encoding="utf-8")


def measured_table(
    description: str, page: Path, mark: str, head: list[str], rows: Callable[[], list[list[str]]]
) -> None:
    """The command line of a tool: measure and print a table; with --write put it into its page."""
    parser = argparse.ArgumentParser(description=description)
    help_ = f"put the table into docs/{page.name}"
    parser.add_argument("--write", action="store_true", help=help_)
    write = parser.parse_args().write
    text = table(head, rows())
    print(text)
    if write:
        place(page, mark, text)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown; cells are escaped."""
    cells = [[_cell(text) for text in row] for row in rows]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
