"""What a session's record says of its line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikelet.link.diagnosis import line_finding
from spikelet.link.replies import LineReply


def line_cause(link: Mapping[str, Any]) -> str | None:
    """Cause and next step of what a device counted on its line; None where that is nothing.

    Args:
        link: as in a session's record.
    """
    if not link.get("line"):
        return None
    found = line_finding(LineReply(**link["line"]))
    return None if found is None else ": ".join(found)
