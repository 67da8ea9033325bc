"""Functions of one code: by name where that gives the same table, else as a table."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from spikelet.frontends.onnx.export.writer import Writer, exports
from spikelet.graph import Array, Tensor
from spikelet.graph.int8 import CODES
from spikelet.graph.ops.leaky_relu import leaky_relu_table
from spikelet.graph.ops.table import function_table
from spikelet.quantise.function import functions

_MOST_SLOPES = 64  # of as many digits that are tried
_NAMED = {"logistic": "Sigmoid", "tanh": "Tanh", "hard_swish": "HardSwish"}


@exports("hard_swish", "logistic", "tanh")
def _same_function(to: Writer, node: Any) -> None:
    to.write_output(node, to.add(_NAMED[node.KIND], [to.source(node)[1]], f"{node.name}/result"))


@exports("quantize")
def _quantize(to: Writer, node: Any) -> None:
    to.write_output(node, to.source(node)[1])


@exports("relu")
def _relu(to: Writer, node: Any) -> None:
    to.write_output(node, to.source(node)[1], (int(node.table.min()), int(node.table.max())))


@exports("leaky_relu")
def _leaky_relu(to: Writer, node: Any) -> None:
    source, real = to.source(node)

    def table(alpha: float) -> Array:
        return leaky_relu_table(source, node.output_scale, node.output_zero_point, alpha)

    alpha = _slope(source, node, table)
    if alpha is None:
        _gather_table(to, node)
    else:
        to.write_output(node, to.add("LeakyRelu", [real], f"{node.name}/result", alpha=alpha))


def _slope(source: Tensor, node: Any, table: Callable[[float], Array]) -> float | None:
    """The shortest decimal that gives a leaky ReLU's table; None where there is none."""
    tells = (CODES < source.zero_point) & (np.abs(node.table.astype(np.int64)) < 127)
    if not np.any(tells):
        return None
    x = (CODES[tells] - source.zero_point) * source.scale
    y = (node.table[tells].astype(np.int64) - node.output_zero_point) * node.output_scale
    room = 0.75 * node.output_scale / np.abs(x)  # half a step, and what fixed point adds
    low, high = float((y / x - room).max()), float((y / x + room).min())
    for unit in (10.0**digits for digits in range(1, 10)):
        inside = range(math.ceil(low * unit), math.floor(high * unit) + 1)
        skipped = max(len(inside) - _MOST_SLOPES, 0) // 2
        for whole in inside[skipped:][:_MOST_SLOPES]:
            if np.array_equal(table(whole / unit), node.table):
                return whole / unit
    return None


@exports("table")
def _table(to: Writer, node: Any) -> None:
    """The function that made the table, where its name and defaults give the same table again."""
    source, real = to.source(node)
    scale, zero = node.output_scale, node.output_zero_point
    kinds = {name.lower(): name for name in _SIMPLE}
    kind = kinds.get(node.function, "")

    def table(**attributes: float) -> Array:
        with np.errstate(all="ignore"):
            return function_table(
                source, scale, zero, lambda x: functions()[kind].value(x, **attributes)
            )

    if node.function in ("requantise", "relu", "clip"):
        clamp = int(node.table.min()), int(node.table.max())
        same = function_table(source, scale, zero, lambda x: x).clip(*clamp)
        if np.array_equal(same, node.table):
            to.write_output(node, real, clamp)
            return
    elif kind == "LeakyRelu":
        alpha = _slope(source, node, lambda alpha: table(alpha=alpha))
        if alpha is not None:
            to.write_output(node, to.add(kind, [real], f"{node.name}/result", alpha=alpha))
            return
    elif kind and _numbers(kind, source) and np.array_equal(table(), node.table):
        to.write_output(node, to.add(kind, [real], f"{node.name}/result"))
        return
    elif node.function in _GATED:
        gated, gate = _GATED[node.function]
        same = function_table(source, scale, zero, functions()[gated].value)
        if np.array_equal(same, node.table):
            real = to.add("Mul", [real, gate(to, node, real)], f"{node.name}/result")
            to.write_output(node, real)
            return
    _gather_table(to, node)


def _numbers(kind: str, source: Tensor) -> bool:
    """Whether a function has a value for every code; runtimes write any code for what is none."""
    x = np.float32(source.scale) * (CODES - source.zero_point).astype(np.float32)
    with np.errstate(all="ignore"):
        return not np.any(np.isnan(functions()[kind].value(x)))


def _sigmoid(to: Writer, node: Any, real: str) -> str:
    return to.add("Sigmoid", [real], f"{node.name}/gate")


def _normal_distribution(to: Writer, node: Any, real: str) -> str:
    root, one, half = (
        to.constant(f"{node.name}/{name}", np.float32(value))
        for name, value in (("root", math.sqrt(2)), ("one", 1), ("half", 0.5))
    )
    quotient = to.add("Div", [real, root], f"{node.name}/deviations")
    quotient = to.add("Erf", [quotient], f"{node.name}/erf")
    quotient = to.add("Add", [quotient, one], f"{node.name}/twice")
    return to.add("Mul", [quotient, half], f"{node.name}/gate")


# Functions that this opset has as a product: of x, and of another function of it.
_GATED: dict[str, tuple[str, Callable[[Writer, Any, str], str]]] = {
    "gelu": ("Gelu", _normal_distribution),
    "silu": ("Silu", _sigmoid),
}


# Functions of one value in the opset that is written, whose attributes have defaults.
_SIMPLE = frozenset(
    re.findall(
        r"\w+",
        "Abs Celu Cos Elu Erf Exp HardSigmoid HardSwish LeakyRelu Log Neg Reciprocal Selu Sigmoid "
        "Sin Softplus Softsign Sqrt Tanh",
    )
)


def _gather_table(to: Writer, node: Any) -> None:
    """Each code's value from a table: exact, whatever the function is."""
    source = to.source(node)[0]
    by_code = node.table[np.arange(-128, 128).astype(np.int8).view(np.uint8)].astype(np.int64)
    values = (by_code - node.output_zero_point) * np.float32(node.output_scale)
    table = to.constant(f"{node.name}/table", values.astype(np.float32))
    half = to.constant(f"{node.name}/half", np.array(128, np.int32))
    wide = to.onnx.TensorProto.INT32
    codes = to.add("Cast", [f"{source.name}/codes"], f"{node.name}/wide", to=wide)
    index = to.add("Add", [codes, half], f"{node.name}/index")
    to.write_output(node, to.add("Gather", [table, index], f"{node.name}/result", axis=0))
