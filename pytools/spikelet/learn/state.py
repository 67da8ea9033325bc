"""What was learned, in a file: saved from a device or a twin, restored into either.

An .npz file with one array a learned tensor, and `manifest`: format, package, graph, learning steps
and a SHA-256 over all of it. It is restored into the same package only.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.files import Unreadable, read_arrays, write_whole
from spikelet.graph import Array, Graph
from spikelet.package import Package
from spikelet.text import brief_repr

FORMAT = 1
MANIFEST = "manifest"
_LIMIT_BYTES = 1 << 30
_MOST_STEPS = (1 << 32) - 1  # that a device counts


class StateError(UsageError):
    """A saved state that cannot be restored: damaged, or of another model or version."""


@dataclass(frozen=True, eq=False)
class LearnedState:
    """All learned tensors of a package.

    Attributes:
        package_sha256: of the package that learned it, in hexadecimal.
        graph: its graph's name.
        tensors: by name, in the tensors' shapes.
        steps: learning steps behind them.
    """

    package_sha256: str
    graph: str
    tensors: dict[str, Array]
    steps: int

    __repr__ = brief_repr

    @classmethod
    def of(cls, package: Package, tensors: Mapping[str, Array], steps: int) -> LearnedState:
        """The state of a package; raises StateError where tensors do not fit its graph."""
        checked = _check_tensors(package.graph, tensors, "the state")
        return cls(package.sha256, package.graph.name, checked, steps)

    def save(self, path: Path | str) -> None:
        """Write the file; the same state always gives the same arrays and hash."""
        buffer = io.BytesIO()
        about = {
            "format": FORMAT,
            "package_sha256": self.package_sha256,
            "graph": self.graph,
            "steps": self.steps,
        }
        about["sha256"] = _sha256(about, self.tensors)
        text = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)
        np.savez_compressed(buffer, allow_pickle=False, **{MANIFEST: text}, **self.tensors)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path | str, package: Package) -> LearnedState:
        """Read a file that this package's learner has saved.

        Raises:
            StateError: no such file, damaged, of another format, another package, or with values
                that the graph does not allow.
        """
        path = Path(path)
        arrays, about = _read(path)
        if about["format"] != FORMAT:
            raise StateError(
                f"{path}: a learned state of format {about['format']}, not {FORMAT}",
                "it was saved by another version of Spikelet",
                "save it again with this version",
            )
        if about["sha256"] != _sha256(about, arrays):
            raise StateError(
                f"{path}: its contents do not match their hash",
                "the file was damaged or altered",
                "save it again from the device",
            )
        if about["package_sha256"] != package.sha256:
            raise StateError(
                f"{path}: learned by graph {about['graph']!r} of package "
                f"{about['package_sha256'][:16]}..., not by {package.graph.name!r} of package "
                f"{package.sha256[:16]}...",
                "it was saved from another model or learner, or the package was made anew",
                "restore it into the package that it was saved from",
            )
        checked = _check_tensors(package.graph, arrays, str(path))
        return cls(package.sha256, package.graph.name, checked, about["steps"])


def _read(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    if not path.is_file():
        raise StateError(f"{path}: no such file", next="save a learned state there first")
    try:
        arrays = read_arrays(path, _LIMIT_BYTES)
        about = json.loads(arrays.pop(MANIFEST).tobytes())
    except (Unreadable, KeyError, ValueError, RecursionError) as error:
        reason = "it holds no manifest" if isinstance(error, KeyError) else str(error)
        raise StateError(
            f"{path}: not a learned state ({reason})",
            "the file is truncated or damaged, or another one",
            "save it again from the device",
        ) from error
    kinds = {"format": int, "package_sha256": str, "graph": str, "steps": int, "sha256": str}
    good = isinstance(about, dict) and all(type(about.get(k)) is t for k, t in kinds.items())
    if not good or not 0 <= about["steps"] <= _MOST_STEPS:
        raise StateError(
            f"{path}: its manifest is not one of a learned state",
            "another program wrote it",
            "save it again from the device",
        )
    return arrays, about


def _sha256(about: Mapping[str, Any], tensors: Mapping[str, Array]) -> str:
    total = hashlib.sha256()
    head = {name: value for name, value in about.items() if name != "sha256"}
    total.update(json.dumps(head, sort_keys=True).encode())
    for name in sorted(tensors):
        values = tensors[name]
        total.update(f"\0{name} {values.dtype} {values.shape}\0".encode())
        total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()


def _check_tensors(graph: Graph, tensors: Mapping[str, Array], what: str) -> dict[str, Array]:
    """The tensors in the graph's order, each one checked as the device checks it."""
    wanted = {learned.tensor.name: learned for learned in graph.learned}
    if set(tensors) != set(wanted):
        raise StateError(
            f"{what} holds {', '.join(sorted(tensors)) or 'no tensor'}; graph {graph.name} learns "
            f"{', '.join(sorted(wanted)) or 'nothing'}",
            "it was saved from another model or learner",
            "restore it where it was saved",
        )
    for name, learned in wanted.items():
        values, tensor = tensors[name], learned.tensor
        if values.shape != tensor.shape or values.dtype != tensor.numpy_dtype:
            raise StateError(
                f"{what}: {name} is {values.dtype} of shape {values.shape}, expected "
                f"{tensor.numpy_dtype} of shape {tensor.shape}",
                "it was saved from another model or learner",
            )
        low, high = learned.interval
        wrong = np.flatnonzero(~(np.isfinite(values) & (values >= low) & (values <= high)))
        if len(wrong):
            raise StateError(
                f"{what}: {name}[{wrong[0]}] is {values.flat[wrong[0]]}, not a number within "
                f"{low.flat[wrong[0]]}..{high.flat[wrong[0]]}",
                "the file was made by hand, or learning diverged before it was saved",
                "restore an older state",
            )
    return {name: tensors[name] for name in wanted}
