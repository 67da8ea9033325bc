"""A session's folder: what was run, one line a sample, and what to show of it.

`session.json` says what is run and, at the end, how it ended; `samples.jsonl` grows by one flushed
line a sample, so that nothing obtained is lost when a run breaks off; `shown.npz` holds the spikes
and membranes of one sample, of golden and device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array


@dataclass(frozen=True)
class Sample:
    """One sample's outcome.

    Attributes:
        index: its place in the stream.
        label: true class, -1 where unknown.
        golden: class by golden.
        device: class by the device.
        mismatches: elements that differ from golden.
        ticks: of the device, for the whole inference.
        saturations: membranes that saturated, over all layers and steps.
    """

    index: int
    label: int
    golden: int
    device: int
    mismatches: int
    ticks: int
    saturations: int


class SessionFolder:
    """Reads and writes a session's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def _head(self) -> Path:
        return self.path / "session.json"

    @property
    def _samples(self) -> Path:
        return self.path / "samples.jsonl"

    def begin(self, head: Mapping[str, Any], resume: bool) -> list[Sample]:
        """Open for writing; the samples to keep, empty unless it resumes.

        Raises:
            UsageError: there is nothing to resume, or it was another run.
        """
        if resume:
            before = self.head()
            for key in ("package_sha256", "data", "layers", "board"):
                if before.get(key) != head.get(key):
                    raise UsageError(
                        f"--resume: session {self.path} has {key} {before.get(key)}, "
                        f"this run has {head.get(key)}",
                        "the package, the data or the board changed since",
                        "run without --resume to start anew",
                    )
            kept = self.samples()
            # A line that broke off in the middle was never acknowledged.
            lines = "".join(json.dumps(asdict(s)) + "\n" for s in kept)
            self._samples.write_text(lines, encoding="utf-8")
        else:
            kept = []
            self.path.mkdir(parents=True, exist_ok=True)
            self._samples.write_text("", encoding="utf-8")
            (self.path / "shown.npz").unlink(missing_ok=True)
        self.finish({**head, "complete": False})
        return kept

    def add(self, sample: Sample) -> None:
        """Append one outcome; it is on disk when this returns."""
        with self._samples.open("a", encoding="utf-8") as f:
            f.write(json.dumps(asdict(sample)) + "\n")

    def finish(self, head: Mapping[str, Any]) -> None:
        """Write session.json."""
        self._head.write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")

    def show(self, arrays: Mapping[str, Array]) -> None:
        """Keep the shown sample's arrays."""
        np.savez_compressed(self.path / "shown.npz", allow_pickle=False, **arrays)

    def head(self) -> dict[str, Any]:
        """session.json; raises UsageError when it cannot be read."""
        try:
            data = json.loads(self._head.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise UsageError(
                f"session {self.path}: {e}",
                "it is not a session's folder, or the run never started",
                "`spikelet run PKG --board B` writes one",
            ) from e
        if not isinstance(data, dict):
            raise UsageError(f"session {self.path}: session.json is not an object")
        return data

    def samples(self) -> list[Sample]:
        """All outcomes; a last line that broke off is left out."""
        found = []
        try:
            text = self._samples.read_text(encoding="utf-8")
        except OSError as e:
            raise UsageError(f"session {self.path}: {e}") from e
        for line in text.splitlines():
            try:
                found.append(Sample(**json.loads(line)))
            except (ValueError, TypeError):
                break
        return found

    def shown(self) -> dict[str, Array]:
        """The shown sample's arrays, empty when there is none."""
        path = self.path / "shown.npz"
        if not path.is_file():
            return {}
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
