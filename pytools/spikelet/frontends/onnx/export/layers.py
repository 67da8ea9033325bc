"""Layers with weights, element-wise operators of two tensors, pools, and what moves codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.frontends.onnx.export.writer import Writer, exports, file_axes, file_axis, real_name


@exports("conv2d", "depthwise_conv2d")
def _conv(to: Writer, node: Any) -> None:
    if node.KIND == "conv2d":
        weight, group = node.levels.transpose(0, 3, 1, 2), 1
    else:
        weight, group = node.weight.transpose(2, 0, 1)[:, None], to.source(node)[0].shape[2]
    real = to.add(
        "Conv", [to.source(node)[1], *to.weights(node, weight)], f"{node.name}/sums",
        strides=list(node.stride), dilations=list(node.dilation), pads=list(node.padding),
        group=group, kernel_shape=list(weight.shape[2:]),
    )  # fmt: skip
    to.write_output(node, real)


@exports("fully_connected")
def _fully_connected(to: Writer, node: Any) -> None:
    source, real = to.source(node)
    weight = node.levels
    if source.size > weight.shape[1]:
        _rows(to, node)
        return
    if len(source.shape) == 3:
        image = weight.reshape(-1, *source.shape).transpose(0, 3, 1, 2)
        weight = image.reshape(weight.shape)
    if len(source.shape) > 1:
        real = to.add("Flatten", [real], f"{node.name}/flat")
    real = to.add("Gemm", [real, *to.weights(node, weight)], f"{node.name}/sums", transB=1)
    to.write_output(node, real)


def _rows(to: Writer, node: Any) -> None:
    """A linear layer on each row."""
    source, real = to.source(node)
    inputs = node.weight.shape[1]
    real = to.reshape(real, source.shape, (source.size // inputs, inputs), node.name)
    weight, bias = to.weights(node, node.levels.T, axis=1)
    real = to.add("MatMul", [real, weight], f"{node.name}/products")
    to.write_output(node, to.add("Add", [real, bias], f"{node.name}/sums"))


@exports("transpose_conv")
def _transpose_conv(to: Writer, node: Any) -> None:
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
    to.write_output(node, real)


_ELEMENTWISE = {"maximum": "Max", "minimum": "Min", "prelu": "PRelu"}


@exports("add", "sub", "mul", *_ELEMENTWISE)
def _elementwise(to: Writer, node: Any) -> None:
    rank = len(to.graph.tensors[node.name].shape)
    names = []
    for i, name in enumerate(node.inputs):
        shape = to.graph.tensors[name].shape
        full = (1,) * (rank - len(shape)) + shape
        names.append(to.reshape(real_name(name), shape, full, f"{node.name}/{i}"))
    if node.constant is not None:
        full = (1,) * (rank - node.constant.ndim) + node.constant.shape
        codes = node.constant.reshape(full).transpose(file_axes(rank))[None]
        parts = [
            to.constant(f"{node.name}/constant/codes", codes),
            to.constant(f"{node.name}/constant/scale", np.float32(node.constant_scale)),
            to.constant(f"{node.name}/constant/zero_point", np.int8(node.constant_zero_point)),
        ]
        made = to.add("DequantizeLinear", parts, f"{node.name}/constant")
        names.insert(0 if node.constant_first else 1, made)
    op = _ELEMENTWISE.get(node.KIND, node.KIND.capitalize())
    to.write_output(node, to.add(op, names, f"{node.name}/result"))


@exports("average_pool2d", "max_pool2d")
def _pool(to: Writer, node: Any) -> None:
    op = "AveragePool" if node.KIND == "average_pool2d" else "MaxPool"
    real = to.add(
        op, [to.source(node)[1]], f"{node.name}/pooled", kernel_shape=list(node.window),
        strides=list(node.stride), pads=list(node.padding),
    )  # fmt: skip
    to.write_output(node, real)


_REDUCTIONS = {"mean": "ReduceMean", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}


@exports(*_REDUCTIONS)
def _reduction(to: Writer, node: Any) -> None:
    source, real = to.source(node)
    rank = len(source.shape)
    axes = sorted(file_axis(axis, rank) for axis in node.axes)
    op = _REDUCTIONS[node.KIND]
    real = to.add(op, [real], f"{node.name}/reduced", axes=axes, keepdims=1)
    kept = tuple(1 if i in node.axes else d for i, d in enumerate(source.shape))
    to.write_output(node, to.reshape(real, kept, to.graph.tensors[node.name].shape, node.name))


@exports("cumsum")
def _cumsum(to: Writer, node: Any) -> None:
    source, real = to.source(node)
    axis = np.array(file_axis(node.axis, len(source.shape)), np.int64)
    real = to.add(
        "CumSum", [real, to.constant(f"{node.name}/axis", axis)], f"{node.name}/sums",
        exclusive=int(node.exclusive), reverse=int(node.reverse),
    )  # fmt: skip
    to.write_output(node, real)


@exports("softmax")
def _softmax(to: Writer, node: Any) -> None:
    source, real = to.source(node)
    if node.beta != 1.0:
        beta = to.constant(f"{node.name}/beta", np.float32(node.beta))
        real = to.add("Mul", [real, beta], f"{node.name}/scaled")
    rank = len(source.shape)
    axis = file_axis(rank - 1, rank)
    to.write_output(node, to.add("Softmax", [real], f"{node.name}/shares", axis=axis))


@exports("argmax")
def _argmax(to: Writer, node: Any) -> None:
    source, real = to.source(node)
    rank = len(source.shape)
    if source.size == source.shape[-1]:
        real = to.reshape(real, source.shape, (source.size,), node.name)
        to.add("ArgMax", [real], real_name(node.name), axis=1, keepdims=1)
        return
    axis, rows = file_axis(rank - 1, rank), source.shape[:-1]
    if len(rows) < 3:
        to.add("ArgMax", [real], real_name(node.name), axis=axis, keepdims=0)
        return
    index = to.add("ArgMax", [real], f"{node.name}/rows", axis=axis, keepdims=0)
    to.add("Transpose", [index], real_name(node.name), perm=[0, 3, 1, 2])


@exports("reshape")
def _reshape(to: Writer, node: Any) -> None:
    source, real = to.source(node)
    real = to.reshape(real, source.shape, tuple(node.shape), node.name)
    if source.dtype == "i8":
        to.write_output(node, real)
    else:
        to.add("Identity", [real], real_name(node.name))


@exports("transpose")
def _transpose(to: Writer, node: Any) -> None:
    rank = len(node.order)
    perm = [0, *(file_axis(node.order[axis], rank) for axis in file_axes(rank))]
    to.write_output(
        node, to.add("Transpose", [to.source(node)[1]], f"{node.name}/moved", perm=perm)
    )


@exports("concatenate")
def _concatenate(to: Writer, node: Any) -> None:
    names = [real_name(name) for name in node.inputs]
    axis = file_axis(node.axis, len(to.source(node)[0].shape))
    to.write_output(node, to.add("Concat", names, f"{node.name}/joined", axis=axis))


@exports("pad")
def _pad(to: Writer, node: Any) -> None:
    source, real = to.source(node)
    axes = file_axes(len(source.shape))
    pads = [0, *(node.before[a] for a in axes), 0, *(node.after[a] for a in axes)]
    value = np.float32((node.value - source.zero_point) * np.float32(source.scale))
    parts = [
        to.constant(f"{node.name}/pads", np.array(pads, np.int64)),
        to.constant(f"{node.name}/value", value),
    ]
    to.write_output(node, to.add("Pad", [real, *parts], f"{node.name}/padded"))


@exports("slice")
def _slice(to: Writer, node: Any) -> None:
    source, real = to.source(node)
    axes = file_axes(len(source.shape))
    ends = [b + n * s for b, n, s in zip(node.begin, node.size, node.stride, strict=True)]
    ends = [end if end >= 0 else -(1 << 31) for end in ends]
    parts = [
        to.constant(f"{node.name}/{what}", np.array([values[a] for a in axes], np.int64))
        for what, values in (("starts", node.begin), ("ends", ends))
    ]
    parts.append(to.constant(f"{node.name}/axes", np.arange(1, 1 + len(axes), dtype=np.int64)))
    steps = np.array([node.stride[a] for a in axes], np.int64)
    parts.append(to.constant(f"{node.name}/steps", steps))
    to.write_output(node, to.add("Slice", [real, *parts], f"{node.name}/part"))


@exports("gather")
def _gather(to: Writer, node: Any) -> None:
    source, real = to.source(node)
    chosen = to.constant(f"{node.name}/indices", node.indices.astype(np.int64))
    axis = file_axis(node.axis, len(source.shape))
    to.write_output(node, to.add("Gather", [real, chosen], f"{node.name}/chosen", axis=axis))
