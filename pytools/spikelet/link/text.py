"""Text that a device sent: data, which must not steer a terminal."""

from __future__ import annotations

from spikelet.text import words


def printable(raw: bytes) -> str:
    """UTF-8 as text, every control, format and line character and what is no UTF-8 replaced."""
    return words(raw.decode("utf-8", "replace"))
