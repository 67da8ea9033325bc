"""What each TensorFlow Lite operator becomes, one function an operator.

A function reads one `Layer` and adds operators to the graph. What the reference kernels compute is
carried exactly; anything else is refused with `Layer.refuse`. Factors are computed in the precision
in which TensorFlow Lite computes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikelet.frontends.tflite.file import FileModel, FileOperator, FileTensor
from spikelet.graph import Array, Operator, Tensor
from spikelet.graph.int8 import interval
from spikelet.graph.ops.reshape import Reshape
from spikelet.refusal import ImportRefused, refuse

NO_ACTIVATION = "no activation or RELU, RELU6, RELU_N1_TO_1"
_ACTIVATIONS: dict[int, tuple[float | None, float | None]] = {
    0: (None, None),
    1: (0.0, None),
    2: (-1.0, 1.0),
    3: (0.0, 6.0),
}


def graph_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A tensor's shape without its batch axis of 1."""
    return (shape[1:] if len(shape) > 1 and shape[0] == 1 else shape) or (1,)


@dataclass
class Building:
    """The graph so far.

    Attributes:
        model: the file.
        names: for each tensor of the file that is computed, its name in the graph.
        taken: names in the graph that are used.
        known: the graph's tensors by name.
        nodes: the operators.
        real: for each float tensor that a DEQUANTIZE makes, what it reads.
        frames: steps of the graph.
    """

    model: FileModel
    names: dict[int, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    known: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Operator] = field(default_factory=list)
    real: dict[int, int] = field(default_factory=dict)
    frames: int = 1

    def fresh(self, name: str) -> str:
        """A name that is not taken yet: this one, or with a number behind it."""
        free, number = name, 1
        while free in self.taken:
            number += 1
            free = f"{name}_{number}"
        self.taken.add(free)
        return free

    def insert(self, node: Operator) -> Tensor:
        """Add an operator; what it writes."""
        ins = [self.known[name] for name in node.inputs]
        bounds = {t.name: interval(t.shape, *t.limits) for t in ins}
        written = node.place(ins, bounds, self.frames).outs[0]
        self.nodes.append(node)
        self.known[written.name] = written
        return written

    def remove(self, node: Operator) -> None:
        """Remove an operator that another one takes in; its tensor of the file has no place."""
        self.nodes = [n for n in self.nodes if n is not node]
        self.names = {index: name for index, name in self.names.items() if name != node.name}
        del self.known[node.name]


_VARIABLES = "a state that is a layer's (SVDF, LSTM), or an input and an output of the network"
# What to do in place of an operator that is not supported.
ADVICE = dict.fromkeys(("CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"), _VARIABLES)


@dataclass(frozen=True)
class FileLayer:
    """One operator of the file, whatever becomes of it.

    Attributes:
        model: the file.
        operator: as in the file.
    """

    model: FileModel
    operator: FileOperator

    @property
    def options(self) -> Any:
        """Its attributes, in the schema's words."""
        return self.operator.options

    def refuse(self, reason: str, supported: str = "") -> ImportRefused:
        """An error that names it."""
        touched = [i for i in (*self.operator.outputs, *self.operator.inputs) if i >= 0]
        node = self.model.tensors[touched[0]].name if touched else self.operator.kind
        return refuse(node, self.operator.kind, reason, supported, self.operator.options)

    def count(self, inputs: Sequence[int], outputs: int = 1) -> None:
        """Refuse another number of inputs or outputs."""
        counts = len(self.operator.inputs), len(self.operator.outputs)
        if counts[0] not in inputs or counts[1] != outputs:
            raise self.refuse(f"{counts[0]} inputs and {counts[1]} outputs")

    def file_tensor(self, i: int) -> FileTensor:
        """Input i as the file has it."""
        return self.model.tensors[self.operator.inputs[i]]

    def has(self, i: int) -> bool:
        """Whether input i is there."""
        return i < len(self.operator.inputs) and self.operator.inputs[i] >= 0

    def constant(self, i: int, dtypes: Sequence[str]) -> Array:
        """The values of input i, which must be a constant of one of `dtypes`."""
        if not self.has(i):
            raise self.refuse(f"input {i} is missing")
        tensor = self.file_tensor(i)
        if tensor.data is None or tensor.dtype not in dtypes:
            what = "computed" if tensor.data is None else f"a constant of {tensor.dtype}"
            raise self.refuse(
                f"input {i} ({tensor.name!r}) is {what}", f"a constant of {' or '.join(dtypes)}"
            )
        return tensor.data

    def integers(self, i: int) -> list[int]:
        """The values of input i, a short constant of integers."""
        values = self.constant(i, ("INT32", "INT64")).reshape(-1)
        if len(values) > 64:
            raise self.refuse(f"input {i} has {len(values)} values")
        return [int(v) for v in values]

    def one(self, i: int) -> int:
        """The only value of input i, a constant."""
        values = self.integers(i)
        if len(values) != 1:
            raise self.refuse(f"input {i} is {values}", "one value")
        return values[0]

    def output(self, i: int = 0) -> FileTensor:
        """Output i as the file has it."""
        return self.model.tensors[self.operator.outputs[i]]

    def dropped_axes(self, shape: tuple[int, ...]) -> int:
        """How many axes of a file's tensor are not in the graph: its batch axis."""
        return int(len(shape) > 1 and shape[0] == 1)

    def file_axis(self, axis: int, shape: tuple[int, ...]) -> int:
        """An axis of the file's tensor, counted from the first one."""
        if not -len(shape) <= axis < len(shape):
            raise self.refuse(f"axis {axis} of shape {shape}")
        return axis % len(shape)


def only_sizes(model: FileModel, operator: FileOperator, shapes: set[int]) -> bool:
    """Whether an operator computes nothing but sizes, of the sizes in `shapes` and constants.

    What it writes is added to `shapes`. The file states every shape itself, so nobody reads them.
    """
    known = all(i in shapes or i < 0 or model.tensors[i].data is not None for i in operator.inputs)
    integers = all(model.tensors[i].dtype in ("INT32", "INT64") for i in operator.outputs)
    if not integers or not (operator.kind == "SHAPE" or (known and operator.inputs)):
        return False
    shapes.update(operator.outputs)
    return True


@dataclass(frozen=True)
class Layer(FileLayer):
    """One operator of the file on its way into the graph.

    Attributes:
        building: the graph so far.
        name: of what it writes, in the graph.
    """

    building: Building
    name: str = ""

    def value(self, i: int) -> Tensor:
        """Input i, which must be computed before, as a tensor of the graph."""
        if not self.has(i):
            raise self.refuse(f"input {i} is missing")
        index = self.operator.inputs[i]
        tensor = self.building.model.tensors[index]
        if index in self.building.names:
            return self.building.known[self.building.names[index]]
        if tensor.data is not None:
            raise self.refuse(f"input {i} ({tensor.name!r}) is a constant, which is not supported")
        raise self.refuse(f"input {i} ({tensor.name!r}) is written by no operator before it")

    def code(self, i: int = 0) -> dict[str, Any]:
        """Scale and zero point of output i, as an operator's fields."""
        scale, zero_point = self.quantisation(self.output(i))
        return {"output_scale": scale, "output_zero_point": zero_point}

    def writer(self, i: int) -> Operator | None:
        """The operator that writes input i, if this one alone reads it: it could take it in."""
        index = self.operator.inputs[i]
        readers = self.model.readers.get(index, [])
        reads = sum(operator.inputs.count(index) for operator in readers)
        if reads != 1 or index in self.model.outputs:
            return None
        name = self.building.names.get(index)
        return next((node for node in self.building.nodes if node.name == name), None)

    def quantisation(self, tensor: FileTensor, dtype: str = "INT8") -> tuple[float, int]:
        """Scale and zero point of a tensor that has one of each."""
        if tensor.dtype != dtype:
            raise self.refuse(
                f"tensor {tensor.name!r} is {tensor.dtype}, expected {dtype}",
                "a full-integer int8 model: convert with TFLITE_BUILTINS_INT8 and a "
                "representative data set",
            )
        if len(tensor.scales) != 1:
            raise self.refuse(f"tensor {tensor.name!r} has {len(tensor.scales)} scales, expected 1")
        low, high = (-128, 127) if dtype == "INT8" else (0, 255)
        if not low <= int(tensor.zero_points[0]) <= high:
            raise self.refuse(f"tensor {tensor.name!r} has zero point {tensor.zero_points[0]}")
        return float(tensor.scales[0]), int(tensor.zero_points[0])

    def activation(self) -> tuple[int, int]:
        """The clamp of the fused activation, in codes of the output."""
        number = self.options["FusedActivationFunction"]
        if number not in _ACTIVATIONS:
            raise self.refuse(f"fused activation {number}", NO_ACTIVATION)
        scale, zero_point = self.quantisation(self.output())
        low, high = (
            limit
            if real is None
            else min(max(zero_point + _round(np.float32(real) / np.float32(scale)), -128), 127)
            for real, limit in zip(_ACTIVATIONS[number], (-128, 127), strict=True)
        )
        return low, high

    def axis(self, axis: int, shape: tuple[int, ...]) -> int:
        """An axis of the file's tensor in the graph's tensor; the batch axis has none."""
        position = self.file_axis(axis, shape) - self.dropped_axes(shape)
        if position < 0:
            raise self.refuse(f"axis {axis} of shape {shape}", "any axis but the batch axis")
        return position

    def part(self, what: str) -> str:
        """A name that is not taken, for an operator that is a part of this one."""
        return self.building.fresh(f"{self.name}_{what}")

    def insert(self, node: Operator) -> Tensor:
        """Add an operator that writes none of the file's tensors; what it writes."""
        return self.building.insert(node)

    def add(self, node: Operator, output: int = 0) -> None:
        """Add an operator that writes output `output`.

        Where the file has another shape for the same elements, a `Reshape` of no cost follows.
        """
        written = self.insert(node)
        wanted = graph_shape(self.output(output).shape)
        if math.prod(written.shape) != math.prod(wanted):
            raise self.refuse(
                f"its inputs and attributes give shape {written.shape}, the file says {wanted}"
            )
        self.building.names[self.operator.outputs[output]] = written.name
        if written.shape != wanted:
            name = self.part("shaped")
            self.add(Reshape(name=name, inputs=(written.name,), shape=wanted), output)


Convert = Callable[[Layer], None]
CONVERTERS: dict[str, Convert] = {}


def converts(*kinds: str) -> Callable[[Convert], Convert]:
    """Register what becomes of the operators `kinds`."""

    def register(convert: Convert) -> Convert:
        for kind in kinds:
            CONVERTERS[kind] = convert
        return convert

    return register


def _round(x: np.float32) -> int:
    """Halves away from zero, kept where an int can be clamped."""
    limited = float(np.clip(np.float64(x), -1e6, 1e6))
    return int(np.copysign(np.floor(abs(limited) + 0.5), limited))
