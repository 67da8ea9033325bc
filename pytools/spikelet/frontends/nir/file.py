"""A NIR file as plain, checked data; nothing behind this file touches HDF5 or the package `nir`.

The file is read by `hdf5.py`, in a process of its own. Here every array comes to belong to a node
that is known.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array
from spikelet.refusal import ImportRefused, refuse, shorten

MAX_FILE_BYTES = 64 << 20
MAX_NODES = 1024
MAX_EDGES = 8192
MAX_DEPTH = 16  # groups within groups
MAX_NAME = 200
READ_SECONDS = 60.0  # that HDF5's library may take

# Fields that a node must have, and those that it may have.
FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Input": (("shape",), ()),
    "Output": (("shape",), ()),
    "NIRGraph": (("nodes", "edges"), ()),
    "Linear": (("weight",), ()),
    "Affine": (("weight", "bias"), ()),
    "Scale": (("scale",), ()),
    "Delay": (("delay",), ()),
    "Conv1d": (("weight", "bias", "stride", "padding", "dilation", "groups"), ("input_shape",)),
    "Conv2d": (("weight", "bias", "stride", "padding", "dilation", "groups"), ("input_shape",)),
    "SumPool2d": (("kernel_size", "stride", "padding"), ()),
    "AvgPool2d": (("kernel_size", "stride", "padding"), ()),
    "Flatten": (("start_dim", "end_dim"), ("input_type",)),
    "Threshold": (("threshold",), ()),
    "I": (("r",), ()),
    "IF": (("r", "v_threshold"), ("v_reset",)),
    "LI": (("tau", "r", "v_leak"), ()),
    "LIF": (("tau", "r", "v_leak", "v_threshold"), ("v_reset",)),
    "CubaLI": (("tau_syn", "tau_mem", "r", "v_leak"), ("w_in",)),
    "CubaLIF": (("tau_syn", "tau_mem", "r", "v_leak", "v_threshold"), ("v_reset", "w_in")),
}
SUPPORTED = f"nodes that are read: {', '.join(FIELDS)}"
Tree = dict[str, Any]  # of groups: text, arrays, or trees


@dataclass(frozen=True)
class FileNode:
    """One node of the file.

    Attributes:
        path: its name, behind those of the graphs that it is in.
        kind: in NIR's words, such as LIF.
        fields: arrays or text, by NIR's names.
        metadata: as it stands in the file.
        nodes: of a graph, by name.
        edges: of a graph, from and to.
    """

    path: str
    kind: str
    fields: dict[str, Array | str]
    metadata: Tree
    nodes: dict[str, FileNode] = field(default_factory=dict)
    edges: tuple[tuple[str, str], ...] = ()

    def refuse(self, reason: str, supported: str = "") -> ImportRefused:
        """An error that names the node."""
        return refuse(self.path or "the graph", self.kind, reason, supported, {})

    def real(self, name: str) -> Array:
        """A field of finite numbers, float64."""
        values = self.fields[name]
        if isinstance(values, str) or values.dtype.kind not in "fiu":
            raise self.refuse(f"{name} is no array of numbers")
        real = values.astype(np.float64)
        if not np.isfinite(real).all():
            raise self.refuse(f"{name} holds {_unreal(real)}", "export it with finite numbers")
        return real

    def whole(self, name: str, count: int) -> tuple[int, ...]:
        """A field of `count` integers, one of which may stand for all."""
        values = self.real(name).reshape(-1)
        if values.size not in (1, count) or (values != np.round(values)).any():
            raise self.refuse(f"{name} is {values.tolist()!s:.60}, expected {count} integers")
        if (np.abs(values) > 1 << 20).any():
            raise self.refuse(f"{name} is {values.tolist()!s:.60}, far too large")
        return tuple(int(v) for v in np.resize(values, count))


def _unreal(values: Array) -> str:
    index = int(np.flatnonzero(~np.isfinite(values.reshape(-1)))[0])
    return f"{values.reshape(-1)[index]} in element {index}"


def read(path: Path) -> tuple[FileNode, str]:
    """The graph of a file, and the file's SHA-256.

    Raises:
        UsageError: the file is not there, or the package h5py is not.
        ImportRefused: it is damaged, no NIR file, or holds what is not read, by the node's name.
    """
    path = Path(path)
    if importlib.util.find_spec("h5py") is None:
        raise UsageError(
            "the package `h5py` is not installed",
            "Spikelet was installed without what NIR files need",
            "pip install 'spikelet[nir]'",
        )
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ImportRefused(
                f"model {path}: {size} bytes, more than {MAX_FILE_BYTES}",
                "a network that is not for a microcontroller",
            )
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"model {path}: {error.strerror}", next="give a .nir file") from error
    tree = _tree(path, data)
    if not isinstance(tree.get("node"), dict):
        raise ImportRefused(
            f"model {path}: an HDF5 file without NIR's group `node`",
            "another format that is kept in HDF5",
            "write it with nir.write",
        )
    return graph_of_tree(tree["node"]), hashlib.sha256(data).hexdigest()


def graph_of_tree(tree: Mapping[str, Any]) -> FileNode:
    """The graph of a file's contents, or of what `to_dict` of the package `nir` gives."""
    root = _node(tree, "", 0)
    if root.kind != "NIRGraph":
        raise root.refuse("a single node is no network", "put it into a NIRGraph")
    return root


def _tree(path: Path, data: bytes) -> Tree:
    """Groups and arrays of a file.

    A process of its own reads them: from a damaged file HDF5's library does not always come back.
    """
    command = [sys.executable, "-P", str(Path(__file__).with_name("hdf5.py"))]
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=READ_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _damaged(path, f"HDF5's library read it for {READ_SECONDS} s") from error
    try:
        answer = np.load(io.BytesIO(done.stdout), allow_pickle=False)
        said = json.loads(bytes(answer["said"]))
    except (ValueError, OSError, KeyError, EOFError) as error:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise _damaged(
            path, f"its reader ended with {done.returncode}{': ' if last else ''}{''.join(last)}"
        ) from error
    if "refused" in said:
        raise ImportRefused(*said["refused"])
    if "damaged" in said:
        raise _damaged(path, said["damaged"])
    made: Tree = _with_arrays(said["tree"], answer)
    return made


def _damaged(path: Path, what: str) -> ImportRefused:
    return ImportRefused(
        f"model {path}: not a readable NIR file ({what:.200})",
        "another format, or the file is truncated or damaged",
        "write it again with nir.write",
    )


def _with_arrays(entry: Any, answer: Mapping[str, Array]) -> Any:
    """What `hdf5.py` wrote of a group, an array or text."""
    kind, value = entry
    if kind == "group":
        return {name: _with_arrays(each, answer) for name, each in value.items()}
    if kind == "array":
        return answer[value]
    return np.asarray(value, dtype=object) if kind == "texts" else value


def _node(tree: Mapping[str, Any], path: str, depth: int) -> FileNode:
    if not isinstance(tree, Mapping):
        raise ImportRefused(f"node {shorten(path)!r}: no node of NIR")
    kind = tree.get("type")
    kind = kind.decode("utf-8", "replace") if isinstance(kind, bytes) else kind
    kind = shorten(kind) if isinstance(kind, str) else "no type"
    metadata = tree.get("metadata") or {}
    metadata = metadata if isinstance(metadata, Mapping) else {}
    node = FileNode(path, kind, {}, dict(metadata))
    if kind not in FIELDS:
        raise node.refuse("not read", SUPPORTED)
    if depth > MAX_DEPTH:
        raise node.refuse(f"graphs nest deeper than {MAX_DEPTH}")
    needed, optional = FIELDS[kind]
    there = {name: tree[name] for name in tree if name not in ("type", "metadata")}
    there = {name: value for name, value in there.items() if value is not None}
    if missing := [name for name in needed if name not in there]:
        raise node.refuse(f"without {', '.join(missing)}", f"it has {', '.join(needed)}")
    if unknown := sorted(set(there) - {*needed, *optional}):
        raise node.refuse(
            f"with {shorten(str(unknown[0]))}, which NIR 1.0 does not have",
            f"it has {', '.join((*needed, *optional))}",
        )
    if kind == "NIRGraph":
        return _graph(node, there, depth)
    node.fields.update({name: _field(node, name, value) for name, value in there.items()})
    return node


def _field(node: FileNode, name: str, value: Any) -> Array | str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    if hasattr(value, "detach"):  # snnTorch leaves tensors in its graphs
        value = value.detach().cpu().numpy()
    if isinstance(value, Mapping):
        raise node.refuse(f"{name} is a group, expected an array")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise node.refuse(f"{name} is of {array.dtype}, expected numbers")
    return array


def _graph(node: FileNode, there: Mapping[str, Any], depth: int) -> FileNode:
    nodes, edges = there["nodes"], there["edges"]
    if not isinstance(nodes, Mapping) or not nodes:
        raise node.refuse("a graph without nodes")
    if len(nodes) > MAX_NODES or len(edges) > MAX_EDGES:
        raise node.refuse(f"{len(nodes)} nodes, {len(edges)} edges", "smaller networks are read")
    made = {}
    for key, tree in nodes.items():
        name = str(key)
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise node.refuse(f"a node is called {shorten(name)!r}")
        made[name] = _node(tree, f"{node.path}.{name}" if node.path else name, depth + 1)
    pairs = []
    for edge in edges:
        pair = tuple(e.decode("utf-8", "replace") if isinstance(e, bytes) else e for e in edge)
        if len(pair) != 2 or not all(isinstance(end, str) and end in made for end in pair):
            raise node.refuse(f"edge {shorten(str(pair))} leads to no node of the graph")
        pairs.append((pair[0], pair[1]))
    if len(set(pairs)) != len(pairs):
        raise node.refuse("two edges from one node to the same other one", "use one of them")
    return FileNode(node.path, node.kind, {}, node.metadata, made, tuple(pairs))
