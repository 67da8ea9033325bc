"""Operators of ONNX with weights: convolutions, linear layers, batch normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from spikelet.frontends.onnx.layers import MAX_WINDOWS, Coded, Layer, Value, converts
from spikelet.graph import Array
from spikelet.quantise import Code

_SYMMETRIC = "weights as int8 around zero point 0 (QInt8, or WeightSymmetric)"


def weight(layer: Layer, i: int, turned: bool = False) -> str:
    """Input i as weights (O, ...), with their code where the file has integers.

    Args:
        layer: whose.
        i: input.
        turned: the file has (I, O, ...).
    """
    value = layer.value(i)
    values = layer.constant(i, "constant weights")
    if values.dtype.kind != "f":
        raise layer.refuse(f"weights of {values.dtype}", "float weights, or DequantizeLinear")
    if not values.size:
        raise layer.refuse(f"weights of shape {values.shape}")
    values = values.swapaxes(0, 1) if turned else values
    code = None
    if value.coded is not None:
        values, code = coded_weight(layer, value.coded, turned)
    return layer.place(i, values, "turned" if turned else "weight", code)


def coded_weight(layer: Layer, coded: Coded, turned: bool = False) -> tuple[Array, Code]:
    """Real weights (O, ...) and their symmetric code."""
    parts = (coded.integers - coded.zero_points, coded.scales)
    integers, scales = (p.swapaxes(0, 1) if turned else p for p in parts)
    rows = scales.reshape(len(scales), -1)
    if np.any(rows != rows[:, :1]):
        raise layer.refuse("weights have scales along another axis than the outputs'")
    if integers.min() < -128 or integers.max() > 127:
        raise layer.refuse(
            f"weights less their zero point are {integers.min()} to {integers.max()}", _SYMMETRIC
        )
    scale = rows[:, 0].astype(np.float32)
    if np.all(scale == scale[0]):
        scale = scale[0]
    real: Array = integers.astype(np.float32) * scales.astype(np.float32)
    even = layer.building.even
    bits = _held_bits(integers, coded.bits)
    return real, Code(np.asarray(scale, np.float32), bits=bits, odd=bits == 1, even=even)


def _held_bits(integers: Array, bits: int) -> int:
    """In how many bits integers lie that have `bits` bits in the file; of 1 bit they are -1, 1."""
    if bits == 1:
        return 1
    low, high = int(integers.min()), int(integers.max())
    fitting = (b for b in (2, 4) if b >= bits and -(1 << (b - 1)) <= low and high < 1 << (b - 1))
    return next(fitting, 8)


def bias(layer: Layer, i: int, channels: int, factor: float = 1.0) -> str:
    """Input i as a bias (O,), "" where it is not there; integers are not rounded."""
    if not layer.has(i):
        return ""
    value = layer.value(i)
    values = layer.constant(i, "a constant bias")
    if values.dtype.kind != "f":
        raise layer.refuse(f"a bias of {values.dtype}", "a float bias, or DequantizeLinear")
    if value.coded is not None:
        integers = value.coded.integers - value.coded.zero_points
        values = integers * value.coded.scales.astype(np.float64)
    if values.size not in (1, channels) or values.size != max(values.shape, default=1):
        raise layer.refuse(f"a bias of shape {values.shape}", f"({channels},)")
    return layer.place(i, np.broadcast_to(values.reshape(-1) * factor, (channels,)), "bias")


def window(
    layer: Layer, spatial: tuple[int, ...], kernel: list[int]
) -> tuple[list[int], list[int], list[int]]:
    """Strides, pads (begins..., ends...) and dilations over the spatial axes, auto_pad resolved."""
    rank = len(spatial)
    strides = layer.attribute("strides") or [1] * rank
    dilations = layer.attribute("dilations") or [1] * rank
    pads = layer.attribute("pads") or [0] * 2 * rank
    if not len(kernel) == len(strides) == len(dilations) == rank or len(pads) != 2 * rank:
        raise layer.refuse(f"{len(kernel)} kernel axes on {rank} spatial axes")
    if min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise layer.refuse("a kernel, stride, dilation or pad that is negative or zero")
    mode = layer.attribute("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same_padding(spatial, kernel, strides, dilations, mode == "SAME_LOWER")
    elif mode == "VALID":
        pads = [0] * 2 * rank
    elif mode != "NOTSET":
        raise layer.refuse(f"auto_pad {mode}", "NOTSET, SAME_UPPER, SAME_LOWER, VALID")
    return list(strides), list(pads), list(dilations)


def _same_padding(
    shape: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int],
    lower: bool,
) -> list[int]:  # fmt: skip
    """Pads (begins..., ends...) of auto_pad SAME_UPPER, or SAME_LOWER, over spatial axes."""
    begins, ends = [], []
    for n, k, s, d in zip(shape, kernel, strides, dilations, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        small, large = total // 2, total - total // 2
        begins.append(large if lower else small)
        ends.append(small if lower else large)
    return begins + ends


def spatial_output(
    layer: Layer, spatial: tuple[int, ...], kernel: list[int], strides: list[int],
    pads: list[int], dilations: list[int], ceil: bool = False,
) -> list[int]:  # fmt: skip
    """The output's spatial axes."""
    sizes = []
    for i, n in enumerate(spatial):
        room = n + pads[i] + pads[len(spatial) + i] - (kernel[i] - 1) * dilations[i] - 1
        if room < 0:
            raise layer.refuse(f"its window reaches beyond the input's {spatial}")
        size = (-(-room // strides[i]) if ceil else room // strides[i]) + 1
        if ceil and (size - 1) * strides[i] >= n + pads[i]:
            size -= 1
        sizes.append(size)
    return sizes


def convolve(layer: Layer, x: Value, shape: tuple[int, ...], inputs: list[str]) -> Value:
    """Add a Conv with weights of this shape; x, weights and bias are `inputs`."""
    spatial, group = x.shape[2:], int(layer.attribute("group", 1))
    if len(spatial) not in (1, 2) or len(shape) != len(x.shape):
        raise layer.refuse(
            f"weights of shape {shape} on an input of shape {x.shape}", "one or two spatial axes"
        )
    if group < 1 or shape[0] % group or x.shape[1] != shape[1] * group:
        raise layer.refuse(f"weights of shape {shape} in {group} groups on {x.shape[1]} channels")
    kernel = list(shape[2:])
    if layer.attribute("kernel_shape") not in (None, kernel):
        raise layer.refuse(f"weights of shape {shape} for this kernel")
    strides, pads, dilations = window(layer, spatial, kernel)
    sizes = spatial_output(layer, spatial, kernel, strides, pads, dilations)
    seen, pixels = math.prod(shape[1:]) * group, math.prod(sizes)
    if seen * pixels > MAX_WINDOWS:
        raise layer.refuse(f"windows of {seen * pixels} elements", f"at most {MAX_WINDOWS}")
    layer.spend("multiply-accumulates", math.prod(shape) * pixels)
    attributes = {"strides": strides, "pads": pads, "dilations": dilations, "group": group}
    return layer.add("Conv", inputs, (x.shape[0], shape[0], *sizes), attributes)


@converts("Conv")
def conv(layer: Layer) -> None:
    """`Conv` over one or two spatial axes."""
    x, shape = layer.activation(), layer.constant(1, "constant weights").shape
    if len(shape) != len(x.shape):
        raise layer.refuse(f"weights of shape {shape} on an input of shape {x.shape}")
    inputs = [x.tensor, weight(layer, 1)]
    if layer.has(2):
        inputs.append(bias(layer, 2, shape[0]))
    convolve(layer, x, shape, inputs)


@converts("ConvTranspose")
def conv_transpose(layer: Layer) -> None:
    """`ConvTranspose` over one or two spatial axes; its weights become (O, I, ...)."""
    x, shape = layer.activation(), layer.constant(1, "constant weights").shape
    spatial, rank = x.shape[2:], len(x.shape) - 2
    if rank not in (1, 2) or len(shape) != len(x.shape) or shape[0] != x.shape[1]:
        raise layer.refuse(
            f"weights of shape {shape} on an input of shape {x.shape}", "one or two spatial axes"
        )
    if int(layer.attribute("group", 1)) != 1:
        raise layer.refuse(f"{layer.attribute('group')} groups", "group=1")
    kernel = list(shape[2:])
    if layer.attribute("kernel_shape") not in (None, kernel):
        raise layer.refuse(f"weights of shape {shape} for this kernel")
    strides, pads, dilations = window(layer, spatial, kernel)
    if any(d != 1 for d in dilations):
        raise layer.refuse("a dilated kernel", "dilations of 1")
    more = [int(m) for m in layer.attribute("output_padding") or [0] * rank]
    if len(more) != rank or min(more) < 0:
        raise layer.refuse(f"output_padding {more}")
    full = [(n - 1) * s + k + m for n, s, k, m in zip(spatial, strides, kernel, more, strict=True)]
    mode, wanted = layer.attribute("auto_pad", "NOTSET"), layer.attribute("output_shape")
    if mode in ("SAME_UPPER", "SAME_LOWER") and wanted is None:
        wanted = [n * s for n, s in zip(spatial, strides, strict=True)]
    if wanted is not None:
        cut = [f - int(n) for f, n in zip(full, wanted[-rank:], strict=True)]
        more = [m + max(-c, 0) for m, c in zip(more, cut, strict=True)]
        full = [f + max(-c, 0) for f, c in zip(full, cut, strict=True)]
        cut = [max(c, 0) for c in cut]
        small, large = [c // 2 for c in cut], [c - c // 2 for c in cut]
        pads = small + large if mode == "SAME_UPPER" else large + small
    if any(m >= s for m, s in zip(more, strides, strict=True)):
        raise layer.refuse(f"margins of {more} that no input reaches", "less than the strides")
    if math.prod(full) * shape[1] > MAX_WINDOWS:
        raise layer.refuse(
            f"{math.prod(full) * shape[1]} elements before margins are cut",
            f"at most {MAX_WINDOWS}",
        )
    sizes = [f - pads[i] - pads[rank + i] for i, f in enumerate(full)]
    layer.spend("multiply-accumulates", math.prod(shape) * math.prod(spatial))
    inputs = [x.tensor, weight(layer, 1, turned=True)]
    if layer.has(2):
        inputs.append(bias(layer, 2, shape[1]))
    attributes = {"strides": strides, "pads": pads, "output_padding": more}
    layer.add("ConvTranspose", inputs, (x.shape[0], shape[1], *sizes), attributes)


@converts("Gemm")
def gemm(layer: Layer) -> None:
    """`Gemm`: alpha goes into the weights, beta into the bias."""
    x, shape = layer.activation(), layer.constant(1, "constant weights").shape
    if layer.attribute("transA", 0):
        raise layer.refuse("transA", "transA=0: samples are rows")
    if len(x.shape) != 2 or len(shape) != 2:
        raise layer.refuse(f"inputs of shape {x.shape} and {shape}", "two dimensions each")
    turned = not layer.attribute("transB", 0)
    depth, channels = shape if turned else shape[::-1]
    if depth != x.shape[1]:
        raise layer.refuse(f"weights of shape {shape} on an input of shape {x.shape}")
    alpha, beta = float(layer.attribute("alpha", 1.0)), float(layer.attribute("beta", 1.0))
    name = weight(layer, 1, turned)
    if alpha != 1.0:
        network = layer.building.network
        code = network.codes.get(name)
        if alpha > 0 and code is not None:
            code = Code(np.asarray(code.scale * np.float32(alpha)), 0)
        scaled = network.constants[name] * np.float32(alpha)
        name = layer.place(1, scaled, f"times{alpha:g}", code if alpha > 0 else None)
    inputs = [x.tensor, name]
    if layer.has(2):
        inputs.append(bias(layer, 2, channels, beta))
    layer.add("Gemm", inputs, (x.shape[0], channels))


@converts("MatMul")
def matmul(layer: Layer) -> None:
    """`Gemm` without a bias: the right factor is a constant matrix."""
    x, shape = layer.activation(), layer.constant(1, "a constant right factor").shape
    if len(shape) != 2 or len(x.shape) < 2 or x.shape[-1] != shape[0]:
        raise layer.refuse(
            f"a product of shapes {x.shape} and {shape}", "(..., I) with a constant (I, O)"
        )
    layer.add("Gemm", [x.tensor, weight(layer, 1, turned=True)], (*x.shape[:-1], shape[1]))


@converts("BatchNormalization")
def batch_normalization(layer: Layer) -> None:
    """`BatchNormalization` as it is at inference."""
    layer.alone()
    x = layer.activation()
    if layer.attribute("training_mode", 0) or layer.attribute("spatial", 1) != 1:
        raise layer.refuse("it is in training mode, or not by channel", "inference, by channel")
    if len(x.shape) < 2:
        raise layer.refuse(f"an input of shape {x.shape}")
    for i in range(1, 5):
        if layer.constant(i).shape != (x.shape[1],):
            raise layer.refuse(f"input {i} has shape {layer.constant(i).shape} on {x.shape}")
    epsilon = float(layer.attribute("epsilon", 1e-5))
    if epsilon + layer.constant(4).min() <= 0:
        raise layer.refuse("a variance that is not positive")
    inputs = [x.tensor, *(layer.operand(i) for i in range(1, 5))]
    layer.add("BatchNormalization", inputs, x.shape, {"epsilon": epsilon})
