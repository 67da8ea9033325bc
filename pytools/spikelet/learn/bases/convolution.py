"""What convolutions that learn share: weights of which some channels learn, biases, the step.

A layer is three operators, each of which may be left out: forward, input gradient, update. Weights
are (kernel height, kernel width, ..., outputs). Those of the first n outputs learn and are a
learned tensor, the others are constants in flash.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement, Value
from spikelet.graph.declared import Natural, Size, TensorScale
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Phase
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.bases.trainable import Scaled
from spikelet.learn.bases.window import Windowed
from spikelet.learn.numbers import scalar

STORED = {"f32": np.float32, "f16": np.float16, "i16": np.int16, "i8": np.int8}


@dataclass(kw_only=True)
class Weighted(Windowed):
    """Base of the operators of one convolution.

    Attributes:
        weight_scale: of the weights, on integers.
    """

    weight_scale: TensorScale = 1.0

    def lead(self, channels: int) -> tuple[int, ...]:
        """The shape of a weight before its last axis."""
        raise NotImplementedError

    def channels_out(self, channels: int) -> int:
        """Channels of the output."""
        raise NotImplementedError

    def products(self, channels: int) -> int:
        """Products in one sum of the forward pass."""
        raise NotImplementedError

    def check_frozen(self, frozen: Array | None, channels: int) -> int:
        """How many outputs learn; refuses frozen weights of another type or shape."""
        outputs = self.channels_out(channels)
        if outputs < 1:
            raise self.error(f"{outputs} outputs, expected 1 or more")
        if frozen is None:
            return outputs
        lead, stored = self.lead(channels), STORED[self.precision]
        if (
            frozen.dtype != stored
            or frozen.shape[:-1] != lead
            or not 1 <= frozen.shape[-1] <= outputs
        ):
            raise self.error(
                f"frozen is {frozen.dtype} of shape {frozen.shape}, expected {np.dtype(stored)} "
                f"{lead} and 1 to {outputs}"
            )
        return outputs - int(frozen.shape[-1])

    def check_weight(self, weight: Tensor, learning: int, channels: int) -> None:
        """Refuse learned weights of another type, shape or scale."""
        self.expect_shape(weight, (self.precision,), (*self.lead(channels), learning))
        if not self.real and weight.scale != self.weight_scale:
            raise self.error(
                f"weight {weight.name} has scale {weight.scale}, not weight_scale "
                f"{self.weight_scale}"
            )

    def whole(self, env: dict[str, Array], name: str | None, frozen: Array | None) -> Array:
        """All weights as what is calculated with."""
        parts = [] if name is None else [env[name]]
        parts += [] if frozen is None else [frozen]
        return scalar.widen(self.precision, np.concatenate(parts, axis=-1))

    @property
    def weight_bits(self) -> int:
        """Bits of a stored weight."""
        return 8 * np.dtype(STORED[self.precision]).itemsize

    def frozen_c(self, em: Emitter, frozen: Array | None) -> Value:
        """Frozen weights in flash; 0 where there are none."""
        if frozen is None:
            return 0
        return em.const(f"{self.name}_frozen", frozen, f"{frozen.shape}, do not learn")


@dataclass(kw_only=True)
class Forward(Weighted):
    """Base of forward passes.

    Reads x (H, W, C), values or i8 codes, then, as far as they learn, weight and bias (outputs,).
    On integers a bias is in units of weight scale * input scale.

    Attributes:
        frozen: stored weights of the outputs that do not learn, the last ones; None for none.
        frozen_bias: (outputs,) where the bias does not learn.
        relu: negative outputs become 0.
        output_scale: of the outputs, on integers.
        output_limit: outputs saturate at +-limit, on integers.
        again: computed once more for learning, in place of being kept since the prediction.
    """

    frozen: Array | None = None
    frozen_bias: Array | None = None
    relu: bool = False
    output_scale: TensorScale = 1.0
    output_limit: Natural = 0
    again: bool = False

    facts: Scaled = field(init=False, repr=False, compare=False)

    @property
    def learning(self) -> int:
        """How many of its outputs learn."""
        return self.check_frozen(self.frozen, self.image(self.ins[0].shape)[2])

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_precision()
        x = ins[0]
        if x.dtype not in (scalar.value_dtype(self.precision), "i8"):
            raise self.error(
                f"input {x.name} is {x.dtype}, expected {scalar.value_dtype(self.precision)} or i8"
            )
        out = self.out_image(x.shape)
        channels = x.shape[2]
        outputs = self.channels_out(channels)
        learning = self.learning
        expected = 1 + (learning > 0) + (self.frozen_bias is None)
        if len(ins) != expected:
            raise self.error(f"reads {len(ins)} tensors, expected {expected}: x, weight, bias")
        if learning:
            self.check_weight(ins[1], learning, channels)
        total = scalar.sum_dtype(self.precision)
        if self.frozen_bias is None:
            self.expect_shape(ins[-1], (total,), (outputs,))
        elif self.frozen_bias.shape != (outputs,) or self.frozen_bias.dtype != (
            np.float32 if self.real else np.int32
        ):
            raise self.error(
                f"frozen_bias is {self.frozen_bias.dtype} of shape {self.frozen_bias.shape}, "
                f"expected {total} ({outputs},)"
            )
        if not self.real:
            self._prove(bounds)
        ratio = self.weight_scale * self.source_scale(x) / self.output_scale
        scale = self.scale_of(ratio, self.output_limit)
        written = self.value(self.name, (*out, outputs), self.output_scale, self.output_limit)
        bounds[self.name] = self.value_bounds(written, self.output_limit, self.relu)
        return Inferred([written], Scaled(scale))

    def _prove(self, bounds: dict[str, Interval]) -> None:
        largest = self.largest(self.ins[0], bounds)
        sums = [0]
        if self.learning:
            sums.append(
                self.products(self.ins[0].shape[2]) * self.largest(self.ins[1], bounds) * largest
            )
        if self.frozen is not None:
            each = np.abs(self.frozen.astype(np.int64))
            sums.append(int(each.sum(axis=tuple(range(each.ndim - 1))).max()) * largest)
        if self.frozen_bias is None:
            bias = self.largest(self.ins[-1], bounds)
        else:
            bias = int(np.abs(self.frozen_bias.astype(np.int64)).max())
        self.prove(max(sums) + bias, "a sum")

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN if self.again else max(ins)

    def sums(self, x: Array, weight: Array, start: Array) -> Array:
        """Sums (N, out H, out W, outputs) from x (N, H, W, C) and biases."""
        raise NotImplementedError

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = self.source(self.ins[0], env[self.inputs[0]])
        weight = self.whole(env, self.inputs[1] if self.learning else None, self.frozen)
        stored = env[self.inputs[-1]] if self.frozen_bias is None else self.frozen_bias
        bias = scalar.widen(self.precision, stored)
        out = self.out_image(x.shape[1:])
        start = np.broadcast_to(bias, (len(x), *out, len(bias))).copy()
        made = self.facts.scale.narrow(self.sums(x, weight, start))
        if self.relu:
            made = np.where(made < 0, made.dtype.type(0), made)
        env[self.name] = made.astype(np.float32 if self.real else np.int16)

    def cost(self) -> Cost:
        return Cost(macs=self.macs(self.ins[0].shape), weight_bits=self.weight_bits)

    def macs(self, shape: tuple[int, ...], outputs: int | None = None) -> int:
        """Products of a pass over all outputs, or over some; none with padding."""
        return macs(self, shape, outputs)

    def emit(self, em: Emitter) -> list[Statement]:
        raise NotImplementedError

    def emit_call(self, em: Emitter, struct: str, call: str) -> list[Statement]:
        """The call of the kernel, whose configuration is a `struct`."""
        height, width, channels = self.image(self.ins[0].shape)
        if self.ins[0].dtype == "i8":
            em.define("SPK_CONV_CODES")
        config = em.config(
            self.name,
            struct,
            {
                **self.window_fields((height, width, channels), "window."),
                "outputs": self.channels_out(channels),
                "learned": self.learning,
                "scale": self.facts.scale.c(self.precision),
                "source": self.source_c(self.ins[0]),
                "relu": self.relu,
            },
        )
        weight = em.tensor(self.inputs[1]) if self.learning else 0
        if self.frozen_bias is None:
            bias = em.tensor(self.inputs[-1])
        else:
            bias = em.const(f"{self.name}_bias", self.frozen_bias, f"{self.frozen_bias.shape}")
        frozen = self.frozen_c(em, self.frozen)
        x, y = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run(call, config, x, weight, frozen, bias, y)]


def macs(node: Weighted, shape: tuple[int, ...], outputs: int | None = None) -> int:
    """Products of a pass over x of a shape."""
    pixels = sum(tap.pixels for tap in node.taps(shape))
    per_tap = node.products(shape[2]) // (node.kernel[0] * node.kernel[1])
    return pixels * per_tap * (node.channels_out(shape[2]) if outputs is None else outputs)


@dataclass(kw_only=True)
class InputGradient(Weighted):
    """Base of the gradients of the input, from the error (out H, out W, outputs) of the output.

    Reads the error, the weight as far as it learns, and, with `mask`, x; writes (H, W, C) values.
    In the graph it stands before the update, which changes the weights.

    Attributes:
        shape: of x.
        frozen: stored weights of the outputs that do not learn, the last ones; None for none.
        mask: the gradient is 0 where x is not positive: x came out of a ReLU.
        gradient_scale: of the gradient, on integers.
        gradient_limit: it saturates at +-limit, on integers.
    """

    shape: tuple[Size, Size, Size]
    frozen: Array | None = None
    mask: bool = False
    gradient_scale: TensorScale = 1.0
    gradient_limit: Natural = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        height, width, channels = self.shape
        self.shape = (int(height), int(width), int(channels))

    facts: Scaled = field(init=False, repr=False, compare=False)

    @property
    def learning(self) -> int:
        """How many of its outputs learn."""
        return self.check_frozen(self.frozen, self.image(self.shape)[2])

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_precision()
        channels = self.image(self.shape)[2]
        outputs = self.channels_out(channels)
        learning = self.learning
        expected = 1 + (learning > 0) + self.mask
        if len(ins) != expected:
            raise self.error(f"reads {len(ins)} tensors, expected {expected}: error, weight, x")
        value = scalar.value_dtype(self.precision)
        self.expect_shape(ins[0], (value,), (*self.out_image(self.shape), outputs))
        if learning:
            self.check_weight(ins[1], learning, channels)
        if self.mask:
            self.expect_shape(ins[-1], (value,), self.shape)
        if not self.real:
            total = 0
            if learning:
                total += self.fan(learning) * self.largest(ins[1], bounds)
            if self.frozen is not None:
                total += self.fan_of(np.abs(self.frozen.astype(np.int64)))
            self.prove(total * self.largest(ins[0], bounds), "the sum of an input gradient")
        error_scale = 1.0 if self.real else ins[0].scale
        scale = self.scale_of(
            error_scale * self.weight_scale / self.gradient_scale, self.gradient_limit
        )
        written = self.value(self.name, self.shape, self.gradient_scale, self.gradient_limit)
        bounds[self.name] = self.value_bounds(written, self.gradient_limit)
        return Inferred([written], Scaled(scale))

    def fan(self, learning: int) -> int:
        """Products with learned weights in one sum, at the most."""
        raise NotImplementedError

    def fan_of(self, sizes: Array) -> int:
        """The largest sum of weights' sizes that meet in one sum."""
        raise NotImplementedError

    def sums(self, error: Array, parts: list[Array], start: Array) -> Array:
        """Sums (N, H, W, C) from the error (N, out H, out W, outputs)."""
        raise NotImplementedError

    def golden(self, env: dict[str, Array], t: int) -> None:
        error = scalar.widen(self.precision, env[self.inputs[0]])
        parts = [env[self.inputs[1]]] if self.learning else []
        parts += [] if self.frozen is None else [self.frozen]
        start = np.zeros((len(error), *self.shape), np.float32 if self.real else np.int64)
        widened = [scalar.widen(self.precision, part) for part in parts]
        made = self.facts.scale.narrow(self.sums(error, widened, start))
        if self.mask:
            made = np.where(env[self.inputs[-1]] > 0, made, made.dtype.type(0))
        env[self.name] = made.astype(np.float32 if self.real else np.int16)

    def cost(self) -> Cost:
        return Cost(macs=macs(self, self.shape), weight_bits=self.weight_bits)

    def emit_call(self, em: Emitter, struct: str, call: str) -> list[Statement]:
        """The call of the kernel, whose configuration is a `struct`."""
        config = em.config(
            self.name,
            struct,
            {
                **self.window_fields(self.shape, "window."),
                "outputs": self.channels_out(self.shape[2]),
                "learned": self.learning,
                "scale": self.facts.scale.c(self.precision),
            },
        )
        weight = em.tensor(self.inputs[1]) if self.learning else 0
        frozen = self.frozen_c(em, self.frozen)
        kept = em.tensor(self.inputs[-1]) if self.mask else 0
        error, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run(call, config, error, weight, frozen, kept, to)]
