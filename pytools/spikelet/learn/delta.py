"""A delta in a file, NAME.spkd: the values of an adapter of one base.

As a learned state it is an .npz file with one array a tensor and a manifest with a hash over all.
It is put into the places that `spikelet.graph.adapted` makes in its base; see DESIGN.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikelet.graph import Array, Graph, GraphError
from spikelet.graph.adapted import HEAD, SCHEMA, Adapter, base_sha256, with_places
from spikelet.learn.state import (
    FORMAT,
    StateError,
    Words,
    checked_values,
    read_values,
    values_sha256,
    write_values,
)
from spikelet.package import Package
from spikelet.signing import (
    DELTA,
    expect_sealed,
    read_sealed,
    read_signed,
    sealed_state,
    tagged,
)
from spikelet.text import brief_repr

_WORDS = Words("a delta", "`spikelet adapt` makes one", "make it again with `spikelet adapt`")
_KINDS = {"base_sha256": str, "graph": str, "adapter": dict, "schema": int}


@dataclass(frozen=True, eq=False)
class Delta:
    """The values of an adapter.

    Attributes:
        base_sha256: of the base, see `spikelet.graph.adapted.base_sha256`.
        graph: the base's name.
        adapter: which values there are.
        tensors: by name.
        sealed: what lay beside the file, NAME.spkd.state, for a device with a key; empty without.
    """

    base_sha256: str
    graph: str
    adapter: Adapter
    tensors: dict[str, Array]
    sealed: bytes = b""

    __repr__ = brief_repr

    @classmethod
    def of(cls, base: Graph, adapter: Adapter, tensors: Mapping[str, Array]) -> Delta:
        """Of a base; raises StateError where tensors do not fit their places."""
        checked = checked_values(with_places(base, adapter), tensors, "the delta")
        return cls(base_sha256(base), base.name, adapter, checked)

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes of the layers' deltas, and of a whole matrix of the last layer: delta, head."""
        head = sum(v.nbytes for n, v in self.tensors.items() if _is_head(n))
        return {"delta": sum(v.nbytes for v in self.tensors.values()) - head, "head": head}

    @property
    def sha256(self) -> str:
        """Hash of all of it, in hexadecimal."""
        return values_sha256(self._about(), self.tensors)

    def _about(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "schema": SCHEMA,
            "base_sha256": self.base_sha256,
            "graph": self.graph,
            "adapter": self.adapter.to_json(),
        }

    def save(self, path: Path | str) -> None:
        """Write the file."""
        write_values(Path(path), self._about(), self.tensors)

    @classmethod
    def load(cls, path: Path | str, package: Package, trusted: Path | None = None) -> Delta:
        """Read a file.

        Args:
            path: of the file.
            package: the base, or the base with places.
            trusted: as of `Package.load`.

        Raises:
            StateError: no such file, damaged, of another schema or base, or with values that its
                places do not take.
            SignatureError: it is not signed by the key that is asked for, or older than one that
                was seen.
        """
        path = Path(path)
        return read_signed(path, trusted, DELTA, lambda data: cls._read(path, package, data))

    @classmethod
    def unsigned(cls, path: Path, package: Package) -> Delta:
        """As `load`, whoever made it: of who is to sign it."""
        return cls._read(path, package, None)

    @classmethod
    def _read(cls, path: Path, package: Package, data: bytes | None) -> Delta:
        tensors, about = read_values(path, _KINDS, _WORDS, data)
        if about["schema"] != SCHEMA:
            raise StateError(
                f"{path}: a delta of schema {about['schema']}, not {SCHEMA}",
                "it was made by another version of Spikelet",
                _WORDS.again,
            )
        try:
            adapter = Adapter(**about["adapter"])
        except (GraphError, TypeError) as error:
            raise StateError(f"{path}: {error}", _WORDS.other, _WORDS.again) from error
        delta = cls(about["base_sha256"], about["graph"], adapter, tensors, read_sealed(path))
        graph = delta.places(package).graph
        checked = checked_values(graph, tensors, str(path))
        return dataclasses.replace(delta, tensors=checked)

    def places(self, package: Package) -> Package:
        """The package with places for it, what a device is to hold; it may have them already.

        Raises:
            StateError: the package is another base, has places of another adapter, or no layers
                that this one fits.
        """
        noted = package.manifest.get("adapter")
        mine = {"base_sha256": self.base_sha256, **self.adapter.to_json()}
        if noted is not None:
            _expect("base", noted["base_sha256"], mine["base_sha256"], package)
            for name, value in mine.items():
                _expect(name, noted.get(name), value, package)
            return package
        _expect("base", base_sha256(package.graph), self.base_sha256, package)
        try:
            return prepared(package, self.adapter)
        except GraphError as error:
            raise StateError(f"the delta: {error}", _WORDS.other, _WORDS.again) from error

    def put(self, package: Package) -> Package:
        """The package with places that begins with these values: what the device then computes."""
        made = self.places(package)
        learned = [
            dataclasses.replace(k, initial=self.tensors[k.tensor.name]) for k in made.graph.learned
        ]
        graph = dataclasses.replace(made.graph, learned=learned)
        vectors = {n: v for n, v in made.vectors.items() if not n.startswith("golden.")}
        return Package(graph, vectors, made.manifest)

    def wire(self, package: Package) -> dict[str, bytes]:
        """By tensor, the bytes that a device is sent."""
        learned = self.places(package).graph.learned
        return {k.tensor.name: k.tensor.to_bytes(self.tensors[k.tensor.name]) for k in learned}

    def state(self, package: Package) -> bytes:
        """What `NAME_restore` of the C library of `places(package)` takes."""
        return tagged(b"".join(self.wire(package).values()), self.places(package).sha256)

    def signed(self, package: Package) -> bytes:
        """The signed state that lay beside the file; whether it is good the device says.

        Raises:
            SignatureError: there was none, or it is of other values.
        """
        how = "spikelet sign NAME.spkd --key KEY --package PKG"
        return expect_sealed(self.sealed, self.state(package), DELTA, "NAME.spkd", how)

    def signed_state(self, package: Package, key: Path, counter: int) -> bytes:
        """What `NAME_restore_signed` takes: `state`, signed for this package.

        Args:
            package: the base, or the base with places.
            key: of the private key.
            counter: a device that accepted it refuses lower ones.
        """
        values = b"".join(self.wire(package).values())
        return sealed_state(values, self.places(package).sha256, key, counter)


def prepared(package: Package, adapter: Adapter) -> Package:
    """The package with places for an adapter; until a delta is put in, it computes the same."""
    noted: dict[str, Any] = {"base_sha256": base_sha256(package.graph), **adapter.to_json()}
    graph = with_places(package.graph, adapter)
    return Package(graph, package.vectors, {**package.manifest, "adapter": noted})


def _expect(name: str, has: object, wanted: object, package: Package) -> None:
    if has != wanted:
        has, wanted = (str(v)[:16] for v in (has, wanted))
        raise StateError(
            f"the delta is for {name} {wanted}, package {package.graph.name} has {has}",
            "it was made from another package, or with other options",
            "give the package that `spikelet adapt` was given, or make the delta again",
        )


def _is_head(tensor: str) -> bool:
    return tensor.partition(".")[0].endswith(f"_{HEAD}")
