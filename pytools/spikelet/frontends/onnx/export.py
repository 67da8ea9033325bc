"""Int8 graphs to ONNX files in QDQ form, so that other runtimes can compute and be compared.

Every tensor is written as codes by a QuantizeLinear and read by a DequantizeLinear; weights are
int8 with a scale a channel, biases int32. Images (H, W, C) of the graph are (N, C, H, W) in the
file, N is dynamic; inputs and outputs are float.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.frontends.onnx.file import onnx_module
from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.int8 import CODES
from spikelet.graph.ops.leaky_relu import leaky_relu_table
from spikelet.graph.ops.resize_bilinear import ONE as RESIZE_ONE
from spikelet.graph.ops.table import function_table
from spikelet.graph.requantise_once import FRACTION_BITS
from spikelet.quantise.function import functions
from spikelet.version import __version__

OPSET = 17
_IR_VERSION = 8
_MOST_SLOPES = 64  # of as many digits that are tried
_IMAGE = (2, 0, 1)  # which axis of (H, W, C) each axis of (C, H, W) is


def export(graph: Graph) -> bytes:
    """The graph as an ONNX file.

    Raises:
        UsageError: an operator that ONNX has no meaning for, by name.
    """
    return _Export(onnx_module(), graph).file()


def exported() -> list[str]:
    """The kinds of operators that can be exported."""
    return sorted(_EXPORTS)


@dataclass
class _Export:
    onnx: Any
    graph: Graph
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def file(self) -> bytes:
        helper, graph = self.onnx.helper, self.graph
        inputs, outputs = [], []
        for tensor in graph.inputs:
            if tensor.dtype not in ("i8", "u8"):
                raise UsageError(
                    f"graph {graph.name}: input {tensor.name} is {tensor.dtype}, expected i8 or u8",
                    "a spiking network: ONNX has no operators for it",
                )
            inputs.append(self.info(tensor.name, tensor))
            self.coded(tensor.name, tensor, read=_read(tensor.name))
        for node in graph.nodes:
            if node.KIND not in _EXPORTS:
                raise UsageError(
                    f"layer {node.name} ({node.KIND}): ONNX has no operator for it",
                    next=f"what can be exported: {', '.join(exported())}",
                )
            _EXPORTS[node.KIND](self, node)
        for name in graph.outputs:
            tensor = graph.tensors[name]
            outputs.append(self.info(name, tensor))
            self.add("Identity", [_read(name)], name)
        made = helper.make_graph(
            self.nodes,
            graph.name,
            inputs,
            outputs,
            [self.onnx.numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )
        model = helper.make_model(
            made,
            producer_name="spikelet",
            producer_version=__version__,
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        self.onnx.checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString()
        return data

    def info(self, name: str, tensor: Tensor) -> Any:
        kinds = self.onnx.TensorProto
        kind = kinds.FLOAT if tensor.dtype in ("i8", "u8") else kinds.INT64
        shape = ["N", *_file_shape(tensor.shape)]
        return self.onnx.helper.make_tensor_value_info(name, kind, shape)

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node; the name of what it writes."""
        made = self.onnx.helper.make_node(
            op, list(inputs), [output], f"{output}/{op}", **attributes
        )
        self.nodes.append(made)
        return output

    def constant(self, name: str, values: Array | np.generic) -> str:
        """Add a constant; its name."""
        self.constants[name] = np.array(values, order="C")
        return name

    def source(self, node: Operator, i: int = 0) -> tuple[Tensor, str]:
        """Input i and the name of its real values."""
        tensor = self.graph.tensors[node.inputs[i]]
        return tensor, _read(tensor.name)

    def done(self, node: Any, real: str, clamp: tuple[int, int] | None = None) -> None:
        """The operator's output: `real`, clamped to codes and written as codes."""
        tensor = self.graph.tensors[node.name]
        low, high = getattr(node, "activation", (-128, 127)) if clamp is None else clamp
        zero, scale = tensor.zero_point, np.float32(tensor.scale)
        if (low, high) == (zero, 127) != (-128, 127):
            real = self.add("Relu", [real], f"{node.name}/relu")
        elif (low, high) != (-128, 127):
            limits = [
                self.constant(f"{node.name}/{end}", np.float32((code - zero) * scale))
                for end, code in (("low", low), ("high", high))
            ]
            real = self.add("Clip", [real, *limits], f"{node.name}/clip")
        self.coded(real, tensor, _read(node.name))

    def coded(self, real: str, tensor: Tensor, read: str) -> None:
        """QuantizeLinear and DequantizeLinear with the tensor's code."""
        dtype = np.int8 if tensor.dtype == "i8" else np.uint8
        code = [
            self.constant(f"{tensor.name}/scale", np.float32(tensor.scale)),
            self.constant(f"{tensor.name}/zero_point", np.array(tensor.zero_point, dtype)),
        ]
        codes = self.add("QuantizeLinear", [real, *code], f"{tensor.name}/codes")
        self.add("DequantizeLinear", [codes, *code], read)

    def weights(self, node: Any, weight: Array, axis: int = 0) -> list[str]:
        """Names of real weights, with the outputs along `axis`, and biases (O,)."""
        source, output = self.graph.tensors[node.inputs[0]], self.graph.tensors[node.name]
        factors = node.multiplier.astype(np.float64)
        if getattr(node, "fraction", None) is not None:
            factors += node.fraction / (1 << FRACTION_BITS)
        factors = np.ldexp(factors, node.shift - 31)
        # A factor of 0: the sum does not matter, and a scale must not be 0.
        dead = factors == 0
        rows = dead.reshape(*[1] * axis, -1, *[1] * (weight.ndim - axis - 1))
        ratio = float(np.float32(output.scale)) / float(np.float32(source.scale))
        scales = (np.where(dead, 1.0, factors) * ratio).astype(np.float32)
        units = (np.float32(source.scale) * scales).astype(np.float32)
        codes = np.where(rows, 0, weight)
        return [
            self.dequantized(f"{node.name}/weight", codes, np.int8, scales, axis),
            self.dequantized(f"{node.name}/bias", np.where(dead, 0, node.bias), np.int32, units),
        ]

    def dequantized(
        self, name: str, codes: Array, dtype: type, scales: Array, axis: int = 0
    ) -> str:
        """Add a constant of codes with a scale a channel; the name of its real values."""
        parts = [
            self.constant(f"{name}/codes", codes.astype(dtype)),
            self.constant(f"{name}/scale", scales),
            self.constant(f"{name}/zero_point", np.zeros(scales.shape, dtype)),
        ]
        return self.add("DequantizeLinear", parts, name, axis=axis)

    def shaped(self, real: str, of: Sequence[int], to: Sequence[int], name: str) -> str:
        """Real values of a graph tensor of shape `of`, as one of shape `to`."""
        if tuple(of) == tuple(to):
            return real
        if len(of) == 3 and not _one_line(of):
            real = self.add("Transpose", [real], f"{name}/rows", perm=[0, 2, 3, 1])
        image = len(to) == 3
        shape = to if image and not _one_line(to) else _file_shape(to)
        wanted = self.constant(f"{name}/shape", np.array([-1, *shape], np.int64))
        real = self.add("Reshape", [real, wanted], f"{name}/shaped")
        if image and not _one_line(to):
            real = self.add("Transpose", [real], f"{name}/image", perm=[0, 3, 1, 2])
        return real


def _read(name: str) -> str:
    """The name of a tensor's real values."""
    return f"{name}/real"


def _file_axes(rank: int) -> tuple[int, ...]:
    """Which axis of a graph tensor each axis of the file's is, the batch axis left out."""
    return _IMAGE if rank == 3 else tuple(range(rank))


def _file_shape(shape: Sequence[int]) -> list[int]:
    return [shape[axis] for axis in _file_axes(len(shape))]


def _file_axis(axis: int, rank: int) -> int:
    """Where the file has an axis of a graph tensor."""
    return 1 + _file_axes(rank).index(axis)


def _one_line(shape: Sequence[int]) -> bool:
    """Whether (H, W, C) and (C, H, W) hold the same elements in the same order."""
    return shape[0] * shape[1] == 1 or shape[2] == 1


_EXPORTS: dict[str, Callable[[_Export, Any], None]] = {}
_Function = Callable[[_Export, Any], None]


def _exports(*kinds: str) -> Callable[[_Function], _Function]:
    def register(function: _Function) -> _Function:
        for kind in kinds:
            _EXPORTS[kind] = function
        return function

    return register


@_exports("conv2d", "depthwise_conv2d")
def _conv(to: _Export, node: Any) -> None:
    if node.KIND == "conv2d":
        weight, group = node.weight.transpose(0, 3, 1, 2), 1
    else:
        weight, group = node.weight.transpose(2, 0, 1)[:, None], to.source(node)[0].shape[2]
    real = to.add(
        "Conv", [to.source(node)[1], *to.weights(node, weight)], f"{node.name}/sums",
        strides=list(node.stride), dilations=list(node.dilation), pads=list(node.padding),
        group=group, kernel_shape=list(weight.shape[2:]),
    )  # fmt: skip
    to.done(node, real)


@_exports("fully_connected")
def _fully_connected(to: _Export, node: Any) -> None:
    source, real = to.source(node)
    weight = node.weight
    if source.size > weight.shape[1]:
        _rows(to, node)
        return
    if len(source.shape) == 3:
        image = weight.reshape(-1, *source.shape).transpose(0, 3, 1, 2)
        weight = image.reshape(weight.shape)
    if len(source.shape) > 1:
        real = to.add("Flatten", [real], f"{node.name}/flat")
    real = to.add("Gemm", [real, *to.weights(node, weight)], f"{node.name}/sums", transB=1)
    to.done(node, real)


def _rows(to: _Export, node: Any) -> None:
    """A linear layer on each row."""
    source, real = to.source(node)
    inputs = node.weight.shape[1]
    real = to.shaped(real, source.shape, (source.size // inputs, inputs), node.name)
    weight, bias = to.weights(node, node.weight.T, axis=1)
    real = to.add("MatMul", [real, weight], f"{node.name}/products")
    to.done(node, to.add("Add", [real, bias], f"{node.name}/sums"))


@_exports("transpose_conv")
def _transpose_conv(to: _Export, node: Any) -> None:
    source, real = to.source(node)
    weight = node.weight.transpose(3, 0, 1, 2)
    full = [
        (n - 1) * s + k
        for n, s, k in zip(source.shape, node.stride, weight.shape[2:], strict=False)
    ]
    beyond = [f - p - n for f, p, n in zip(full, node.padding, node.size, strict=True)]
    if any(-b >= s for b, s in zip(beyond, node.stride, strict=True)):
        raise UsageError(
            f"layer {node.name} (transpose_conv): ONNX has no rows or columns that no input "
            f"reaches: size {node.size}, inputs reach {tuple(full)}"
        )
    real = to.add(
        "ConvTranspose", [real, *to.weights(node, weight, axis=1)], f"{node.name}/sums",
        strides=list(node.stride), kernel_shape=list(weight.shape[2:]),
        pads=[*node.padding, *(max(b, 0) for b in beyond)],
        output_padding=[max(-b, 0) for b in beyond],
    )  # fmt: skip
    to.done(node, real)


_ELEMENTWISE = {"maximum": "Max", "minimum": "Min", "prelu": "PRelu"}


@_exports("add", "sub", "mul", *_ELEMENTWISE)
def _elementwise(to: _Export, node: Any) -> None:
    rank = len(to.graph.tensors[node.name].shape)
    names = []
    for i, name in enumerate(node.inputs):
        shape = to.graph.tensors[name].shape
        full = (1,) * (rank - len(shape)) + shape
        names.append(to.shaped(_read(name), shape, full, f"{node.name}/{i}"))
    if node.constant is not None:
        full = (1,) * (rank - node.constant.ndim) + node.constant.shape
        codes = node.constant.reshape(full).transpose(_file_axes(rank))[None]
        parts = [
            to.constant(f"{node.name}/constant/codes", codes),
            to.constant(f"{node.name}/constant/scale", np.float32(node.constant_scale)),
            to.constant(f"{node.name}/constant/zero_point", np.int8(node.constant_zero_point)),
        ]
        made = to.add("DequantizeLinear", parts, f"{node.name}/constant")
        names.insert(0 if node.constant_first else 1, made)
    op = _ELEMENTWISE.get(node.KIND, node.KIND.capitalize())
    to.done(node, to.add(op, names, f"{node.name}/result"))


@_exports("average_pool2d", "max_pool2d")
def _pool(to: _Export, node: Any) -> None:
    op = "AveragePool" if node.KIND == "average_pool2d" else "MaxPool"
    real = to.add(
        op, [to.source(node)[1]], f"{node.name}/pooled", kernel_shape=list(node.window),
        strides=list(node.stride), pads=list(node.padding),
    )  # fmt: skip
    to.done(node, real)


_REDUCTIONS = {"mean": "ReduceMean", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}


@_exports(*_REDUCTIONS)
def _reduction(to: _Export, node: Any) -> None:
    source, real = to.source(node)
    rank = len(source.shape)
    axes = sorted(_file_axis(axis, rank) for axis in node.axes)
    op = _REDUCTIONS[node.KIND]
    real = to.add(op, [real], f"{node.name}/reduced", axes=axes, keepdims=1)
    kept = tuple(1 if i in node.axes else d for i, d in enumerate(source.shape))
    to.done(node, to.shaped(real, kept, to.graph.tensors[node.name].shape, node.name))


@_exports("softmax")
def _softmax(to: _Export, node: Any) -> None:
    source, real = to.source(node)
    if node.beta != 1.0:
        beta = to.constant(f"{node.name}/beta", np.float32(node.beta))
        real = to.add("Mul", [real, beta], f"{node.name}/scaled")
    rank = len(source.shape)
    axis = _file_axis(rank - 1, rank)
    to.done(node, to.add("Softmax", [real], f"{node.name}/shares", axis=axis))


@_exports("argmax")
def _argmax(to: _Export, node: Any) -> None:
    source, real = to.source(node)
    rank = len(source.shape)
    if source.size == source.shape[-1]:
        real = to.shaped(real, source.shape, (source.size,), node.name)
        to.add("ArgMax", [real], _read(node.name), axis=1, keepdims=1)
        return
    axis, rows = _file_axis(rank - 1, rank), source.shape[:-1]
    if len(rows) < 3:
        to.add("ArgMax", [real], _read(node.name), axis=axis, keepdims=0)
        return
    index = to.add("ArgMax", [real], f"{node.name}/rows", axis=axis, keepdims=0)
    to.add("Transpose", [index], _read(node.name), perm=[0, 3, 1, 2])


@_exports("reshape")
def _reshape(to: _Export, node: Any) -> None:
    source, real = to.source(node)
    real = to.shaped(real, source.shape, tuple(node.shape), node.name)
    if source.dtype == "i8":
        to.done(node, real)
    else:
        to.add("Identity", [real], _read(node.name))


@_exports("transpose")
def _transpose(to: _Export, node: Any) -> None:
    rank = len(node.order)
    perm = [0, *(_file_axis(node.order[axis], rank) for axis in _file_axes(rank))]
    to.done(node, to.add("Transpose", [to.source(node)[1]], f"{node.name}/moved", perm=perm))


@_exports("concatenate")
def _concatenate(to: _Export, node: Any) -> None:
    names = [_read(name) for name in node.inputs]
    axis = _file_axis(node.axis, len(to.source(node)[0].shape))
    to.done(node, to.add("Concat", names, f"{node.name}/joined", axis=axis))


@_exports("pad")
def _pad(to: _Export, node: Any) -> None:
    source, real = to.source(node)
    axes = _file_axes(len(source.shape))
    pads = [0, *(node.before[a] for a in axes), 0, *(node.after[a] for a in axes)]
    value = np.float32((node.value - source.zero_point) * np.float32(source.scale))
    parts = [
        to.constant(f"{node.name}/pads", np.array(pads, np.int64)),
        to.constant(f"{node.name}/value", value),
    ]
    to.done(node, to.add("Pad", [real, *parts], f"{node.name}/padded"))


@_exports("slice")
def _slice(to: _Export, node: Any) -> None:
    source, real = to.source(node)
    axes = _file_axes(len(source.shape))
    ends = [b + n * s for b, n, s in zip(node.begin, node.size, node.stride, strict=True)]
    ends = [end if end >= 0 else -(1 << 31) for end in ends]
    parts = [
        to.constant(f"{node.name}/{what}", np.array([values[a] for a in axes], np.int64))
        for what, values in (("starts", node.begin), ("ends", ends))
    ]
    parts.append(to.constant(f"{node.name}/axes", np.arange(1, 1 + len(axes), dtype=np.int64)))
    steps = np.array([node.stride[a] for a in axes], np.int64)
    parts.append(to.constant(f"{node.name}/steps", steps))
    to.done(node, to.add("Slice", [real, *parts], f"{node.name}/part"))


@_exports("gather")
def _gather(to: _Export, node: Any) -> None:
    source, real = to.source(node)
    chosen = to.constant(f"{node.name}/indices", node.indices.astype(np.int64))
    axis = _file_axis(node.axis, len(source.shape))
    to.done(node, to.add("Gather", [real, chosen], f"{node.name}/chosen", axis=axis))


_COORDINATES: dict[str, Callable[[Array, int, int], Array]] = {
    "half_pixel": lambda at, size, length: (at + 0.5) * length / size - 0.5,
    "asymmetric": lambda at, size, length: at * length / size,
    "align_corners": lambda at, size, length: at * ((length - 1) / max(size - 1, 1)),
}


@_exports("resize_bilinear")
def _resize_bilinear(to: _Export, node: Any) -> None:
    """`Resize` where a coordinate transform gives these very shares, else products with them."""
    source, real = to.source(node)
    lengths = source.shape[:2]
    tables = zip((node.rows, node.columns), lengths, strict=True)
    shares = [_shares(table, length) for table, length in tables]
    scales = np.array([1, 1, *(len(v) / n for v, n in zip(shares, lengths, strict=True))], "f4")
    reached = [math.floor(n * float(s)) for n, s in zip(lengths, scales[2:], strict=True)]
    for mode in _COORDINATES if reached == [len(found) for found in shares] else ():
        if all(np.array_equal(_linear(mode, *found.shape), found) for found in shares):
            factors = to.constant(f"{node.name}/scales", scales)
            real = to.add(
                "Resize", [real, "", factors], f"{node.name}/resized", mode="linear",
                coordinate_transformation_mode=mode,
            )  # fmt: skip
            to.done(node, real)
            return
    rows, columns = (
        to.constant(f"{node.name}/{name}", values.astype(np.float32))
        for name, values in zip(("rows", "columns"), (shares[0], shares[1].T), strict=True)
    )
    real = to.add("MatMul", [rows, real], f"{node.name}/down")
    to.done(node, to.add("MatMul", [real, columns], f"{node.name}/across"))


def _shares(table: Array, length: int) -> Array:
    """(outputs, inputs) of each input in each output, of a table of two places and a share."""
    found = np.zeros((len(table), length))
    each = np.arange(len(table))
    share = table[:, 2] / RESIZE_ONE
    np.add.at(found, (each, table[:, 0]), 1 - share)
    np.add.at(found, (each, table[:, 1]), share)
    return found


def _linear(mode: str, size: int, length: int) -> Array:
    """The same of a linear `Resize`."""
    at = np.arange(size)
    place = np.clip(_COORDINATES[mode](at, size, length), 0, length - 1)
    first = np.floor(place).astype(np.int64)
    found = np.zeros((size, length))
    np.add.at(found, (at, first), 1 - (place - first))
    np.add.at(found, (at, np.minimum(first + 1, length - 1)), place - first)
    return found


@_exports("resize_nearest")
def _resize(to: _Export, node: Any) -> None:
    source, real = to.source(node)
    given = (node.rows, node.columns)
    whole = [len(i) // n for i, n in zip(given, source.shape, strict=False)]
    if all(
        np.array_equal(i, np.repeat(np.arange(n), k))
        for i, n, k in zip(given, source.shape, whole, strict=False)
    ):
        scales = to.constant(f"{node.name}/scales", np.array([1, 1, *whole], np.float32))
        real = to.add(
            "Resize", [real, "", scales], f"{node.name}/resized", mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip
    else:
        for axis, indices in enumerate(given, start=2):
            chosen = to.constant(f"{node.name}/{axis}", indices.astype(np.int64))
            real = to.add("Gather", [real, chosen], f"{node.name}/chosen{axis}", axis=axis)
    to.done(node, real)


_NAMED = {"logistic": "Sigmoid", "tanh": "Tanh", "hard_swish": "HardSwish"}


@_exports("hard_swish", "logistic", "tanh")
def _named(to: _Export, node: Any) -> None:
    to.done(node, to.add(_NAMED[node.KIND], [to.source(node)[1]], f"{node.name}/result"))


@_exports("quantize")
def _quantize(to: _Export, node: Any) -> None:
    to.done(node, to.source(node)[1])


@_exports("relu")
def _relu(to: _Export, node: Any) -> None:
    to.done(node, to.source(node)[1], (int(node.table.min()), int(node.table.max())))


@_exports("leaky_relu")
def _leaky_relu(to: _Export, node: Any) -> None:
    source, real = to.source(node)

    def table(alpha: float) -> Array:
        return leaky_relu_table(source, node.output_scale, node.output_zero_point, alpha)

    alpha = _slope(source, node, table)
    if alpha is None:
        _gathered(to, node)
    else:
        to.done(node, to.add("LeakyRelu", [real], f"{node.name}/result", alpha=alpha))


def _slope(source: Tensor, node: Any, table: Callable[[float], Array]) -> float | None:
    """The shortest decimal that gives a leaky ReLU's table; None where there is none."""
    tells = (CODES < source.zero_point) & (np.abs(node.table.astype(np.int64)) < 127)
    if not np.any(tells):
        return None
    x = (CODES[tells] - source.zero_point) * source.scale
    y = (node.table[tells].astype(np.int64) - node.output_zero_point) * node.output_scale
    room = 0.75 * node.output_scale / np.abs(x)  # half a step, and what fixed point adds
    low, high = float((y / x - room).max()), float((y / x + room).min())
    for unit in (10.0**digits for digits in range(1, 10)):
        inside = range(math.ceil(low * unit), math.floor(high * unit) + 1)
        skipped = max(len(inside) - _MOST_SLOPES, 0) // 2
        for whole in inside[skipped:][:_MOST_SLOPES]:
            if np.array_equal(table(whole / unit), node.table):
                return whole / unit
    return None


@_exports("table")
def _table(to: _Export, node: Any) -> None:
    """The function that made the table, where its name and defaults give the same table again."""
    source, real = to.source(node)
    scale, zero = node.output_scale, node.output_zero_point
    kinds = {name.lower(): name for name in _SIMPLE}
    kind = kinds.get(node.function, "")

    def table(**attributes: float) -> Array:
        with np.errstate(all="ignore"):
            return function_table(
                source, scale, zero, lambda x: functions()[kind].value(x, **attributes)
            )

    if node.function in ("requantise", "relu", "clip"):
        clamp = int(node.table.min()), int(node.table.max())
        same = function_table(source, scale, zero, lambda x: x).clip(*clamp)
        if np.array_equal(same, node.table):
            to.done(node, real, clamp)
            return
    elif kind == "LeakyRelu":
        alpha = _slope(source, node, lambda alpha: table(alpha=alpha))
        if alpha is not None:
            to.done(node, to.add(kind, [real], f"{node.name}/result", alpha=alpha))
            return
    elif kind and _numbers(kind, source) and np.array_equal(table(), node.table):
        to.done(node, to.add(kind, [real], f"{node.name}/result"))
        return
    elif node.function in _GATED:
        gated, gate = _GATED[node.function]
        same = function_table(source, scale, zero, functions()[gated].value)
        if np.array_equal(same, node.table):
            real = to.add("Mul", [real, gate(to, node, real)], f"{node.name}/result")
            to.done(node, real)
            return
    _gathered(to, node)


def _numbers(kind: str, source: Tensor) -> bool:
    """Whether a function has a value for every code; runtimes write any code for what is none."""
    x = np.float32(source.scale) * (CODES - source.zero_point).astype(np.float32)
    with np.errstate(all="ignore"):
        return not np.any(np.isnan(functions()[kind].value(x)))


def _sigmoid(to: _Export, node: Any, real: str) -> str:
    return to.add("Sigmoid", [real], f"{node.name}/gate")


def _normal_distribution(to: _Export, node: Any, real: str) -> str:
    root, one, half = (
        to.constant(f"{node.name}/{name}", np.float32(value))
        for name, value in (("root", math.sqrt(2)), ("one", 1), ("half", 0.5))
    )
    found = to.add("Div", [real, root], f"{node.name}/deviations")
    found = to.add("Erf", [found], f"{node.name}/erf")
    found = to.add("Add", [found, one], f"{node.name}/twice")
    return to.add("Mul", [found, half], f"{node.name}/gate")


# Functions that this opset has as a product: of x, and of another function of it.
_GATED: dict[str, tuple[str, Callable[[_Export, Any, str], str]]] = {
    "gelu": ("Gelu", _normal_distribution),
    "silu": ("Silu", _sigmoid),
}


# Functions of one value in the opset that is written, whose attributes have defaults.
_SIMPLE = frozenset(
    re.findall(
        r"\w+",
        "Abs Celu Cos Elu Erf Exp HardSigmoid HardSwish LeakyRelu Log Neg Reciprocal Selu Sigmoid "
        "Sin Softplus Softsign Sqrt Tanh",
    )
)


def _gathered(to: _Export, node: Any) -> None:
    """Each code's value from a table: exact, whatever the function is."""
    source = to.source(node)[0]
    by_code = node.table[np.arange(-128, 128).astype(np.int8).view(np.uint8)].astype(np.int64)
    values = (by_code - node.output_zero_point) * np.float32(node.output_scale)
    table = to.constant(f"{node.name}/table", values.astype(np.float32))
    half = to.constant(f"{node.name}/half", np.array(128, np.int32))
    wide = to.onnx.TensorProto.INT32
    codes = to.add("Cast", [f"{source.name}/codes"], f"{node.name}/wide", to=wide)
    index = to.add("Add", [codes, half], f"{node.name}/index")
    to.done(node, to.add("Gather", [table, index], f"{node.name}/result", axis=0))


__all__ = ["export", "exported"]
