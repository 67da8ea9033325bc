"""Graphs of trainable convolutions and pools, of every shape that a kernel has a path for."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.tensor import Learned
from spikelet.learn.bases.convolution import STORED
from spikelet.learn.layers.average_pool2d import AveragePool2dForward, AveragePool2dInputGradient
from spikelet.learn.layers.conv2d import Conv2dForward, Conv2dInputGradient, Conv2dUpdate
from spikelet.learn.layers.depthwise_conv2d import (
    DepthwiseConv2dForward,
    DepthwiseConv2dInputGradient,
    DepthwiseConv2dUpdate,
)
from spikelet.learn.layers.max_pool2d import MaxPool2dForward, MaxPool2dInputGradient
from spikelet.learn.layers.to_scalar import ToScalar
from spikelet.learn.numbers import scalar

CONV2D = (Conv2dForward, Conv2dInputGradient, Conv2dUpdate)
DEPTHWISE = (DepthwiseConv2dForward, DepthwiseConv2dInputGradient, DepthwiseConv2dUpdate)
LIMIT = 255  # of values, on integers
WEIGHT_LIMIT = 100
SCALE = 2.0**-7


@dataclass(frozen=True)
class Case:
    """One layer.

    Attributes:
        image: (H, W, C) of its input.
        kernel: height, width.
        stride: down, right.
        padding: top, left, bottom, right.
        outputs: channels of the output; 0 for a depthwise convolution, which has those of x.
        frozen: outputs that do not learn.
        bias: whether the bias learns.
        codes: the input is int8 codes.
        relu: of the output.
        mask: of the input gradient.
        options: of the update.
    """

    image: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    outputs: int = 4
    frozen: int = 0
    bias: bool = True
    codes: bool = False
    relu: bool = False
    mask: bool = False
    options: tuple[tuple[str, object], ...] = ()

    @property
    def window(self) -> dict[str, object]:
        """Fields of its operators."""
        own = {"outputs": self.outputs} if self.outputs else {}
        return {"kernel": self.kernel, "stride": self.stride, "padding": self.padding, **own}

    @property
    def channels(self) -> int:
        """Of the output."""
        return self.outputs or self.image[2]

    @property
    def lead(self) -> tuple[int, ...]:
        """Of a weight's shape."""
        return (*self.kernel, self.image[2]) if self.outputs else self.kernel

    @property
    def out(self) -> tuple[int, int]:
        """Height and width of the output."""
        (h, w, _), (kh, kw) = self.image, self.kernel
        top, left, bottom, right = self.padding
        return (
            (h + top + bottom - kh) // self.stride[0] + 1,
            (w + left + right - kw) // self.stride[1] + 1,
        )


HEAVY = (("momentum", 0.9), ("decay", 0.001), ("scheduled", True))
# Every tail of four channels, outputs and pixels; windows that reach over each edge.
CASES = [
    Case((5, 9, 4), (3, 3), outputs=8),
    Case((5, 6, 5), (3, 3), padding=(1, 1, 1, 1), outputs=5, relu=True, mask=True),
    Case((6, 7, 3), (3, 3), (2, 2), (1, 1, 1, 1), outputs=6, frozen=2, mask=True),
    Case((4, 4, 6), (1, 1), outputs=7, options=HEAVY),
    Case((7, 5, 2), (2, 3), (3, 1), (0, 2, 1, 0), outputs=9, frozen=9),
    Case((5, 5, 7), (1, 1), (2, 2), outputs=3, frozen=1, bias=False, mask=True),
    Case((11, 1, 5), (4, 1), (2, 1), (1, 0, 2, 0), outputs=4, relu=True),
    Case((3, 8, 1), (3, 5), (1, 2), (2, 4, 2, 1), outputs=2, options=(("batch", 3),)),
    Case((4, 6, 6), (3, 3), padding=(1, 1, 1, 1), outputs=5, codes=True),
    Case((5, 5, 1), (3, 3), (2, 2), outputs=4, frozen=1, codes=True, options=(("batch", 2),)),
    Case((2, 2, 1), (2, 2), outputs=1),
    Case((3, 3, 4), (3, 3), padding=(2, 2, 2, 2), outputs=4, options=(("batch", 2), *HEAVY)),
    Case((5, 9, 8), (3, 3), outputs=0),
    Case((5, 6, 7), (3, 3), (1, 1), (1, 1, 1, 1), outputs=0, frozen=2, relu=True, mask=True),
    Case((7, 8, 5), (3, 2), (2, 3), (2, 0, 0, 1), outputs=0, mask=True, options=HEAVY),
    Case((2, 3, 6), (1, 1), outputs=0, options=(("batch", 3),)),
    Case((9, 1, 4), (3, 1), (2, 1), (1, 0, 1, 0), outputs=0, frozen=4),
    Case((4, 6, 6), (3, 3), (2, 2), (0, 0, 1, 1), outputs=0, frozen=1, bias=False, codes=True),
]


def weights(rng: np.random.Generator, precision: str, shape: tuple[int, ...]) -> Array:
    if scalar.is_float(precision):
        return rng.normal(0, 0.5, shape).astype(STORED[precision])
    return rng.integers(-WEIGHT_LIMIT, WEIGHT_LIMIT, shape, endpoint=True).astype(STORED[precision])


def biases(rng: np.random.Generator, precision: str, outputs: int) -> Array:
    if scalar.is_float(precision):
        return rng.normal(0, 0.5, outputs).astype(np.float32)
    return rng.integers(-20000, 20000, outputs).astype(np.int32)


class Builder:
    """Collects inputs, nodes and learned tensors of a graph."""

    def __init__(self, precision: str, seed: int = 0) -> None:
        self.precision = precision
        self.real = scalar.is_float(precision)
        self.rng = np.random.default_rng(seed)
        self.inputs: list[Tensor] = []
        self.nodes: list[Operator] = []
        self.learned: list[Learned] = []
        self.outputs: list[str] = []

    def value(self, name: str, shape: tuple[int, ...]) -> str:
        """A tensor of values that the host gives; its name."""
        if self.real:
            self.inputs.append(Tensor(name, "f32", shape, kind="input"))
            return name
        self.inputs.append(Tensor(f"{name}_code", "i8", shape, kind="input", scale=2 * SCALE))
        self.nodes.append(
            ToScalar(
                name=name, inputs=(f"{name}_code",), precision=self.precision,
                output_scale=SCALE, output_limit=LIMIT,
            )
        )  # fmt: skip
        return name

    def learn(self, name: str, initial: Array) -> str:
        """A learned tensor; its name."""
        dtype = {"float32": "f32", "float16": "f16", "int16": "i16", "int8": "i8", "int32": "i32"}
        kind = dtype[str(initial.dtype)]
        integer = not self.real
        limit = {"i16": WEIGHT_LIMIT, "i8": WEIGHT_LIMIT, "i32": 100000}.get(kind)
        self.learned.append(
            Learned.of(
                name, kind, initial.shape, initial,
                low=-limit if integer and limit else None, high=limit if integer else None,
                scale=SCALE if kind in ("i16", "i8") else 1.0 if self.real else SCALE * SCALE,
            )
        )  # fmt: skip
        return name

    @property
    def formats(self) -> dict[str, object]:
        """Precision and scale of weights."""
        return {"precision": self.precision, **({} if self.real else {"weight_scale": SCALE})}

    def output_fields(self, what: str) -> dict[str, object]:
        """Scale and limit of what is written."""
        if self.real:
            return {}
        return {f"{what}_scale": SCALE, f"{what}_limit": 1000}

    @property
    def small_gradient(self) -> dict[str, object]:
        """A limit that sums of errors meet."""
        return {} if self.real else {"gradient_limit": 200}

    def graph(self, name: str) -> Graph:
        """All of it."""
        return Graph(name, 1, self.inputs, self.nodes, self.outputs, self.learned)


def convolution(b: Builder, case: Case, name: str, rounding: str) -> None:
    """Forward pass, input gradient and update of one layer."""
    image, frozen, lead, channels = case.image, case.frozen, case.lead, case.channels
    n = channels - frozen
    forward, back, step = CONV2D if case.outputs else DEPTHWISE
    if case.codes:
        zero = 11
        b.inputs.append(Tensor(f"{name}_x", "i8", image, "input", SCALE, zero))
        x = f"{name}_x"
    else:
        x = b.value(f"{name}_x", image)
    error = b.value(f"{name}_e", (*case.out, channels))
    held = weights(b.rng, b.precision, (*lead, frozen)) if frozen else None
    weight = [b.learn(f"{name}.weight", weights(b.rng, b.precision, (*lead, n)))] if n else []
    bias = biases(b.rng, b.precision, channels)
    learned_bias = [b.learn(f"{name}.bias", bias)] if case.bias else []
    b.nodes.append(
        forward(
            name=f"{name}_y", inputs=(x, *weight, *learned_bias),
            frozen=held, frozen_bias=None if case.bias else bias, relu=case.relu,
            **case.window, **b.formats, **b.output_fields("output"),
        )  # type: ignore[arg-type]
    )  # fmt: skip
    b.outputs.append(f"{name}_y")
    if not case.codes:
        b.nodes.append(
            back(
                name=f"{name}_dx", inputs=(error, *weight, *([x] if case.mask else [])),
                shape=image, frozen=held, mask=case.mask,
                **case.window, **b.formats, **b.output_fields("gradient"),
            )  # type: ignore[arg-type]
        )  # fmt: skip
        b.outputs.append(f"{name}_dx")
    options = {"rate": 0.05, "rounding": rounding, **dict(case.options)}
    update = step(
        name=f"{name}_update", inputs=(), frozen_outputs=frozen,
        bias=case.bias, **case.window, **b.formats, **options,
    )  # type: ignore[arg-type]  # fmt: skip
    described = {t.name: t for t in b.inputs}
    scale = 1.0 if b.real else SCALE
    x_tensor = described.get(x) or Tensor(x, scalar.value_dtype(b.precision), image, scale=scale)
    e_shape = (*case.out, channels)
    e_tensor = Tensor(error, scalar.value_dtype(b.precision), e_shape, scale=scale)
    state = update.state(x_tensor, e_tensor, 1.0 if b.real else SCALE * SCALE, 77, (LIMIT, LIMIT))
    named = {k.tensor.name.rsplit(".", 1)[1]: k.tensor.name for k in state}
    b.learned += state
    if options.get("scheduled"):
        b.learned.append(
            Learned.of(
                f"{name}.schedule", "i32", (1,), np.array([20000], np.int32), low=0, high=scalar.Q15
            )
        )
        named["schedule"] = f"{name}.schedule"
    named |= {"error": error, "x": x, "weight": f"{name}.weight", "bias": f"{name}.bias"}
    update.inputs = tuple(named[role] for role in update.roles(image))
    b.nodes.append(update)


def convolutions(
    precision: str, rounding: str = "nearest", cases: list[Case] | None = None
) -> Graph:
    """All cases in one graph."""
    b = Builder(precision)
    for i, case in enumerate(CASES if cases is None else cases):
        convolution(b, case, f"c{i}", rounding)
    return b.graph(f"convolutions_{precision}")


POOLS = [
    Case((5, 6, 3), (5, 6), mask=True),
    Case((6, 7, 5), (2, 2), (2, 2)),
    Case((5, 8, 2), (3, 3), (2, 1), (1, 1, 1, 1), mask=True),
    Case((9, 1, 4), (4, 1), (3, 1), (2, 0, 1, 0)),
    Case((4, 4, 3), (1, 1), mask=True),
]


def pool(b: Builder, case: Case, name: str) -> None:
    """Both kinds of pool, forward and backward."""
    x = b.value(f"{name}_x", case.image)
    error = b.value(f"{name}_e", (*case.out, case.image[2]))
    window = replace(case, outputs=0).window
    common = {"precision": b.precision, **window}
    shaped = {**common, "shape": case.image, "mask": case.mask, **b.output_fields("gradient")}
    average, back = f"{name}_average", f"{name}_dx"
    b.nodes += [
        AveragePool2dForward(name=average, inputs=(x,), **common, **b.output_fields("output")),
        AveragePool2dInputGradient(
            name=back, inputs=(error, x) if case.mask else (error,), **shaped
        ),
        MaxPool2dForward(name=f"{name}_max", inputs=(x,), **common),
        MaxPool2dInputGradient(
            name=f"{name}_max_dx", inputs=(error, x), **{**shaped, **b.small_gradient}
        ),
    ]  # type: ignore[arg-type]
    b.outputs += [average, back, f"{name}_max", f"{name}_max_dx"]


def pools(precision: str) -> Graph:
    """All pools in one graph."""
    b = Builder(precision)
    for i, case in enumerate(POOLS):
        pool(b, case, f"p{i}")
    return b.graph(f"pools_{precision}")


PRECISIONS = [*itertools.product(("f32", "f16"), ("nearest",)), ("i16", "nearest"),
              ("i16", "stochastic"), ("i8", "stochastic")]  # fmt: skip
