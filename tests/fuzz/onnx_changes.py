"""Changes of an ONNX model that know the format, and the numbers that any format is given."""

from __future__ import annotations

import contextlib
import functools
import math
import random
import struct
from typing import Any

MAX_BYTES = 1 << 16  # of a file
NUMBERS = (0, 1, 2, 3, 5, 127, 255, 256, 32767, 65535, 65536, 1 << 24, (1 << 31) - 1)
WORDS = [*NUMBERS, *(-n for n in NUMBERS), -(1 << 31)]
REALS = (0.0, -0.0, 1.0, -1.0, 0.1, 1e-30, 1e-45, 1e30, 3.4e38, float("inf"), float("nan"))


def mutate_onnx(data: bytes, seed: int) -> bytes:
    """A change of one or a few fields of a model; of bytes where it cannot be read."""
    from onnx import ModelProto

    rng = random.Random(seed)
    try:
        model = ModelProto.FromString(data)
    except Exception:  # protobuf's own; too damaged to be read: any place will do
        out = bytearray(data)
        for _ in range(min(len(out), 3)):
            out[rng.randrange(len(out))] = rng.randrange(256)
        return bytes(out)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        with contextlib.suppress(ValueError, TypeError, IndexError):  # no such field, or its limits
            rng.choice(_ONNX_CHANGES)(model, rng)
    return bytes(model.SerializeToString())


def _number(old: int, rng: random.Random) -> int:
    return rng.choice((rng.choice(WORDS), old + rng.choice((-4, -1, 1, 4)), old * 2, -old))


def _change_dimension(model: Any, rng: random.Random) -> None:
    """Of an input, an output or a constant; a constant's values often follow."""
    graph = model.graph
    infos = [*graph.input, *graph.input, *graph.output, *graph.value_info]
    if rng.random() < 0.5 and graph.initializer:
        tensor = rng.choice(graph.initializer)
        before = max(math.prod(tensor.dims), 1)
        i = rng.randrange(len(tensor.dims))
        if rng.random() < 0.2:
            tensor.dims.insert(i, rng.choice((1, 1, 2)))
        elif rng.random() < 0.1:
            del tensor.dims[i]
        else:
            tensor.dims[i] = _number(tensor.dims[i], rng)
        size = max(len(tensor.raw_data) // before, 1) * math.prod(tensor.dims)
        if rng.random() < 0.8 and tensor.raw_data and 0 <= size <= MAX_BYTES // 4:
            tensor.raw_data = (tensor.raw_data * (size // len(tensor.raw_data) + 1))[:size]
        return
    dims = rng.choice(infos).type.tensor_type.shape.dim
    dim = rng.choice(dims) if rng.random() < 0.8 else dims.add()
    if rng.random() < 0.1:
        dim.dim_param = "n"
    else:
        dim.dim_value = _number(dim.dim_value, rng)


def _change_values(model: Any, rng: random.Random) -> None:
    """One number, or all, or the type of a constant."""
    tensor = rng.choice(model.graph.initializer)
    raw = bytearray(tensor.raw_data)
    if rng.random() < 0.2:
        tensor.data_type = rng.randrange(0, 28)
        return
    form = "<q" if tensor.data_type == 7 else "<f" if tensor.data_type == 1 else "<b"
    width = struct.calcsize(form)
    at = rng.randrange(len(raw) // width) * width
    if form == "<f":
        new: Any = rng.choice(REALS)
    else:
        new = max(min(_number(struct.unpack_from(form, raw, at)[0], rng), 127), -128)
    places = range(0, len(raw) - width + 1, width) if rng.random() < 0.2 else [at]
    for place in places:
        struct.pack_into(form, raw, place, new)
    tensor.raw_data = bytes(raw)


def _change_attribute(model: Any, rng: random.Random) -> None:
    """Its value, its length, its type or its name; or there is one more or less."""
    node = rng.choice([n for n in model.graph.node if n.attribute] or [None])
    if node is None:
        raise ValueError("no attributes")
    found = rng.choice(node.attribute)
    kind = rng.random()
    if kind < 0.1:
        node.attribute.remove(found)
    elif kind < 0.15:
        node.attribute.add().CopyFrom(found)
    elif kind < 0.25:
        others = [a for n in model.graph.node for a in n.attribute]
        found.name = rng.choice([*(a.name for a in others), "axis", "axes", "mode", "auto_pad"])
    elif kind < 0.3:
        found.type = rng.randrange(0, 15)
    elif found.ints:
        i = rng.randrange(len(found.ints))
        if rng.random() < 0.2:
            found.ints.append(found.ints[i])
        elif rng.random() < 0.1:
            del found.ints[i]
        else:
            found.ints[i] = _number(found.ints[i], rng)
    elif found.type == 1:
        found.f = rng.choice((*REALS, found.f * 2))
    elif found.s:
        words = (
            b"",
            b"SAME_UPPER",
            b"VALID",
            b"reflect",
            b"edge",
            b"linear",
            b"\xff",
            b"asymmetric",
            b"FLOOR",
            b"HALF_UP",
        )
        found.s = rng.choice(words)
    else:
        found.i = _number(found.i, rng)


def _change_edge(model: Any, rng: random.Random) -> None:
    """What a node or the graph reads or writes."""
    graph = model.graph
    names = [*(o for n in graph.node for o in n.output), *(t.name for t in graph.initializer),
             *(i.name for i in graph.input), "", "nowhere"]  # fmt: skip
    node = rng.choice(graph.node)
    ends = rng.choice((node.input, node.input, node.input, node.output))
    kind = rng.random()
    if kind < 0.15:
        ends.append(rng.choice(names))
    elif kind < 0.3 and ends:
        del ends[rng.randrange(len(ends))]
    elif kind < 0.4:
        rng.choice(graph.output).name = rng.choice(names)
    else:
        ends[rng.randrange(len(ends))] = rng.choice(names)


def _change_node(model: Any, rng: random.Random) -> None:
    """Its operator, its domain, its place; the version of the operators."""
    graph, kind = model.graph, rng.random()
    node = rng.choice(graph.node)
    if kind < 0.6:
        node.op_type = rng.choice(_operators())
    elif kind < 0.7:
        graph.node.remove(node)
    elif kind < 0.8:
        graph.node.add().CopyFrom(node)
    elif kind < 0.85:
        node.domain = rng.choice(("com.microsoft", "", "elsewhere", "onnx.brevitas"))
    else:
        model.opset_import[0].version = rng.choice((-1, 0, 6, 7, 9, 11, 13, 17, 21, 23, 1 << 40))


@functools.cache
def _operators() -> tuple[str, ...]:
    """Those that are read, and some that are not."""
    from spikelet.frontends.onnx.layers import CONVERTERS

    return (*sorted({kind for _, kind in CONVERTERS}), "Cos", "Mod", "NonZero")


_ONNX_CHANGES = (
    _change_dimension,
    _change_values,
    _change_attribute,
    _change_attribute,
    _change_edge,
    _change_node,
)
