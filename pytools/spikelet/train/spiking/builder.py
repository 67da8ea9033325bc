"""A spiking network written layer by layer, with random weights: what model.py may return."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from spikelet.frontends.spiking.network import (
    Activation,
    Add,
    Compare,
    Conv2d,
    Delay,
    Flatten,
    Layer,
    Linear,
    Neurons,
    Pool2d,
    Previous,
    Reset,
    Rule,
    Seeded,
    SpikingNetwork,
)
from spikelet.graph import Array


class Builder:
    """Layers of one step, each added behind what it reads; a method returns its tensor's name.

    Weights are drawn from PyTorch's generator, uniform within +-1/sqrt(inputs) times `gain`.

    Args:
        shape: of what a step sees, channels first.
        name: of the network, an identifier.

    Attributes:
        input: the name of the network's input.
        shapes: of every tensor, channels first.
    """

    def __init__(self, shape: Sequence[int], name: str = "snn") -> None:
        self.name, self.input = name, "x"
        self.shapes: dict[str, tuple[int, ...]] = {self.input: tuple(shape)}
        self.layers: list[Layer] = []

    def linear(
        self,
        x: str,
        outputs: int,
        *,
        bias: bool = True,
        gain: float = 1.0,
        delays: int | Array | None = None,
    ) -> str:
        """A layer of weights on n values; images are flattened first.

        Args:
            x: what they read.
            outputs: of the layer.
            bias: whether sums have one.
            gain: of the weights that are drawn.
            delays: steps that each synapse takes, (outputs, n) or one for all; x are spikes then.
        """
        if len(self.shapes[x]) > 1:
            x = self.flatten(x)
        (inputs,) = self.shapes[x]
        limit = gain / math.sqrt(inputs)
        zeros = np.zeros(outputs) if bias else None
        name = self._name("fc")
        weight = _uniform((outputs, inputs), limit)
        steps = None if delays is None else np.broadcast_to(np.asarray(delays), weight.shape)
        layer = Linear(name=name, inputs=(x,), weight=weight, bias=zeros, delays=steps)
        return self._add(layer, (outputs,))

    def seeded(
        self,
        x: str,
        outputs: int,
        size: float,
        *,
        seed: int | None = None,
        fan_out: int | None = None,
    ) -> str:
        """Fixed random weights of one size, on n values, which a device makes of a seed.

        Args:
            x: what they read.
            outputs: of the layer.
            size: of each weight.
            seed: of the signs; None for one that PyTorch's generator draws.
            fan_out: how many outputs each input goes into; None for all.
        """
        seed = int(torch.randint(1 << 32, ())) if seed is None else seed
        (inputs,) = self.shapes[x]
        shape = (outputs, inputs)
        layer = Seeded.of(self._name("seeded"), x, shape, seed, size, fan_out)
        return self._add(layer, (outputs,))

    def activation(
        self,
        x: str,
        function: Literal["clip", "relu", "tanh"],
        *,
        limit: float = 1.0,
        name: str = "",
    ) -> str:
        """A function of sums or of integrators; see `network.Activation`."""
        layer = Activation(
            name=name or self._name(function), inputs=(x,), function=function, limit=limit
        )
        return self._add(layer, self.shapes[x])

    def conv2d(
        self,
        x: str,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: bool = True,
    ) -> str:
        """A convolution of an image (C, H, W) with a square kernel."""
        inputs, height, width = self.shapes[x]
        limit = 1 / math.sqrt(inputs // groups * kernel * kernel)
        layer = Conv2d(
            name=self._name("conv"),
            inputs=(x,),
            weight=_uniform((outputs, inputs // groups, kernel, kernel), limit),
            bias=np.zeros(outputs) if bias else None,
            stride=(stride, stride),
            padding=(padding,) * 4,
            groups=groups,
        )
        sides = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
        return self._add(layer, (outputs, *sides))

    def pool(self, x: str, window: int, *, mode: Literal["sum", "mean", "max"] = "mean") -> str:
        """A pool of an image (C, H, W) over square windows that do not overlap."""
        channels, height, width = self.shapes[x]
        size = (window, window)
        layer = Pool2d(name=self._name("pool"), inputs=(x,), mode=mode, window=size, stride=size)
        return self._add(layer, (channels, height // window, width // window))

    def flatten(self, x: str) -> str:
        """(C, H, W) to (C * H * W,)."""
        layer = Flatten(name=self._name("flat"), inputs=(x,))
        return self._add(layer, (math.prod(self.shapes[x]),))

    def add(self, *sources: str) -> str:
        """The sum of currents."""
        return self._add(Add(name=self._name("sum"), inputs=sources), self.shapes[sources[0]])

    def delay(self, x: str, steps: int | Array = 0) -> str:
        """Spikes that arrive later; `steps` for all, or one a neuron."""
        n = math.prod(self.shapes[x])
        given = np.resize(np.asarray(steps, np.int64), n)
        return self._add(Delay(name=self._name("delay"), inputs=(x,), steps=given), self.shapes[x])

    def previous(self, of: str, shape: Sequence[int]) -> str:
        """What neurons or a function `of` wrote in the step before; they may be added later."""
        layer = Previous(name=self._name("before"), of=of, shape=tuple(shape))
        return self._add(layer, tuple(shape))

    def lif(
        self,
        x: str,
        *,
        kept: float | Array = 1.0,
        current: float | Array | None = None,
        threshold: float | Array = 1.0,
        reset: Reset = "subtract",
        compare: Compare = ">=",
        name: str = "",
    ) -> str:
        """Neurons that spike and are reset in the same step.

        Args:
            x: their current.
            kept: part of the membrane that a step keeps: 1 for neurons without a leak.
            current: the same of a synaptic current; None for none.
            threshold: of all of them, or one a neuron.
            reset: what a spike does to the membrane.
            compare: whether a membrane at the threshold fires.
            name: of the layer, where `previous` names it before it is there.
        """
        rule = Rule(
            kept=_array(kept),
            kept_current=None if current is None else _array(current),
            threshold=_array(threshold),
            reset=reset,
            compare=compare,
        )
        layer = Neurons(name=name or self._name("lif"), inputs=(x,), rule=rule)
        return self._add(layer, self.shapes[x])

    def integrators(self, x: str, *, kept: float | Array = 1.0) -> str:
        """Neurons that do not spike: their membrane is what they write."""
        rule = Rule(kept=_array(kept), threshold=None)
        layer = Neurons(name=self._name("out"), inputs=(x,), rule=rule)
        return self._add(layer, self.shapes[x])

    def network(self, output: str) -> SpikingNetwork:
        """The network, read out at a tensor."""
        shape = self.shapes[self.input]
        return SpikingNetwork(self.name, {self.input: shape}, tuple(self.layers), output)

    def _name(self, kind: str) -> str:
        return f"{kind}{len(self.layers)}"

    def _add(self, layer: Layer, shape: tuple[int, ...]) -> str:
        self.layers.append(layer)
        self.shapes[layer.name] = shape
        return layer.name


def _uniform(shape: tuple[int, ...], limit: float) -> Array:
    drawn: Array = ((2 * torch.rand(shape) - 1) * limit).double().numpy()
    return drawn


def _array(value: float | Array) -> Array:
    return np.asarray(value, np.float64).reshape(-1)
