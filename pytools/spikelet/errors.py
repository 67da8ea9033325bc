"""What can go wrong, in the words a user needs: what happened, the likely cause, the next step."""

from __future__ import annotations

from typing import Any


class SpikeletError(Exception):
    """Base of every error that the command line reports.

    Args:
        what: what happened, with names, shapes and units.
        cause: the likely cause, if one is known.
        next: what to try next.
    """

    exit_code = 2

    def __init__(self, what: str, cause: str = "", next: str = "") -> None:
        self.what = what
        self.cause = cause
        self.next = next
        lines = [what]
        if cause:
            lines.append(f"  likely cause: {cause}")
        if next:
            lines.append(f"  next: {next}")
        super().__init__("\n".join(lines))

    def to_json(self) -> dict[str, Any]:
        """What `--json` holds under `error`."""
        described: dict[str, Any] = {
            "kind": type(self).__name__.lstrip("_"),
            "what": self.what,
            "cause": self.cause,
            "next": self.next,
            "exit_code": self.exit_code,
        }
        if notes := list(getattr(self, "__notes__", [])):
            described["notes"] = notes
        return described


class Disagreement(SpikeletError):
    """The device and golden differ, or a stated bar was missed."""

    exit_code = 1


class UsageError(SpikeletError):
    """Bad usage or bad input."""

    exit_code = 2


class LinkDead(SpikeletError):
    """No device, or the link to it died."""

    exit_code = 3
