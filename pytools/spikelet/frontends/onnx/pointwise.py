"""Operators of ONNX on each element: functions of one value, and of two operands."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from spikelet.frontends.onnx.layers import Layer, Value, converts
from spikelet.quantise import Code

_LARGEST = 3e38  # a limit beyond it stands for none

# Functions of one value, and their attributes.
_FUNCTIONS: dict[str, tuple[str, ...]] = {
    "Celu": ("alpha",), "Shrink": ("lambd", "bias"), "Elu": ("alpha",), "Gelu": ("approximate",),
    "HardSigmoid": ("alpha", "beta"), "LeakyRelu": ("alpha",), "Selu": ("alpha", "gamma"),
    "ThresholdedRelu": ("alpha",),
    **dict.fromkeys(
        re.findall(
            r"\w+",
            "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor HardSwish Log Mish "
            "Neg Reciprocal Relu Round Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh",
        ),
        (),
    ),
}  # fmt: skip


@converts(*_FUNCTIONS)
def function(layer: Layer) -> None:
    """The function of that name."""
    x, names = layer.activation(), _FUNCTIONS[layer.node.kind]
    attributes = {name: layer.attribute(name) for name in names}
    if layer.attribute("approximate", "none") not in ("none", "tanh"):
        raise layer.refuse("an approximation of that name", "none, tanh")
    layer.add(layer.node.kind, [x.tensor], x.shape, attributes)


@converts("Swish")
def swish(layer: Layer) -> None:
    """`Silu`."""
    x = layer.activation()
    if layer.attribute("alpha", 1.0) != 1.0:
        raise layer.refuse("alpha", "alpha=1")
    layer.add("Silu", [x.tensor], x.shape)


@converts("Clip")
def clip(layer: Layer) -> None:
    """`Clip`; limits are attributes in older opsets, constants in newer ones. Codes, too."""
    x = layer.movable_input()
    low = layer.attribute("min", layer.scalar(1, "min"))
    high = layer.attribute("max", layer.scalar(2, "max"))
    limits = {k: float(v) for k, v in (("min", low), ("max", high)) if v is not None}
    if any(np.isnan(v) for v in limits.values()):
        raise layer.refuse("a limit that is no number")
    if limits.get("min", 0) >= _LARGEST or limits.get("max", 0) <= -_LARGEST:
        raise layer.refuse("limits that leave infinity alone", "limits between -3e38 and 3e38")
    kept = {k: v for k, v in limits.items() if abs(v) < _LARGEST}
    if x.quantised:
        code = layer.building.network.codes.get(x.tensor)
        if code is None:
            raise layer.refuse("integers whose scale nothing tells", "a QuantizeLinear before it")
        zero, step = code.zero_point - x.offset, np.float32(code.scale)
        kept = {k: float((np.float32(v) - zero) * step) for k, v in kept.items()}
    layer.add("Clip", [x.tensor], x.shape, kept, like=x if x.quantised else None)


@converts("PRelu")
def prelu(layer: Layer) -> None:
    """`PRelu` with a constant slope."""
    x, slope = layer.activation(), layer.constant(1, "a constant slope")
    if layer.broadcast(x.shape, slope.shape) != x.shape:
        raise layer.refuse(f"a slope of shape {slope.shape} on {x.shape}")
    layer.add("PRelu", [x.tensor, layer.operand(1)], x.shape)


@converts("Add", "Sub", "Mul", "Div", "Pow")
def two_operands(layer: Layer) -> None:
    """The operator of that name on two computed tensors, or on one and a constant."""
    a, b = layer.value(0), layer.value(1)
    shape = layer.broadcast(a.shape, b.shape)
    if a.plus is not None and layer.node.kind == "Add" and b.array is not None:
        if b.array.size != 1 or b.array.dtype.kind != "i" or shape != a.shape:
            raise layer.refuse("codes and a constant", "codes plus one integer: a table's index")
        layer.write(replace(a, plus=a.plus + int(b.array.reshape(-1)[0])))
        return
    if layer.node.kind == "Pow" and b.array is None:
        raise layer.refuse("a computed exponent", "a constant exponent")
    output = layer.add(layer.node.kind, [layer.operand(0), layer.operand(1)], shape)
    if layer.node.kind in ("Mul", "Div") and b.array is not None and b.array.size == 1:
        _rescale(layer, a.tensor, output.tensor, float(b.array.reshape(-1)[0]))


def _rescale(layer: Layer, source: str, to: str, factor: float) -> None:
    """A quantised tensor times a number has the same codes, where nothing else is asked for."""
    codes, name = layer.building.network.codes, layer.node.outputs[0]
    real = factor if layer.node.kind == "Mul" else 1 / factor if factor else 0.0
    readers = {node.kind for node in layer.building.model.nodes if name in node.inputs}
    if readers & {
        "QuantizeLinear",
        "Quant",
        "BipolarQuant",
        "Trunc",
        *_FUNCTIONS,
    }:  # a code of its own, or a step within a table
        return
    if source in codes and 2.0**-60 < real < 2.0**60:
        scale = np.asarray(codes[source].scale * np.float32(real), np.float32)
        codes[to] = Code(scale, codes[source].zero_point)


@converts("Sum", "Min", "Max")
def many_operands(layer: Layer) -> None:
    """A row of the operator of that name; Sum is one of `Add`."""
    values = [layer.value(i) for i in range(len(layer.node.inputs))]
    computed = [i for i, v in enumerate(values) if v.array is None]
    op = "Add" if layer.node.kind == "Sum" else layer.node.kind
    order = computed + [i for i in range(len(values)) if i not in computed]
    name, shape = layer.operand(order[0]), values[order[0]].shape
    if len(order) == 1:
        layer.write(Value(shape, np.dtype(np.float32), tensor=name))
    for i in order[1:]:
        shape = layer.broadcast(shape, values[i].shape)
        last = i == order[-1]
        inputs = [name, layer.operand(i)]
        name = layer.add(op, inputs, shape, output=0 if last else None).tensor


@converts("Softmax")
def softmax(layer: Layer) -> None:
    """`Softmax` over one axis; before opset 13 it spans all axes from `axis` on."""
    x = layer.activation()
    rank = len(x.shape)
    axis = layer.axis(int(layer.attribute("axis", 1 if layer.opset < 13 else -1)), rank)
    if layer.opset >= 13 or all(d == 1 for d in x.shape[axis + 1 :]):
        layer.add("Softmax", [x.tensor], x.shape, {"axis": axis})
        return
    outer, inner = int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:]))
    flat = layer.add("Reshape", [x.tensor], (outer, inner), {"shape": [outer, inner]}, output=None)
    rows = layer.add("Softmax", [flat.tensor], flat.shape, {"axis": 1}, output=None)
    layer.add("Reshape", [rows.tensor], x.shape, {"shape": list(x.shape)})


@converts("Identity")
def identity(layer: Layer) -> None:
    """The same tensor."""
    layer.write(layer.value(0))


@converts("Dropout")
def dropout(layer: Layer) -> None:
    """The same tensor: nothing is dropped at inference."""
    layer.alone()
    if layer.scalar(2, "training_mode"):
        raise layer.refuse("it is in training mode", "inference")
    layer.write(layer.value(0))


@converts("Cast")
def cast(layer: Layer) -> None:
    """The same tensor: floats as they are, 8-bit integers with a code of scale 1."""
    x = layer.value(0)
    if layer.attribute("to") in (6, 7) and x.quantised and x.array is None:  # INT32, INT64
        layer.write(Value(x.shape, np.dtype(np.int64), tensor=x.tensor, plus=-x.offset))
        return
    if layer.attribute("to") not in (1, 10, 11):  # FLOAT, FLOAT16, DOUBLE
        if x.dtype.kind == "i" and not x.quantised:  # indices stay indices
            layer.write(x)
            return
        raise layer.refuse(f"a cast of computed {x.dtype}", "to a float type")
    if x.quantised:
        from spikelet.frontends.onnx.quantised import real

        layer.write(real(layer, x, 1.0, 0))
        return
    layer.write(layer.activation())
