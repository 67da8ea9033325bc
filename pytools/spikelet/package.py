"""The `.spk` package: a zip of the graph, its constants, test vectors and a manifest.

`graph.json`, `tensors.npz`, `vectors.npz` (inputs, labels, golden outputs) and `manifest.json`
(hashes, seed, versions, recipe, float and integer accuracy). The package's SHA-256 is taken over
the members' contents, so it does not depend on how the zip was packed.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, GraphError

MEMBERS = ("graph.json", "tensors.npz", "vectors.npz", "manifest.json")
_LIMIT_BYTES = 512 << 20  # of one member, unpacked
# What zipfile raises on damaged archives; RuntimeError where a flag says that it is encrypted.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)


class PackageError(UsageError):
    """A package that cannot be read: missing, truncated, altered or of another version."""


@dataclass
class Package:
    """A deployable network with the proof that goes with it.

    Attributes:
        graph: the integer graph.
        vectors: arrays by name: every graph input (N, *shape), `y` (N,) labels if there are any,
            and `golden.NAME` (N, *shape) for every graph output.
        manifest: what made it: recipe, seed, versions, accuracies; JSON types only.
    """

    graph: Graph
    vectors: dict[str, Array] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(t.name == "y" for t in self.graph.inputs):
            raise PackageError(
                f"graph {self.graph.name}: an input is named y",
                "in a package's vectors y are the labels",
                "name the input otherwise",
            )

    def members(self) -> dict[str, bytes]:
        """Contents of the zip; the manifest holds the hashes of the others."""
        contents = {
            "graph.json": _json(self.graph.to_json()),
            "tensors.npz": _npz(self.graph.constants()),
            "vectors.npz": _npz(self.vectors),
        }
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
        return {**contents, "manifest.json": _json({**self.manifest, "sha256": hashes})}

    @property
    def sha256(self) -> str:
        """Hash of all members: what the firmware carries and the handshake compares."""
        total = hashlib.sha256()
        for name, data in self.members().items():
            total.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\0".encode())
        return total.hexdigest()

    @property
    def inputs(self) -> dict[str, Array]:
        """The vectors' inputs by name."""
        return {t.name: self.vectors[t.name] for t in self.graph.inputs}

    def with_golden(self) -> Package:
        """This package with its vectors' golden outputs computed."""
        outputs = self.graph.run(self.inputs).outputs
        golden = {f"golden.{name}": values for name, values in outputs.items()}
        return Package(self.graph, {**self.vectors, **golden}, self.manifest)

    def save(self, path: Path) -> None:
        """Write the zip; the same package always gives the same bytes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in self.members().items():
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                archive.writestr(info, data)

    @classmethod
    def load(cls, path: Path) -> Package:
        """Read and verify a package; raises PackageError."""
        contents = _read(path)
        manifest = _parse(path, "manifest.json", contents["manifest.json"])
        hashes = manifest.pop("sha256", None)
        for name in MEMBERS[:3]:
            found = hashlib.sha256(contents[name]).hexdigest()
            if not isinstance(hashes, dict) or hashes.get(name) != found:
                raise PackageError(
                    f"package {path}: {name} does not match the hash in its manifest",
                    "the package was altered after it was made",
                    "make it again with `spikelet train`",
                )
        try:
            graph = Graph.from_json(
                _parse(path, "graph.json", contents["graph.json"]), _arrays(contents["tensors.npz"])
            )
            vectors = _arrays(contents["vectors.npz"])
        except (GraphError, ValueError, zipfile.BadZipFile) as e:
            raise PackageError(
                f"package {path}: {e}",
                "it was made by another version, or not by this program",
                "make it again with `spikelet train`",
            ) from e
        return cls(graph, vectors, manifest)


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()


def _npz(arrays: Mapping[str, Array]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{k: arrays[k] for k in sorted(arrays)})
    return buffer.getvalue()


def _arrays(data: bytes) -> dict[str, Array]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _read(path: Path) -> dict[str, bytes]:
    if not path.is_file():
        raise PackageError(
            f"package {path}: no such file",
            "a wrong path, or it was not trained yet",
            "`spikelet train MODEL_DIR -o NAME.spk` makes one",
        )
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            missing = [name for name in MEMBERS if name not in sizes]
            if missing:
                raise PackageError(
                    f"package {path}: {', '.join(missing)} is missing",
                    "it is not a Spikelet package",
                    "make it again with `spikelet train`",
                )
            if max(sizes.values()) > _LIMIT_BYTES:
                raise PackageError(
                    f"package {path}: a member of {max(sizes.values())} bytes, "
                    f"more than {_LIMIT_BYTES}",
                    "it is not a Spikelet package",
                    "make it again with `spikelet train`",
                )
            return {name: archive.read(name) for name in MEMBERS}
    except _UNREADABLE as e:
        raise PackageError(
            f"package {path}: not a readable zip ({e})",
            "the file is truncated or damaged",
            "copy it again, or make it again with `spikelet train`",
        ) from e


def _parse(path: Path, name: str, data: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(data)
    except ValueError as e:
        raise PackageError(f"package {path}: {name} is not JSON ({e})") from e
    if not isinstance(parsed, dict):
        raise PackageError(f"package {path}: {name} is not a JSON object")
    return parsed
