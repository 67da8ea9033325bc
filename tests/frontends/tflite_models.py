"""Small TensorFlow Lite files, written field by field with the schema's own builder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite

from spikelet.frontends.tflite.file import OPTIONS
from spikelet.graph import Array

_TYPES = {
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FLOAT16": np.float16,
    "FLOAT32": np.float32,
}
# Versions of the reference kernels that take per-channel int8; 2 for the others.
_VERSIONS = {
    "FULLY_CONNECTED": 5,
    "TRANSPOSE_CONV": 4,
    "DEPTHWISE_CONV_2D": 5,
    "RESHAPE": 1,
    "ELU": 1,
    "HARD_SWISH": 1,
    "RELU_N1_TO_1": 1,
    "RELU_0_TO_1": 1,
    "SQUEEZE": 1,
    "EXPAND_DIMS": 1,
    "PRELU": 1,
    "SPACE_TO_DEPTH": 1,
    "SHAPE": 1,
    "TILE": 1,
    "DEPTH_TO_SPACE": 1,
    "REVERSE_V2": 1,
}
# Options that the reference kernels ask for and the importer does not read.
_EMPTY = {
    "SQUEEZE": "SqueezeOptions",
    "EXPAND_DIMS": "ExpandDimsOptions",
    "SHAPE": "ShapeOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "TILE": "TileOptions",
    "REVERSE_V2": "ReverseV2Options",
}


@dataclass
class Writer:
    """A model in the making; `tensor` and `op` answer indices."""

    tensors: list[dict[str, Any]] = field(default_factory=list)
    ops: list[tuple[str, list[int], list[int], dict[str, Any]]] = field(default_factory=list)

    def tensor(
        self,
        shape: tuple[int, ...],
        scale: float | Array | None = None,
        zero_point: int = 0,
        data: Array | None = None,
        dtype: str = "INT8",
        axis: int = 0,
        name: str | None = None,
    ) -> int:
        scales = None if scale is None else np.atleast_1d(np.asarray(scale, np.float32))
        if data is not None:
            dtype = {np.dtype(v): k for k, v in _TYPES.items()}[data.dtype]
        self.tensors.append(
            {
                "shape": shape,
                "scales": scales,
                "zero_point": zero_point,
                "data": data,
                "dtype": dtype,
                "axis": axis,
                "name": name or f"t{len(self.tensors)}",
                "variable": False,
            }
        )
        return len(self.tensors) - 1

    def variable(self, shape: tuple[int, ...], scale: float, zero_point: int, dtype: str) -> int:
        """A tensor that lives from one inference to the next."""
        index = self.tensor(shape, scale, zero_point, dtype=dtype)
        self.tensors[index]["variable"] = True
        return index

    def constant(self, data: Array | list[int], dtype: Any = np.int32) -> int:
        values = np.asarray(data, dtype)
        return self.tensor(values.shape, data=values)

    def op(self, kind: str, inputs: list[int], outputs: list[int], **options: Any) -> list[int]:
        self.ops.append((kind, inputs, outputs, options))
        return outputs

    def finish(
        self, inputs: list[int], outputs: list[int], subgraphs: int = 1, repeat_last: int = 1
    ) -> bytes:
        """The file: the same subgraph so often, its last tensor listed so often."""
        b = flatbuffers.Builder(1024)
        kinds = sorted({op[0] for op in self.ops})
        buffers, tensors = self._tensors(b)
        operators = [self._operator(b, kinds, *op) for op in self.ops]
        graph = _table(
            b,
            "SubGraph",
            Tensors=_offsets(b, tensors + tensors[-1:] * (repeat_last - 1)),
            Inputs=_vector(b, np.asarray(inputs, np.int32)),
            Outputs=_vector(b, np.asarray(outputs, np.int32)),
            Operators=_offsets(b, operators),
        )
        codes = [
            _table(
                b,
                "OperatorCode",
                DeprecatedBuiltinCode=min(getattr(tflite.BuiltinOperator, kind), 127),
                BuiltinCode=getattr(tflite.BuiltinOperator, kind),
                Version=_VERSIONS.get(kind, 2),
            )
            for kind in kinds
        ]
        model = _table(
            b,
            "Model",
            Version=3,
            OperatorCodes=_offsets(b, codes),
            Subgraphs=_offsets(b, [graph] * subgraphs),
            Buffers=_offsets(b, buffers),
        )
        b.Finish(model, b"TFL3")
        return bytes(b.Output())

    def _tensors(self, b: Any) -> tuple[list[int], list[int]]:
        """The tables of buffers, the first of which is empty, and of tensors."""
        buffers, tensors = [_table(b, "Buffer")], []
        for t in self.tensors:
            number = 0
            if t["data"] is not None:
                number = len(buffers)
                raw = _vector(
                    b, np.ascontiguousarray(t["data"]).reshape(-1).view(np.uint8), align=16
                )
                buffers.append(_table(b, "Buffer", Data=raw))
            quantisation = None
            if t["scales"] is not None:
                quantisation = _table(
                    b,
                    "QuantizationParameters",
                    Scale=_vector(b, t["scales"]),
                    ZeroPoint=_vector(b, np.full(len(t["scales"]), t["zero_point"], np.int64)),
                    QuantizedDimension=t["axis"],
                )
            tensors.append(
                _table(
                    b,
                    "Tensor",
                    Shape=_vector(b, np.asarray(t["shape"], np.int32)),
                    Type=getattr(tflite.TensorType, t["dtype"]),
                    Buffer=number,
                    Name=b.CreateString(t["name"]),
                    Quantization=quantisation,
                    IsVariable=t["variable"],
                )
            )
        return buffers, tensors

    @staticmethod
    def _operator(
        b: Any, kinds: list[str], kind: str, inputs: list[int], outputs: list[int], options: Any
    ) -> int:
        fields: dict[str, Any] = {
            "OpcodeIndex": kinds.index(kind),
            "Inputs": _vector(b, np.asarray(inputs, np.int32)),
            "Outputs": _vector(b, np.asarray(outputs, np.int32)),
        }
        if "Intermediates" in options:
            inner = np.asarray(options["Intermediates"], np.int32)
            fields["Intermediates"] = _vector(b, inner)
            options = {k: v for k, v in options.items() if k != "Intermediates"}
        name = OPTIONS[kind][0] if kind in OPTIONS else _EMPTY.get(kind)
        if name:
            vectors = {k: v for k, v in options.items() if isinstance(v, np.ndarray)}
            options = {**options, **{k: _vector(b, v) for k, v in vectors.items()}}
            fields["BuiltinOptions"] = _table(b, name, **options)
            fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, name)
        return _table(b, "Operator", **fields)


def _table(b: Any, name: str, **fields: Any) -> int:
    getattr(tflite, f"{name}Start")(b)
    for key, value in fields.items():
        if value is not None:
            getattr(tflite, f"{name}Add{key}")(b, value)
    return int(getattr(tflite, f"{name}End")(b))


def _vector(b: Any, values: Array, align: int = 1) -> int:
    if align > 1:
        b.Prep(align, values.nbytes)
    return int(b.CreateNumpyVector(values))


def _offsets(b: Any, tables: list[int]) -> int:
    b.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        b.PrependUOffsetTRelative(table)
    return int(b.EndVector())
