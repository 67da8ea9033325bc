"""The operators of a float network in PyTorch, so that it can be trained.

The numpy counterpart, and the meaning of each, is `spikelet.quantise.meaning`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Attributes = Mapping[str, Any]
# From the inputs in order, None where an optional one is missing.
Function = Callable[[Sequence[Any], Attributes], Tensor]


def _padded(x: Tensor, attributes: Attributes, value: float = 0.0) -> tuple[Tensor, list[int]]:
    """The input, padded here where begin and end differ, and the padding that is left to do."""
    rank = x.dim() - 2
    pads = [int(p) for p in attributes.get("pads", [0] * 2 * rank)]
    begin, end = pads[:rank], pads[rank:]
    if begin == end:
        return x, begin
    # torch lists the last axis first
    pairs = [p for pair in zip(reversed(begin), reversed(end), strict=True) for p in pair]
    return functional.pad(x, pairs, value=value), [0] * rank


def _conv(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    x, padding = _padded(inputs[0], attributes)
    weight, bias = inputs[1], inputs[2] if len(inputs) > 2 else None
    ones = [1] * (x.dim() - 2)
    call = functional.conv2d if x.dim() == 4 else functional.conv1d
    return call(
        x,
        weight,
        bias,
        list(attributes.get("strides", ones)),
        padding,
        list(attributes.get("dilations", ones)),
        int(attributes.get("group", 1)),
    )


def _conv_transpose(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    """Weights are (O, I, *kernel); margins may differ at both ends."""
    x, weight, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    rank = x.dim() - 2
    call = functional.conv_transpose2d if rank == 2 else functional.conv_transpose1d
    pads = list(attributes.get("pads", [0] * 2 * rank))
    strides = list(attributes.get("strides", [1] * rank))
    more = list(attributes.get("output_padding", [0] * rank))
    y = call(x, weight.transpose(0, 1), bias, strides, 0, more)
    for i in range(rank):
        y = y.narrow(2 + i, pads[i], y.shape[2 + i] - pads[i] - pads[rank + i])
    return y


def _gemm(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    return functional.linear(inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None)


def _batch_norm(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    x, scale, bias, mean, var = inputs
    return functional.batch_norm(x, mean, var, scale, bias, eps=attributes["epsilon"])


def _prelu(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    x, slope = inputs
    return torch.where(x < 0, x * slope, x)


def _clip(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    low, high = attributes.get("min"), attributes.get("max")
    return torch.clamp(inputs[0], low, high) if (low, high) != (None, None) else inputs[0]


def _shrink(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    x, limit, bias = inputs[0], attributes.get("lambd", 0.5), attributes.get("bias", 0.0)
    inner = torch.where(x > limit, x - bias, torch.zeros_like(x))
    return torch.where(x < -limit, x + bias, inner)


def _max_pool(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    x, padding = _padded(inputs[0], attributes, float("-inf"))
    call = functional.max_pool2d if x.dim() == 4 else functional.max_pool1d
    kernel = list(attributes["kernel_shape"])
    strides = list(attributes.get("strides", [1] * len(kernel)))
    dilations = list(attributes.get("dilations", [1] * len(kernel)))
    return call(x, kernel, strides, padding, dilations, bool(attributes.get("ceil_mode", 0)))


def _average_pool(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    x = inputs[0]
    call = functional.avg_pool2d if x.dim() == 4 else functional.avg_pool1d
    kernel = list(attributes["kernel_shape"])
    strides = list(attributes.get("strides", [1] * len(kernel)))
    ceil, every = bool(attributes.get("ceil_mode", 0)), bool(attributes.get("count_include_pad", 0))
    padded, padding = _padded(x, attributes)
    mean = call(padded, kernel, strides, padding, ceil, every)
    if padded is x or every:
        return mean
    # padded unevenly: divided by the cells that lie inside
    share = call(_padded(torch.ones_like(x[:1]), attributes)[0], kernel, strides, padding, ceil)
    return mean / share


def _reduced(reduce: Callable[..., Tensor]) -> Function:
    def function(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
        keep = bool(attributes.get("keepdims", 1))
        return reduce(inputs[0], dim=list(attributes["axes"]), keepdim=keep)

    return function


def _global(reduce: Callable[..., Tensor]) -> Function:
    def function(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
        return reduce(inputs[0], dim=list(range(2, inputs[0].dim())), keepdim=True)

    return function


def _slice(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    x: Tensor = inputs[0]
    chosen = [slice(None)] * x.dim()
    axes = attributes["axes"]
    steps = attributes.get("steps", [1] * len(axes))
    for axis, start, end, step in zip(
        axes, attributes["starts"], attributes["ends"], steps, strict=True
    ):
        chosen[axis] = slice(start, end, step)
    return x[tuple(chosen)]


def _pad(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    x: Tensor = inputs[0]
    pads = list(attributes["pads"])
    begin, end = pads[: x.dim()], pads[x.dim() :]
    pairs = [p for pair in zip(reversed(begin), reversed(end), strict=True) for p in pair]
    return functional.pad(x, pairs, value=float(attributes.get("value", 0.0)))


def _resize(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    x: Tensor = inputs[0]
    for axis, name in ((2, "rows"), (3, "columns")):
        if attributes.get(name) is not None:
            x = x.index_select(axis, torch.tensor(attributes[name]))
    return x


def _reshape(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    """The batch axis stays what it is."""
    x: Tensor = inputs[0]
    return x.reshape(len(x), *list(attributes["shape"])[1:])


def _argmax(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    found: Tensor = inputs[0].argmax(attributes["axis"], bool(attributes.get("keepdims", 1)))
    return found


def _one(call: Callable[[Tensor], Tensor]) -> Function:
    return lambda inputs, attributes: call(inputs[0])


def _two(call: Callable[[Tensor, Tensor], Tensor]) -> Function:
    return lambda inputs, attributes: call(inputs[0], inputs[1])


FUNCTIONS: dict[str, Function] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "BatchNormalization": _batch_norm,
    "Add": _two(torch.add),
    "Sub": _two(torch.sub),
    "Mul": _two(torch.mul),
    "Div": _two(torch.div),
    "Relu": _one(torch.relu),
    "Clip": _clip,
    "LeakyRelu": lambda i, a: functional.leaky_relu(i[0], a.get("alpha", 0.01)),
    "PRelu": _prelu,
    "Sigmoid": _one(torch.sigmoid),
    "Tanh": _one(torch.tanh),
    "HardSigmoid": lambda i, a: torch.clamp(
        i[0] * a.get("alpha", 0.2) + a.get("beta", 0.5), 0.0, 1.0
    ),
    "HardSwish": _one(functional.hardswish),
    "Elu": lambda i, a: functional.elu(i[0], a.get("alpha", 1.0)),
    "Selu": _one(functional.selu),
    "Celu": lambda i, a: functional.celu(i[0], a.get("alpha", 1.0)),
    "Gelu": lambda i, a: functional.gelu(i[0], approximate=a.get("approximate", "none")),
    "Silu": _one(functional.silu),
    "Mish": _one(functional.mish),
    "Softplus": _one(functional.softplus),
    "Softsign": _one(functional.softsign),
    "Exp": _one(torch.exp),
    "Log": _one(torch.log),
    "Sqrt": _one(torch.sqrt),
    "Reciprocal": _one(torch.reciprocal),
    "Abs": _one(torch.abs),
    "Neg": _one(torch.neg),
    "Erf": _one(torch.erf),
    "Round": _one(torch.round),
    "ThresholdedRelu": lambda i, a: functional.threshold(i[0], a.get("alpha", 1.0), 0.0),
    "Shrink": _shrink,
    "Pow": lambda i, a: torch.pow(i[0], i[1] if len(i) > 1 else a["exponent"]),
    "Min": lambda i, a: functools.reduce(torch.minimum, i),
    "Max": lambda i, a: functools.reduce(torch.maximum, i),
    "Identity": _one(lambda x: x),
    "Requantize": _one(lambda x: x),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global(torch.mean),
    "GlobalMaxPool": _global(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMin": _reduced(torch.amin),
    "Gather": lambda i, a: i[0].index_select(a["axis"], torch.tensor(a["indices"])),
    "Softmax": lambda i, a: torch.softmax(i[0], a.get("axis", -1)),
    "ArgMax": _argmax,
    "Reshape": _reshape,
    "Transpose": lambda i, a: i[0].permute(*a["perm"]),
    "Concat": lambda i, a: torch.cat(list(i), a["axis"]),
    "Slice": _slice,
    "Pad": _pad,
    "Resize": _resize,
}
FUNCTIONS |= {
    name.capitalize(): _one(getattr(torch, name))
    for name in (
        *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh"),
        *("floor", "ceil", "sign"),
    )
}
