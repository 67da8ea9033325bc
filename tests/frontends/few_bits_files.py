"""ONNX files of one linear layer of few bits: packed in QDQ form, and QONNX."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DOMAIN = "qonnx.custom_op.general"
Case = tuple[str, dict[str, object], list[float]]  # a quantiser, attributes, constants behind x


def packed_linear(kind: int, raw: list[int], dims: tuple[int, ...], typed: bool = False) -> bytes:
    """y = x W, x of 2 codes, W of 4 or 2 bits in `raw` bytes."""
    packed = onnx.TensorProto(name="w", data_type=kind, dims=dims)
    if typed:
        packed.int32_data.extend(raw)
    else:
        packed.raw_data = bytes(raw)
    zero = onnx.TensorProto(name="wz", data_type=kind, raw_data=b"\0")
    numbers = {
        "s": np.float32(0.25), "z": np.int8(0), "ws": np.float32(0.5), "ys": np.float32(1)
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["r"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["v"]),
        helper.make_node("MatMul", ["r", "v"], ["m"]),
        helper.make_node("QuantizeLinear", ["m", "ys", "z"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "ys", "z"], ["y"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [info("x", TensorProto.FLOAT, [1, dims[0]])],
        [info("y", TensorProto.FLOAT, [1, dims[1]])],
        [packed, zero, *(numpy_helper.from_array(np.asarray(v), k) for k, v in numbers.items())],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 21 if kind in (21, 22) else 25)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


def qonnx_linear(
    quantiser: str, attributes: dict[str, object], more: list[float], **changes: str
) -> bytes:
    """Codes of 6 bits times 2-bit weights, then a quantiser with constants `more`."""
    signed = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    domain = changes.get("domain", DOMAIN)
    nodes = [
        helper.make_node("Quant", ["x", "s", "z", "b"], ["q"], domain=domain, **signed),
        helper.make_node("Quant", ["w", "ws", "z", "wb"], ["v"], domain=domain, **signed),
        helper.make_node("MatMul", ["q", "v"], ["m"]),
        helper.make_node(
            quantiser, ["m", *(f"c{i}" for i in range(len(more)))], ["y"], name="last",
            domain=domain, **attributes,
        ),
    ]  # fmt: skip
    rng = np.random.default_rng(3)
    numbers = {"s": 0.25, "z": 0.0, "b": 6.0, "ws": 0.5, "wb": 2.0}
    numbers |= {f"c{i}": value for i, value in enumerate(more)}
    info = helper.make_tensor_value_info
    constants = [numpy_helper.from_array(np.float32(v), k) for k, v in numbers.items()]
    weights = rng.choice([-1, -0.5, 0, 0.5], (4, 5)).astype(np.float32)
    graph = helper.make_graph(
        nodes, "g", [info("x", TensorProto.FLOAT, [1, 4])], [info("y", TensorProto.FLOAT, [1, 5])],
        [*constants, numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(domain, 1 + (len(more) == 5))]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


INT = {"signed": 1, "narrow": 0}
MODES = ("ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN", "floor")
CASES: list[Case] = [
    *(("Quant", {**INT, "rounding_mode": mode}, [0.5, 0, 5]) for mode in MODES),
    ("Quant", {"signed": 1, "narrow": 1, "rounding_mode": "ROUND"}, [1, 0, 3]),
    ("Quant", {"signed": 0, "narrow": 1, "rounding_mode": "ROUND"}, [0.25, 3, 4]),
    ("Quant", {"signed": 0, "narrow": 0, "rounding_mode": "ROUND"}, [0.25, 100, 8]),
    ("Quant", {**INT, "rounding_mode": "ROUND"}, [0.5, 0, 1]),
    ("IntQuant", {**INT, "rounding_mode": "ROUND"}, [1, -2, 8]),
    ("BipolarQuant", {}, [0.75]),
    *(("Trunc", {"rounding_mode": mode}, [0.125, 0, 8, 5]) for mode in ("FLOOR", "ROUND")),
    *(
        ("Trunc", {**INT, "rounding_mode": mode}, [0.125, 0, 8, 0.5, 6])
        for mode in ("FLOOR", "ROUND", "CEIL")
    ),
]


def qonnx_joined(op: str, scales: tuple[float, float, float]) -> bytes:
    """Codes of 6 bits and of 8 of an image and its opposite, joined, and quantised to 8 bits.

    `op` ReduceMean is the mean of the first image alone, a channel; Dropped loses its axes, and is
    taken three times.
    """
    signed = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    shape, mean = [1, 4, 3, 3], op in ("ReduceMean", "Dropped")
    first = helper.make_node("Quant", ["x", "s0", "z", "b0"], ["p"], domain=DOMAIN, **signed)
    joined = [
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("Quant", ["n", "s1", "z", "b1"], ["q"], domain=DOMAIN, **signed),
        helper.make_node(op, ["p", "q"], ["m"]),
    ]
    if op == "ReduceMean":
        joined = [helper.make_node("ReduceMean", ["p"], ["m"], axes=[2, 3], keepdims=1)]
    elif op == "Dropped":
        joined = [
            helper.make_node("ReduceMean", ["p"], ["mean"], axes=[-1, 2], keepdims=0),
            helper.make_node("Mul", ["mean", "three"], ["m"]),
        ]
    last = helper.make_node("Quant", ["m", "s2", "z", "b1"], ["y"], domain=DOMAIN, **signed)
    numbers = {"z": 0.0, "b0": 6.0, "b1": 8.0, **{f"s{i}": s for i, s in enumerate(scales)}}
    numbers["three"] = 3.0
    info = helper.make_tensor_value_info
    wide = ([1, 4, 1, 1] if op == "ReduceMean" else [1, 4]) if mean else shape
    ends = [info("x", TensorProto.FLOAT, shape)], [info("y", TensorProto.FLOAT, wide)]
    constants = [numpy_helper.from_array(np.float32(v), k) for k, v in numbers.items()]
    graph = helper.make_graph([first, *joined, last], "g", *ends, constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


Steps = tuple[tuple[str, tuple[int, ...], bool], ...]


def qonnx_constants(steps: Steps, shape: tuple[int, ...], scales: tuple[float, float]) -> bytes:
    """Codes of 8 bits joined with constants, then quantised to 8 bits again.

    steps: an operator, the shape of its constant, and whether that comes first.
    """
    rng, last = np.random.default_rng(6), "p"
    signed = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    nodes = [helper.make_node("Quant", ["x", "s0", "z", "b"], ["p"], domain=DOMAIN, **signed)]
    numbers = {"z": np.zeros(()), "b": np.full((), 8), "s0": np.array(scales[0])}
    numbers["s1"] = np.array(scales[1])
    for i, (op, size, first) in enumerate(steps):
        numbers[f"c{i}"] = rng.choice([0.5, 0.75, 1.25, -1.5, 0.37], size)
        inputs = [f"c{i}", last] if first else [last, f"c{i}"]
        nodes.append(helper.make_node(op, inputs, [last := f"m{i}"]))
    nodes.append(helper.make_node("Quant", [last, "s1", "z", "b"], ["y"], domain=DOMAIN, **signed))
    info = helper.make_tensor_value_info
    ends = [[info(name, TensorProto.FLOAT, [1, *shape])] for name in ("x", "y")]
    constants = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in numbers.items()]
    graph = helper.make_graph(nodes, "g", *ends, constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
