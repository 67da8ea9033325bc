"""Text that a device sent: data, which must not steer a terminal."""

from __future__ import annotations


def printable(raw: bytes) -> str:
    """UTF-8 as text, every control, format and line character and what is no UTF-8 replaced."""
    return "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for c in raw.decode("utf-8", "replace")
    )
