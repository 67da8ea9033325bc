"""Graphs of int8 layers with weights: every shape, padding, scale and tail that is allowed."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.ops.add import Add
from spikelet.graph.ops.average_pool2d import AveragePool2d
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.max_pool2d import MaxPool2d
from spikelet.graph.ops.mul import Mul
from spikelet.graph.ops.sub import Sub
from spikelet.graph.ops.transpose_conv import TransposeConv
from spikelet.graph.requantise import quantize_multiplier
from spikelet.graph.requantise_even import find_line, find_steps

ZERO_POINTS = (-128, 127, 0, -5, 64)
ACTIVATIONS = ((-128, 127), (-128, 127), (-100, 90), (0, 0), (-5, 127))


def codes(rng: np.random.Generator, shape: tuple[int, ...], case: int) -> Array:
    """Weights; every third case at the ends of the type."""
    if case % 3 == 2:
        return rng.choice(np.array([-128, -127, 127], np.int8), shape)
    return np.clip(rng.normal(0, 45, shape), -127, 127).astype(np.int8)


GRIDS = ((4, False), (2, False), (1, True), (2, True), (4, True), (8, True))  # bits, odd


def grid_fields(rng: np.random.Generator, shape: tuple[int, ...], case: int) -> dict[str, Any]:
    """Weights of one of GRIDS; every third case at the ends of the codes."""
    bits, odd = GRIDS[case % len(GRIDS)]
    half = 1 << (bits - 1)
    ends = np.array([-half, half - 1], np.int8)
    weight = rng.choice(ends, shape) if case % 3 == 2 else rng.integers(-half, half, shape)
    upper = (8, 4, 2, 1)[case // (4 * len(GRIDS)) % 4] if bits == 8 else 8
    return {"weight": weight.astype(np.int8), "bits": bits, "odd": odd, "upper": upper}


def scale_fields(
    rng: np.random.Generator, channels: int, taps: int, case: int, far: bool = False
) -> dict[str, Any]:
    """Bias, factors and output codes of a layer; `far` takes factors from the whole range."""
    real = rng.uniform(0.3, 1.7, channels) * 60 / (90 * 70 * np.sqrt(taps))
    pairs = [quantize_multiplier(float(r)) for r in real]
    if far:
        shifts = rng.choice([-31, -25, -21, -9, -3, -1, 0, 1, 4], channels)
        multipliers = rng.choice([0, 1, 1 << 30, (1 << 31) - 1, 1500000000], channels)
        pairs = list(zip(multipliers, shifts, strict=True))
    bias = rng.integers(-9000, 9000, channels).astype(np.int32)
    if case % 4 == 1 and channels >= 3 and not far:
        # A few channels that live at the ends: their sums lie around a step of the code.
        pairs[0], bias[0] = (1 << 30, -22), 255 << 22
        pairs[1] = 1500000000, 0
        pairs[-1], bias[-1] = (1 << 30, -25), 9 << 25
    zero = ZERO_POINTS[(case + 2) % 5]
    low, high = ACTIVATIONS[case % 5]
    return {
        "bias": bias,
        "multiplier": np.array([m for m, _ in pairs], np.int32),
        "shift": np.array([s for _, s in pairs], np.int32),
        "output_scale": 0.5,
        "output_zero_point": zero,
        "activation": (low, high),
    }


def image(name: str, shape: tuple[int, ...], case: int) -> Tensor:
    return Tensor(name, "i8", shape, kind="input", zero_point=ZERO_POINTS[case % 5])


# in shape, outputs, kernel, stride, dilation, padding (top, left, bottom, right), far
CONVOLUTIONS: list[tuple[Any, ...]] = [
    ((5, 5, 8), 8, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), False),
    ((5, 5, 16), 9, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), False),
    ((3, 1, 5), 4, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), False),
    ((1, 1, 7), 3, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), False),
    ((7, 5, 1), 5, (4, 3), (2, 2), (1, 1), (1, 1, 2, 1), False),
    ((12, 6, 1), 8, (10, 4), (2, 2), (1, 1), (4, 1, 5, 1), False),
    ((8, 8, 3), 16, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), False),
    ((9, 9, 3), 6, (3, 3), (2, 2), (1, 1), (0, 0, 1, 1), False),
    ((6, 7, 16), 8, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), False),
    ((6, 7, 4), 7, (3, 3), (2, 1), (1, 1), (0, 2, 2, 0), False),
    ((9, 8, 4), 2, (3, 2), (1, 1), (2, 3), (2, 3, 2, 0), False),
    ((9, 8, 6), 4, (3, 3), (1, 2), (3, 1), (3, 1, 0, 1), False),
    ((3, 3, 64), 5, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), False),
    ((4, 4, 40), 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), False),
    ((4, 4, 66), 4, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), False),
    ((3, 4, 70), 6, (3, 3), (1, 1), (1, 1), (1, 0, 1, 2), False),
    ((5, 4, 200), 5, (3, 3), (1, 2), (1, 1), (1, 1, 1, 1), False),
    ((4, 3, 272), 6, (3, 3), (2, 1), (1, 1), (1, 1, 1, 1), False),
    ((1, 3, 600), 5, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), True),
    ((4, 4, 9), 9, (2, 2), (1, 1), (1, 1), (0, 0, 0, 0), True),
    ((4, 4, 12), 5, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), True),
    ((2, 2, 3), 4, (3, 3), (1, 1), (1, 1), (2, 2, 2, 2), False),
    ((9, 1, 4), 3, (5, 1), (2, 1), (1, 1), (2, 0, 2, 0), False),
    *(((3, 3, n), n, (2, 3), (1, 1), (1, 1), (0, 1, 1, 1), False) for n in range(1, 10)),
]

# in shape, multiplier, kernel, stride, dilation, padding, far
DEPTHWISE: list[tuple[Any, ...]] = [
    ((5, 5, 8), 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), False),
    ((9, 5, 64), 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), False),
    ((8, 8, 16), 1, (3, 3), (2, 2), (1, 1), (0, 0, 1, 1), False),
    ((7, 9, 4), 1, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), False),
    ((5, 6, 5), 1, (3, 3), (1, 1), (1, 1), (0, 0, 0, 0), False),
    ((6, 5, 3), 4, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), False),
    ((12, 6, 1), 8, (10, 8), (2, 2), (1, 1), (4, 3, 5, 3), False),
    ((7, 7, 6), 1, (3, 3), (1, 1), (2, 2), (2, 2, 2, 2), False),
    ((7, 7, 6), 2, (5, 5), (1, 2), (1, 1), (2, 2, 2, 2), False),
    ((3, 3, 4), 1, (3, 3), (1, 1), (1, 1), (2, 0, 0, 2), False),
    ((2, 2, 4), 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), False),
    ((1, 9, 4), 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), False),
    ((25, 5, 8), 1, (25, 5), (1, 1), (1, 1), (0, 0, 0, 0), False),
    ((5, 5, 7), 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), True),
    ((5, 9, 20), 1, (1, 3), (1, 1), (1, 1), (0, 1, 0, 1), False),
    ((9, 5, 12), 1, (7, 1), (2, 1), (1, 1), (3, 0, 3, 0), False),
    ((11, 8, 9), 1, (10, 4), (1, 2), (1, 1), (4, 1, 5, 2), False),
    ((8, 7, 17), 1, (5, 5), (2, 2), (1, 1), (1, 2, 2, 2), False),
    ((6, 6, 10), 1, (2, 2), (2, 1), (1, 2), (0, 1, 0, 1), False),
    ((5, 4, 6), 3, (3, 2), (1, 1), (1, 1), (1, 0, 1, 1), False),
    ((24, 23, 1), 2, (24, 23), (1, 1), (1, 1), (0, 0, 0, 0), False),
    ((24, 23, 2), 1, (24, 23), (1, 1), (1, 1), (0, 0, 0, 0), False),
    *(((4, 5, n), 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), False) for n in range(1, 10)),
]

# in shape, outputs, far
CONNECTED: list[tuple[Any, ...]] = [
    ((64,), 12, False),
    ((2, 3, 4), 5, False),
    ((1,), 1, False),
    ((33,), 7, True),
    ((640,), 3, False),
    ((128,), 17, False),
    ((8,), 20, False),
    *(((11 + n,), n, False) for n in range(1, 10)),
]


def convolutions(part: int = 0, parts: int = 1, name: str = "convolutions") -> Graph:
    """Independent layers, one an input."""
    rng = np.random.default_rng(5)
    inputs: list[Tensor] = []
    nodes: list[Operator] = []
    for case, (shape, outputs, kernel, stride, dilation, padding, far) in enumerate(CONVOLUTIONS):
        weight = codes(rng, (outputs, *kernel, shape[2]), case)
        fields = scale_fields(rng, outputs, weight[0].size, case, far)
        if case % parts == part:
            inputs.append(image(f"x{case}", shape, case))
            nodes.append(
                Conv2d(
                    name=f"conv{case}",
                    inputs=(f"x{case}",),
                    weight=weight,
                    stride=stride,
                    dilation=dilation,
                    padding=padding,
                    **fields,
                )
            )
    return Graph(name, 1, inputs, nodes, [nodes[-1].name])


def depthwise(name: str = "depthwise") -> Graph:
    """Independent layers, one an input."""
    rng = np.random.default_rng(6)
    inputs: list[Tensor] = []
    nodes: list[Operator] = []
    for case, (shape, multiplier, kernel, stride, dilation, padding, far) in enumerate(DEPTHWISE):
        inputs.append(image(f"x{case}", shape, case))
        weight = codes(rng, (*kernel, shape[2] * multiplier), case)
        nodes.append(
            DepthwiseConv2d(
                name=f"dw{case}",
                inputs=(f"x{case}",),
                weight=weight,
                depth_multiplier=multiplier,
                stride=stride,
                dilation=dilation,
                padding=padding,
                **scale_fields(rng, weight.shape[2], kernel[0] * kernel[1], case, far),
            )
        )
    return Graph(name, 1, inputs, nodes, [nodes[-1].name])


# scales of both operands and of the result, shapes of both
ELEMENTWISE: list[tuple[Any, ...]] = [
    (0.05, 0.03, 0.04, (5, 3, 7), (5, 3, 7)),  # the first operand's scale is the larger one
    (0.03, 0.05, 0.04, (5, 3, 7), (5, 3, 7)),
    (0.05, 0.05, 0.2, (3, 5, 6), (6,)),  # or both are
    (0.05, 0.05, 0.001, (4, 1, 9), (1, 5, 1)),  # a factor above 1
    (0.05, 1e-8, 0.01, (3, 33), (1,)),  # a factor below 2^-20
    (10.0, 9.0, 0.05, (2, 3, 4), (3, 1)),
]


def elementwise(name: str = "elementwise") -> Graph:
    """Sums, differences and products, each of two inputs."""
    rng = np.random.default_rng(8)
    inputs: list[Tensor] = []
    nodes: list[Operator] = []
    for case, (a_scale, b_scale, scale, a_shape, b_shape) in enumerate(ELEMENTWISE):
        for kind in (Add, Sub, Mul):
            # The largest values of a product need not fit where those of a sum do.
            to = max(scale, a_scale * b_scale) if kind is Mul else scale
            names = tuple(f"{side}{len(nodes)}" for side in "ab")
            zeros = rng.integers(-128, 128, 3)
            for tensor, shape, unit, zero in zip(
                names, (a_shape, b_shape), (a_scale, b_scale), zeros, strict=False
            ):
                inputs.append(
                    Tensor(tensor, "i8", shape, kind="input", scale=unit, zero_point=int(zero))
                )
            nodes.append(
                kind(
                    name=f"{kind.KIND}{len(nodes)}",
                    inputs=names,
                    output_scale=to,
                    output_zero_point=int(zeros[2]),
                    activation=ACTIVATIONS[case % 5],
                )
            )
    for case, (kind, even) in enumerate(itertools.product((Add, Sub, Mul), EVEN)):
        names = (f"c{case}", f"d{case}")
        inputs += [Tensor(n, "i8", (3, 5, 7), kind="input", zero_point=5 - case) for n in names]
        words = np.array([even[4]], "<i8").view("<i4")
        line = np.array([*even[:4], *words], np.int32)
        nodes.append(kind(name=f"even{case}", inputs=names, even=line, output_zero_point=case))
    return Graph(name, 1, inputs, nodes, [nodes[-1].name])


# Factors of two operands, multiplier, right shift, offset of a line: halves that are exact, and
# shifts on either side of 32 bits.
EVEN = [
    (1, 2, 1 << 20, 21, 1 << 20),
    (3, -1, 1 << 30, 33, 1 << 32),
    ((1 << 22) - 1, 1 << 22, 77, 31, (1 << 30) + 5),
    (1, 1, 5, 7, 64),
]
# in shape, window, stride, padding
POOLS: list[tuple[Any, ...]] = [
    ((6, 7, 5), (3, 3), (2, 2), (1, 1, 1, 1)),
    ((4, 4, 17), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((5, 5, 8), (3, 2), (1, 2), (2, 0, 1, 1)),
    ((3, 3, 1), (2, 2), (1, 1), (0, 1, 1, 0)),
    ((17, 15, 2), (17, 15), (1, 1), (0, 0, 0, 0)),  # 255 cells: the most that 16 bits add up
    ((16, 16, 2), (16, 16), (1, 1), (0, 0, 0, 0)),
]


def pools(name: str = "pools") -> Graph:
    """Independent pools, one an input."""
    inputs: list[Tensor] = []
    nodes: list[Operator] = []
    for case, (shape, window, stride, padding) in enumerate(POOLS):
        for kind in (AveragePool2d, MaxPool2d):
            inputs.append(image(f"x{len(nodes)}", shape, case))
            nodes.append(
                kind(
                    name=f"pool{len(nodes)}",
                    inputs=(inputs[-1].name,),
                    window=window,
                    stride=stride,
                    padding=padding,
                    output_zero_point=inputs[-1].zero_point,
                    activation=ACTIVATIONS[case % 5],
                )
            )
    return Graph(name, 1, inputs, nodes, [nodes[-1].name])


def dense_layers(name: str = "connected") -> Graph:
    """Independent layers, one an input."""
    rng = np.random.default_rng(7)
    inputs: list[Tensor] = []
    nodes: list[Operator] = []
    for case, (shape, outputs, far) in enumerate(CONNECTED):
        inputs.append(image(f"x{case}", shape, case))
        n = inputs[-1].size
        once = rng.integers(0, 1 << 22, outputs).astype(np.int32) if case % 2 else None
        nodes.append(
            FullyConnected(
                name=f"fc{case}",
                inputs=(f"x{case}",),
                weight=codes(rng, (outputs, n), case),
                fraction=once,
                **scale_fields(rng, outputs, n, case, far),
            )
        )
    return Graph(name, 1, inputs, nodes, [nodes[-1].name])


# Of 1 or 2 bits: so many channels that two pixels are taken in place of four, with sums that fit 16
# bits and with more.
MANY_CHANNELS: list[tuple[Any, ...]] = [
    ((2, 3, 5), 130, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), False),
    ((3, 3, 29), 43, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), False),
    ((1, 3, 8), 129, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), True),
    ((3, 3, 29), 9, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), True),
]


def few_bits() -> Graph:
    """What `low_bits` has not."""
    return join(many_channels(), small_convolutions(), few_rows())


def many_channels(name: str = "many") -> Graph:
    """Convolutions of 1 and 2 bits with many channels."""
    rng = np.random.default_rng(10)
    inputs: list[Tensor] = []
    nodes: list[Operator] = []
    grids = [grid for grid, (bits, _) in enumerate(GRIDS) if bits < 4]
    for case, (grid, shape) in enumerate(itertools.product(grids, MANY_CHANNELS)):
        source, outputs, kernel, stride, dilation, padding, far = shape
        given = grid_fields(rng, (outputs, *kernel, source[2]), grid + len(GRIDS) * case)
        fields = scale_fields(rng, outputs, given["weight"][0].size, case, far)
        inputs.append(image(f"x{case}", source, case))
        nodes.append(
            Conv2d(
                name=f"conv{case}", inputs=(f"x{case}",), stride=stride, dilation=dilation,
                padding=padding, **given, **fields,
            )
        )  # fmt: skip
    return Graph(name, 1, inputs, nodes, [nodes[-1].name])


def few_rows(name: str = "rows") -> Graph:
    """Dense layers of several rows on every grid, rounded in every way."""
    rng = np.random.default_rng(11)
    inputs: list[Tensor] = []
    nodes: list[Operator] = []
    grids = [*enumerate([8] * len(GRIDS)), *((len(GRIDS) - 1, upper) for upper in (4, 2, 1))]
    roundings = ((False, False), (True, False), (True, True))
    for case, ((grid, upper), (rounded_once, far)) in enumerate(
        itertools.product(grids, roundings)
    ):
        x = image(f"v{case}", (3, 133), case)
        given = grid_fields(rng, (6, 133), grid + len(GRIDS) * case) | {"upper": upper}
        fields = scale_fields(rng, 6, 133, 4, far)
        once = rng.integers(0, 1 << 22, 6).astype(np.int32) if rounded_once else None
        inputs.append(x)
        nodes.append(
            FullyConnected(name=f"fc{case}", inputs=(x.name,), fraction=once, **given, **fields)
        )
    return Graph(name, 1, inputs, nodes, [nodes[-1].name])


def small_convolutions(name: str = "small") -> Graph:
    """The upper bits of 8, with channels by fours and not; 4 bits with taps that vectors hold."""
    rng = np.random.default_rng(12)
    inputs: list[Tensor] = []
    nodes: list[Operator] = []
    last = len(GRIDS) - 1
    shapes = [(last, upper, n, far) for upper in (8, 4, 2, 1) for n in (4, 5) for far in (0, 1)]
    shapes += [(0, 8, 15, 1), (4, 8, 15, 1), (4, 8, 16, 0)]
    for case, (grid, upper, channels, far) in enumerate(shapes):
        given = grid_fields(rng, (5, 2, 2, channels), len(GRIDS) * case + grid)
        fields = scale_fields(rng, 5, 4 * channels, case, bool(far))
        inputs.append(image(f"x{case}", (3, 3, channels), case))
        nodes.append(
            Conv2d(
                name=f"conv{case}", inputs=(f"x{case}",), padding=(1, 0, 0, 1),
                **given | {"upper": upper}, **fields,
            )
        )  # fmt: skip
    return Graph(name, 1, inputs, nodes, [nodes[-1].name])


def low_bits(part: int = 0, parts: int = 1, name: str = "low_bits") -> Graph:
    """Layers on every grid of weights, each of its own inputs."""
    rng = np.random.default_rng(9)
    inputs: list[Tensor] = []
    nodes: list[Operator] = []
    for case, (grid, shape) in enumerate(itertools.product(range(len(GRIDS)), CONVOLUTIONS)):
        source, outputs, kernel, stride, dilation, padding, far = shape
        given = grid_fields(rng, (outputs, *kernel, source[2]), grid + len(GRIDS) * case)
        fields = scale_fields(rng, outputs, given["weight"][0].size, case, far)
        if case % parts == part:
            inputs.append(image(f"x{case}", source, case))
            nodes.append(
                Conv2d(
                    name=f"conv{case}", inputs=(f"x{case}",), stride=stride, dilation=dilation,
                    padding=padding, **given, **fields,
                )
            )  # fmt: skip
    for case, (grid, connected) in enumerate(itertools.product(range(len(GRIDS)), CONNECTED)):
        source, outputs, far = connected
        x = image(f"v{case}", source, case)
        given = grid_fields(rng, (outputs, x.size), grid + len(GRIDS) * case)
        fields = scale_fields(rng, outputs, x.size, case, far)
        once = rng.integers(0, 1 << 22, outputs).astype(np.int32) if case % 2 else None
        if case % parts == part:
            inputs.append(x)
            nodes.append(
                FullyConnected(name=f"fc{case}", inputs=(x.name,), fraction=once, **given, **fields)
            )
    return Graph(name, 1, inputs, nodes, [nodes[-1].name])


def even_fields(
    rng: np.random.Generator, reach: Array, case: int, codes: int = 256
) -> dict[str, Any]:
    """A layer whose halves go to even: steps of few codes or of many, or lines.

    Args:
        rng: of slopes, every second of which is a power of two.
        reach: (O,) largest sums.
        case: every third has steps.
        codes: how many of the output.
    """
    low, zero = -(codes // 2), (0, 3, -7)[case % 3] if codes == 256 else 0
    limits = low, low + codes - 1
    shift = np.ceil(np.log2(np.maximum(reach, 1) * 2 / codes)).astype(int) + 1
    slopes = [
        Fraction(
            int(rng.integers(1 << 18, 1 << 19)) if i % 2 else 1 << 18, 1 << 18 + max(int(s), 3)
        )
        for i, s in enumerate(shift)
    ]
    starts = [Fraction(int(b), 64) for b in rng.integers(-64, 64, len(reach))]
    exact = np.array([[float(a), float(b)] for a, b in zip(slopes, starts, strict=True)])

    def become(sums: Array) -> Array:
        real = sums * exact[:, :1] + exact[:, 1:]
        return np.clip(np.rint(real) + zero, *limits).astype(np.int64)

    steps = find_steps(become, (-reach, reach), limits)
    channels = len(reach)
    fields: dict[str, Any] = {
        "bias": np.zeros(channels, np.int32), "multiplier": np.zeros(channels, np.int32),
        "shift": np.zeros(channels, np.int32), "output_scale": 0.5, "output_zero_point": zero,
        "activation": limits,
    }  # fmt: skip
    lines = [
        find_line(own, (-int(end), int(end)), low - zero, slope, start)
        for own, end, slope, start in zip(steps, reach, slopes, starts, strict=True)
    ]
    made = [line for line in lines if line is not None]
    if case % 3 == 0 or len(made) < channels or codes <= 16:
        return {**fields, "steps": steps.astype(np.int32)}
    offset = np.array([line.offset for line in made], "<i8").view("<i4").reshape(channels, 2)
    return {
        **fields,
        "multiplier": np.array([line.multiplier for line in made], np.int32),
        "shift": np.array([31 - line.right for line in made], np.int32),
        "offset": offset,
    }


def even() -> Graph:
    """Layers whose halves go to even, of every kind of kernel, each of its own inputs."""
    rng = np.random.default_rng(11)
    kinds: list[tuple[type[Any], tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
        (FullyConnected, (1,), (9, 1), {"bits": 2}),
        (FullyConnected, (37,), (6, 37), {"bits": 4}),
        (FullyConnected, (24,), (5, 24), {"bits": 1, "odd": True}),
        (FullyConnected, (40,), (5, 40), {}),
        (Conv2d, (5, 5, 3), (7, 3, 3, 3), {"padding": (1, 1, 1, 1)}),
        (Conv2d, (4, 5, 8), (5, 1, 1, 8), {"bits": 2}),
        (Conv2d, (3, 3, 16), (4, 3, 3, 16), {"bits": 4, "padding": (1, 1, 1, 1)}),
        (Conv2d, (1, 3, 600), (3, 1, 1, 600), {}),
        (DepthwiseConv2d, (6, 5, 8), (3, 3, 8), {"padding": (1, 1, 1, 1)}),
        (DepthwiseConv2d, (4, 4, 17), (3, 3, 17), {}),
        (DepthwiseConv2d, (6, 5, 3), (2, 2, 3), {"stride": (2, 2)}),
        (DepthwiseConv2d, (5, 5, 6), (5, 2, 6), {}),
        (TransposeConv, (2, 3, 3), (4, 2, 2, 3), {"size": (4, 6), "stride": (2, 2)}),
    ]
    inputs: list[Tensor] = []
    nodes: list[Operator] = []
    cases = itertools.product(kinds, (256, 16, 256, 256))
    for case, ((kind, shape, weight, more), codes) in enumerate(cases):
        half = 1 << (more.get("bits", 8) - 1)
        given = rng.integers(-half + (half == 128), half, weight).astype(np.int8)
        levels = 2 * given.astype(np.int64) + 1 if more.get("odd") else given.astype(np.int64)
        axes = (0, 1) if kind is DepthwiseConv2d else tuple(range(1, len(weight)))
        fields = even_fields(rng, np.abs(levels).sum(axis=axes) * 128, case, codes)
        x = Tensor(f"x{case}", "i8", shape, kind="input", zero_point=0)
        inputs.append(x)
        nodes.append(kind(name=f"layer{case}", inputs=(x.name,), weight=given, **more, **fields))
    return Graph("even", 1, inputs, nodes, [nodes[-1].name])


def join(*parts: Graph) -> Graph:
    """Independent graphs as one, for which an image compiles once."""
    inputs: list[Tensor] = []
    nodes: list[Operator] = []
    for part in parts:
        inputs += [replace(tensor, name=f"{part.name}_{tensor.name}") for tensor in part.inputs]
        for node in part.order:
            sources = tuple(f"{part.name}_{source}" for source in node.inputs)
            nodes.append(replace(node, name=f"{part.name}_{node.name}", inputs=sources))
    name = "_".join(part.name for part in parts)
    return Graph(name, 1, inputs, nodes, [nodes[-1].name])


def with_shared_inputs(graph: Graph) -> Graph:
    """The same layers; inputs that differ in nothing but their names are one.

    An emulated UART takes 40 microseconds of the host a byte: where each layer has inputs of its
    own, that is what a run consists of.
    """
    first: dict[Tensor, str] = {}
    become = {x.name: first.setdefault(replace(x, name="x"), x.name) for x in graph.inputs}
    nodes = [
        replace(node, inputs=tuple(become.get(name, name) for name in node.inputs))
        for node in graph.order
    ]
    inputs = [x for x in graph.inputs if become[x.name] == x.name]
    return Graph(graph.name, graph.steps, inputs, nodes, graph.outputs)
