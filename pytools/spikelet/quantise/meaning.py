"""What each operator of a `Network` computes, in float32: the ONNX operator of that name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from spikelet.errors import UsageError
from spikelet.graph import Array
from spikelet.quantise.network import Network, Node
from spikelet.refusal import refuse

CHUNK_BYTES = 1 << 26  # of convolution windows at a time
MOST_PADDED = 1 << 23  # elements of a sample with its margins

# A meaning takes the inputs (None where an optional one is missing) and the attributes.
Meaning = Callable[[list[Any], Mapping[str, Any]], Array]
MEANINGS: dict[str, Meaning] = {}

# Functions of one value; their attributes are keyword arguments.
UNARY: dict[str, Callable[..., Array]] = {}


def run(network: Network, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Execute a network on N samples.

    Args:
        network: what to execute; the batch axis of 1 that it was written for becomes N.
        feeds: every input by name, (N, *rest of its shape).

    Returns:
        Every tensor but the constants by name: float32 (int64 for indices), the batch axis first.

    Raises:
        UsageError: an input is missing or has another shape, a node is unknown or fails.
    """
    return execute(network, feeds)


def execute(
    network: Network,
    feeds: Mapping[str, Array],
    after: Callable[[Node | str, Array], Array] | None = None,
) -> dict[str, Array]:
    """`run`, with a say in every tensor.

    Args:
        network: what to execute.
        feeds: inputs by name.
        after: gets each input's name or node and its value, and returns the value that is used.
    """
    values: dict[str, Any] = {"": None, **network.constants}
    found: dict[str, Array] = {}
    for name, shape in network.inputs.items():
        if name not in feeds:
            raise UsageError(f"network {network.name}: no data for input {name}")
        x = np.asarray(feeds[name], np.float32)
        if x.shape[1:] != tuple(shape[1:]):
            raise UsageError(
                f"network {network.name}: input {name} has shape {x.shape}, expected "
                f"(N, {', '.join(map(str, shape[1:]))})"
            )
        found[name] = values[name] = x if after is None else after(name, x)
    for node in network.nodes:
        y = evaluate(node, [values[name] for name in node.inputs])
        found[node.name] = values[node.name] = y if after is None else after(node, y)
    return found


def evaluate(node: Node, inputs: list[Any]) -> Array:
    """What one node computes from its inputs; raises UsageError where it cannot."""
    if node.op not in MEANINGS:
        raise refuse(
            node.source or node.name,
            node.op,
            "this operator is not supported",
            f"supported are {', '.join(sorted(MEANINGS))}",
            node.attributes,
        )
    try:
        with np.errstate(all="ignore"):
            y = MEANINGS[node.op](inputs, node.attributes)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        shapes = ", ".join("none" if x is None else str(np.shape(x)) for x in inputs)
        attributes = ", ".join([node.op, *(f"{k}={v}" for k, v in node.attributes.items())])
        raise UsageError(
            f"node {node.source or node.name!r} ({attributes}) cannot be computed on inputs of "
            f"shape {shapes}: {error}"
        ) from error
    return y.astype(np.float32) if y.dtype == np.float64 else y


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor, constants included, the batch axis of 1 included."""
    zeros = {name: np.zeros(shape, np.float32) for name, shape in network.inputs.items()}
    found = {**network.constants, **run(network, zeros)}
    return {name: values.shape for name, values in found.items()}


def _means(*names: str) -> Callable[[Meaning], Meaning]:
    def register(meaning: Meaning) -> Meaning:
        for name in names:
            MEANINGS[name] = meaning
        return meaning

    return register


def _unary(name: str) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    def register(function: Callable[..., Array]) -> Callable[..., Array]:
        UNARY[name] = function
        MEANINGS[name] = lambda inputs, attributes: function(inputs[0], **attributes)
        return function

    return register


# Convolution, linear


def _spatial(attributes: Mapping[str, Any], name: str, rank: int, default: int) -> list[int]:
    found = attributes.get(name)
    return [default] * rank if found is None else [int(v) for v in found]


def _padded(x: Array, pads: Sequence[int], value: float) -> Array:
    """Margins (begin of each spatial axis, then end of each); negative ones cut."""
    rank = len(pads) // 2
    begin, end = pads[:rank], pads[rank:]
    grown = [(max(b, 0), max(e, 0)) for b, e in zip(begin, end, strict=True)]
    lead = x.ndim - rank
    if any(b or e for b, e in grown):
        sizes = zip(x.shape[lead:], grown, strict=True)
        elements = math.prod(x.shape[1:lead]) * math.prod(n + b + e for n, (b, e) in sizes)
        if elements > MOST_PADDED:
            raise ValueError(f"{elements} elements with its margins, at most {MOST_PADDED}")
        x = np.pad(x, [(0, 0)] * lead + grown, constant_values=value)
    cut = tuple(
        slice(max(-b, 0), x.shape[lead + i] - max(-e, 0))
        for i, (b, e) in enumerate(zip(begin, end, strict=True))
    )
    return x[(slice(None),) * lead + cut]


@_means("Conv")
def _conv(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    """x (N, C, *spatial), weight (O, C / group, *kernel), bias (O,)."""
    x, weight = inputs[0], inputs[1]
    rank = weight.ndim - 2
    strides = _spatial(attributes, "strides", rank, 1)
    dilations = _spatial(attributes, "dilations", rank, 1)
    x = _padded(x, _spatial(attributes, "pads", 2 * rank, 0), 0.0)
    if rank == 1:  # an image of one row
        x, weight = x[:, :, None], weight[:, :, None]
        strides, dilations = [1, *strides], [1, *dilations]
    elif rank != 2:
        raise ValueError(f"{rank} spatial axes, expected 1 or 2")
    group = int(attributes.get("group", 1))
    outputs, depth = weight.shape[:2]
    if x.shape[1] != depth * group or outputs % group:
        raise ValueError(f"weights of {depth} channels in {group} groups on {x.shape[1]} channels")
    reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    view = sliding_window_view(x, (reach[0], reach[1]), axis=(2, 3))
    view = view[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    y = _depthwise(view, weight) if depth == 1 and group > 1 else _grouped(view, weight, group)
    if len(inputs) > 2 and inputs[2] is not None:
        y += inputs[2].astype(y.dtype)[:, None, None]
    return y[:, :, 0] if rank == 1 else y


def _depthwise(view: Array, weight: Array) -> Array:
    """Windows (N, C, OH, OW, KH, KW), weight (C * m, 1, KH, KW): (N, C * m, OH, OW)."""
    samples, channels, height, width = view.shape[:4]
    taps = weight.reshape(channels, -1, *weight.shape[2:])  # (C, m, KH, KW)
    y = np.zeros((samples, channels, taps.shape[1], height, width), np.float32)
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            y += view[:, :, None, :, :, i, j] * taps[:, :, i, j, None, None]
    return y.reshape(samples, -1, height, width)


def _grouped(view: Array, weight: Array, group: int) -> Array:
    """Windows (N, C, OH, OW, KH, KW), weight (O, C / group, KH, KW): (N, O, OH, OW)."""
    samples, channels, height, width = view.shape[:4]
    outputs, depth, tall, wide = weight.shape
    rows = weight.reshape(group, outputs // group, -1).astype(np.float32)
    y = np.empty((samples, group, outputs // group, height * width), np.float32)
    chunk = max(1, CHUNK_BYTES // (4 * channels * height * width * tall * wide))
    for at in range(0, samples, chunk):
        seen = view[at : at + chunk].transpose(0, 1, 4, 5, 2, 3)
        columns = seen.reshape(len(seen), group, depth * tall * wide, height * width)
        y[at : at + chunk] = np.matmul(rows, columns)
    return y.reshape(samples, outputs, height, width)


@_means("ConvTranspose")
def _conv_transpose(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    """x (N, I, *spatial), weight (O, I, *kernel), bias (O,)."""
    x, weight = inputs[0], inputs[1]
    rank = weight.ndim - 2
    strides = _spatial(attributes, "strides", rank, 1)
    pads = _spatial(attributes, "pads", 2 * rank, 0)
    more = _spatial(attributes, "output_padding", rank, 0)
    if rank not in (1, 2) or x.shape[1] != weight.shape[1]:
        raise ValueError(f"weights of shape {weight.shape}")
    steps = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], strides, strict=True)]
    sizes = [n + k - 1 + m for n, k, m in zip(steps, weight.shape[2:], more, strict=True)]
    y = np.zeros((len(x), len(weight), *sizes), np.float32)
    for tap in np.ndindex(*weight.shape[2:]):
        places = tuple(slice(at, at + n, s) for at, n, s in zip(tap, steps, strides, strict=True))
        product = np.tensordot(weight[(slice(None), slice(None), *tap)], x, (1, 1))
        y[(slice(None), slice(None), *places)] += np.moveaxis(product, 0, 1)
    y = _padded(y, [-p for p in pads], 0.0)
    if len(inputs) > 2 and inputs[2] is not None:
        y += inputs[2].astype(y.dtype).reshape(-1, *(1,) * rank)
    return y


@_means("Gemm")
def _gemm(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    """x (..., I), weight (O, I), bias (O,)."""
    y: Array = np.matmul(inputs[0], inputs[1].T)
    return y + inputs[2] if len(inputs) > 2 and inputs[2] is not None else y


@_means("BatchNormalization")
def _batch_normalization(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    x, scale, bias, mean, variance = inputs
    by_channel = (slice(None), *(None,) * (x.ndim - 2))
    factor = scale / np.sqrt(variance + np.float32(attributes.get("epsilon", 1e-5)))
    y: Array = (x - mean[by_channel]) * factor[by_channel] + bias[by_channel]
    return y


# Pools, reductions


def pool_reach(
    size: int, kernel: int, stride: int, dilation: int, begin: int, end: int, ceil: bool
) -> tuple[int, int]:
    """Outputs of a pool along one axis, and the margin that its last window needs at the end."""
    room = size + begin + end - (kernel - 1) * dilation - 1
    if room < 0:
        raise ValueError(f"a window of {kernel} does not fit {size} with margins {begin}, {end}")
    outputs = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (outputs - 1) * stride >= size + begin:
        outputs -= 1  # a window that starts in the margin at the end does not count
    needed = (outputs - 1) * stride + (kernel - 1) * dilation + 1 - size - begin
    return outputs, max(needed, 0)


def _cells(x: Array, attributes: Mapping[str, Any], outside: float) -> list[Array]:
    """For each cell of a pool's window its value at every output, (N, C, *outputs)."""
    kernel = [int(k) for k in attributes["kernel_shape"]]
    rank = len(kernel)
    strides = _spatial(attributes, "strides", rank, 1)
    dilations = _spatial(attributes, "dilations", rank, 1)
    pads = _spatial(attributes, "pads", 2 * rank, 0)
    ceil = bool(attributes.get("ceil_mode", 0))
    sides = [
        pool_reach(
            x.shape[2 + i], kernel[i], strides[i], dilations[i], pads[i], pads[rank + i], ceil
        )
        for i in range(rank)
    ]
    x = _padded(x, [*pads[:rank], *(end for _, end in sides)], outside)
    found = []
    for cell in np.ndindex(*kernel):
        steps = tuple(
            slice(at * d, at * d + (count - 1) * s + 1, s)
            for at, d, s, (count, _) in zip(cell, dilations, strides, sides, strict=True)
        )
        found.append(x[(slice(None), slice(None), *steps)])
    return found


@_means("MaxPool")
def _max_pool(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    cells = _cells(inputs[0], attributes, -math.inf)
    best = cells[0].copy()
    for cell in cells[1:]:
        np.maximum(best, cell, out=best)
    return best


@_means("AveragePool")
def _average_pool(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    x = inputs[0]
    y: Array = sum(_cells(x, attributes, 0.0), start=np.zeros((), x.dtype))
    # The margin counts or not; what lies beyond it, because of ceil_mode, never does.
    counted = bool(attributes.get("count_include_pad", 0))
    rank = x.ndim - 2
    kernel = [int(k) for k in attributes["kernel_shape"]]
    strides = _spatial(attributes, "strides", rank, 1)
    dilations = _spatial(attributes, "dilations", rank, 1)
    pads = _spatial(attributes, "pads", 2 * rank, 0)
    for i in range(rank):
        taps = np.arange(y.shape[2 + i])[:, None] * strides[i] - pads[i]
        taps = taps + np.arange(kernel[i]) * dilations[i]
        low, high = (-pads[i], x.shape[2 + i] + pads[rank + i]) if counted else (0, x.shape[2 + i])
        count = ((taps >= low) & (taps < high)).sum(axis=1).astype(y.dtype)
        y = y / count.reshape(-1, *(1,) * (rank - 1 - i))
    return y


@_means("GlobalAveragePool")
def _global_average_pool(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    y: Array = inputs[0].mean(axis=tuple(range(2, inputs[0].ndim)), keepdims=True)
    return y


@_means("GlobalMaxPool")
def _global_max_pool(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    y: Array = inputs[0].max(axis=tuple(range(2, inputs[0].ndim)), keepdims=True)
    return y


@_means("ReduceMean")
def _reduce_mean(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    return _reduced(np.mean, inputs[0], attributes)


def _reduced(reduce: Callable[..., Any], x: Array, attributes: Mapping[str, Any]) -> Array:
    axes = attributes.get("axes")
    axis = None if axes is None else tuple(int(a) for a in axes)
    return np.asarray(reduce(x, axis=axis, keepdims=bool(attributes.get("keepdims", 1))))


@_means("ReduceMax")
def _reduce_max(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    return _reduced(np.max, inputs[0], attributes)


@_means("ReduceMin")
def _reduce_min(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    return _reduced(np.min, inputs[0], attributes)


@_means("Softmax")
def _softmax(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    axis = int(attributes.get("axis", -1))
    power = np.exp(inputs[0] - inputs[0].max(axis=axis, keepdims=True))
    y: Array = power / power.sum(axis=axis, keepdims=True)
    return y


@_means("ArgMax")
def _arg_max(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    x, axis = inputs[0], int(attributes.get("axis", 0))
    if attributes.get("select_last_index", 0):
        found = x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis=axis)
    else:
        found = np.argmax(x, axis=axis)
    keep = attributes.get("keepdims", 1)
    y: Array = np.expand_dims(found, axis) if keep else np.asarray(found)
    return y.astype(np.int64)


# Two operands


@_means("Add")
def _add(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    return np.asarray(inputs[0] + inputs[1])


@_means("Sub")
def _sub(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    return np.asarray(inputs[0] - inputs[1])


@_means("Mul")
def _mul(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    return np.asarray(inputs[0] * inputs[1])


@_means("Div")
def _div(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    a, b = inputs
    if np.issubdtype(np.asarray(a).dtype, np.integer):
        return np.asarray(np.trunc(a / b)).astype(a.dtype)
    return np.asarray(a / b)


@_means("Pow")
def _pow(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    exponent = inputs[1] if len(inputs) > 1 else np.float32(attributes["exponent"])
    return np.asarray(np.power(inputs[0], exponent)).astype(inputs[0].dtype)


@_means("Min")
def _min(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    found = inputs[0]
    for other in inputs[1:]:
        found = np.minimum(found, other)
    return np.asarray(found)


@_means("Max")
def _max(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    found = inputs[0]
    for other in inputs[1:]:
        found = np.maximum(found, other)
    return np.asarray(found)


@_means("PRelu")
def _prelu(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    x = inputs[0]
    y: Array = np.where(x < 0, x * inputs[1], x)
    return y


# Moving


@_means("Reshape")
def _reshape(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    x, shape = inputs[0], [int(d) for d in attributes["shape"]]
    if shape and shape[0] == 1 and -1 not in shape and math.prod(shape) != x.size:
        shape[0] = x.shape[0]  # the batch axis
    y: Array = np.reshape(x, shape)
    return y


@_means("Transpose")
def _transpose(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    return np.ascontiguousarray(np.transpose(inputs[0], attributes.get("perm")))


@_means("Concat")
def _concat(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    return np.concatenate(inputs, axis=int(attributes["axis"]))


@_means("Slice")
def _slice(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    return np.ascontiguousarray(inputs[0][slices(inputs[0].ndim, attributes)])


def slices(rank: int, attributes: Mapping[str, Any]) -> tuple[slice, ...]:
    """Python's slices of a Slice node."""
    starts, ends = attributes["starts"], attributes["ends"]
    axes = attributes.get("axes") or range(len(starts))
    steps = attributes.get("steps") or [1] * len(starts)
    found = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # Backwards to before the first element is None in Python.
        last = None if step < 0 and end < -(1 << 30) else int(end)
        found[int(axis)] = slice(int(start), last, int(step))
    return tuple(found)


@_means("Gather")
def _gather(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    indices = np.asarray(attributes["indices"], np.int64)
    return np.take(inputs[0], indices, axis=int(attributes["axis"]))


@_means("Pad")
def _pad(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    if attributes.get("mode", "constant") != "constant":
        raise ValueError("only the mode constant is supported")
    return _padded(inputs[0], [int(p) for p in attributes["pads"]], attributes.get("value", 0.0))


@_means("Resize")
def _resize(inputs: list[Any], attributes: Mapping[str, Any]) -> Array:
    """Nearest neighbour: `rows` and `columns` are what each of the output's copies."""
    x = np.take(inputs[0], np.asarray(attributes["rows"], np.int64), axis=2)
    columns = attributes.get("columns")
    return x if columns is None else np.take(x, np.asarray(columns, np.int64), axis=3)


# Functions of one value


@_unary("Identity")
@_unary("Dropout")
@_unary("Requantize")
def _identity(x: Array, **ignored: Any) -> Array:
    return x


@_unary("Lookup")
def _lookup(x: Array, scale: float, zero_point: int, values: Sequence[float]) -> Array:
    """By the int8 code of x: `values` are those of codes -128 to 127."""
    codes = np.rint(x / np.float32(scale)) + zero_point
    y: Array = np.asarray(values, np.float32)[np.clip(codes, -128, 127).astype(np.int64) + 128]
    return y


@_unary("Relu")
def _relu(x: Array) -> Array:
    return np.maximum(x, np.zeros((), x.dtype))


@_unary("Clip")
def _clip(x: Array, min: float | None = None, max: float | None = None) -> Array:
    low = x if min is None else np.maximum(x, np.asarray(min, x.dtype))
    return low if max is None else np.minimum(low, np.asarray(max, x.dtype))


@_unary("LeakyRelu")
def _leaky_relu(x: Array, alpha: float = 0.01) -> Array:
    return np.where(x < 0, np.float32(alpha) * x, x)


@_unary("ThresholdedRelu")
def _thresholded_relu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > np.float32(alpha), x, np.float32(0))


@_unary("Shrink")
def _shrink(x: Array, lambd: float = 0.5, bias: float = 0.0) -> Array:
    low, offset = np.float32(lambd), np.float32(bias)
    return np.where(x < -low, x + offset, np.where(x > low, x - offset, np.float32(0)))


@_unary("Sigmoid")
def _sigmoid(x: Array) -> Array:
    y: Array = 1 / (1 + np.exp(-x))
    return y


@_unary("Tanh")
def _tanh(x: Array) -> Array:
    return np.asarray(np.tanh(x))


@_unary("HardSigmoid")
def _hard_sigmoid(x: Array, alpha: float = 0.2, beta: float = 0.5) -> Array:
    y: Array = np.clip(np.float32(alpha) * x + np.float32(beta), 0, 1)
    return y


@_unary("HardSwish")
def _hard_swish(x: Array) -> Array:
    y: Array = x * np.clip(x / np.float32(6) + np.float32(0.5), 0, 1)
    return y


@_unary("Elu")
def _elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x < 0, np.float32(alpha) * np.expm1(x), x)


@_unary("Selu")
def _selu(
    x: Array, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Array:
    y: Array = np.float32(gamma) * np.where(x < 0, np.float32(alpha) * np.expm1(x), x)
    return y


@_unary("Celu")
def _celu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x < 0, np.float32(alpha) * np.expm1(x / np.float32(alpha)), x)


_erf = np.frompyfunc(math.erf, 1, 1)


@_unary("Erf")
def _error_function(x: Array) -> Array:
    y: Array = np.asarray(_erf(x)).astype(x.dtype)
    return y


@_unary("Gelu")
def _gelu(x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (x + np.float32(0.044715) * x**3)
        return np.asarray(np.float32(0.5) * x * (1 + np.tanh(inner)))
    return np.asarray(np.float32(0.5) * x * (1 + _error_function(x / np.float32(math.sqrt(2)))))


@_unary("Silu")
def _silu(x: Array) -> Array:
    y: Array = x / (1 + np.exp(-x))
    return y


@_unary("Softplus")
def _softplus(x: Array) -> Array:
    return np.asarray(np.logaddexp(np.zeros((), x.dtype), x))


@_unary("Mish")
def _mish(x: Array) -> Array:
    y: Array = x * np.tanh(_softplus(x))
    return y


@_unary("Softsign")
def _softsign(x: Array) -> Array:
    y: Array = x / (1 + np.abs(x))
    return y


@_unary("Neg")
def _neg(x: Array) -> Array:
    return np.asarray(-x)


@_unary("Reciprocal")
def _reciprocal(x: Array) -> Array:
    return np.asarray(1 / x)


def _register_numpy(functions: Mapping[str, Callable[[Array], Array]]) -> None:
    for name, function in functions.items():
        _unary(name)(function)


_register_numpy(
    {
        "Abs": np.abs,
        "Acos": np.arccos,
        "Acosh": np.arccosh,
        "Asin": np.arcsin,
        "Asinh": np.arcsinh,
        "Atan": np.arctan,
        "Atanh": np.arctanh,
        "Ceil": np.ceil,
        "Cos": np.cos,
        "Cosh": np.cosh,
        "Exp": np.exp,
        "Floor": np.floor,
        "Log": np.log,
        "Round": np.rint,
        "Sign": np.sign,
        "Sin": np.sin,
        "Sinh": np.sinh,
        "Sqrt": np.sqrt,
        "Tan": np.tan,
    }
)
