"""The `.spk` package: a zip of the graph, its constants, test vectors and a manifest.

`graph.json`, `tensors.npz`, `vectors.npz` (inputs, labels, golden outputs) and `manifest.json`
(hashes, seed, versions, recipe, float and integer accuracy). The package's SHA-256 is taken over
these members' contents, so it does not depend on how the zip was packed; the member `sha256` holds
it, so that a manifest that was altered is noticed like anything else.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from spikelet.errors import UsageError
from spikelet.files import UNREADABLE, Unreadable, read_arrays, save
from spikelet.graph import Array, Graph, GraphError
from spikelet.graph.declared import check_fields
from spikelet.graph.operator import operator_registry
from spikelet.manifest import Manifest
from spikelet.plugins import owner, plugins
from spikelet.samples import labels_among, labels_keys
from spikelet.signing import PACKAGE, read_signed
from spikelet.version import __version__

MEMBERS = ("graph.json", "tensors.npz", "vectors.npz", "manifest.json")
SHA256 = "sha256"  # the member that holds the package's hash
# Bytes of a member, unpacked. A graph takes 500 an operator; JSON is read at 10 MB/s and more.
_LIMITS = {
    "graph.json": 8 << 20,
    "tensors.npz": 256 << 20,
    "vectors.npz": 512 << 20,
    "manifest.json": 1 << 20,
    SHA256: 256,
}
_LIMIT_BYTES = 600 << 20  # of all members, unpacked
_TENSOR_BYTES = 256 << 20  # of all constants; flash holds less
_VECTOR_BYTES = 1 << 30  # of all vectors
_AGAIN = "make it again with `spikelet train`"


class PackageError(UsageError):
    """A package that cannot be read: missing, truncated, altered or of another version."""


@dataclass
class Package:
    """A deployable network with the proof that goes with it.

    Attributes:
        graph: the integer graph.
        vectors: arrays by name: every graph input (N, *shape); labels (N,), or a regression's
            targets (N, elements) float32, if there are any, under `y` or, where an input has that
            name, `y.labels`; and `golden.NAME` (N, *shape) for every graph output.
        manifest: what made it: recipe, seed, versions, accuracies; JSON types only.
    """

    graph: Graph
    vectors: dict[str, Array] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)

    # By member: as this program writes it, and as the file had it that it was read from. An older
    # file lacks attributes that came later, and a zip depends on the Python that writes it; while
    # what a member says is the same, it keeps its bytes, and the package its hash.
    _file: dict[str, tuple[bytes, bytes]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __repr__(self) -> str:
        samples = len(next(iter(self.vectors.values()), ()))
        return f"<{type(self).__name__} {self.graph.title()}; {samples} samples>"

    def __post_init__(self) -> None:
        owners = filter(None, (owner(type(node)) for node in self.graph.nodes))
        if needed := {plugin.package: plugin.version for plugin in owners}:
            said = self.manifest.get("plugins") or {}
            self.manifest = {**self.manifest, "plugins": {**needed, **said}}
        if self.vectors:
            self.check()

    def check(self) -> None:
        """Check vectors against the graph, and the manifest's types.

        Raises:
            PackageError: names the array or the entry, what it is and what is expected.
        """
        try:
            _check_vectors(self.graph, self.vectors)
            _check_manifest(self.manifest)
        except PackageError as e:
            raise PackageError(f"package {self.graph.name}: {e.what}", e.cause, e.next) from e

    def members(self) -> dict[str, bytes]:
        """Contents of the zip; the manifest holds the hashes of the others."""
        contents = {name: self._as_read(name, data) for name, data in self._written().items()}
        manifest = self._written_manifest(contents)
        return {**contents, "manifest.json": self._as_read("manifest.json", manifest)}

    def _written(self) -> dict[str, bytes]:
        """Members but the manifest, as this program writes them."""
        return {
            "graph.json": _json(self.graph.to_json()),
            "tensors.npz": _npz(self.graph.constants()),
            "vectors.npz": _npz(self.vectors),
        }

    def _written_manifest(self, contents: Mapping[str, bytes]) -> bytes:
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
        return _json({**self.manifest, "sha256": hashes})

    def _as_read(self, name: str, data: bytes) -> bytes:
        """A member as the file had it, if it is the same."""
        written, held = self._file.get(name, (None, data))
        return held if written == data else data

    def _keep(self, contents: Mapping[str, bytes]) -> None:
        """Note the members of the file that the package was read from."""
        written = self._written()
        written["manifest.json"] = self._written_manifest({k: contents[k] for k in written})
        self._file = {name: (data, contents[name]) for name, data in written.items()}

    @property
    def sha256(self) -> str:
        """Hash of all members: what the firmware carries and the handshake compares."""
        return _sha256(self.members())

    @property
    def inputs(self) -> dict[str, Array]:
        """The vectors' inputs by name."""
        return {t.name: self.vectors[t.name] for t in self.graph.inputs}

    @property
    def labels(self) -> Array | None:
        """The vectors' labels (N,), if there are any."""
        found = self._truth()
        return None if found is None or self._is_real(found) else found

    @property
    def targets(self) -> Array | None:
        """What the first output should be, (N, elements) float32, if a regression's is known."""
        found = self._truth()
        if found is None or not self._is_real(found):
            return None
        return found.reshape(len(found), -1).astype(np.float32)

    @property
    def names_classes(self) -> bool:
        """Whether the first output names a class; a regression's does not."""
        return self.graph.names_classes and self.targets is None

    def _truth(self) -> Array | None:
        return labels_among(self.vectors, [t.name for t in self.graph.inputs])

    def _is_real(self, truth: Array) -> bool:
        return truth.dtype.kind == "f" or not self.graph.names_classes

    def with_golden(self) -> Self:
        """This package with its vectors' golden outputs computed; raises PackageError."""
        self.check()
        inputs, graph = self.inputs, self.graph
        samples = graph.check_inputs(inputs)
        made = [
            graph.run({name: values[part] for name, values in inputs.items()}).outputs
            for part in graph.parts(samples)
        ]
        golden = {f"golden.{name}": np.concatenate([m[name] for m in made]) for name in made[0]}
        return type(self)(self.graph, {**self.vectors, **golden}, self.manifest)

    def save(self, path: Path | str) -> None:
        """Write the zip; the same package always gives the same bytes. Raises PackageError."""
        self.check()
        members = self.members()
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in {**members, SHA256: f"{_sha256(members)}\n".encode()}.items():
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                archive.writestr(info, data)
        save(Path(path), buffer.getvalue())

    @classmethod
    def load(cls, path: Path | str, trusted: Path | None = None) -> Self:
        """Read and verify a package.

        Args:
            path: of the file.
            trusted: a public key that it must be signed by; by default that of the variable
                SPIKELET_TRUSTED, and where there is none no signature is asked for.

        Raises:
            PackageError: it cannot be read, or was altered.
            SignatureError: it is not signed by that key, or is older than one that was seen.
        """
        path = Path(path)
        return read_signed(
            path, trusted, PACKAGE, lambda data: cls._parsed(path, data), lambda p: p.graph.name
        )

    @classmethod
    def unsigned(cls, path: Path | str) -> Self:
        """Read and verify a package, as `load`, and ask for no signature: for who makes one."""
        return cls._parsed(Path(path), None)

    @classmethod
    def _parsed(cls, path: Path, data: bytes | None) -> Self:
        contents = _read(path, data)
        stored = contents.pop(SHA256).decode("ascii", "replace").strip()
        if stored != _sha256(contents):
            raise PackageError(
                f"package {path}: {_altered_members(contents)}",
                "the package was altered after it was made",
                _AGAIN,
            )
        manifest = _parse(path, "manifest.json", contents["manifest.json"])
        manifest.pop("sha256", None)
        try:
            _check_manifest(manifest)
            _check_plugins(manifest.get("plugins") or {})
            graph = Graph.from_json(
                _parse(path, "graph.json", contents["graph.json"]),
                _arrays(contents, "tensors.npz", _TENSOR_BYTES),
            )
            vectors = _arrays(contents, "vectors.npz", _VECTOR_BYTES)
            package = cls(graph, vectors, manifest)
            package.check()
            package._keep(contents)
        except PackageError as e:
            raise PackageError(
                f"package {path}: {e.what}", e.cause or _maker(manifest), e.next or _AGAIN
            ) from e
        except (GraphError, Unreadable, *UNREADABLE) as e:
            raise PackageError(
                f"package {path}: {e}",
                _maker(manifest),
                _AGAIN,
            ) from e
        return package


def _maker(manifest: Mapping[str, Any]) -> str:
    """Why a package that nobody altered does not load: what wrote it, where it says so."""
    versions = manifest.get("versions")
    wrote = versions.get("spikelet") if isinstance(versions, dict) else None
    if not isinstance(wrote, str) or wrote == __version__:
        return "it was made by another version, or not by this program"
    return f"it was written by Spikelet {wrote[:32]!r}, this is {__version__}"


def _sha256(members: Mapping[str, bytes]) -> str:
    total = hashlib.sha256()
    for name in MEMBERS:
        total.update(f"{name}\0{hashlib.sha256(members[name]).hexdigest()}\0".encode())
    return total.hexdigest()


def _altered_members(members: Mapping[str, bytes]) -> str:
    """Which member is not what it was."""
    try:
        hashes = json.loads(members["manifest.json"])["sha256"]
        for name in MEMBERS[:3]:
            if hashes[name] != hashlib.sha256(members[name]).hexdigest():
                return f"{name} does not match the hash in its manifest"
    except UNREADABLE:
        pass
    return f"manifest.json does not match the hash in the member {SHA256}"


def _check_vectors(graph: Graph, vectors: Mapping[str, Array]) -> None:
    wanted = {t.name: graph.sample_tensor(t) for t in graph.inputs}
    for name in wanted:
        if name not in vectors:
            raise PackageError(
                f"the vectors hold no input {name}",
                "an encoder draws from a seed for each sample" if name == "seed" else "",
                "seed=sample_seeds(recipe_seed, N) of spikelet.seeds adds it"
                if name == "seed"
                else f"add {name}, {wanted[name].numpy_dtype} (N, *{wanted[name].shape})",
            )
    outputs = {f"golden.{name}": graph.tensors[name] for name in graph.outputs}
    labels, samples = labels_keys(wanted), -1
    for name, values in vectors.items():
        tensor = wanted.get(name) or outputs.get(name)
        if tensor is None and name not in labels:
            raise PackageError(
                f"the vectors hold {name!r}, which is no input of the graph, no golden output and "
                f"not {labels[-1]}",
                next=f"expected are {', '.join([*wanted, labels[-1], *outputs])}",
            )
        actual = f"{values.dtype} of shape {values.shape}"
        if tensor is None:
            first = graph.tensors[graph.outputs[0]]
            targets = values.dtype == np.float32 and values.shape[1:] == (first.size,)
            if not targets and (values.ndim != 1 or values.dtype.kind not in "iu"):
                raise PackageError(f"{name} is {actual}, expected integers of shape (N,)")
            if targets and not np.isfinite(values).all():
                raise PackageError(f"{name} holds NaN or infinity")
        elif values.dtype != tensor.numpy_dtype or values.shape[1:] != tensor.shape:
            shape = ", ".join(map(str, tensor.shape))
            raise PackageError(f"{name} is {actual}, expected {tensor.numpy_dtype} (N, {shape})")
        if not len(values):
            raise PackageError(
                f"{name} holds no sample", "an empty test part", "give at least 1 sample"
            )
        if samples not in (-1, len(values)):
            raise PackageError(
                f"{name} holds {len(values)} samples, {next(iter(vectors))} {samples}",
                "inputs, labels and golden outputs of different samples",
            )
        samples = len(values)
        if tensor is not None and tensor.dtype == "bit" and values.max() > 1:
            raise PackageError(f"{name} holds {values.max()} where a spike is 0 or 1")


def _check_manifest(manifest: Mapping[str, Any]) -> None:
    try:
        check_fields(Manifest, "the manifest", manifest)
    except GraphError as e:
        raise PackageError(str(e), "it was not written by this program") from e


def _check_plugins(needed: Mapping[str, str]) -> None:
    """Refuse a package whose operators are those of a plug-in that is missing or broken."""
    there = {plugin.package: plugin for plugin in plugins()}
    faults = operator_registry().faults
    for name, version in needed.items():
        if name not in there:
            raise PackageError(
                f"it holds operators of the plug-in {name} {version!a:.32}, which is not installed",
                "it was made where that plug-in is",
                f"pip install {name}    (a plug-in is code: install it if you trust its makers)",
            )
        if (plugin := there[name]) in faults:
            raise PackageError(
                f"it holds operators of the plug-in {name}, which is broken: {faults[plugin]}",
                f"{name} {plugin.version} has a defect, or does not fit this Spikelet",
                "`spikelet doctor` names broken plug-ins and how to mend them",
            )


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()


def _arrays(contents: Mapping[str, bytes], member: str, most: int) -> dict[str, Array]:
    """The arrays of a member; raises Unreadable with its name."""
    try:
        return read_arrays(contents[member], most)
    except (Unreadable, *UNREADABLE) as error:
        raise Unreadable(f"{member}: {error}") from error


def _npz(arrays: Mapping[str, Array]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **{k: arrays[k] for k in sorted(arrays)})
    return buffer.getvalue()


def _read(path: Path, data: bytes | None) -> dict[str, bytes]:
    """Members of the file, or of its bytes where these were read before."""
    if path.is_dir():
        raise PackageError(
            f"package {path}: is a folder, not a file",
            "a package is one file, NAME.spk; a recipe's folder is for `spikelet train`",
            "give the file",
        )
    if not path.is_file():
        raise PackageError(
            f"package {path}: no such file",
            "a wrong path, or it was not trained yet",
            "`spikelet train MODEL_DIR` or `spikelet import FILE` makes one",
        )
    if path.suffix.lower() in (".onnx", ".tflite"):
        raise PackageError(
            f"package {path}: is a model file, not a package",
            "it was not imported yet",
            f"`spikelet import {path}` makes a package of it",
        )
    try:
        with zipfile.ZipFile(path if data is None else io.BytesIO(data)) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            wanted = (*MEMBERS, SHA256)
            missing = [name for name in wanted if name not in sizes]
            if missing:
                raise PackageError(
                    f"package {path}: {', '.join(missing)} is missing",
                    "it is not a Spikelet package, or of an earlier version",
                    _AGAIN,
                )
            if len(archive.infolist()) != len(wanted):
                others = sorted(set(sizes) - set(wanted)) or ["one of them twice"]
                raise PackageError(
                    f"package {path}: it holds {others[0]!a:.60}, which no package has",
                    "it was not written by this program",
                    _AGAIN,
                )
            total = sum(sizes.values())
            if total > _LIMIT_BYTES:
                raise _exhausting(path, f"its members take {total} bytes", _LIMIT_BYTES, "")
            return {name: _member(archive, path, name) for name in wanted}
    except PackageError:
        raise
    except UNREADABLE as e:
        raise PackageError(
            f"package {path}: not a readable zip ({e})",
            "the file is truncated or damaged",
            "copy it again, or make it again with `spikelet train`",
        ) from e


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> bytes:
    """One member, within its limit, whatever the zip says of its size."""
    with archive.open(name) as f:
        size, limit = archive.getinfo(name).file_size, _LIMITS[name]
        data = b"" if size > limit else f.read(limit + 1)
    if size > limit or len(data) > limit:
        raise _exhausting(path, f"{name} takes {max(size, len(data))} bytes", limit, name)
    return data


def _exhausting(path: Path, what: str, limit: int, name: str) -> PackageError:
    return PackageError(
        f"package {path}: {what}, more than {limit}",
        "it is not a Spikelet package, or it was made to exhaust the memory",
        _AGAIN if name in MEMBERS[:2] else "give fewer samples, or make it again",
    )


def _parse(path: Path, name: str, data: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError, MemoryError) as e:
        raise PackageError(f"package {path}: {name} is not JSON ({e})") from e
    if not isinstance(parsed, dict):
        raise PackageError(f"package {path}: {name} is not a JSON object")
    return parsed
