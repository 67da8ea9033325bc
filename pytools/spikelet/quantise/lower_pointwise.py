"""Functions of one value, element-wise operators, reductions: to the integer graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.elementwise import Elementwise
from spikelet.graph.ops.add import Add
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.maximum import Maximum
from spikelet.graph.ops.mean import Mean
from spikelet.graph.ops.minimum import Minimum
from spikelet.graph.ops.mul import Mul
from spikelet.graph.ops.prelu import Prelu
from spikelet.graph.ops.reduce_max import ReduceMax
from spikelet.graph.ops.reduce_min import ReduceMin
from spikelet.graph.ops.softmax import Softmax
from spikelet.graph.ops.sub import Sub
from spikelet.graph.ops.table import Table, function_table
from spikelet.graph.reduction import Reduction
from spikelet.quantise.calibrate import activation_code, integers
from spikelet.quantise.layers import (
    Layer,
    Value,
    code_of,
    graph_shape,
    like,
    lowers,
)
from spikelet.quantise.meaning import evaluate

_ELEMENTWISE: dict[str, type[Elementwise]] = {
    "Add": Add, "Sub": Sub, "Mul": Mul, "Max": Maximum, "Min": Minimum, "PRelu": Prelu,
}  # fmt: skip
_REDUCTIONS: dict[str, type[Reduction]] = {
    "GlobalAveragePool": Mean, "ReduceMean": Mean, "ReduceMax": ReduceMax, "ReduceMin": ReduceMin,
}  # fmt: skip


def function(layer: Layer) -> Value:
    """A chain of functions of one value: one table."""
    network = layer.lowering.network
    read = next(i for i, name in enumerate(layer.node.inputs) if name not in network.constants)
    source = layer.own(read)
    if math.prod(layer.shape) != source.tensor.size:
        raise layer.refuse("a constant that changes the shape")

    def compute(x: Array) -> Array:
        for node in layer.group.nodes:
            inputs = [
                network.constants[name].astype(np.float32).reshape(())
                if name in network.constants
                else x
                for name in node.inputs
            ]
            x = evaluate(node, inputs)
        return x

    code = layer.code
    table = function_table(source.tensor, float(code.scale), code.zero_point, compute)
    function = "+".join(node.op.lower() for node in layer.group.nodes)
    made = Table(
        name=layer.name, inputs=(source.tensor.name,), table=table, function=function, **like(code)
    )
    return Value(layer.add(made), source.layout, source.order)


@lowers(*_ELEMENTWISE)
def _elementwise(layer: Layer) -> Value:
    fixed = [i for i in (0, 1) if layer.constant(i) is not None]
    rank = len(layer.shape)
    read = [i for i in (0, 1) if i not in fixed]
    if any(len(layer.lowering.shapes[layer.node.inputs[i]]) != rank for i in read):
        found = [layer.lowering.shapes[name] for name in layer.node.inputs]
        raise layer.refuse(f"operands of shape {found}", "operands with as many axes")
    layout = layer.own(read[0]).layout
    chosen = layer.node.op in ("Max", "Min")  # of codes: the operands have the output's
    fields: dict[str, Any] = {}
    for i in fixed:
        values = np.asarray(layer.constant(i))
        if values.ndim > rank or (values.ndim == rank and values.shape[0] != 1):
            raise layer.refuse(f"a constant of shape {values.shape} on {layer.shape}")
        code = layer.lowering.network.codes.get(layer.node.inputs[i])
        code = code or activation_code(float(values.min()), float(values.max()))
        code = layer.code if chosen else code
        full = values.reshape((1,) * (rank - values.ndim) + values.shape)
        laid = full.transpose(0, *layout).reshape(graph_shape(full.shape, layout))
        fields = {
            "constant": integers(np.ascontiguousarray(laid), code),
            "constant_scale": float(code.scale),
            "constant_zero_point": code.zero_point,
            "constant_first": i == 0,
        }
    sources = [layer.input(layout, i) for i in read]
    if chosen:
        sources = [layer.lowering.recoded(source, layer.code) for source in sources]
    made = _ELEMENTWISE[layer.node.op](
        name=layer.name,
        inputs=tuple(source.name for source in sources),
        activation=layer.activation(layer.code),
        **fields,
        **like(layer.code),
    )
    return layer.done(layer.add(made), layout)


@lowers(*_REDUCTIONS)
def _reduction(layer: Layer) -> Value:
    shape = layer.source_shape
    axes = layer.node.attributes.get("axes") or tuple(range(len(shape)))
    if layer.node.op == "GlobalAveragePool":
        axes = tuple(range(2, len(shape)))
    gone = {int(axis) for axis in axes}
    if 0 in gone:
        raise layer.refuse("a reduction over the batch axis")
    layout = layer.own().layout
    places = [i for i, axis in enumerate(layout) if axis in gone]
    if places != list(range(places[0], places[0] + len(places))):
        layout = (*sorted(gone), *(axis for axis in layout if axis not in gone))
        places = list(range(len(gone)))
    source = layer.input(layout)
    lead = len(source.shape) - len(layout)
    reduction = _REDUCTIONS[layer.node.op]
    made = reduction(
        name=layer.name,
        inputs=(source.name,),
        axes=tuple(lead + i for i in places),
        keep_dims=True,
        **like(layer.code if reduction is Mean else code_of(source)),
    )
    if len(layer.shape) == len(shape):
        return layer.done(layer.add(made), layout)
    kept = [axis for axis in range(len(shape)) if axis not in gone]
    rest = tuple(kept.index(axis) for axis in layout if axis not in gone)
    return layer.done(layer.add(made), rest)


@lowers("Softmax")
def _softmax(layer: Layer) -> Value:
    axis = int(layer.node.attributes.get("axis", -1)) % len(layer.shape)
    if axis == 0:
        raise layer.refuse("a softmax over the batch axis")
    layout = (*(a for a in layer.own().layout if a != axis), axis)
    made = Softmax(name=layer.name, inputs=(layer.input(layout).name,))
    return layer.done(layer.add(made), layout)


@lowers("ArgMax")
def _arg_max(layer: Layer) -> Value:
    axis = int(layer.node.attributes.get("axis", 0)) % len(layer.source_shape)
    if axis == 0 or layer.node.attributes.get("select_last_index", 0):
        raise layer.refuse("over the batch axis, or the last of equal ones", "the first largest")
    rows = tuple(a for a in layer.own().layout if a != axis)
    tensor = layer.add(Argmax(name=layer.name, inputs=(layer.input((*rows, axis)).name,)))
    layout = (*rows, axis)
    if len(layer.shape) < len(layer.source_shape):
        layout = tuple(a - (a > axis) for a in rows)
    return Value(layer.lowering.shaped(tensor, graph_shape(layer.shape, layout)), layout)
