"""Element-wise operators, functions of one code, and softmax of TensorFlow Lite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spikelet.frontends.tflite_layers import Layer, converts, graph_shape
from spikelet.graph.elementwise import Elementwise
from spikelet.graph.int8 import Lookup
from spikelet.graph.ops.add import Add
from spikelet.graph.ops.hard_swish import HardSwish, hard_swish_table
from spikelet.graph.ops.leaky_relu import LeakyRelu, leaky_relu_table
from spikelet.graph.ops.logistic import Logistic, logistic_table
from spikelet.graph.ops.mul import Mul
from spikelet.graph.ops.quantize import Quantize, quantize_table
from spikelet.graph.ops.relu import Relu, relu_table
from spikelet.graph.ops.softmax import Softmax
from spikelet.graph.ops.sub import Sub
from spikelet.graph.ops.tanh import Tanh, tanh_table

_ELEMENTWISE: dict[str, type[Elementwise]] = {"ADD": Add, "SUB": Sub, "MUL": Mul}
_RELU: dict[str, tuple[float, float | None]] = {
    "RELU": (0.0, None),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU_0_TO_1": (0.0, 1.0),
}


@converts("ADD", "SUB", "MUL")
def elementwise(layer: Layer) -> None:
    """`Add`, `Sub` or `Mul`, with broadcasting; one operand may be a constant."""
    layer.count((2,))
    fixed = [i for i in (0, 1) if layer.file_tensor(i).data is not None]
    if len(fixed) == 2:
        raise layer.refuse("both operands are constants", "at most one constant")
    fields: dict[str, Any] = {}
    for i in fixed:
        found = layer.file_tensor(i)
        scale, zero_point = layer.quantisation(found)
        values = layer.constant(i, ("INT8",))
        fields = {
            "constant": values.reshape(graph_shape(found.shape)).astype(np.int8),
            "constant_scale": scale,
            "constant_zero_point": zero_point,
            "constant_first": i == 0,
        }
    layer.add(
        _ELEMENTWISE[layer.operator.kind](
            name=layer.name,
            inputs=tuple(layer.value(i).name for i in (0, 1) if i not in fixed),
            activation=layer.activation(),
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
    """`Relu`."""
    to = _to(layer)
    _lookup(layer, Relu, relu_table(layer.value(0), *to, *_RELU[layer.operator.kind]))


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
    """`Quantize` between integer codes; from float only at a graph input, which the reader took."""
    layer.count((1,))
    source = layer.value(0)
    if source.dtype not in ("i8", "u8"):
        raise layer.refuse(f"an input of {layer.file_tensor(0).dtype}", "INT8 or UINT8")
    _lookup(layer, Quantize, quantize_table(source, *layer.quantisation(layer.output())))


@converts("SOFTMAX")
def softmax(layer: Layer) -> None:
    """`Softmax` over the last axis."""
    to = _to(layer)
    beta = float(layer.options["Beta"])
    if to[1] != -128 or abs(to[0] - 1 / 256) > 0.001 / 256:
        raise layer.refuse(f"an output of scale and zero point {to}", "1/256 and -128")
    layer.add(
        Softmax(
            name=layer.name,
            inputs=(layer.value(0).name,),
            beta=beta,
            output_scale=to[0],
            output_zero_point=to[1],
        )
    )
