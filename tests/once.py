"""Things that all workers of a test run share: the first that asks makes one, the others wait."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

Made = TypeVar("Made")


@dataclass(frozen=True)
class Once:
    """What was made is pickled; its files stay in a folder of its own.

    Attributes:
        folder: one for all workers of a run, empty when it starts.
    """

    folder: Path

    def __call__(self, name: str, make: Callable[[Path], Made]) -> Made:
        """What `make` answers, which is given a folder; called again only where it failed."""
        place = self.folder / name
        place.mkdir(parents=True, exist_ok=True)
        kept = place.with_suffix(".pickle")
        with FileLock(place.with_suffix(".lock")):
            if not kept.is_file():
                kept.write_bytes(pickle.dumps(make(place)))
            made: Made = pickle.loads(kept.read_bytes())
            return made
