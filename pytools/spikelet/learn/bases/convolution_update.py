"""The step of a convolution's weights and biases by gradient descent.

C twin: firmware/learn/convolution.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Margin
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval
from spikelet.graph.tensor import Array
from spikelet.learn.bases.convolution import Weighted, macs
from spikelet.learn.bases.weight_step import WeightStep
from spikelet.learn.numbers import scalar


@dataclass(kw_only=True)
class Update(Weighted, WeightStep):
    """Base of the steps of a convolution, see `WeightStep`.

    The gradient of a weight is summed over all pixels and applied at once; there is no tensor of
    gradients. The gradient of a bias is the sum of its errors over all pixels.

    Attributes:
        frozen_outputs: outputs whose weights do not learn, the last ones.
    """

    SUMS_FIRST: ClassVar[bool] = True

    frozen_outputs: Margin = 0

    def learning(self, channels: int) -> int:
        """How many outputs learn, of an x with so many channels."""
        return self.channels_out(channels) - self.frozen_outputs

    def learned_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*self.lead(shape[2]), self.learning(shape[2]))

    def error_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*self.out_image(shape), self.channels_out(shape[2]))

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        self.expect_precision()
        if len(self.ins) < 2:
            raise self.error("reads fewer than 2 tensors, expected error, x, ...")
        x = self.ins[1]
        channels = self.image(x.shape)[2]
        outputs, learning = self.channels_out(channels), self.learning(channels)
        if not 0 <= learning <= outputs:
            raise self.error(f"{self.frozen_outputs} of {outputs} outputs do not learn")
        if not (learning or self.bias):
            raise self.error("nothing of it learns")
        value = scalar.value_dtype(self.precision)
        if x.dtype not in (value, "i8"):
            raise self.error(f"input {x.name} is {x.dtype}, expected {value} or i8")
        _, steps_taken = self.expect_inputs(bounds)
        return Inferred([], steps_taken)

    def gradient(self, x: Array, error: Array, start: Array) -> Array:
        """`start` and the gradient of one sample: x (H, W, C), error (out H, out W, n)."""
        raise NotImplementedError

    def random_bytes(self, drawn: Array, channels: int) -> Array:
        """The random byte of each weight, of `draws_needed` draws."""
        raise NotImplementedError

    def draws_needed(self, channels: int) -> int:
        """Draws of one step."""
        raise NotImplementedError

    def golden(self, env: dict[str, Array], t: int) -> None:
        self.learn(env, dict(zip(self.roles(self.ins[1].shape), self.inputs, strict=True)))

    def step_weights(
        self, env: dict[str, Array], at: dict[str, str], xs: list[Array], errors: list[Array]
    ) -> int:
        sgd = self.step_now(env, at, self.facts.weight)
        stored = env[at["weight"]]
        total = np.zeros(stored.shape, np.float32 if self.real else np.int64)
        for x, error in zip(xs, errors, strict=True):
            total = self.gradient(x, error[..., : stored.shape[-1]], total)
        u = scalar.widen(self.precision, env[at["velocity"]]) if "velocity" in at else None
        byte: Array = np.zeros((), np.uint8)
        if "random" in at:
            channels = self.ins[1].shape[2]
            drawn, state = scalar.draws(int(env[at["random"]][0]), self.draws_needed(channels))
            env[at["random"]][0] = state
            byte = self.random_bytes(drawn, channels)
        w = scalar.widen(self.precision, stored)
        moved, held, saturated = sgd.learn(w, u, total, byte)
        stored[...] = moved.astype(stored.dtype)
        if u is not None:
            env[at["velocity"]][...] = held.astype(env[at["velocity"]].dtype)
        return saturated

    def bias_gradient(self, errors: list[Array]) -> Array:
        rows = np.concatenate([e.reshape(-1, e.shape[-1]) for e in errors])
        rows = np.concatenate([np.zeros_like(rows[:1]), rows])
        total: Array = np.add.accumulate(rows, axis=0)[-1]
        return total

    def cost(self) -> Cost:
        shape = self.ins[1].shape
        return Cost(macs=macs(self, shape, self.learning(shape[2])), weight_bits=self.weight_bits)

    def emit_call(self, em: Emitter, struct: str, call: str) -> list[Statement]:
        """The call of the kernel, whose configuration is a `struct`."""
        height, width, channels = self.image(self.ins[1].shape)
        if self.ins[1].dtype == "i8":
            em.define("SPK_CONV_CODES")
        fields: Fields = {
            **self.window_fields((height, width, channels), "window."),
            "outputs": self.channels_out(channels),
            "learned": self.learning(channels),
            "source": self.source_c(self.ins[1]),
            "batch": self.batch,
        }
        if self.facts.weight is not None:
            fields["sgd"] = self.facts.weight.c()
        if self.facts.bias is not None:
            fields["bias_sgd"] = self.facts.bias.c()
        config = em.config(self.name, struct, fields)
        return [c.run(call, config, c.compound("struct spk_conv_step", self.parts_c(em)))]


def groups(channels: int) -> int:
    """Channels in groups of four, and of one at the end: how many groups."""
    return channels // 4 + channels % 4


def places(channels: int) -> tuple[Array, Array]:
    """Of each channel its group, and its place there."""
    at = np.arange(channels)
    whole = channels // 4 * 4
    return np.where(at < whole, at // 4, whole // 4 + at - whole), np.where(at < whole, at % 4, 0)
