"""A spiking network over time in PyTorch, in real numbers or in the integers of its graph.

What does not lie in a loop is executed over all steps at once, with time and samples in one axis:
only neurons go from step to step. A loop, which a `Previous` closes, is executed step by step.
Tensors are (T, N, *shape), channels first; those that are the same in every step (1, N, *shape).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from spikelet.errors import UsageError
from spikelet.frontends.spiking.lower import Readout, unit_shifts
from spikelet.frontends.spiking.network import (
    Activation,
    Add,
    Conv2d,
    Delay,
    Flatten,
    Layer,
    Linear,
    Neurons,
    OneToOne,
    Pool2d,
    Previous,
    Seeded,
    SpikingNetwork,
)
from spikelet.frontends.spiking.shapes import shapes
from spikelet.frontends.spiking.simulate import compute
from spikelet.train.spiking.delays import Delays
from spikelet.train.spiking.loops import parts_in_order
from spikelet.train.spiking.neurons import Slope
from spikelet.train.spiking.parts import (
    DelayPart,
    LatePart,
    NeuronPart,
    OneToOnePart,
    WeightPart,
)
from spikelet.train.spiking.rounding import Grid

LEARNED = ("leak", "current", "threshold", "delay")


class Executor(nn.Module):
    """A network whose weights, and what else is asked for, are parameters.

    Args:
        network: with one input.
        steps: T.
        readout: of its output.
        learn: of neurons and delays, some of `LEARNED`.
        batch_norm: behind each layer of weights that flows into neurons which spike, outside of
            loops.
        slope: of the surrogate gradient.

    Attributes:
        grid: None in real numbers; else the numbers of the graph are computed.
        rates: of the last execution, spikes a neuron and step by layer, with their gradient.
        width: of delays while they are learned, in steps; 0 for whole steps.
        loop_gradient: what a gradient is multiplied by where it goes back around a loop.
        factor: steps of the network that are executed as one; `steps` are those that are executed.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        steps: int,
        readout: Readout,
        *,
        learn: Collection[str] = (),
        batch_norm: bool = False,
        slope: Slope | None = None,
    ) -> None:
        super().__init__()
        self.source, self.steps, self.readout = network, steps, readout
        self.learn, self.slope = frozenset(learn), slope or Slope()
        self.grid: Grid | None = None
        self.width, self.factor, self.loop_gradient = 0.0, 1, 1.0
        self.rates: dict[str, Tensor] = {}
        self.order = parts_in_order(network)
        looped = {layer.name for part in self.order if len(part) > 1 for layer in part}
        self.shapes = shapes(network)
        self.parts = nn.ModuleDict()
        for layer in network.layers:
            in_loop = layer.name in looped
            normed = batch_norm and not in_loop and self._feeds_spikes(layer)
            if (part := self._made(layer, normed)) is None:
                continue
            if in_loop and isinstance(part, DelayPart | LatePart):
                raise UsageError(
                    f"layer {layer.called}: a delay within a loop",
                    "training executes loops step by step, and delays over all steps",
                    "put the delay outside of the loop",
                )
            self.parts[layer.name] = part

    def _made(self, layer: Layer, normed: bool) -> nn.Module | None:
        """What a layer with parameters becomes; None for others."""
        if isinstance(layer, Seeded):
            raise UsageError(
                f"layer {layer.called}: weights of a seed are not trained",
                next="give the recipe [ridge] in place of [train] and [quantise]",
            )
        if isinstance(layer, Activation):
            raise UsageError(
                f"layer {layer.called}: {layer.function} is not trained here",
                next="train the network in PyTorch, and export it",
            )
        shape, late = self.shapes[layer.name], "delay" in self.learn
        if isinstance(layer, Linear) and layer.delays is not None:
            return LatePart(layer, normed, late)
        if isinstance(layer, Linear | Conv2d):
            return WeightPart(layer, normed)
        if isinstance(layer, OneToOne):
            return OneToOnePart(layer)
        if isinstance(layer, Neurons):
            return NeuronPart(layer, shape[0], self.learn, self.slope)
        if isinstance(layer, Delay):
            return DelayPart(layer, math.prod(shape), late)
        return None

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, classes) of inputs (T or 1, N, *shape).

        Inputs are real, or with a grid codes less the code of 0. Scores are real in both cases.
        """
        values = self.values(x)
        return self.scores(values[self.source.output])

    def scores(self, output: Tensor) -> Tensor:
        """Of the output over time: its last membranes, or its sum."""
        last = output[-1] if self.readout == "membrane" else output.sum(dim=0)
        if self.readout == "sum" and len(output) == 1:
            last = last * self.steps
        if self.grid is not None and self.readout != "spike_count":
            last = last * float(self.grid.held[self.source.output].unit[0])
        return last.flatten(1).float()

    def values(self, x: Tensor) -> dict[str, Tensor]:
        """Every tensor by name, over time."""
        (name,) = self.source.inputs
        values = {name: x}
        self.rates = {}
        for part in self.order:
            if len(part) > 1:
                self._loop(part, values)
            else:
                values[part[0].name] = self._whole(part[0], values)
        for layer in self.source.layers:
            if isinstance(layer, Neurons) and layer.rule.threshold is not None:
                self.rates[layer.name] = values[layer.name].mean() / self.factor
        return values

    def coarsen(self, factor: int) -> None:
        """Execute so many steps of the network as one from now on, in real numbers.

        Leaks, drifts, biases and delays, which are of one step, become those of `factor`. A step's
        input is then the sum over its steps; a neuron spikes once in it at most.

        Raises:
            ValueError: the number of steps is no multiple of it.
        """
        steps = self.steps * self.factor
        if steps % factor:
            raise ValueError(f"{steps} steps, {factor} of which are to be executed as one")
        self.steps, self.factor = steps // factor, factor
        for part in self.parts.values():
            if isinstance(part, WeightPart | NeuronPart):
                part.factor = factor
        for delays in self.delays().values():
            delays.factor = factor

    def network(self) -> SpikingNetwork:
        """The network as it is trained: batch norms folded, with a grid weights on it."""
        layers: list[Layer] = []
        for layer in self.source.layers:
            part = self._part(layer)
            if isinstance(part, WeightPart | OneToOnePart | NeuronPart | DelayPart):
                layer = part.layer(self.grid)
            layers.append(layer)
        return dataclasses.replace(self.source, layers=tuple(layers))

    def fold(self) -> None:
        """Put batch norms into weights and biases, for good."""
        for part in self.parts.values():
            if isinstance(part, WeightPart):
                part.fold()

    def neuron_parts(self) -> dict[str, NeuronPart]:
        """Its neurons by layer."""
        return {k: part for k, part in self.parts.items() if isinstance(part, NeuronPart)}

    def delays(self) -> dict[str, Delays]:
        """Its delays by layer, of neurons and of synapses."""
        parts = self.parts.items()
        return {k: part.times for k, part in parts if isinstance(part, DelayPart | LatePart)}

    def _part(self, layer: Layer) -> nn.Module | None:
        """What a layer with parameters has become."""
        return dict(self.parts.items()).get(layer.name)

    def _feeds_spikes(self, layer: Layer) -> bool:
        """Whether sums flow into neurons that spike."""
        readers = self.source.readers(layer.name)
        return bool(readers) and all(
            reader.rule.threshold is not None
            if isinstance(reader, Neurons)
            else self._feeds_spikes(reader)
            for reader in readers
        )

    def _whole(self, layer: Layer, values: Mapping[str, Tensor]) -> Tensor:
        """A layer over all steps."""
        if isinstance(layer, Previous):
            x = values[layer.of]
            if len(x) == 1:
                x = x.expand(self.steps, *x.shape[1:])
            return torch.cat([torch.zeros_like(x[:1]), x[:-1]])
        inputs = [values[name] for name in layer.inputs]
        part = self._part(layer)
        if isinstance(part, NeuronPart):
            return part.over_time(inputs[0], self.steps, self.grid)
        if isinstance(part, DelayPart):
            late: Tensor = part(inputs[0], self.steps, self.width)
            return late
        if isinstance(part, LatePart):
            return part.over_time(inputs[0], self.steps, self.width, self.grid)
        lengths = {len(x) for x in inputs}
        if len(lengths) > 1:
            inputs = [x.expand(self.steps, *x.shape[1:]) for x in inputs]
        length, samples = inputs[0].shape[:2]
        made = self._stateless(layer, [x.flatten(0, 1) for x in inputs])
        return made.reshape(length, samples, *made.shape[1:])

    def _stateless(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        """A layer without a state, (N, *shape)."""
        part = self._part(layer)
        if isinstance(part, WeightPart | OneToOnePart):
            made: Tensor = part(inputs[0], self.grid)
            return made
        if self.grid is not None and isinstance(layer, Pool2d) and layer.mode == "mean":
            layer = dataclasses.replace(layer, mode="sum")
        if isinstance(layer, Flatten):
            return inputs[0].flatten(1)
        if self.grid is not None and isinstance(layer, Add):
            shifts = unit_shifts([self.grid.held[name] for name in layer.inputs])
            inputs = [x * 2.0**shift for x, shift in zip(inputs, shifts, strict=True)]
        return compute(layer, inputs)

    def _looped(self, spikes: Tensor) -> Tensor:
        """Spikes of the step before, with their share of the gradient."""
        share = self.loop_gradient
        if share == 1:
            return spikes
        fixed = spikes.detach()
        return fixed + share * (spikes - fixed) if share else fixed

    def _loop(self, part: list[Layer], values: dict[str, Tensor]) -> None:
        """Layers of a loop, step by step; `values` get what they wrote."""
        written: dict[str, list[Tensor]] = {layer.name: [] for layer in part}
        like = next(iter(values.values()))
        samples = like.shape[1]
        stepping = {
            layer.name: module.stepping(self.grid)
            for layer in part
            if isinstance(module := self._part(layer), NeuronPart | WeightPart)
        }
        read = {name for layer in part for name in layer.inputs}
        # not v[t]: its gradient is as large as v, in every step
        given = {name: values[name].unbind() for name in sorted(read & values.keys())}
        for t in range(self.steps):
            now = {name: each[t if len(each) > 1 else 0] for name, each in given.items()}
            for layer in part:
                if isinstance(layer, Previous):
                    nothing = like.new_zeros((samples, *layer.shape))
                    made = self._looped(written[layer.of][t - 1]) if t else nothing
                elif layer.name in stepping:
                    made = stepping[layer.name](now[layer.inputs[0]])
                else:
                    made = self._stateless(layer, [now[name] for name in layer.inputs])
                now[layer.name] = made
                written[layer.name].append(made)
        values.update({name: torch.stack(every) for name, every in written.items()})
