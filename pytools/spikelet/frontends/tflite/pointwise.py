"""Element-wise operators, functions of one code, and softmax of TensorFlow Lite."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from spikelet.frontends.tflite.layers import Layer, converts, graph_shape
from spikelet.graph.elementwise import Elementwise
from spikelet.graph.int8 import CODES, Lookup
from spikelet.graph.ops.add import Add
from spikelet.graph.ops.hard_swish import HardSwish, hard_swish_table
from spikelet.graph.ops.leaky_relu import LeakyRelu, leaky_relu_table
from spikelet.graph.ops.logistic import Logistic, logistic_table
from spikelet.graph.ops.maximum import Maximum
from spikelet.graph.ops.minimum import Minimum
from spikelet.graph.ops.mul import Mul
from spikelet.graph.ops.prelu import Prelu
from spikelet.graph.ops.quantize import Quantize, dequantized_table, quantize_table
from spikelet.graph.ops.relu import Relu, relu_table
from spikelet.graph.ops.softmax import Softmax
from spikelet.graph.ops.sub import Sub
from spikelet.graph.ops.tanh import Tanh, tanh_table
from spikelet.graph.pooling import Pool2d
from spikelet.graph.quantised import Quantised

_ELEMENTWISE: dict[str, type[Elementwise]] = {
    "ADD": Add,
    "SUB": Sub,
    "MUL": Mul,
    "MAXIMUM": Maximum,
    "MINIMUM": Minimum,
    "PRELU": Prelu,
}
_RELU: dict[str, tuple[float, float | None]] = {
    "RELU": (0.0, None),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU_0_TO_1": (0.0, 1.0),
}


@converts(*_ELEMENTWISE)
def elementwise(layer: Layer) -> None:
    """A function of two operands, with broadcasting; one of them may be a constant."""
    layer.count((2,))
    fixed = [i for i in (0, 1) if layer.file_tensor(i).data is not None]
    if len(fixed) == 2:
        raise layer.refuse("both operands are constants", "at most one constant")
    fields: dict[str, Any] = {}
    if "FusedActivationFunction" in layer.options:
        fields["activation"] = layer.activation()
    for i in fixed:
        tensor = layer.file_tensor(i)
        scale, zero_point = layer.quantisation(tensor)
        values = layer.constant(i, ("INT8",))
        fields |= {
            "constant": values.reshape(graph_shape(tensor.shape)).astype(np.int8),
            "constant_scale": scale,
            "constant_zero_point": zero_point,
            "constant_first": i == 0,
        }
    layer.add(
        _ELEMENTWISE[layer.operator.kind](
            name=layer.name,
            inputs=tuple(layer.value(i).name for i in (0, 1) if i not in fixed),
            **fields,
            **layer.code(),
        )
    )


def _lookup(layer: Layer, kind: type[Lookup], table: Any) -> None:
    layer.add(kind(name=layer.name, inputs=(layer.value(0).name,), table=table, **layer.code()))


def _to(layer: Layer) -> tuple[float, int]:
    layer.count((1,))
    if layer.value(0).dtype != "i8":
        raise layer.refuse(f"an input of {layer.file_tensor(0).dtype}", "INT8")
    return layer.quantisation(layer.output())


@converts(*_RELU)
def relu(layer: Layer) -> None:
    """The clamp of the operator before it where that has the same code, else `Relu`."""
    to = _to(layer)
    source, writer = layer.value(0), layer.writer(0)
    table = relu_table(source, *to, *_RELU[layer.operator.kind])
    low, high = int(table.min()), int(table.max())
    same = (source.scale, source.zero_point) == to and np.array_equal(
        table, np.clip(CODES, low, high)
    )
    if same and isinstance(writer, Quantised | Pool2d | Add | Sub | Mul):
        first, last = (min(max(code, low), high) for code in writer.activation)
        layer.building.remove(writer)
        layer.add(dataclasses.replace(writer, name=layer.name, activation=(first, last)))
    else:
        _lookup(layer, Relu, table)


@converts("LEAKY_RELU")
def leaky_relu(layer: Layer) -> None:
    """`LeakyRelu`."""
    to, alpha = _to(layer), float(layer.options["Alpha"])
    if not 0 <= alpha < math.inf:
        raise layer.refuse(f"a slope of {alpha}", "a slope that is not negative")
    _lookup(layer, LeakyRelu, leaky_relu_table(layer.value(0), *to, alpha))


@converts("LOGISTIC")
def logistic(layer: Layer) -> None:
    """`Logistic`."""
    to = _to(layer)
    if to != (1 / 256, -128):
        raise layer.refuse(f"an output of scale and zero point {to}", "1/256 and -128")
    _lookup(layer, Logistic, logistic_table(layer.value(0), *to))


@converts("TANH")
def tanh(layer: Layer) -> None:
    """`Tanh`."""
    to = _to(layer)
    _lookup(layer, Tanh, tanh_table(layer.value(0), *to))


@converts("HARD_SWISH")
def hard_swish(layer: Layer) -> None:
    """`HardSwish`."""
    to = _to(layer)
    _lookup(layer, HardSwish, hard_swish_table(layer.value(0), *to))


@converts("QUANTIZE")
def quantize(layer: Layer) -> None:
    """`Quantize` between codes, also by way of a DEQUANTIZE; the host quantises a float input."""
    layer.count((1,))
    real = layer.building.real.get(layer.operator.inputs[0])
    if real is not None:
        source = layer.building.known[layer.building.names[real]]
        table = dequantized_table(source, *layer.quantisation(layer.output()))
        fields: dict[str, Any] = layer.code()
    else:
        source = layer.value(0)
        if source.dtype not in ("i8", "u8"):
            raise layer.refuse(f"an input of {layer.file_tensor(0).dtype}", "INT8 or UINT8")
        unsigned = layer.output().dtype == "UINT8"
        scale, zero = layer.quantisation(layer.output(), "UINT8" if unsigned else "INT8")
        table = quantize_table(source, scale, zero, unsigned=unsigned)
        fields = {"output_scale": scale, "output_zero_point": zero, "unsigned": unsigned}
    layer.add(Quantize(name=layer.name, inputs=(source.name,), table=table, **fields))


@converts("SOFTMAX")
def softmax(layer: Layer) -> None:
    """`Softmax` over the last axis."""
    to = _to(layer)
    beta = float(layer.options["Beta"])
    layer.add(
        Softmax(
            name=layer.name,
            inputs=(layer.value(0).name,),
            beta=beta,
            output_scale=to[0],
            output_zero_point=to[1],
        )
    )
