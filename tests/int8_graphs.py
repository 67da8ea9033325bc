"""Graphs of int8 layers with weights: every shape, padding, scale and tail that is allowed."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.requantise import quantize_multiplier

ZERO_POINTS = (-128, 127, 0, -5, 64)
ACTIVATIONS = ((-128, 127), (-128, 127), (-100, 90), (0, 0), (-5, 127))


def codes(rng: np.random.Generator, shape: tuple[int, ...], case: int) -> Array:
    """Weights; every third case at the ends of the type."""
    if case % 3 == 2:
        return rng.choice(np.array([-128, -127, 127], np.int8), shape)
    return np.clip(rng.normal(0, 45, shape), -127, 127).astype(np.int8)


def scaled(
    rng: np.random.Generator, channels: int, taps: int, case: int, far: bool = False
) -> dict[str, Any]:
    """Bias, factors and output codes of a layer; `far` takes factors from the whole range."""
    real = rng.uniform(0.3, 1.7, channels) * 60 / (90 * 70 * np.sqrt(taps))
    pairs = [quantize_multiplier(float(r)) for r in real]
    if far:
        shifts = rng.choice([-31, -25, -21, -9, -3, -1, 0, 1, 4], channels)
        multipliers = rng.choice([0, 1, 1 << 30, (1 << 31) - 1, 1500000000], channels)
        pairs = list(zip(multipliers, shifts, strict=True))
    zero = ZERO_POINTS[(case + 2) % 5]
    low, high = ACTIVATIONS[case % 5]
    return {
        "bias": rng.integers(-9000, 9000, channels).astype(np.int32),
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
    *(((4, 5, n), 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), False) for n in range(1, 10)),
]

# in shape, outputs, far
CONNECTED: list[tuple[Any, ...]] = [
    ((64,), 12, False),
    ((2, 3, 4), 5, False),
    ((1,), 1, False),
    ((33,), 7, True),
    ((640,), 3, False),
    *(((11 + n,), n, False) for n in range(1, 10)),
]


def convolutions(part: int = 0, parts: int = 1, name: str = "convolutions") -> Graph:
    """Independent layers, one an input."""
    rng = np.random.default_rng(5)
    inputs: list[Tensor] = []
    nodes: list[Operator] = []
    for case, (shape, outputs, kernel, stride, dilation, padding, far) in enumerate(CONVOLUTIONS):
        weight = codes(rng, (outputs, *kernel, shape[2]), case)
        fields = scaled(rng, outputs, weight[0].size, case, far)
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
                **scaled(rng, weight.shape[2], kernel[0] * kernel[1], case, far),
            )
        )
    return Graph(name, 1, inputs, nodes, [nodes[-1].name])


def connected(name: str = "connected") -> Graph:
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
                **scaled(rng, outputs, n, case, far),
            )
        )
    return Graph(name, 1, inputs, nodes, [nodes[-1].name])
