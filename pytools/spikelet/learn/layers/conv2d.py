"""Trainable two-dimensional convolution. C twin: firmware/learn/conv2d.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.c import Statement
from spikelet.graph.declared import Size
from spikelet.graph.operator import Emitter
from spikelet.graph.tensor import Array
from spikelet.learn.bases.convolution import Forward, InputGradient, Weighted
from spikelet.learn.bases.convolution_update import Update, groups, places
from spikelet.learn.numbers import scalar


@dataclass(kw_only=True)
class _Conv2d(Weighted):
    """Weights (KH, KW, I, O): every output sees all channels of its window.

    Attributes:
        outputs: channels of the output.
    """

    outputs: Size

    def lead(self, channels: int) -> tuple[int, ...]:
        return (*self.kernel, channels)

    def channels_out(self, channels: int) -> int:
        return self.outputs

    def products(self, channels: int) -> int:
        return self.kernel[0] * self.kernel[1] * channels


@dataclass(kw_only=True)
class Conv2dForward(_Conv2d, Forward):
    """`y[r, c, o] = bias[o] + sum of weight[i, j, k, o] * x[r * s + i, c * s + j, k]`, then ReLU.

    A sum starts with the bias and goes through i, j, k in this order.
    """

    KIND: ClassVar[str] = "conv2d_forward"

    def sums(self, x: Array, weight: Array, start: Array) -> Array:
        for tap in self.taps(x.shape[1:]):
            if not tap.pixels:
                continue
            seen = x[:, tap.inputs[0], tap.inputs[1]]
            rows, columns = tap.outputs
            by = weight[tap.row, tap.column]
            if self.real:
                start[:, rows, columns] = scalar.chain(
                    self.precision,
                    start[:, rows, columns],
                    np.moveaxis(seen, -1, 0)[..., None],
                    by[:, None, None, None, :],
                )
            else:
                start[:, rows, columns] += exact(seen, by)
        return start

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/conv2d.h")
        return self.emit_call(em, "spk_convolution", "spk_learn_conv2d_forward")


def exact(a: Array, b: Array) -> Array:
    """A matrix product of integers whose sums stay below 2^31."""
    product: Array = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
    return product


@dataclass(kw_only=True)
class Conv2dInputGradient(_Conv2d, InputGradient):
    """`dx[r, c, k] = sum of weight[i, j, k, o] * error[(r - i) / s, (c - j) / s, o]`.

    Of the taps that have a pixel there. A sum goes through the outputs that learn, then through the
    others, in each part through i, j, o in this order.
    """

    KIND: ClassVar[str] = "conv2d_input_gradient"

    def fan(self, learning: int) -> int:
        return self.kernel[0] * self.kernel[1] * learning

    def fan_of(self, sizes: Array) -> int:
        return int(sizes.sum(axis=(0, 1, 3)).max())

    def sums(self, error: Array, parts: list[Array], start: Array) -> Array:
        first = 0
        for weight in parts:
            outputs = weight.shape[-1]
            part = error[..., first : first + outputs]
            first += outputs
            for tap in self.taps(self.shape):
                if not tap.pixels:
                    continue
                seen = part[:, tap.outputs[0], tap.outputs[1]]
                rows, columns = tap.inputs
                by = weight[tap.row, tap.column]
                if self.real:
                    start[:, rows, columns] = scalar.chain(
                        self.precision,
                        start[:, rows, columns],
                        np.moveaxis(seen, -1, 0)[..., None],
                        by.T[:, None, None, None, :],
                    )
                else:
                    start[:, rows, columns] += exact(seen, by.T)
        return start

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/conv2d.h")
        return self.emit_call(em, "spk_convolution", "spk_learn_conv2d_input_gradient")


@dataclass(kw_only=True)
class Conv2dUpdate(_Conv2d, Update):
    """The gradient of weight[i, j, k, o] is the sum of x[r * s + i, c * s + j, k] * error[r, c, o].

    A sum goes through r, c in this order. Weights move in the order of i, j, then of k in groups of
    four, of one at the end, in each group of o, in each of these of k. Stochastic rounding takes
    one draw for an output of a group, its lowest byte for the first k.
    """

    KIND: ClassVar[str] = "conv2d_update"

    def gradient(self, x: Array, error: Array, start: Array) -> Array:
        for tap in self.taps(x.shape):
            if not tap.pixels:
                continue
            seen = x[tap.inputs].reshape(-1, x.shape[2])
            by = error[tap.outputs].reshape(len(seen), -1)
            if self.real:
                start[tap.row, tap.column] = scalar.chain(
                    self.precision, start[tap.row, tap.column], seen[:, :, None], by[:, None, :]
                )
            else:
                start[tap.row, tap.column] += exact(seen.T, by)
        return start

    def draws_needed(self, channels: int) -> int:
        return self.kernel[0] * self.kernel[1] * groups(channels) * self.learning(channels)

    def random_bytes(self, drawn: Array, channels: int) -> Array:
        byte = scalar.random_bytes(drawn).reshape(
            *self.kernel, groups(channels), self.learning(channels), 4
        )
        group, place = places(channels)
        return np.moveaxis(byte[:, :, group, :, place], 0, 2)

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/conv2d.h")
        return self.emit_call(em, "spk_conv_update", "spk_learn_conv2d_update")
