"""The file that is written: names, constants and codes of tensors, and who writes each operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.quantised import Quantised
from spikelet.graph.requantise_once import FRACTION_BITS
from spikelet.version import __version__

OPSET, FOUR_BIT_OPSET = 17, 21
IR_VERSIONS = {OPSET: 8, FOUR_BIT_OPSET: 10}
_IMAGE = (2, 0, 1)  # which axis of (H, W, C) each axis of (C, H, W) is


@dataclass
class Writer:
    """Writes a graph, operator by operator."""

    onnx: Any
    graph: Graph
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    four_bits: bool = False  # a constant has them

    def file(self) -> bytes:
        """The whole file."""
        helper, graph = self.onnx.helper, self.graph
        inputs, outputs = [], []
        for tensor in graph.inputs:
            if tensor.dtype not in ("i8", "u8"):
                raise UsageError(
                    f"graph {graph.name}: input {tensor.name} is {tensor.dtype}, expected i8 or u8",
                    "a spiking network: ONNX has no operators for it",
                )
            inputs.append(self.info(tensor.name, tensor))
            self.round_to_codes(tensor.name, tensor, read=real_name(tensor.name))
        for node in graph.nodes:
            if node.KIND not in EXPORTS:
                raise UsageError(
                    f"layer {node.name} ({node.KIND}): ONNX has no operator for it",
                    next=f"what can be exported: {', '.join(sorted(EXPORTS))}",
                )
            if isinstance(node, Quantised) and node.folded:
                raise UsageError(
                    f"layer {node.name} ({node.KIND}): it reads values of an adapter, which may "
                    "be written between two inferences",
                    "a package with places for an adapter",
                    "export its base",
                )
            EXPORTS[node.KIND](self, node)
        for name in graph.outputs:
            tensor = graph.tensors[name]
            outputs.append(self.info(name, tensor))
            self.add("Identity", [real_name(name)], name)
        made = helper.make_graph(
            self.nodes,
            graph.name,
            inputs,
            outputs,
            [self.onnx.numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )
        opset = FOUR_BIT_OPSET if self.four_bits else OPSET
        model = helper.make_model(
            made,
            producer_name="spikelet",
            producer_version=__version__,
            ir_version=IR_VERSIONS[opset],
            opset_imports=[helper.make_opsetid("", opset)],
        )
        self.onnx.checker.check_model(model, full_check=True)
        data: bytes = model.SerializeToString()
        return data

    def info(self, name: str, tensor: Tensor) -> Any:
        """What the file says of an input or an output."""
        kinds = self.onnx.TensorProto
        kind = kinds.FLOAT if tensor.dtype in ("i8", "u8") else kinds.INT64
        shape = ["N", *file_shape(tensor.shape)]
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
        return tensor, real_name(tensor.name)

    def write_output(self, node: Any, real: str, clamp: tuple[int, int] | None = None) -> None:
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
        self.round_to_codes(real, tensor, real_name(node.name))

    def round_to_codes(self, real: str, tensor: Tensor, read: str) -> None:
        """QuantizeLinear and DequantizeLinear with the tensor's code."""
        dtype = np.int8 if tensor.dtype == "i8" else np.uint8
        code = [
            self.constant(f"{tensor.name}/scale", np.float32(tensor.scale)),
            self.constant(f"{tensor.name}/zero_point", np.array(tensor.zero_point, dtype)),
        ]
        codes = self.add("QuantizeLinear", [real, *code], f"{tensor.name}/codes")
        self.add("DequantizeLinear", [codes, *code], read)

    def weights(self, node: Any, weight: Array, axis: int = 0) -> list[str]:
        """Names of real weights, with the outputs along `axis`, and biases (O,).

        weight: levels; those of layers with few bits lie as INT4 where they fit.
        """
        if node.even:
            raise UsageError(
                f"layer {node.name} ({node.KIND}): its sums are rounded as another file means it",
                next="the file that it was imported from",
            )
        if weight.min() < -128 or weight.max() > 127:
            raise UsageError(
                f"layer {node.name} ({node.KIND}): weights of {weight.min()} to {weight.max()}",
                "8 bits on a grid without a zero",
                "what can be exported: weights of int8, or of 4, 2 and 1 bit",
            )
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
        four = node.bits < 8 and codes.min() >= -8 and codes.max() < 8
        dtype = self.int4() if four else np.dtype(np.int8)
        return [
            self.dequantize(f"{node.name}/weight", codes, dtype, scales, axis),
            self.dequantize(
                f"{node.name}/bias", np.where(dead, 0, node.bias), np.dtype(np.int32), units
            ),
        ]

    def int4(self) -> np.dtype[Any]:
        """The type of INT4 constants, which ask for a newer opset."""
        import ml_dtypes

        self.four_bits = True
        dtype: np.dtype[Any] = np.dtype(ml_dtypes.int4)
        return dtype

    def dequantize(
        self, name: str, codes: Array, dtype: np.dtype[Any], scales: Array, axis: int = 0
    ) -> str:
        """Add a constant of codes with a scale a channel; the name of its real values."""
        parts = [
            self.constant(f"{name}/codes", codes.astype(dtype)),
            self.constant(f"{name}/scale", scales),
            self.constant(f"{name}/zero_point", np.zeros(scales.shape, dtype)),
        ]
        return self.add("DequantizeLinear", parts, name, axis=axis)

    def reshape(self, real: str, of: Sequence[int], to: Sequence[int], name: str) -> str:
        """Real values of a graph tensor of shape `of`, as one of shape `to`."""
        if tuple(of) == tuple(to):
            return real
        if len(of) == 3 and not one_line(of):
            real = self.add("Transpose", [real], f"{name}/rows", perm=[0, 2, 3, 1])
        image = len(to) == 3
        shape = to if image and not one_line(to) else file_shape(to)
        wanted = self.constant(f"{name}/shape", np.array([-1, *shape], np.int64))
        real = self.add("Reshape", [real, wanted], f"{name}/shaped")
        if image and not one_line(to):
            real = self.add("Transpose", [real], f"{name}/image", perm=[0, 3, 1, 2])
        return real


def real_name(name: str) -> str:
    """The name of a tensor's real values."""
    return f"{name}/real"


def file_axes(rank: int) -> tuple[int, ...]:
    """Which axis of a graph tensor each axis of the file's is, the batch axis left out."""
    return _IMAGE if rank == 3 else tuple(range(rank))


def file_shape(shape: Sequence[int]) -> list[int]:
    """The shape in the file, the batch axis left out."""
    return [shape[axis] for axis in file_axes(len(shape))]


def file_axis(axis: int, rank: int) -> int:
    """Where the file has an axis of a graph tensor."""
    return 1 + file_axes(rank).index(axis)


def one_line(shape: Sequence[int]) -> bool:
    """Whether (H, W, C) and (C, H, W) hold the same elements in the same order."""
    return shape[0] * shape[1] == 1 or shape[2] == 1


EXPORTS: dict[str, Callable[[Writer, Any], None]] = {}
Function = Callable[[Writer, Any], None]


def exports(*kinds: str) -> Callable[[Function], Function]:
    """Registers what writes operators of some kinds."""

    def register(function: Function) -> Function:
        for kind in kinds:
            EXPORTS[kind] = function
        return function

    return register
