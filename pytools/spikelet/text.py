"""Text from outside: data, which must not steer a terminal, nor look like other text."""

from __future__ import annotations

import unicodedata

LENGTH = 4000  # of a text for people in a package


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


def _is_visible(c: str) -> bool:
    return c.isprintable() or unicodedata.category(c) == "Zs"
