"""Operators of TensorFlow Lite with a state. A sample starts from rest, as after a reset of the
interpreter's variables; a device that goes on without one continues the sequence.
"""

from __future__ import annotations

import math

import numpy as np

from spikelet.frontends.tflite.file import FileTensor
from spikelet.frontends.tflite.layers import Layer, converts
from spikelet.graph import Array
from spikelet.graph.int8 import factor
from spikelet.graph.ops.lstm import Lstm
from spikelet.graph.ops.svdf import Svdf

RELU = 1
TANH = 4
# Inputs of an LSTM; weights and biases in the order of the gates input, forget, cell, output.
_WEIGHTS, _RECURRENT, _BIAS = range(1, 5), range(5, 9), range(12, 16)
_HIDDEN, _CELL = 18, 19
_EXTRAS = {9: "a peephole", 10: "a peephole", 11: "a peephole", 16: "a projection",
           17: "a projection", **dict.fromkeys(range(20, 24), "layer normalisation")}  # fmt: skip
_GATE_SCALE = 2.0**-12  # of the int16 sums


def _scale(layer: Layer, i: int, zero: bool = True) -> np.float32:
    """The one scale of input i, whose zero point is 0."""
    tensor = layer.file_tensor(i)
    if len(tensor.scales) != 1 or (zero and int(tensor.zero_points[0])):
        raise layer.refuse(f"input {i} ({tensor.name!r}) has not one scale and a zero point of 0")
    return np.float32(tensor.scales[0])


def _state(layer: Layer, i: int, dtype: str, size: int) -> FileTensor:
    tensor = layer.file_tensor(i) if layer.has(i) else None
    if tensor is None or not tensor.variable or tensor.dtype != dtype:
        raise layer.refuse(f"input {i} is not a variable of {dtype}")
    if math.prod(tensor.shape) != size:
        raise layer.refuse(f"a state of shape {tensor.shape} for {size} values")
    return tensor


@converts("SVDF")
def svdf(layer: Layer) -> None:
    """`Svdf` with an int16 state."""
    layer.count((5,))
    source, rank = layer.value(0), int(layer.options["Rank"])
    weight, time = layer.constant(1, ("INT8",)), layer.constant(2, ("INT16",))
    if weight.ndim != 2 or time.ndim != 2 or rank < 1 or len(weight) % rank:
        raise layer.refuse(f"weights of shape {weight.shape} and {time.shape}, rank {rank}")
    units = len(weight) // rank
    scale = layer.quantisation(layer.output())[0]
    # What the reference kernel asks for, and leaves to the lowest code of the output.
    if layer.options["FusedActivationFunction"] != RELU:
        raise layer.refuse("another activation than RELU", "RELU")
    _state(layer, 4, "INT16", time.size)
    state = _scale(layer, 4)
    bias = np.zeros(units, np.int32)
    if layer.has(3):
        bias = layer.constant(3, ("INT32",)).astype(np.int32)
    seen = np.float32(source.scale) * _scale(layer, 1) / state
    summed = state * _scale(layer, 2) / np.float32(scale)
    layer.add(
        Svdf(
            name=layer.name,
            inputs=(source.name,),
            weight=weight,
            time=time.astype(np.int16),
            bias=bias,
            state_factor=factor(float(seen)),
            output_factor=factor(float(summed)),
            **layer.code(),
        )
    )
    layer.building.names[layer.operator.inputs[4]] = f"{layer.name}.state"


@converts("UNIDIRECTIONAL_SEQUENCE_LSTM")
def lstm(layer: Layer) -> None:
    """`Lstm` of int8 frames with an int16 cell state; the input gate may be coupled."""
    layer.count((20, 24))
    for i, what in _EXTRAS.items():
        if layer.has(i):
            raise layer.refuse(what, "an LSTM without peepholes, projection and normalisation")
    if layer.options["ProjClip"] or layer.options["FusedActivationFunction"] != TANH:
        raise layer.refuse("another activation than tanh, or a clipped projection")
    gates = range(0 if layer.has(_WEIGHTS[0]) else 1, 4)
    weight = np.stack([_matrix(layer, _WEIGHTS[g], _WEIGHTS[3]) for g in gates])
    recurrent = np.stack([_matrix(layer, _RECURRENT[g], _RECURRENT[3]) for g in gates])
    bias = [layer.constant(_BIAS[g], ("INT32",)).astype(np.int32) for g in gates]
    cells = weight.shape[1]
    if any(b.shape != (cells,) for b in bias):
        raise layer.refuse(f"biases of shape {bias[0].shape} for {cells} cells")
    source, shape = layer.value(0), layer.file_tensor(0).shape
    time_major = bool(layer.options["TimeMajor"])
    if len(shape) != 3 or shape[1 if time_major else 0] != 1:
        raise layer.refuse(f"input of shape {shape}", "one sequence")
    hidden = _state(layer, _HIDDEN, "INT8", cells)
    _state(layer, _CELL, "INT16", cells)
    scale, zero_point = layer.quantisation(layer.output())
    if layer.quantisation(hidden) != (scale, zero_point):
        raise layer.refuse("a hidden state in another code than the output")
    cell_scale = _scale(layer, _CELL)
    exponent = math.log2(cell_scale)
    if exponent != round(exponent) or not -15 <= exponent <= -9:
        raise layer.refuse(f"a cell state of scale {cell_scale}", "2^-15 to 2^-9")
    inner, zero = _intermediate(layer)
    if zero != zero_point:
        raise layer.refuse(f"zero points {zero} before the output and {zero_point} in it")
    gate = np.float32(_GATE_SCALE)
    factors = [
        [factor(float(_scale(layer, i) * np.float32(unit) / gate)) for i in inputs]
        for inputs, unit in (
            ([_WEIGHTS[g] for g in gates], source.scale),
            ([_RECURRENT[g] for g in gates], scale),
        )
    ]
    layer.add(
        Lstm(
            name=layer.name,
            inputs=(source.name,),
            weight=weight,
            recurrent=recurrent,
            bias=np.stack(bias),
            multiplier=np.array([[m for m, _ in row] for row in factors], np.int32),
            shift=np.array([[s for _, s in row] for row in factors], np.int32),
            cell_bits=15 + round(exponent),
            cell_clip=_clip(layer, cell_scale),
            hidden_factor=factor(float(np.float32(2.0**-30) / inner)),
            **layer.code(),
        )
    )
    layer.building.names[layer.operator.inputs[_HIDDEN]] = f"{layer.name}.hidden"
    layer.building.names[layer.operator.inputs[_CELL]] = f"{layer.name}.cell"


def _matrix(layer: Layer, i: int, like: int) -> Array:
    matrix, other = layer.constant(i, ("INT8",)), layer.constant(like, ("INT8",))
    if matrix.ndim != 2 or matrix.shape != other.shape:
        raise layer.refuse(f"input {i} has shape {matrix.shape}, input {like} {other.shape}")
    return matrix


def _intermediate(layer: Layer) -> tuple[np.float32, int]:
    """Scale and zero point of `o * tanh(c)`, the last of five."""
    tensors = [layer.building.model.tensors[i] for i in layer.operator.intermediates]
    if len(tensors) != 5 or len(tensors[4].scales) != 1:
        raise layer.refuse(f"{len(tensors)} intermediate tensors", "5, as full-integer models have")
    return np.float32(tensors[4].scales[0]), int(tensors[4].zero_points[0])


def _clip(layer: Layer, scale: np.float32) -> int:
    limit = np.float32(layer.options["CellClip"])
    if not 0 <= limit < math.inf:
        raise layer.refuse(f"a cell clip of {limit}")
    return int(min(limit / scale, np.float32(32767)))
