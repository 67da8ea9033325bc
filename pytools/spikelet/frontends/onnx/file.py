"""An ONNX file as plain, checked data; nothing behind this file touches protobuf.

Before protobuf may build anything, the wire format is walked and its fields are counted: a few
megabytes of empty messages would else become gigabytes. Every constant has the bytes that its shape
asks for, every shape is small enough for a microcontroller, every name is written once and before
it is read, and every node has the inputs and attributes that its operator's schema allows.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.frontends.packed import packed_bytes, unpack
from spikelet.graph import Array
from spikelet.refusal import ImportRefused, refuse, shorten

MAX_FILE_BYTES = 64 << 20  # of the file, and of all its external data
MAX_FIELDS = 1 << 19  # of the wire format
MAX_DEPTH = 32  # of messages in messages
MAX_ELEMENTS = 1 << 22  # of one activation: 4 MiB, more than any microcontroller's RAM
MAX_NODES = 4096
MAX_RANK = 6
OLDEST_OPSET = 7
QONNX = "qonnx.custom_op.general"
DOMAINS = ("", "com.microsoft", QONNX)
_ALIASES = {"ai.onnx": "", "onnx.brevitas": QONNX}

_DAMAGED = (ValueError, TypeError, OverflowError, IndexError, KeyError, AttributeError)
# By number in onnx.TensorProto.DataType; others have no place in a network of int8.
TYPES = {1: "<f4", 2: "<u1", 3: "<i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2",
          11: "<f8", 12: "<u4", 13: "<u8"}  # fmt: skip
# Of less than 8 bits, by number: how many, and the type that they are unpacked to.
PACKED = {21: (4, "<u1"), 22: (4, "<i1"), 25: (2, "<u1"), 26: (2, "<i1")}


@dataclass(frozen=True)
class FileInput:
    """A graph input: what a host gives.

    Attributes:
        name: as in the file.
        dtype: of its elements.
        shape: a batch axis without a size is 1.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class FileNode:
    """One operator; its schema's defaults are among the attributes.

    Attributes:
        kind: the operator's name.
        domain: "" for ONNX's own, or com.microsoft.
        name: the node's own, or that of its first output.
        inputs: names of tensors, "" where an optional one is not there.
        outputs: likewise.
        attributes: int, float, str, numpy array, or lists of them.
    """

    kind: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def refuse(self, reason: str, supported: str = "") -> ImportRefused:
        """An error that names it."""
        shown = {k: _shorten(v) for k, v in self.attributes.items()}
        return refuse(self.name, self.kind, reason, supported, shown)


@dataclass(frozen=True)
class FileModel:
    """The graph of a file, in order of execution, without what no output needs.

    `declared` are the shapes that the file tells of computed tensors; None for an axis of no size.
    `bits` are those of constants that lie packed in the file, by name.
    """

    inputs: list[FileInput]
    outputs: list[str]
    nodes: list[FileNode]
    constants: dict[str, Array]
    opset: int
    declared: dict[str, tuple[int | None, ...]]
    bits: dict[str, int]


def read(path: Path) -> FileModel:
    """Read and check a file.

    Raises:
        ImportRefused: it is not there, damaged, too large, or holds what no operator could carry.
    """
    if not path.is_file():
        raise ImportRefused(f"model {path}: no such file", "a wrong path", "give an .onnx file")
    _check_size(path, path.stat().st_size)
    return parse(path.read_bytes(), str(path), path.parent)


def parse(data: bytes, source: str, folder: Path | None = None) -> FileModel:
    """The same from bytes.

    Args:
        data: the file.
        source: names it in errors.
        folder: where external data may lie; None for nowhere.
    """
    onnx = onnx_module()
    _check_size(source, len(data))
    try:
        _count_fields(data, onnx.ModelProto.DESCRIPTOR)
        model = onnx.ModelProto.FromString(data)
        return _Reader(onnx, model, source, folder).model()
    except (*_DAMAGED, _decode_error()) as error:
        raise ImportRefused(
            f"model {source}: not a readable ONNX file ({type(error).__name__}: {error})",
            "another format, or the file is truncated or damaged",
            "copy or export it again",
        ) from error


def onnx_module() -> Any:
    """The package `onnx`; raises UsageError where it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise UsageError(
            "the package `onnx` is not installed",
            "Spikelet was installed without what imports need",
            "pip install 'spikelet[import]'",
        ) from error
    return onnx


def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError

    error: type[Exception] = DecodeError
    return error


def _check_size(source: object, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise ImportRefused(
            f"model {source}: {size} bytes, more than {MAX_FILE_BYTES}",
            "a network that is not for a microcontroller",
        )


def _count_fields(data: bytes, descriptor: Any) -> None:
    """Walk the wire format; ValueError where it ends too early, or holds too many fields."""
    nested: dict[Any, dict[int, Any]] = {}
    pending, left = [(0, len(data), descriptor, 0)], MAX_FIELDS
    while pending:
        at, end, kind, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"messages nest deeper than {MAX_DEPTH}")
        if kind not in nested:
            nested[kind] = {f.number: f.message_type for f in kind.fields if f.message_type}
        while at < end:
            left -= 1
            if left < 0:
                raise ValueError(f"it has more than {MAX_FIELDS} fields")
            tag, at = _varint(data, at, end)
            wire = tag & 7
            if wire == 0:
                _, at = _varint(data, at, end)
                continue
            size = {1: 8, 5: 4}.get(wire, -1)
            if wire == 2:
                size, at = _varint(data, at, end)
            if size < 0 or at + size > end:
                raise ValueError(f"a field of wire type {wire} at byte {at} reaches beyond its end")
            if wire == 2 and (inner := nested[kind].get(tag >> 3)) is not None:
                pending += [(at + size, end, kind, depth), (at, at + size, inner, depth + 1)]
                break
            at += size


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError(f"a number at byte {at} does not end")


class _Reader:
    def __init__(self, onnx: Any, model: Any, source: str, folder: Path | None) -> None:
        self.onnx = onnx
        self.proto = model
        self.source = source
        self.folder = folder
        self.external = 0  # bytes that were read from other files

    def error(self, text: str, cause: str = "a damaged or unusual file", next: str = "") -> Any:
        return ImportRefused(f"model {self.source}: {text}", cause, next)

    def model(self) -> FileModel:
        graph = self.proto.graph
        if not graph.node:
            raise self.error("no node in it", "an empty, truncated or damaged file")
        opset = self.opset()
        if graph.sparse_initializer:
            name = _text(graph.sparse_initializer[0].values.name)
            raise self.error(f"constant {shorten(name)!r} is sparse", "", "dense constants only")
        if len(graph.node) > MAX_NODES or len(graph.initializer) > MAX_NODES:
            raise self.error(
                f"{len(graph.node)} nodes and {len(graph.initializer)} constants, "
                f"at most {MAX_NODES}",
                "a network that is not for a microcontroller",
            )
        constants: dict[str, Array] = {}
        bits: dict[str, int] = {}
        for tensor in graph.initializer:
            name = _text(tensor.name)
            if not name or name in constants:
                raise self.error(f"two constants are named {shorten(name)!r}")
            constants[name] = self.array(tensor, f"constant {shorten(name)!r}")
            if tensor.data_type in PACKED:
                bits[name] = PACKED[tensor.data_type][0]
        inputs = [self.input(value) for value in graph.input if _text(value.name) not in constants]
        nodes = [self.node(proto, i, opset) for i, proto in enumerate(graph.node)]
        outputs = list(dict.fromkeys(_text(value.name) for value in graph.output))
        if not inputs or not outputs:
            raise self.error(
                f"{len(inputs)} inputs and {len(outputs)} outputs: expected at least one of each"
            )
        self.check_order(inputs, outputs, nodes, constants)
        declared = {
            _text(value.name): tuple(
                int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else None
                for d in value.type.tensor_type.shape.dim
            )
            for value in (*graph.value_info, *graph.output)
            if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape")
        }
        needed = _needed_nodes(nodes, outputs)
        return FileModel(inputs, outputs, needed, constants, opset, declared, bits)

    def opset(self) -> int:
        newest = int(self.onnx.defs.onnx_opset_version())
        versions = {o.domain if o.domain != "ai.onnx" else "": o.version
                 for o in self.proto.opset_import}  # fmt: skip
        version = int(versions.get("", 0))
        if not OLDEST_OPSET <= version <= newest:
            raise self.error(
                f"opset {version or 'not given'}, expected {OLDEST_OPSET} to {newest}",
                "a very old or a newer exporter",
                "onnx.version_converter.convert_version(model, 17) brings a model to another opset",
            )
        return version

    def input(self, value: Any) -> FileInput:
        name = _text(value.name)
        where = f"input {shorten(name)!r}"
        if not value.type.HasField("tensor_type"):
            raise self.error(f"{where} is no tensor", "a sequence, a map or an optional")
        kind = value.type.tensor_type
        if kind.elem_type not in TYPES:
            raise self.error(f"{where} is {self.type_name(kind.elem_type)}", "", _known_types())
        if not kind.HasField("shape"):
            raise self.error(f"{where} has no shape", "", "export it with a shape")
        shape = [self.dimension(d, i, name) for i, d in enumerate(kind.shape.dim)]
        if not 1 <= len(shape) <= MAX_RANK or math.prod(shape) > MAX_ELEMENTS:
            raise self.error(
                f"{where} has shape {tuple(shape)}: expected 1 to {MAX_RANK} dimensions and at "
                f"most {MAX_ELEMENTS} elements"
            )
        return FileInput(name, np.dtype(TYPES[kind.elem_type]), tuple(shape))

    def dimension(self, dim: Any, axis: int, input_name: str) -> int:
        where = f"input {shorten(input_name)!r}"
        size = int(dim.dim_value)
        if dim.HasField("dim_value") and (size >= 1 or axis > 0):
            if size < 1:
                raise self.error(f"{where} has {size} elements in axis {axis}, expected 1 or more")
            return size
        if axis == 0:
            return 1
        name = shorten(_text(dim.dim_param))
        tool = "python -m onnxruntime.tools.make_dynamic_shape_fixed"
        fix = (
            f"{tool} --dim_param {shlex.quote(name)} --dim_value SIZE IN.onnx OUT.onnx"
            if name
            else f"{tool} --input_name {shlex.quote(input_name)} --input_shape 1,... IN.onnx "
            "OUT.onnx, with a size for each axis"
        )
        raise self.error(
            f"{where} has no fixed size in axis {axis} ({name or 'which has no name'})",
            "it was exported with dynamic axes; only the batch axis may be",
            f"export it with fixed shapes, or fix them: {fix}",
        )

    def type_name(self, number: int) -> str:
        names = {v: k for k, v in self.onnx.TensorProto.DataType.items()}
        return str(names.get(number, f"type {number}"))

    def array(self, tensor: Any, where: str) -> Array:
        """The values of a tensor of the file."""
        packed, kind = PACKED.get(tensor.data_type, (0, TYPES.get(tensor.data_type, "")))
        if not kind:
            raise self.error(f"{where} is {self.type_name(tensor.data_type)}", "", _known_types())
        dtype, dims = np.dtype(kind), tuple(int(d) for d in tensor.dims)
        if len(dims) > MAX_RANK or any(not 0 <= d < 1 << 31 for d in dims):
            raise self.error(f"{where} has shape {dims[:8]}")
        count = math.prod(dims)
        size = packed_bytes(count, packed) if packed else count * dtype.itemsize
        if tensor.HasField("segment"):
            raise self.error(f"{where} comes in segments", "", "whole constants only")
        if tensor.data_location == self.onnx.TensorProto.EXTERNAL:
            raw = self.external_bytes(tensor, where, size)
        elif tensor.HasField("raw_data"):
            raw = tensor.raw_data
        elif packed:
            raw = self.typed_values(tensor, where, np.dtype("<u1"), (size,)).tobytes()
        else:
            return self.typed_values(tensor, where, dtype, dims)
        if len(raw) != size:
            kind = f"{packed} bits each" if packed else str(dtype)
            raise self.error(
                f"{where} is {kind} of shape {dims}: {size} bytes, its data has {len(raw)}"
            )
        if packed:
            return unpack(raw, packed, dtype, count).reshape(dims)
        values: Array = np.frombuffer(raw, dtype).reshape(dims)
        return values

    def typed_values(
        self, tensor: Any, where: str, dtype: np.dtype[Any], dims: tuple[int, ...]
    ) -> Array:
        """Values from the fields that have a type of their own."""
        field, wide = {
            "f4": ("float_data", "<f4"), "f8": ("double_data", "<f8"), "i8": ("int64_data", "<i8"),
            "u4": ("uint64_data", "<u8"), "u8": ("uint64_data", "<u8"),
        }.get(dtype.str[1:], ("int32_data", "<i4"))  # fmt: skip
        stored = np.array(getattr(tensor, field), wide)
        if len(stored) != math.prod(dims):
            raise self.error(f"{where} has shape {dims}, its {field} {len(stored)} values")
        if dtype == np.float16:
            return stored.astype(np.uint16).view("<f2").reshape(dims)
        values: Array = stored.astype(dtype)
        if not np.array_equal(values, stored, equal_nan=dtype.kind == "f"):
            raise self.error(f"{where} holds values that are not {dtype}")
        return values.reshape(dims)

    def external_bytes(self, tensor: Any, where: str, wanted: int) -> bytes:
        """Data in another file, which must lie in the model's folder."""
        entries = {_text(e.key): _text(e.value) for e in tensor.external_data}
        name = entries.get("location", "")
        if self.folder is None:
            raise self.error(
                f"{where} has its data in the file {shorten(name)!r}, not in the model"
            )
        folder = self.folder.resolve()
        path = (folder / name).resolve()
        if not name or not path.is_relative_to(folder) or not path.is_file():
            raise self.error(
                f"{where} has its data in {shorten(name)!r}, which is no file in {folder}",
                "the file of external data was not copied, or the model names a place outside of "
                "its folder",
                "put both files into one folder",
            )
        start, length = int(entries.get("offset", 0)), int(entries.get("length", wanted))
        self.external += length
        _check_size(path, self.external)
        if start < 0 or length != wanted or start + length > path.stat().st_size:
            raise self.error(
                f"{where} asks for {length} bytes from byte {start} of {name}: its shape needs "
                f"{wanted}, the file has {path.stat().st_size}"
            )
        with path.open("rb") as file:
            file.seek(start)
            data: bytes = file.read(length)
        return data

    def node(self, proto: Any, index: int, opset: int) -> FileNode:
        inputs, outputs = (tuple(map(_text, names)) for names in (proto.input, proto.output))
        domain = _text(proto.domain)
        domain = _ALIASES.get(domain, domain)
        name = _text(proto.name) or next(filter(None, outputs), "") or f"node {index}"
        kind = _text(proto.op_type)
        node = FileNode(kind, domain, name, inputs, outputs, {})
        if domain not in DOMAINS:
            raise node.refuse(
                f"it is of the domain {shorten(domain)!r}",
                f"operators of ONNX, quantised ones of com.microsoft, and those of {QONNX}",
            )
        attributes = {_text(a.name): self.attribute(node, a) for a in proto.attribute}
        if len(attributes) != len(proto.attribute):
            raise node.refuse("an attribute is given twice")
        node = FileNode(kind, domain, name, inputs, outputs, attributes)
        if domain == "":
            node = self.with_schema(node, opset)
        return node

    def attribute(self, node: FileNode, field: Any) -> Any:
        kinds = self.onnx.AttributeProto
        if field.type in (kinds.GRAPH, kinds.GRAPHS):
            raise node.refuse(
                f"its attribute {field.name} is a subgraph: control flow is not supported",
                "export the network with fixed branches and unrolled loops",
            )
        if field.ref_attr_name or field.type not in (
            kinds.FLOAT, kinds.INT, kinds.STRING, kinds.TENSOR, kinds.FLOATS, kinds.INTS,
            kinds.STRINGS,
        ):  # fmt: skip
            raise node.refuse(f"its attribute {field.name} is of a kind that is not supported")
        if field.type == kinds.TENSOR:
            return self.array(field.t, f"attribute {field.name} of node {shorten(node.name)!r}")
        value = self.onnx.helper.get_attribute_value(field)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, int | float):
            return value
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value]

    def with_schema(self, node: FileNode, opset: int) -> FileNode:
        """Checked against the operator's schema, its defaults filled in."""
        defs = self.onnx.defs
        try:
            schema = defs.get_schema(node.kind, opset, "")
        except defs.SchemaError:
            raise node.refuse(f"opset {opset} has no such operator") from None
        for what, count, least, most in (
            ("inputs", node.inputs, schema.min_input, schema.max_input),
            ("outputs", node.outputs, schema.min_output, schema.max_output),
        ):
            if not least <= len(count) <= most:
                raise node.refuse(f"{len(count)} {what}, expected {least} to {most}")
        for name, value in node.attributes.items():
            if name not in schema.attributes:
                raise node.refuse(f"opset {opset} has no attribute {name} in it")
            wanted = schema.attributes[name].type.name
            if _kind(value) != wanted and not (value == [] and wanted.endswith("S")):
                raise node.refuse(f"attribute {name} is {_kind(value)}, expected {wanted}")
        filled = dict(node.attributes)
        for name, attribute in schema.attributes.items():
            if name in filled:
                continue
            if attribute.required:
                raise node.refuse(f"attribute {name} is missing")
            if attribute.default_value.name:
                filled[name] = self.attribute(node, attribute.default_value)
        return FileNode(node.kind, "", node.name, node.inputs, node.outputs, filled)

    def check_order(
        self, inputs: list[FileInput], outputs: list[str], nodes: list[FileNode],
        constants: Mapping[str, Array],
    ) -> None:  # fmt: skip
        """Every tensor is written once, and before it is read."""
        known = set(constants)
        for i in inputs:
            if i.name in known or not i.name:
                raise self.error(f"two tensors are named {shorten(i.name)!r}")
            known.add(i.name)
        every = {name for node in nodes for name in node.outputs}
        for node in nodes:
            for name in filter(None, node.inputs):
                if name not in known:
                    what = "which nothing writes"
                    if name in every:
                        what = "which is written only behind it: nodes out of order, or a cycle"
                    raise node.refuse(f"it reads {shorten(name)!r}, {what}")
            if not any(node.outputs):
                raise node.refuse("it writes nothing")
            for name in filter(None, node.outputs):
                if name in known:
                    raise node.refuse(f"it writes {shorten(name)!r}, which has a value already")
                known.add(name)
        for name in outputs:
            if name not in known:
                raise self.error(f"output {shorten(name)!r} is written by no node")


def _text(value: str | bytes) -> str:
    """A string of the file; protobuf gives bytes where they are no UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


def _kind(value: Any) -> str:
    """An attribute's type in the words of the schema."""
    if isinstance(value, np.ndarray):
        return "TENSOR"
    if isinstance(value, list):
        return f"{_kind(value[0])}S" if value else "INTS"
    return "INT" if isinstance(value, int) else "FLOAT" if isinstance(value, float) else "STRING"


def _shorten(value: Any) -> Any:
    """An attribute, short enough for a message."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return shorten(str(value), 40) if isinstance(value, list | str) else value


def _known_types() -> str:
    return f"types: {', '.join(sorted(np.dtype(t).name for t in TYPES.values()))}"


def _needed_nodes(nodes: list[FileNode], outputs: Sequence[str]) -> list[FileNode]:
    """The nodes that an output depends on, in order."""
    wanted = set(outputs)

    def backwards() -> Iterator[FileNode]:
        for node in reversed(nodes):
            if wanted.intersection(filter(None, node.outputs)):
                wanted.update(node.inputs)
                yield node

    return list(backwards())[::-1]
