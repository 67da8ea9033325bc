"""Monocypher, whose Ed25519 an image with a key calls: C that the user brings."""

from __future__ import annotations

import os
from pathlib import Path

from spikelet.errors import UsageError

FOLDER = "SPIKELET_MONOCYPHER"  # variable: of the sources
CACHED = "monocypher-3.1.2"  # in the cache, where `make monocypher` puts it
SOURCES = ("monocypher.c", "optional/monocypher-ed25519.c")


def monocypher_folder(cache: Path) -> Path:
    """The folder that holds Monocypher's sources: the variable's, or that in the cache.

    Raises:
        UsageError: there is none, or it holds something else.
    """
    named = os.environ.get(FOLDER)
    folder = Path(named) if named else cache / CACHED
    missing = [source for source in SOURCES if not (folder / source).is_file()]
    if not missing:
        return folder.resolve()
    raise UsageError(
        f"{folder}: holds no {missing[0]}, of Monocypher, which checks signatures on the device",
        f"{FOLDER} names another folder" if named else f"{FOLDER} is not set",
        f"get version 3 or 4 from https://monocypher.org and set {FOLDER} to its folder src",
    )
