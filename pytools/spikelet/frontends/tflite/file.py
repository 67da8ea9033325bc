"""A TensorFlow Lite file as plain, checked data; nothing behind this file touches the flatbuffer.

The schema's classes (PyPI `tflite`) follow offsets without verifying them. Here every list has a
length that the file could hold, every index is in range, every shape is small enough for a
microcontroller, and whatever a damaged offset makes the reader do ends in an `ImportRefused`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.frontends.packed import packed_bytes, unpack
from spikelet.graph import Array
from spikelet.refusal import ImportRefused, shorten

MAX_FILE_BYTES = 64 << 20
MAX_ELEMENTS = 1 << 22  # of one activation: 4 MiB, more than any microcontroller's RAM
MAX_ALL_ELEMENTS = 1 << 26  # of all activations
MAX_TENSORS = 4096
MAX_OPERATORS = 1024
MAX_INDICES = 1024  # of one operator's inputs
MAX_RANK = 6
MAX_NAME = 1024
MAX_REPEATS = 8  # of a file's bytes: tensors may share a buffer, but not all of them all of it
LARGEST_SCALE = np.float32(2.0**60)  # beyond it, or below its inverse, single precision runs out

# What reading at a damaged offset raises in flatbuffers and numpy.
_DAMAGED = (
    struct.error,
    IndexError,
    TypeError,
    ValueError,
    OverflowError,
    AttributeError,
    KeyError,
    AssertionError,
)
INT4 = "INT4"  # two codes a byte
_NUMPY = {
    INT4: "<i1",
    "INT8": "<i1",
    "UINT8": "<u1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FLOAT16": "<f2",
    "FLOAT32": "<f4",
    "BOOL": "?",
}

# Options by operator: table of the schema and the fields that are read, in the schema's words.
_POOL = ("Pool2DOptions", ("Padding", "StrideW", "StrideH", "FilterWidth", "FilterHeight",
                           "FusedActivationFunction"))  # fmt: skip
OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "CONV_2D": ("Conv2DOptions", ("Padding", "StrideW", "StrideH", "DilationWFactor",
                                  "DilationHFactor", "FusedActivationFunction")),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", (
        "Padding", "StrideW", "StrideH", "DepthMultiplier", "DilationWFactor", "DilationHFactor",
        "FusedActivationFunction")),
    "TRANSPOSE_CONV": ("TransposeConvOptions", ("Padding", "StrideW", "StrideH",
                                                "FusedActivationFunction")),
    "FULLY_CONNECTED": ("FullyConnectedOptions", ("FusedActivationFunction", "WeightsFormat",
                                                  "KeepNumDims")),
    "ADD": ("AddOptions", ("FusedActivationFunction",)),
    "SUB": ("SubOptions", ("FusedActivationFunction",)),
    "MUL": ("MulOptions", ("FusedActivationFunction",)),
    "DIV": ("DivOptions", ("FusedActivationFunction",)),
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "MEAN": ("ReducerOptions", ("KeepDims",)),
    "REDUCE_MAX": ("ReducerOptions", ("KeepDims",)),
    "REDUCE_MIN": ("ReducerOptions", ("KeepDims",)),
    "SOFTMAX": ("SoftmaxOptions", ("Beta",)),
    "GELU": ("GeluOptions", ("Approximate",)),
    "LEAKY_RELU": ("LeakyReluOptions", ("Alpha",)),
    "CONCATENATION": ("ConcatenationOptions", ("Axis", "FusedActivationFunction")),
    "PACK": ("PackOptions", ("ValuesCount", "Axis")),
    "UNPACK": ("UnpackOptions", ("Num", "Axis")),
    "GATHER": ("GatherOptions", ("Axis", "BatchDims")),
    "MIRROR_PAD": ("MirrorPadOptions", ("Mode",)),
    "SPACE_TO_DEPTH": ("SpaceToDepthOptions", ("BlockSize",)),
    "DEPTH_TO_SPACE": ("DepthToSpaceOptions", ("BlockSize",)),
    "SPLIT": ("SplitOptions", ("NumSplits",)),
    "SPLIT_V": ("SplitVOptions", ("NumSplits",)),
    "STRIDED_SLICE": ("StridedSliceOptions", ("BeginMask", "EndMask", "EllipsisMask",
                                              "NewAxisMask", "ShrinkAxisMask", "Offset")),
    "RESIZE_BILINEAR": ("ResizeBilinearOptions", ("AlignCorners", "HalfPixelCenters")),
    "RESIZE_NEAREST_NEIGHBOR": ("ResizeNearestNeighborOptions", ("AlignCorners",
                                                                 "HalfPixelCenters")),
    "SVDF": ("SVDFOptions", ("Rank", "FusedActivationFunction")),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ("UnidirectionalSequenceLSTMOptions", (
        "FusedActivationFunction", "CellClip", "ProjClip", "TimeMajor")),
    "ARG_MAX": ("ArgMaxOptions", ("OutputType",)),
}  # fmt: skip

# The same of custom operators, whose options are a map of a flexbuffer: its keys, and the schema's
# words for them.
_STRIDES = {"padding": "Padding", "stride_height": "StrideH", "stride_width": "StrideW"}
CUSTOM_OPTIONS: dict[str, dict[str, str]] = {
    "CUSTOM LceBconv2d": {
        **_STRIDES, "dilation_height_factor": "DilationHFactor",
        "dilation_width_factor": "DilationWFactor", "channels_in": "ChannelsIn",
        "fused_activation_function": "FusedActivationFunction", "pad_values": "PadValues",
    },
    "CUSTOM LceBMaxPool2d": {
        **_STRIDES, "filter_height": "FilterHeight", "filter_width": "FilterWidth",
    },
}  # fmt: skip


@dataclass(frozen=True)
class FileTensor:
    """One tensor of the file.

    Attributes:
        name: as in the file.
        dtype: in the schema's words, such as INT8.
        shape: as in the file, the batch axis included.
        scales: (1,) or (channels,) float32, empty where it is not quantised.
        zero_points: as many int64.
        axis: which axis the scales belong to, where there are several.
        data: the values of a constant, None for an activation.
        variable: a state, which lives on from one run to the next.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: Array
    zero_points: Array
    axis: int
    data: Array | None
    variable: bool = False


@dataclass(frozen=True)
class FileOperator:
    """One operator of the file; -1 stands for an optional input that is not there."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]
    intermediates: tuple[int, ...] = ()


@dataclass(frozen=True)
class FileModel:
    """The first subgraph of a file, in order of execution; indices point into `tensors`.

    It is what an interpreter runs; others belong to other signatures or to control flow, which is
    refused by its operator's name.
    """

    tensors: list[FileTensor]
    operators: list[FileOperator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @cached_property
    def readers(self) -> dict[int, list[FileOperator]]:
        """By tensor, the operators that read it."""
        by_tensor: dict[int, list[FileOperator]] = {}
        for operator in self.operators:
            for index in dict.fromkeys(operator.inputs):
                by_tensor.setdefault(index, []).append(operator)
        return by_tensor


def read(path: Path) -> FileModel:
    """Read and check a file.

    Raises:
        ImportRefused: it is not there, damaged, too large, or holds what no operator could carry.
    """
    if not path.is_file():
        raise ImportRefused(f"model {path}: no such file", "a wrong path", "give a .tflite file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ImportRefused(
            f"model {path}: {path.stat().st_size} bytes, more than {MAX_FILE_BYTES}",
            "a network that is not for a microcontroller",
        )
    return parse(path.read_bytes(), str(path))


def parse(data: bytes, source: str) -> FileModel:
    """The same from bytes; `source` names them in errors."""
    schema = _schema()
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise ImportRefused(
            f"model {source}: not a TensorFlow Lite file (no TFL3 identifier in {len(data)} bytes)",
            "another format, or an empty or truncated file",
        )
    try:
        return _Reader(schema, data, source).model()
    except _DAMAGED as error:
        raise ImportRefused(
            f"model {source}: not a readable flatbuffer ({type(error).__name__}: {error})",
            "the file is truncated or damaged",
            "copy or convert it again",
        ) from error


def _schema() -> Any:
    try:
        import tflite
    except ImportError as error:
        raise UsageError(
            "the package `tflite` is not installed",
            "Spikelet was installed without what imports need",
            "pip install 'spikelet[import]'",
        ) from error
    return tflite


class _Reader:
    """Reads one file.

    Lists may overlap in a damaged one, so that a few kilobytes would be thousands of long lists:
    `spend` bounds what is read in all.
    """

    def __init__(self, schema: Any, data: bytes, source: str) -> None:
        self.schema = schema
        self.data = data
        self.source = source
        self.kinds = _names(schema.BuiltinOperator)
        self.types = _names(schema.TensorType)
        self.left = MAX_REPEATS * len(data) + (1 << 16)

    def model(self) -> FileModel:
        model = self.schema.Model.GetRootAs(self.data, 0)
        if model.Version() != 3:
            raise self.error(f"schema version {model.Version()}, expected 3")
        graphs = self.count(model.SubgraphsLength(), "subgraphs")
        if graphs < 1:
            raise self.error("no subgraph")
        graph = model.Subgraphs(0)
        count = self.count(graph.TensorsLength(), "tensors", MAX_TENSORS)
        tensors = [self.tensor(model, graph.Tensors(i), i) for i in range(count)]
        number = self.count(graph.OperatorsLength(), "operators", MAX_OPERATORS)
        operators = [self.operator(model, graph.Operators(i), i, count) for i in range(number)]
        inputs = self.indices(graph.InputsAsNumpy(), count, "graph inputs")
        for index in inputs:
            self.check_fixed_shape(graph.Tensors(index), tensors[index])
        outputs = self.indices(graph.OutputsAsNumpy(), count, "graph outputs")
        if not operators or not inputs or not outputs:
            raise self.error(
                f"{len(operators)} operators, {len(inputs)} inputs, {len(outputs)} outputs: "
                "expected at least one of each"
            )
        for index in {*inputs, *outputs, *(i for o in operators for i in o.outputs)}:
            if 0 in tensors[index].shape:  # others are no values but notes, as of an LSTM
                raise self.error(
                    f"tensor {index} ({shorten(tensors[index].name)!r}) has shape "
                    f"{tensors[index].shape}: no element"
                )
        elements = sum(math.prod(t.shape) for t in tensors if t.data is None)
        if elements > MAX_ALL_ELEMENTS:
            raise ImportRefused(
                f"model {self.source}: {elements} elements in all activations, more than "
                f"{MAX_ALL_ELEMENTS}",
                "a network that is not for a microcontroller",
            )
        return FileModel(tensors, operators, inputs, outputs)

    def error(self, text: str) -> ImportRefused:
        """What no converter writes."""
        return ImportRefused(
            f"model {self.source}: {text}",
            "the file is damaged, or its writer made a mistake",
            "copy or convert it again",
        )

    def unsupported(self, text: str, cause: str, next_step: str) -> ImportRefused:
        """What a converter may write, and cannot be carried."""
        return ImportRefused(f"model {self.source}: {text}", cause, next_step)

    def count(self, length: int, what: str, most: int = 1 << 31) -> int:
        if not 0 <= length <= min(most, len(self.data)):
            raise self.error(
                f"{length} {what} in {len(self.data)} bytes, at most {min(most, len(self.data))}"
            )
        return length

    def spend(self, table: Any, what: str) -> Any:
        """A list that is read, as it is; refused where the file's lists overlap too often."""
        if not isinstance(table, int) and table is not None:
            self.left -= table.nbytes if hasattr(table, "nbytes") else len(table)
        if self.left < 0:
            raise self.error(f"its lists overlap, up to {what}")
        return table

    def indices(
        self, vector: Any, count: int, what: str, *, optional: bool = False
    ) -> tuple[int, ...]:
        self.spend(vector, what)
        values = () if isinstance(vector, int) else tuple(int(v) for v in vector[: MAX_INDICES + 1])
        if len(values) > MAX_INDICES or any(not -1 <= v < count for v in values):
            raise self.error(f"{what} {values[:8]} point outside of {count} tensors")
        if not optional and -1 in values:
            raise self.error(f"{what} {values[:8]} leave one out")
        return values

    def tensor(self, model: Any, entry: Any, index: int) -> FileTensor:
        read = self.spend(entry.Name() or b"", f"the name of tensor {index}")
        name = read[:MAX_NAME].decode("utf-8", "replace") or f"tensor_{index}"
        where = f"tensor {index} ({shorten(name)!r})"
        dtype = self.types.get(entry.Type(), f"type {entry.Type()}")
        shape = entry.ShapeAsNumpy()
        dims = () if isinstance(shape, int) else tuple(int(d) for d in shape[: MAX_RANK + 1])
        if len(dims) > MAX_RANK or any(d < 0 for d in dims):
            raise self.error(
                f"{where} has shape {dims}, expected at most {MAX_RANK} dimensions of at least 0"
            )
        if entry.Sparsity() is not None:
            raise self.unsupported(
                f"{where} is stored sparse",
                "it was converted with EXPERIMENTAL_SPARSITY",
                "convert it without: zeros among the weights are kept as they are",
            )
        data = self.constant(model, entry.Buffer(), dtype, dims, where)
        if data is None and math.prod(dims) > MAX_ELEMENTS:
            raise self.error(f"{where} has shape {dims}: more than {MAX_ELEMENTS} elements")
        scales, zero_points, axis = self.quantisation(entry.Quantization(), where)
        variable = bool(entry.IsVariable())
        return FileTensor(name, dtype, dims, scales, zero_points, axis, data, variable)

    def check_fixed_shape(self, entry: Any, tensor: FileTensor) -> None:
        """Refuse an input of which an axis other than the first has no size of its own."""
        signature = self.spend(entry.ShapeSignatureAsNumpy(), "a shape signature")
        dims = () if isinstance(signature, int) else tuple(int(d) for d in signature[:MAX_RANK])
        if any(d < 0 for d in dims[1:]):
            shown = ", ".join("?" if d < 0 else str(d) for d in dims)
            raise self.unsupported(
                f"input {shorten(tensor.name)!r} has shape ({shown}): a length that is not known",
                "it was converted with a dynamic axis; only the batch axis may be",
                "convert it from a model whose inputs have fixed shapes, such as "
                "tf.TensorSpec((1, LENGTH, ...)) or keras.Input((LENGTH, ...))",
            )

    def constant(
        self, model: Any, number: int, dtype: str, dims: tuple[int, ...], where: str
    ) -> Array | None:
        if not 0 <= number < self.count(model.BuffersLength(), "buffers"):
            raise self.error(f"{where} has buffer {number} of {model.BuffersLength()}")
        buffer = model.Buffers(number)
        if number == 0 or buffer is None:
            return None
        if buffer.Offset() > 1 or buffer.Size() > 1:
            raise self.unsupported(
                f"{where} has its data outside of the flatbuffer",
                "a file of more than 2 GB, or one that was written so",
                "convert it so that constants are a part of the flatbuffer",
            )
        raw = self.spend(buffer.DataAsNumpy(), where)
        if isinstance(raw, int) or len(raw) == 0:
            return None
        if dtype not in _NUMPY:
            raise self.unsupported(
                f"{where} is a constant of {dtype}",
                "the converter was asked for this type",
                f"constants may be {', '.join(_NUMPY)}; convert with TFLITE_BUILTINS_INT8",
            )
        count = math.prod(dims)
        four = dtype == INT4
        wanted = packed_bytes(count, 4) if four else count * np.dtype(_NUMPY[dtype]).itemsize
        if len(raw) != wanted:
            raise self.error(
                f"{where} is {dtype} of shape {dims}: {wanted} bytes, its data has {len(raw)}"
            )
        if four:
            return unpack(raw.tobytes(), 4, np.dtype(_NUMPY[dtype]), count).reshape(dims)
        values: Array = np.frombuffer(raw.tobytes(), _NUMPY[dtype]).reshape(dims)
        return values

    def quantisation(self, entry: Any, where: str) -> tuple[Array, Array, int]:
        none = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        if entry is None or entry.ScaleLength() == 0:
            return none
        if entry.DetailsType() != 0:
            raise self.unsupported(
                f"{where} has a quantisation other than scales and zero points",
                "another writer's own form, such as blocks of weights with a scale each",
                "convert with TFLITE_BUILTINS_INT8",
            )
        scales = np.array(self.spend(entry.ScaleAsNumpy(), where), np.float32)
        zeros = self.spend(entry.ZeroPointAsNumpy(), where)
        zero_points = np.zeros(len(scales), np.int64)
        if not isinstance(zeros, int) and len(zeros):
            zero_points = np.array(zeros, np.int64)
        if len(zero_points) != len(scales):
            raise self.error(f"{where} has {len(scales)} scales, {len(zero_points)} zero points")
        if not np.all((scales >= 1 / LARGEST_SCALE) & (scales <= LARGEST_SCALE)):
            raise self.error(f"{where} has a scale that is not in 2^-60..2^60: {scales[:4]}")
        return scales, zero_points, int(entry.QuantizedDimension())

    def operator(self, model: Any, entry: Any, index: int, tensors: int) -> FileOperator:
        code = entry.OpcodeIndex()
        if not 0 <= code < self.count(model.OperatorCodesLength(), "operator codes"):
            raise self.error(f"operator {index} has code {code} of {model.OperatorCodesLength()}")
        codes = model.OperatorCodes(code)
        number = max(_builtin_code(codes), codes.DeprecatedBuiltinCode())
        kind = self.kinds.get(number, f"operator code {number}")
        if kind == "CUSTOM":
            custom = self.spend(codes.CustomCode() or b"", "the name of a custom operator")
            kind = f"CUSTOM {custom[:40].decode('utf-8', 'replace')}"
        where = f"operator {index} ({kind})"
        inputs = self.indices(entry.InputsAsNumpy(), tensors, f"inputs of {where}", optional=True)
        outputs = self.indices(entry.OutputsAsNumpy(), tensors, f"outputs of {where}")
        inner = self.indices(entry.IntermediatesAsNumpy(), tensors, f"intermediates of {where}")
        return FileOperator(kind, inputs, outputs, self.options(kind, entry, where), inner)

    def options(self, kind: str, entry: Any, where: str) -> Mapping[str, Any]:
        if kind in CUSTOM_OPTIONS:
            return self.custom_options(CUSTOM_OPTIONS[kind], entry, where)
        if kind not in OPTIONS:
            return {}
        name, fields = OPTIONS[kind]
        table: Any = getattr(self.schema, name)()
        stored = entry.BuiltinOptions()
        if stored is None or entry.BuiltinOptionsType() != getattr(
            self.schema.BuiltinOptions, name
        ):
            raise self.error(f"{where} has no {name}")
        table.Init(stored.Bytes, stored.Pos)
        return {field: getattr(table, field)() for field in fields}

    def custom_options(
        self, fields: Mapping[str, str], entry: Any, where: str
    ) -> Mapping[str, Any]:
        from flatbuffers import flexbuffers

        raw = self.spend(entry.CustomOptionsAsNumpy(), f"options of {where}")
        empty = isinstance(raw, int) or not len(raw)
        root = None if empty else flexbuffers.GetRoot(raw.tobytes())
        if root is None or not root.IsMap:
            raise self.error(f"{where} has no map of options")
        stored = root.AsMap
        keys = {key.AsKey for key in stored.Keys} if len(stored) <= MAX_INDICES else set()
        if missing := sorted(set(fields) - keys):
            raise self.error(f"{where} has no {', '.join(missing)}")
        return {name: int(stored[key].AsInt) for key, name in fields.items()}


def _names(enumeration: Callable[..., Any]) -> dict[int, str]:
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}


def _builtin_code(codes: Any) -> int:
    """Field 3 of an OperatorCode: the schema's class answers the older field where it is small."""
    from flatbuffers.number_types import Int32Flags

    table = codes._tab
    at = table.Offset(10)
    return int(table.Get(Int32Flags, at + table.Pos)) if at else 0
