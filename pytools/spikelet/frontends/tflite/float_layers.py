"""What each operator of a float TensorFlow Lite model becomes, one function a kind.

A function reads one `FloatLayer` and adds nodes to a `Network`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikelet.frontends.tflite.file import FileModel
from spikelet.frontends.tflite.layers import FileLayer
from spikelet.frontends.tflite.moving import MAX_PARTS, part, resize_places, slice_box, split_sizes
from spikelet.frontends.tflite.weighted import image_shape, padding_of, steps
from spikelet.graph import Array
from spikelet.quantise import Network, Node, constant
from spikelet.quantise.meaning import evaluate

MAX_MACS = 1 << 32  # of one inference; the float network is executed while it is quantised
MAX_WINDOWS = 1 << 26  # elements of the windows that one convolution or pool sees
_BEFORE_ALL = -(1 << 31)  # where a slice ends that goes backwards to the first element

Shape = tuple[int, ...]
# By number in the schema, nodes that compute it.
ACTIVATIONS: dict[int, tuple[str, dict[str, Any]] | None] = {
    0: None,
    1: ("Relu", {}),
    2: ("Clip", {"min": -1.0, "max": 1.0}),
    3: ("Clip", {"min": 0.0, "max": 6.0}),
    4: ("Tanh", {}),
}


def with_batch(shape: Shape) -> Shape:
    """The shape of a file's tensor with a batch axis of 1, which the file may leave out."""
    return shape if len(shape) > 1 and shape[0] == 1 else (1, *(shape or (1,)))


def axis_order(rank: int) -> Shape:
    """Which axis of a file's tensor is at each place of the network's."""
    return (0, rank - 1, *range(1, rank - 1)) if rank > 2 else tuple(range(rank))


@dataclass
class Building:
    """The network so far.

    Attributes:
        model: the file.
        network: what is added to.
        values: for each tensor of the file that is computed, the network's, channels first.
        constants: of the file's tensors that a DEQUANTIZE makes of constants, the values.
        shapes: of the network's tensors.
        macs: multiply-accumulates.
    """

    model: FileModel
    network: Network
    values: dict[int, str] = field(default_factory=dict)
    constants: dict[int, Array] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    macs: int = 0

    def fresh(self, name: str) -> str:
        """A name that is not taken yet: this one, or with a number behind it."""
        free, number = name, 1
        while free in self.shapes or free in self.network.constants:
            number += 1
            free = f"{name}_{number}"
        return free

    def add(
        self, op: str, name: str, inputs: Sequence[str], source: str = "", **attributes: Any
    ) -> str:
        """Add a node; the name of what it writes."""
        node = Node(op, self.fresh(name), tuple(inputs), attributes, source)
        known, shapes = self.network.constants, self.shapes
        zeros = [known[i] if i in known else np.zeros(shapes[i], np.float32) for i in inputs]
        self.shapes[node.name] = evaluate(node, zeros).shape
        self.network.nodes.append(node)
        return node.name

    def transpose(self, name: str, order: Sequence[int]) -> str:
        """A tensor with its axes in another order."""
        if list(order) == sorted(order):
            return name
        return self.add("Transpose", f"{name}/transposed", [name], perm=list(order))

    def channels_first(self, name: str) -> str:
        """A tensor that has the file's axes, as the network has it."""
        return self.transpose(name, axis_order(len(self.shapes[name])))

    def channels_last(self, name: str) -> str:
        """A tensor of the network with the file's axes."""
        order = axis_order(len(self.shapes[name]))
        return self.transpose(name, [order.index(axis) for axis in range(len(order))])

    def reshape(self, name: str, shape: Shape) -> str:
        """A tensor of the network brought to a shape of the file, which has as many elements."""
        own = self.shapes[name]
        to = tuple(shape[axis] for axis in axis_order(len(shape)))
        if own == to:
            return name
        if not _in_place(own) or not _in_place(to):
            last = self.channels_last(name)
            reshaped_ = self.add("Reshape", f"{name}/reshaped", [last], shape=list(shape))
            return self.channels_first(reshaped_)
        return self.add("Reshape", f"{name}/reshaped", [name], shape=list(to))


def _in_place(shape: Shape) -> bool:
    """Whether a network's tensor has its elements in the file's order: one channel, or one cell."""
    return len(shape) < 3 or shape[1] == 1 or math.prod(shape[2:]) == 1


@dataclass(frozen=True)
class FloatLayer(FileLayer):
    """One operator of the file on its way into the network."""

    building: Building

    @property
    def title(self) -> str:
        """Of its first output, in the file."""
        return self.output().name

    def is_constant(self, i: int) -> bool:
        """Whether input i has a value already."""
        index = self.operator.inputs[i]
        return index in self.building.constants or self.model.tensors[index].data is not None

    def real(self, i: int) -> Array:
        """The values of input i, a constant, as float32."""
        if self.has(i) and self.operator.inputs[i] in self.building.constants:
            return self.building.constants[self.operator.inputs[i]]
        values = self.constant(i, ("FLOAT32", "FLOAT16", "INT8"))
        tensor = self.file_tensor(i)
        if tensor.dtype != "INT8":
            return values.astype(np.float32)
        if len(tensor.scales) == 1:
            scales, zeros = tensor.scales[0], tensor.zero_points[0]
        elif tensor.axis in range(values.ndim) and values.shape[tensor.axis] == len(tensor.scales):
            lined = [len(tensor.scales) if a == tensor.axis else 1 for a in range(values.ndim)]
            scales, zeros = tensor.scales.reshape(lined), tensor.zero_points.reshape(lined)
        else:
            raise self.refuse(
                f"input {i} ({tensor.name!r}) has {len(tensor.scales)} scales",
                "one, or one a channel",
            )
        real: Array = (values.astype(np.int64) - zeros) * scales
        return real.astype(np.float32)

    def shape(self, i: int = 0) -> Shape:
        """Of input i in the file, with a batch axis."""
        return with_batch(self.file_tensor(i).shape)

    def source(self, i: int = 0) -> str:
        """Input i, which is computed, in the network."""
        if not self.has(i):
            raise self.refuse(f"input {i} is missing")
        index, tensor = self.operator.inputs[i], self.file_tensor(i)
        if index not in self.building.values:
            what = "a constant" if self.is_constant(i) else "written by no operator before it"
            raise self.refuse(f"input {i} ({tensor.name!r}) is {what}", "a computed tensor")
        return self.building.values[index]

    def axis(self, axis: int, i: int = 0) -> int:
        """An axis of input i in the file, in the network; the batch axis has none."""
        shape = self.file_tensor(i).shape
        position = self.file_axis(axis, shape) + 1 - self.dropped_axes(shape)
        if position < 1:
            raise self.refuse(f"axis {axis} of shape {shape}", "any axis but the batch axis")
        return axis_order(len(self.shape(i))).index(position)

    def spend(self, macs: int, windows: int) -> None:
        """Refuse what is too large to be executed."""
        self.building.macs += macs
        if self.building.macs > MAX_MACS or windows > MAX_WINDOWS:
            raise self.refuse(
                f"{self.building.macs} multiply-accumulates so far, {windows} elements in its "
                f"windows",
                f"a network for a microcontroller: at most {MAX_MACS} and {MAX_WINDOWS}",
            )

    def keep(self, name: str, values: Array) -> str:
        """Add a constant; its name."""
        return constant(self.building.network, self.building.fresh(name), values)

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node that is a part of this operator; what it writes."""
        name = f"{self.title}/{op.lower()}"
        source = self.title.split(";")[0]  # of what the converter has fused, the first
        return self.building.add(op, name, inputs, source, **attributes)

    def finish(self, value: str, output: int = 0, *, shaped: bool = False) -> None:
        """The network's tensor is output `output`.

        Args:
            value: what the last node of this operator writes, or one that was there before.
            output: which output.
            shaped: the file may have another shape for the same elements.
        """
        building, to = self.building, with_batch(self.output(output).shape)
        own = building.shapes[value]
        if shaped and math.prod(own) == math.prod(to):
            value = building.reshape(value, to)
        if building.shapes[value] != tuple(to[axis] for axis in axis_order(len(to))):
            raise self.refuse(
                f"its inputs and attributes give {own}, channels first, the file says "
                f"{self.output(output).shape}"
            )
        last = building.network.nodes[-1] if building.network.nodes else None
        if last is not None and last.name == value and value not in building.values.values():
            name = building.fresh(self.output(output).name)
            building.network.nodes[-1] = last.replace(name=name)
            building.shapes[name] = building.shapes.pop(value)
            value = name
        building.values[self.operator.outputs[output]] = value

    def activate(self, value: str) -> None:
        """Its output is the fused activation of a tensor."""
        number = self.options["FusedActivationFunction"]
        if number not in ACTIVATIONS:
            raise self.refuse(
                f"fused activation {number}", "none, RELU, RELU6, RELU_N1_TO_1 or TANH"
            )
        activation = ACTIVATIONS[number]
        if activation is not None:
            value = self.add(activation[0], value, **activation[1])
        self.finish(value)


Convert = Callable[[FloatLayer], None]
FLOAT_CONVERTERS: dict[str, Convert] = {}


def converts(*kinds: str) -> Callable[[Convert], Convert]:
    """Register what becomes of the operators `kinds`."""

    def register(convert: Convert) -> Convert:
        for kind in kinds:
            FLOAT_CONVERTERS[kind] = convert
        return convert

    return register


@converts("DEQUANTIZE")
def dequantize(layer: FloatLayer) -> None:
    """Weights that are stored in fewer bits."""
    layer.count((1,))
    layer.building.constants[layer.operator.outputs[0]] = layer.real(0)


# Weights, pools


def _convolution(layer: FloatLayer, weight: Array, group: int) -> None:
    """With weights (O, KH, KW, I / group)."""
    outputs, height, width, depth = weight.shape
    stride, dilation = steps(layer, "Stride"), steps(layer, "Dilation")
    pads = padding_of(layer, (height, width), stride, dilation)
    cells = math.prod(layer.output().shape) // max(layer.output().shape[-1:], default=1)
    layer.spend(cells * weight.size, cells * height * width * depth * group)
    inputs = [layer.source(0), layer.keep(f"{layer.title}/weight", weight.transpose(0, 3, 1, 2))]
    if layer.has(2):
        inputs.append(layer.keep(f"{layer.title}/bias", _bias(layer, outputs)))
    layer.activate(
        layer.add(
            "Conv",
            *inputs,
            strides=list(stride),
            dilations=list(dilation),
            pads=list(pads),
            group=group,
        )
    )


def _bias(layer: FloatLayer, outputs: int) -> Array:
    bias = layer.real(2).reshape(-1)
    if len(bias) != outputs:
        raise layer.refuse(f"bias of shape {bias.shape} for {outputs} channels")
    return bias


@converts("CONV_2D")
def conv_2d(layer: FloatLayer) -> None:
    """Conv; in groups where the weights are of fewer channels."""
    layer.count((2, 3))
    weight, channels = layer.real(1), image_shape(layer)[2]
    if (
        weight.ndim != 4
        or channels % weight.shape[3]
        or len(weight) % (channels // weight.shape[3])
    ):
        raise layer.refuse(
            f"weights of shape {weight.shape} on an input of {channels} channels",
            "(outputs, height, width, channels / groups)",
        )
    _convolution(layer, weight, channels // weight.shape[3])


@converts("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(layer: FloatLayer) -> None:
    """Conv of as many groups as channels."""
    layer.count((2, 3))
    weight, channels = layer.real(1), image_shape(layer)[2]
    if weight.ndim != 4 or weight.shape[0] != 1 or weight.shape[3] % channels:
        raise layer.refuse(
            f"weights of shape {weight.shape} on an input of {channels} channels",
            "(1, height, width, channels * DepthMultiplier)",
        )
    _convolution(layer, weight.transpose(3, 1, 2, 0), channels)


@converts("FULLY_CONNECTED")
def fully_connected(layer: FloatLayer) -> None:
    """Gemm of rows, whatever axes they come in."""
    layer.count((2, 3))
    weight = layer.real(1)
    size = math.prod(layer.shape())
    if weight.ndim != 2 or layer.options["WeightsFormat"] != 0 or size % weight.shape[1]:
        raise layer.refuse(
            f"weights of shape {weight.shape} on an input of shape {layer.file_tensor(0).shape}",
            "(outputs, inputs) in the default format",
        )
    rows = size // weight.shape[1]
    layer.spend(rows * weight.size, size)
    shape = (1, weight.shape[1]) if rows == 1 else (1, rows, weight.shape[1])
    building = layer.building
    inputs = [
        building.channels_last(building.reshape(layer.source(0), shape)),
        layer.keep(f"{layer.title}/weight", weight),
    ]
    if layer.has(2):
        inputs.append(layer.keep(f"{layer.title}/bias", _bias(layer, len(weight))))
    product = building.channels_first(layer.add("Gemm", *inputs))
    number = layer.options["FusedActivationFunction"]
    activation = ACTIVATIONS.get(number)
    if number not in ACTIVATIONS:
        raise layer.refuse(f"fused activation {number}", "none, RELU, RELU6, RELU_N1_TO_1 or TANH")
    if activation is not None:
        product = layer.add(activation[0], product, **activation[1])
    layer.finish(product, shaped=True)


@converts("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pool_2d(layer: FloatLayer) -> None:
    """AveragePool, whose margin does not count, or MaxPool."""
    layer.count((1,))
    window, stride = steps(layer, "Filter"), steps(layer, "Stride")
    pads = padding_of(layer, window, stride, (1, 1))
    cells = math.prod(layer.output().shape) * math.prod(window)
    layer.spend(cells, cells)
    op = "AveragePool" if layer.operator.kind == "AVERAGE_POOL_2D" else "MaxPool"
    layer.activate(
        layer.add(
            op,
            layer.source(0),
            kernel_shape=list(window),
            strides=list(stride),
            pads=list(pads),
        )
    )


@converts("MEAN")
def mean(layer: FloatLayer) -> None:
    """ReduceMean over any axes but the batch axis."""
    layer.count((2,))
    shape = layer.file_tensor(0).shape
    reduced_axes = {layer.file_axis(axis, shape) for axis in layer.integers(1)}
    if reduced_axes and min(reduced_axes) < layer.dropped_axes(shape):
        raise layer.refuse("it is over the batch axis", "the other axes")
    axes = sorted(layer.axis(axis) for axis in reduced_axes)
    name = layer.source(0)
    if axes:
        name = layer.add("ReduceMean", name, axes=axes, keepdims=1)
    layer.finish(name, shaped=True)


# Functions and operands

_UNARY: dict[str, tuple[str, dict[str, Any]]] = {
    "ABS": ("Abs", {}),
    "CEIL": ("Ceil", {}),
    "COS": ("Cos", {}),
    "ELU": ("Elu", {"alpha": 1.0}),
    "EXP": ("Exp", {}),
    "FLOOR": ("Floor", {}),
    "HARD_SWISH": ("HardSwish", {}),
    "LOG": ("Log", {}),
    "LOGISTIC": ("Sigmoid", {}),
    "NEG": ("Neg", {}),
    "RELU": ("Relu", {}),
    "RELU6": ("Clip", {"min": 0.0, "max": 6.0}),
    "RELU_0_TO_1": ("Clip", {"min": 0.0, "max": 1.0}),
    "RELU_N1_TO_1": ("Clip", {"min": -1.0, "max": 1.0}),
    "ROUND": ("Round", {}),
    "SIGN": ("Sign", {}),
    "SIN": ("Sin", {}),
    "SQRT": ("Sqrt", {}),
    "SQUARE": ("Pow", {"exponent": 2.0}),
    "TANH": ("Tanh", {}),
}


@converts(*_UNARY, "GELU", "LEAKY_RELU", "RSQRT")
def function(layer: FloatLayer) -> None:
    """A function of one value."""
    layer.count((1,))
    source, kind = layer.source(0), layer.operator.kind
    if kind == "RSQRT":
        value = layer.add("Reciprocal", layer.add("Sqrt", source))
    elif kind == "GELU":
        approximate = "tanh" if layer.options["Approximate"] else "none"
        value = layer.add("Gelu", source, approximate=approximate)
    elif kind == "LEAKY_RELU":
        value = layer.add("LeakyRelu", source, alpha=float(layer.options["Alpha"]))
    else:
        value = layer.add(_UNARY[kind][0], source, **_UNARY[kind][1])
    layer.finish(value)


@converts("SOFTMAX")
def softmax(layer: FloatLayer) -> None:
    """Softmax over the last axis."""
    layer.count((1,))
    source, beta = layer.source(0), float(layer.options["Beta"])
    if beta != 1:
        factor = layer.keep(f"{layer.title}/beta", np.asarray(beta, np.float32))
        source = layer.add("Mul", source, factor)
    layer.finish(layer.add("Softmax", source, axis=layer.axis(-1)))


@converts("ARG_MAX")
def arg_max(layer: FloatLayer) -> None:
    """ArgMax of a vector."""
    layer.count((2,))
    source, axis = layer.source(0), layer.axis(layer.one(1))
    if layer.building.shapes[source][axis] != math.prod(layer.building.shapes[source]):
        raise layer.refuse(f"an input of shape {layer.file_tensor(0).shape}", "a vector")
    flat = layer.building.reshape(source, (1, math.prod(layer.shape())))
    if math.prod(layer.output().shape) != 1:
        raise layer.refuse(f"an output of shape {layer.output().shape}", "one index")
    index = layer.add("ArgMax", flat, axis=1, keepdims=1)
    layer.building.values[layer.operator.outputs[0]] = index


_BINARY = {
    "ADD": "Add",
    "DIV": "Div",
    "MAXIMUM": "Max",
    "MINIMUM": "Min",
    "MUL": "Mul",
    "POW": "Pow",
    "PRELU": "PRelu",
    "SUB": "Sub",
}


@converts(*_BINARY)
def elementwise(layer: FloatLayer) -> None:
    """Two operands, with broadcasting; one of them may be a constant."""
    layer.count((2,))
    constants = [layer.is_constant(i) for i in (0, 1)]
    if all(constants) or (layer.operator.kind == "PRELU" and constants != [False, True]):
        raise layer.refuse(
            "an operand is a constant or computed", "one computed tensor; constant slopes"
        )
    to = with_batch(layer.output().shape)
    rank = len(to)
    operands, shapes = [], []
    for i in (0, 1):
        own = layer.file_tensor(i).shape if constants[i] else layer.shape(i)
        if len(own) > rank:
            raise layer.refuse(f"an operand of shape {own} for {layer.output().shape}")
        shapes.append((1,) * (rank - len(own)) + own)
        if not constants[i]:
            operands.append(layer.building.reshape(layer.source(i), shapes[i]))
            continue
        values = layer.real(i)
        full = values.reshape(shapes[i]).transpose(axis_order(rank))
        values = values.reshape(()) if values.size == 1 else np.ascontiguousarray(full)
        operands.append(layer.keep(f"{layer.title}/constant", values))
    if any(a not in (1, b) for own in shapes for a, b in zip(own, to, strict=True)):
        raise layer.refuse(f"operands of shape {shapes} for {layer.output().shape}")
    output = layer.add(_BINARY[layer.operator.kind], *operands)
    if "FusedActivationFunction" in layer.options:
        layer.activate(output)
    else:
        layer.finish(output)


# Moving


@converts("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(layer: FloatLayer) -> None:
    """Reshape to what the file states."""
    layer.finish(layer.source(0), shaped=True)


@converts("TRANSPOSE")
def transpose(layer: FloatLayer) -> None:
    """Transpose."""
    layer.count((2,))
    shape, order = layer.file_tensor(0).shape, layer.integers(1)
    order = [layer.file_axis(axis, shape) for axis in order]
    if sorted(order) != list(range(len(shape))):
        raise layer.refuse(f"order {order} for shape {shape}")
    if layer.dropped_axes(shape):
        if order[0] != 0:
            raise layer.refuse(f"order {order}", "the batch axis stays first")
    else:
        order = [0, *(axis + 1 for axis in order)]
    places = axis_order(len(order))
    perm = [places.index(order[axis]) for axis in places]
    layer.finish(layer.add("Transpose", layer.source(0), perm=perm))


@converts("CONCATENATION")
def concatenation(layer: FloatLayer) -> None:
    """Concat."""
    layer.count(range(1, MAX_PARTS + 1))
    inputs = [layer.source(i) for i in range(len(layer.operator.inputs))]
    layer.activate(layer.add("Concat", *inputs, axis=layer.axis(int(layer.options["Axis"]))))


@converts("PAD", "PADV2")
def pad(layer: FloatLayer) -> None:
    """Pad."""
    layer.count((2,) if layer.operator.kind == "PAD" else (3,))
    shape, margins = layer.file_tensor(0).shape, layer.integers(1)
    value = layer.real(2).reshape(-1) if layer.operator.kind == "PADV2" else np.zeros(1)
    if len(margins) != 2 * len(shape) or len(value) != 1:
        raise layer.refuse(f"margins {margins} of shape {shape}")
    sides = [(margins[2 * axis], margins[2 * axis + 1]) for axis in range(len(shape))]
    if layer.dropped_axes(shape) == 0:
        sides.insert(0, (0, 0))
    to = tuple(b + n + a for (b, a), n in zip(sides, layer.shape(), strict=True))
    if any(sides[0]) or min(margins) < 0 or to != with_batch(layer.output().shape):
        raise layer.refuse(
            f"margins {margins} of shape {shape} to {layer.output().shape}",
            "margins from 0 on, none on the batch axis",
        )
    places = axis_order(len(sides))
    pads = [sides[axis][end] for end in (0, 1) for axis in places]
    layer.finish(layer.add("Pad", layer.source(0), pads=pads, value=float(value[0])))


@converts("SPLIT", "SPLIT_V")
def split(layer: FloatLayer) -> None:
    """One Slice an output."""
    source, axis, sizes = split_sizes(layer)
    at, position = 0, layer.axis(axis, source)
    for i, size in enumerate(sizes):
        name = layer.add("Slice", layer.source(source), starts=[at], ends=[at + size],
                         axes=[position], steps=[1])  # fmt: skip
        layer.finish(name, i)
        at += size


@converts("SLICE", "STRIDED_SLICE")
def slice_(layer: FloatLayer) -> None:
    """Slice; axes that are new or go away are a matter of the output's shape."""
    begins, sizes, strides = (part if layer.operator.kind == "SLICE" else slice_box)(layer)
    shape = layer.file_tensor(0).shape
    if len(begins) != len(shape) or not all(
        0 <= b < n and s >= 1 and 0 <= b + (s - 1) * step < n
        for b, s, step, n in zip(begins, sizes, strides, shape, strict=True)
    ):
        raise layer.refuse(f"{sizes} elements from {begins} of {shape}")
    dropped = layer.dropped_axes(shape)
    if dropped and (begins[0], sizes[0]) != (0, 1):
        raise layer.refuse(f"{sizes[0]} elements of the batch axis", "the batch axis stays")
    ends = [b + s * step for b, s, step in zip(begins, sizes, strides, strict=True)]
    cut = layer.add(
        "Slice",
        layer.source(0),
        starts=begins[dropped:],
        ends=[_BEFORE_ALL if end < 0 else end for end in ends[dropped:]],
        axes=[layer.axis(axis) for axis in range(dropped, len(shape))],
        steps=strides[dropped:],
    )
    layer.finish(cut, shaped=True)


@converts("RESIZE_NEAREST_NEIGHBOR")
def resize(layer: FloatLayer) -> None:
    """Resize to the nearest element."""
    rows, columns = (sizes.tolist() for sizes in resize_places(layer))
    if (1, len(rows), len(columns), layer.shape()[3]) != layer.output().shape:
        raise layer.refuse(f"size {len(rows)}x{len(columns)}, but {layer.output().shape}")
    layer.finish(layer.add("Resize", layer.source(0), rows=rows, columns=columns))
