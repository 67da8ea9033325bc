"""Trainable depthwise convolution. C twin: firmware/learn/depthwise_conv2d.h.

With a kernel of (1, 1) it is a scale and a bias of each channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.c import Statement
from spikelet.graph.operator import Emitter
from spikelet.graph.tensor import Array
from spikelet.learn.bases.convolution import Forward, InputGradient, Weighted
from spikelet.learn.bases.convolution_update import Update, groups, places
from spikelet.learn.numbers import scalar


@dataclass(kw_only=True)
class _DepthwiseConv2d(Weighted):
    """Weights (KH, KW, C): an output sees its own channel."""

    def lead(self, channels: int) -> tuple[int, ...]:
        return self.kernel

    def channels_out(self, channels: int) -> int:
        return channels

    def products(self, channels: int) -> int:
        return self.kernel[0] * self.kernel[1]


@dataclass(kw_only=True)
class DepthwiseConv2dForward(_DepthwiseConv2d, Forward):
    """`y[r, c, k] = bias[k] + sum of weight[i, j, k] * x[r * s + i, c * s + j, k]`, then ReLU.

    A sum starts with the bias and goes through i, j in this order.
    """

    KIND: ClassVar[str] = "depthwise_conv2d_forward"

    def sums(self, x: Array, weight: Array, start: Array) -> Array:
        for tap in self.taps(x.shape[1:]):
            at = (slice(None), *tap.outputs)
            seen = x[(slice(None), *tap.inputs)]
            start[at] = scalar.mac(self.precision, start[at], seen, weight[tap.row, tap.column])
        return start

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/depthwise_conv2d.h")
        return self.emit_call(em, "spk_convolution", "spk_learn_depthwise_conv2d_forward")


@dataclass(kw_only=True)
class DepthwiseConv2dInputGradient(_DepthwiseConv2d, InputGradient):
    """`dx[r, c, k] = sum of weight[i, j, k] * error[(r - i) / s, (c - j) / s, k]`.

    Of the taps that have a pixel there. A sum goes through i, j in this order.
    """

    KIND: ClassVar[str] = "depthwise_conv2d_input_gradient"

    def fan(self, learning: int) -> int:
        return self.kernel[0] * self.kernel[1]

    def fan_of(self, sizes: Array) -> int:
        return int(sizes.sum(axis=(0, 1)).max())

    def sums(self, error: Array, parts: list[Array], start: Array) -> Array:
        weight = np.concatenate(parts, axis=-1)
        for tap in self.taps(self.shape):
            at = (slice(None), *tap.inputs)
            seen = error[(slice(None), *tap.outputs)]
            start[at] = scalar.mac(self.precision, start[at], seen, weight[tap.row, tap.column])
        return start

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/depthwise_conv2d.h")
        call = "spk_learn_depthwise_conv2d_input_gradient"
        return self.emit_call(em, "spk_convolution", call)


@dataclass(kw_only=True)
class DepthwiseConv2dUpdate(_DepthwiseConv2d, Update):
    """The gradient of weight[i, j, k] is the sum of x[r * s + i, c * s + j, k] * error[r, c, k].

    A sum goes through r, c in this order. Weights move in the order of i, j, then of k. Stochastic
    rounding takes one draw for each group of four k, and for each k behind the last whole group;
    its lowest byte is for the first k.
    """

    KIND: ClassVar[str] = "depthwise_conv2d_update"

    def gradient(self, x: Array, error: Array, start: Array) -> Array:
        for tap in self.taps(x.shape):
            if not tap.pixels:
                continue
            learning = error.shape[-1]
            seen = x[tap.inputs].reshape(-1, x.shape[2])[:, :learning]
            by = error[tap.outputs].reshape(len(seen), learning)
            at = (tap.row, tap.column)
            start[at] = scalar.chain(self.precision, start[at], seen, by)
        return start

    def draws_needed(self, channels: int) -> int:
        return self.kernel[0] * self.kernel[1] * groups(self.learning(channels))

    def random_bytes(self, drawn: Array, channels: int) -> Array:
        byte = scalar.random_bytes(drawn).reshape(*self.kernel, groups(self.learning(channels)), 4)
        group, place = places(self.learning(channels))
        return byte[:, :, group, place]

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/depthwise_conv2d.h")
        return self.emit_call(em, "spk_conv_update", "spk_learn_depthwise_conv2d_update")
