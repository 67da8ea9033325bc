"""Text from outside: data, which must not steer a terminal, nor look like other text."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping
from typing import Any

LENGTH = 4000  # of a text for people in a package
BRIEF = 100  # characters of a value in a repr


def visible(text: str, kept: str = "") -> str:
    """The text with every control and format character replaced, but those in `kept`."""
    if text.isprintable():
        return text
    return "".join(c if c in kept or _is_visible(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def words(text: str) -> str:
    """What of a foreign text can stand in a package: printable, of bounded length."""
    if len(text) > LENGTH:
        text = text[: LENGTH - 3] + "..."
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def brief(value: object) -> str:
    """What a repr says of a value: arrays by type and shape, all else as it is, cut short."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"<{value.dtype} {tuple(value.shape)}>"
    if isinstance(value, Mapping):
        text = f"{{{', '.join(f'{key!r}: {brief(held)}' for key, held in value.items())}}}"
    elif isinstance(value, list):
        text = f"[{', '.join(map(brief, value))}]"
    else:
        text = repr(value)
    return text if len(text) <= BRIEF else f"{text[: BRIEF - 3]}..."


def brief_repr(self: Any) -> str:
    """`__repr__` of a dataclass that holds arrays."""
    shown = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self) if f.repr)
    held = ", ".join(f"{name}={brief(value)}" for name, value in shown if value is not None)
    return f"{type(self).__name__}({held})"


def counted(n: int, noun: str) -> str:
    """A number of things: 1 page, 2 pages, 1 000 pages."""
    return f"{n:,} {noun}{'s' * (n != 1)}".replace(",", " ")


def _is_visible(c: str) -> bool:
    return c.isprintable() or unicodedata.category(c) == "Zs"
