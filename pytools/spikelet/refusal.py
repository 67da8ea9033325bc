"""What an importer says when it cannot carry a model over."""

from __future__ import annotations

from collections.abc import Mapping

from spikelet.errors import UsageError


class ImportRefused(UsageError):
    """A model file that is damaged, or that holds what the integer graph cannot carry exactly."""


def refuse(
    node: str, operator: str, reason: str, supported: str, attributes: Mapping[str, object]
) -> ImportRefused:
    """An error that names the node, its operator and its attributes.

    Args:
        node: the node's own name in the file.
        operator: its operator, in the file's words.
        reason: what cannot be carried.
        supported: what could be.
        attributes: the node's attributes, shown as they are.
    """
    shown = ", ".join(f"{k}={v}" for k, v in attributes.items())
    return ImportRefused(
        f"node {shorten(node)!r} ({operator}{f': {shown}' if shown else ''}): {reason}",
        next=supported,
    )


def shorten(name: str, length: int = 80) -> str:
    """A name that fits a message."""
    return name if len(name) <= length else f"{name[: length - 3]}..."
