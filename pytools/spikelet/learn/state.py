"""What was learned, in a file: saved from a device or a twin, restored into either.

An .npz file with one array a learned tensor, and `manifest`: format, package, graph, learning steps
and a SHA-256 over all of it. It is restored into the same package only.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.files import Unreadable, read_arrays, write_whole
from spikelet.graph import Array, Graph
from spikelet.package import Package
from spikelet.signing import (
    STATE,
    expect_sealed,
    read_sealed,
    read_signed,
    sealed_state,
    tagged,
)
from spikelet.text import brief_repr

FORMAT = 1
MANIFEST = "manifest"
_LIMIT_BYTES = 1 << 30
_SHA256 = re.compile("[0-9a-f]{64}")
_MOST_STEPS = (1 << 32) - 1  # that a device counts


class StateError(UsageError):
    """A saved state that cannot be restored: damaged, or of another model or version."""


@dataclass(frozen=True)
class Words:
    """What errors call a file of values, and what they advise.

    Attributes:
        what: it is, with its article.
        first: to do where there is none.
        again: to do where it is damaged.
        other: why its manifest may be another.
    """

    what: str
    first: str
    again: str
    other: str = "another program wrote it"


WORDS = Words(
    "a learned state", "save a learned state there first", "save it again from the device"
)
_KINDS = {"package_sha256": str, "graph": str, "steps": int}


@dataclass(frozen=True, eq=False)
class LearnedState:
    """All learned tensors of a package.

    Attributes:
        package_sha256: of the package that learned it, in hexadecimal.
        graph: its graph's name.
        tensors: by name, in the tensors' shapes.
        steps: learning steps behind them.
        sealed: what lay beside the file, NAME.npz.state, for a device with a key; empty without.
    """

    package_sha256: str
    graph: str
    tensors: dict[str, Array]
    steps: int
    sealed: bytes = b""

    __repr__ = brief_repr

    @classmethod
    def of(cls, package: Package, tensors: Mapping[str, Array], steps: int) -> LearnedState:
        """The state of a package; raises StateError where tensors do not fit its graph."""
        checked = checked_values(package.graph, tensors, "the state")
        return cls(package.sha256, package.graph.name, checked, steps)

    def save(self, path: Path | str) -> None:
        """Write the file; the same state always gives the same arrays and hash."""
        about = {
            "format": FORMAT,
            "package_sha256": self.package_sha256,
            "graph": self.graph,
            "steps": self.steps,
        }
        write_values(Path(path), about, self.tensors)

    @classmethod
    def load(cls, path: Path | str, package: Package, trusted: Path | None = None) -> LearnedState:
        """Read a file that this package's learner has saved.

        Args:
            path: of the file.
            package: with the learner.
            trusted: as of `Package.load`.

        Raises:
            StateError: no such file, damaged, of another format, another package, or with values
                that the graph does not allow.
            SignatureError: it is not signed by the key that is asked for, or older than one that
                was seen.
        """
        path = Path(path)
        return read_signed(
            path, trusted, STATE, lambda data: cls._read(path, data)._of(package, path)
        )

    @classmethod
    def unsigned(cls, path: Path) -> LearnedState:
        """A file whole, whoever made it and whatever package it is of: of who is to sign it."""
        return cls._read(path, None)

    @classmethod
    def _read(cls, path: Path, data: bytes | None) -> LearnedState:
        arrays, about = read_values(path, _KINDS, WORDS, data)
        sha256 = about["package_sha256"]
        if not 0 <= about["steps"] <= _MOST_STEPS or not _SHA256.fullmatch(sha256):
            raise StateError(
                f"{path}: its manifest is not one of {WORDS.what}", WORDS.other, WORDS.again
            )
        return cls(sha256, about["graph"], arrays, about["steps"], read_sealed(path))

    def _of(self, package: Package, path: Path) -> LearnedState:
        """The same, with the tensors in the graph's order; raises StateError if it is another's."""
        if self.package_sha256 != package.sha256:
            raise StateError(
                f"{path}: learned by graph {self.graph!r} of package "
                f"{self.package_sha256[:16]}..., not by {package.graph.name!r} of package "
                f"{package.sha256[:16]}...",
                "it was saved from another model or learner, or the package was made anew",
                "restore it into the package that it was saved from",
            )
        checked = checked_values(package.graph, self.tensors, str(path))
        return replace(self, graph=package.graph.name, tensors=checked)

    @property
    def _values(self) -> bytes:
        """Of all tensors, as a device is sent them."""
        return b"".join(values.tobytes() for values in self.tensors.values())

    def signed(self) -> bytes:
        """The signed state that lay beside the file; whether it is good the device says.

        Raises:
            SignatureError: there was none, or it is of other values.
        """
        state = tagged(self._values, self.package_sha256)
        how = "spikelet sign NAME.npz --key KEY"
        return expect_sealed(self.sealed, state, STATE, "NAME.npz", how)

    def signed_state(self, key: Path, counter: int) -> bytes:
        """What a device with a key takes over: all values, signed for the package of the state.

        Args:
            key: of the private key.
            counter: a device that accepted it refuses lower ones.
        """
        return sealed_state(self._values, self.package_sha256, key, counter)


def write_values(path: Path, about: dict[str, Any], tensors: Mapping[str, Array]) -> None:
    """Write arrays and their manifest, with a hash over both.

    Args:
        path: of the file.
        about: the manifest, JSON types only.
        tensors: by name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, values_bytes(about, tensors))


def values_bytes(about: dict[str, Any], tensors: Mapping[str, Array]) -> bytes:
    """What `write_values` writes."""
    buffer = io.BytesIO()
    about = {**about, "sha256": values_sha256(about, tensors)}
    text = np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8)
    np.savez_compressed(buffer, allow_pickle=False, **{MANIFEST: text}, **tensors)
    return buffer.getvalue()


def read_values(
    path: Path, kinds: Mapping[str, type], words: Words, data: bytes | None = None
) -> tuple[dict[str, Array], dict[str, Any]]:
    """What `write_values` has written.

    Args:
        path: of the file.
        kinds: types of the manifest's entries.
        words: for errors.
        data: the file's bytes, where these were read before.

    Raises:
        StateError: no such file, damaged, or of another format.
    """
    if not path.is_file():
        raise StateError(f"{path}: no such file", next=words.first)
    try:
        arrays = read_arrays(path if data is None else data, _LIMIT_BYTES)
        about = json.loads(arrays.pop(MANIFEST).tobytes())
    except (Unreadable, KeyError, ValueError, RecursionError) as error:
        reason = "it holds no manifest" if isinstance(error, KeyError) else str(error)
        raise StateError(
            f"{path}: not {words.what} ({reason})",
            "the file is truncated or damaged, or another one",
            words.again,
        ) from error
    kinds = {**kinds, "format": int, "sha256": str}
    if not isinstance(about, dict) or any(type(about.get(k)) is not t for k, t in kinds.items()):
        raise StateError(
            f"{path}: its manifest is not one of {words.what}", words.other, words.again
        )
    if about["format"] != FORMAT:
        raise StateError(
            f"{path}: {words.what} of format {about['format']}, not {FORMAT}",
            "it was saved by another version of Spikelet",
            "save it again with this version",
        )
    if about["sha256"] != values_sha256(about, arrays):
        raise StateError(
            f"{path}: its contents do not match their hash",
            "the file was damaged or altered",
            words.again,
        )
    return arrays, about


def values_sha256(about: Mapping[str, Any], tensors: Mapping[str, Array]) -> str:
    """Hash of a manifest and its tensors, in hexadecimal."""
    total = hashlib.sha256()
    head = {name: value for name, value in about.items() if name != "sha256"}
    total.update(json.dumps(head, sort_keys=True).encode())
    for name in sorted(tensors):
        values = tensors[name]
        total.update(f"\0{name} {values.dtype} {values.shape}\0".encode())
        total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()


def checked_values(graph: Graph, tensors: Mapping[str, Array], what: str) -> dict[str, Array]:
    """The tensors in the graph's order, each one checked as the device checks it.

    Raises:
        StateError: names the first that does not fit.
    """
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
