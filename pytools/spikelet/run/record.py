"""A session's folder: what was run, one line a sample, and what to show of it.

`session.json` says what is run and, at the end, how it ended; `samples.jsonl` grows by one flushed
line a sample, with the differences that were named in it, so that nothing obtained is lost when a
run breaks off; `shown.npz` holds the spikes and membranes of one sample, of golden and device.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
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


@dataclass(frozen=True)
class Difference:
    """One element in which the device differs from golden.

    Attributes:
        sample: index in the stream.
        layer: operator that wrote it.
        tensor: its name.
        step: time step.
        index: element, for example the neuron.
        golden: value by golden.
        device: value by the device.
    """

    sample: int
    layer: str
    tensor: str
    step: int
    index: int
    golden: int
    device: int

    def __str__(self) -> str:
        return (
            f"sample {self.sample}, layer {self.layer}, step {self.step}, "
            f"{self.tensor}[{self.index}]: golden {self.golden}, device {self.device}"
        )


# What makes two runs the same run, so that one may go on where the other broke off.
_SAME = ("package_sha256", "board", "layers", "total", "data", "data_sha256")


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
            for key in _SAME:
                if before.get(key) != head.get(key):
                    raise UsageError(
                        f"--resume: session {self.path} has {key} {before.get(key)}, "
                        f"this run has {head.get(key)}",
                        "the package, the data, an option or the board changed since",
                        "run without --resume to start anew",
                    )
            kept = self.samples()
            # A line that broke off in the middle was never acknowledged.
            lines = "".join(line + "\n" for line in self._lines()[: len(kept)])
            self._samples.write_text(lines, encoding="utf-8")
        else:
            kept = []
            self.path.mkdir(parents=True, exist_ok=True)
            self._samples.write_text("", encoding="utf-8")
            (self.path / "shown.npz").unlink(missing_ok=True)
        self.finish({**head, "complete": False})
        return kept

    def add(self, sample: Sample, differences: Iterable[Difference] = ()) -> None:
        """Append one outcome; it is on disk when this returns."""
        line: dict[str, Any] = asdict(sample)
        if named := [asdict(d) for d in differences]:
            line["differences"] = named
        with self._samples.open("a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")

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
        return [sample for sample, _ in self._recorded()]

    def differences(self) -> list[Difference]:
        """The differences that were named, in order of the samples."""
        return [d for _, named in self._recorded() for d in named]

    def _lines(self) -> list[str]:
        try:
            return self._samples.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as e:
            raise UsageError(
                f"session {self.path}: {e}",
                "it is not a session's folder, or the run never started",
                "`spikelet run PKG --board B` writes one",
            ) from e

    def _recorded(self) -> list[tuple[Sample, list[Difference]]]:
        found: list[tuple[Sample, list[Difference]]] = []
        for line in self._lines():
            try:
                data = json.loads(line)
                named = [Difference(**d) for d in data.pop("differences", [])]
                found.append((Sample(**data), named))
            except (ValueError, TypeError, AttributeError):
                break
        return found

    def shown(self) -> dict[str, Array]:
        """The shown sample's arrays, empty when there is none or it broke off in writing."""
        try:
            with np.load(self.path / "shown.npz", allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
            return {}
