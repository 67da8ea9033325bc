"""Quantisation-aware training of a float network: rounding where the graph will round.

What is trained is a folded `Network`. Weights are rounded to their codes on every use, symmetric
and per output channel: int8, or of fewer bits on the grid whose scale is twice the mean magnitude
of a channel (StatsQ, Liu et al., "Oscillation-free Quantization for Low-bit Vision Transformers",
ICML 2023); activations wherever `quantise.sites` says that the graph holds
codes. Gradients pass the rounding as if it were not there (straight-through estimator); the ranges
of activations are learned as in Esser et al., "Learned step size quantization", ICLR 2020.
`to_network` writes the rounded weights and all codes back, so that `quantise` exports what was
trained, integer by integer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from spikelet.errors import UsageError
from spikelet.graph import Array
from spikelet.quantise import (
    Code,
    Network,
    Node,
    activation_code,
    calibrate,
    fixed_code,
    fold,
    sites,
)
from spikelet.quantise.calibrate import integers, reals
from spikelet.quantise.operator import network_operators, operator_of

LOW, HIGH = -128, 127
# Of a layer's largest scale, the least that a channel has: keeps a dead channel's bias in int32.
SMALLEST_SCALE = 2.0**-12
MOMENTUM, EPSILON = 0.1, 1e-5  # of the normalisation of batches
OMEGA = 30.0  # radians a unit, of weights whose sine is rounded
NEAR = 0.01  # of a cell: weights that are nearer to its border are not held


class _Round(torch.autograd.Function):
    """Rounding to codes and back; the gradient of the two ends of the range is LSQ's.

    Written with operations that PyTorch vectorises; its own fake quantisation is slower.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        scale, zero_point = (float(v) for v in code_of(low, high))
        codes = torch.mul(x, 1 / scale).round_().clamp_(LOW - zero_point, HIGH - zero_point)
        rounded = codes.mul_(scale)
        ctx.scale = scale
        ctx.save_for_backward(rounded - x)
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        (error,) = ctx.saved_tensors
        near = 0.5001 * ctx.scale  # what is further from its code is outside of the range
        inside: Tensor = torch.ops.aten.hardtanh_backward(gradient, error, -near, near)
        if not ctx.needs_input_grad[1]:
            return inside, None, None
        product = error * inside
        step = product.sum() / (ctx.scale * (HIGH - LOW))
        outside = torch.sub(gradient, inside, out=product)
        both = outside.sum()
        difference = outside.mul_(error.sign()).sum()  # below the range less above it
        return inside, (both + difference) / 2 - step, (both - difference) / 2 + step


def round_to_grid(
    weight: Tensor, bits: int, odd: bool, scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Weights (O, ...) on the grid of so many bits, and its scales (O,); gradients pass.

    Without a zero: `scale * (2k + 1)` with `k = floor(w / (2 * scale))`, where 2^bits steps of the
    scale are twice the mean magnitude. With one: `scale * k`, k rounded to nearest. The scales are
    found, or given.
    """
    half = 1 << (bits - 1)
    with torch.no_grad():
        scale = grid_scale(weight, bits, odd) if scale is None else scale
        steps = weight / spread(scale, weight)
        if odd:
            levels = 2 * (steps / 2).floor_().clamp_(-half, half - 1) + 1
        else:
            levels = steps.round().clamp_(1 - half, half - 1)
        rounded = levels * spread(scale, weight)
    return weight + (rounded - weight).detach(), scale


def grid_scale(weight: Tensor, bits: int, odd: bool) -> Tensor:
    """(O,): of the grid of so many bits for weights (O, ...), from their mean magnitude."""
    mean = weight.flatten(1).abs().mean(dim=1)
    mean = mean.clamp(min=max(float(mean.max()) * SMALLEST_SCALE, 1e-12))
    half = 1 << (bits - 1)
    return 2 * mean / (1 << bits) if odd else 2 * mean / max(half - 1, 1) ** 0.5


def spread(values: Tensor, weight: Tensor) -> Tensor:
    """(O,) as (O, 1, ...), to go with weights (O, ...)."""
    return values.reshape(-1, *(1,) * (weight.dim() - 1))


def to_border(weight: Tensor, scale: Tensor, bits: int, odd: bool) -> Tensor:
    """How far weights (O, ...) are from the nearest place where their code changes, in cells."""
    half = 1 << (bits - 1)
    if odd:
        cells = weight / spread(2 * scale, weight)
        return (cells - cells.round().clamp(1 - half, half - 1)).abs()
    cells = weight / spread(scale, weight) - 0.5
    return (cells - cells.round().clamp(1 - half, half - 2)).abs()


def code_of(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Scale, float32 (), and zero point, int32 (), of a range around 0."""
    scale = (high - low) / (HIGH - LOW)
    zero_point = torch.round(LOW - low / scale).clamp(LOW, HIGH)
    return scale.detach(), zero_point.detach().to(torch.int32)


class Range(nn.Module):
    """The learned range of an activation, around 0.

    Each end is its first value times the exponential of what is learned: it keeps its sign, an end
    at 0 stays there, and a step of the optimiser is relative.
    """

    def __init__(self, code: Code) -> None:
        super().__init__()
        scale = float(code.scale)
        self.register_buffer("first", torch.tensor(
            [(LOW - code.zero_point) * scale, (HIGH - code.zero_point) * scale]
        ))  # fmt: skip
        self.first: Tensor
        self.growth = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor, away: bool = False) -> Tensor:
        """The values that the codes can tell.

        Args:
            x: any shape.
            away: halfway between two codes, the one further from code 0 is taken, as average pools
                do; they often are halfway.
        """
        low, high = self.first * torch.exp(self.growth)
        if away:
            with torch.no_grad():
                scale, zero_point = code_of(low, high)
                nudge = torch.copysign(0.001 * scale, x + zero_point * scale)
            x = x + nudge
        rounded: Tensor = _Round.apply(x, low, high)  # type: ignore[no-untyped-call]
        return rounded

    def code(self) -> Code:
        """As it stands."""
        with torch.no_grad():
            low, high = self.first * torch.exp(self.growth)
            scale, zero_point = code_of(low, high)
        return Code(scale.numpy().astype(np.float32), int(zero_point))


def _with_rounded_operands(network: Network) -> Network:
    """Tables that are added or multiplied as the graph holds them; they are not trained."""
    network = network.copy()
    for node in network.nodes:
        for name in node.inputs if node.op in ("Add", "Sub", "Mul", "PRelu") else ():
            values = network.constants.get(name)
            if values is None or values.size == 1 or name in network.codes:
                continue
            code = activation_code(float(values.min()), float(values.max()))
            network.codes[name] = code
            network.constants[name] = reals(integers(values, code), code)
    return network


def _with_signs(network: Network) -> Network:
    """Layers that only a sign reads are exported with steps: nothing is rounded between the two."""
    network = network.copy()
    for node in network.nodes:
        readers = [reader for reader in network.nodes if node.name in reader.inputs]
        alone = node.name not in network.outputs and len(readers) == 1
        if operator_of(node).weighted and alone and readers[0].attributes.get("mode") == "SIGN":
            network.codes[node.inputs[1]] = Code(np.ones((), np.float32), even=True)
            scale = float(readers[0].attributes.get("output_scale", 1.0))
            network.codes[readers[0].name] = Code.of(scale)
    return network


@dataclass(frozen=True)
class Grids:
    """What weights are rounded to while a network trains.

    Attributes:
        bits: of weights, by node; 8 where it is not there.
        odd: weights of less than 8 bits have no zero; those of 1 bit never do.
        nested: those of 8 bits neither, so that one array serves all widths.
        normalise: what each layer with weights computes is normalised over the batch before its
            gain and bias, as by a batch normalisation, whose running figures are exported.
        sine: weights of 1 bit are the signs of `sin(OMEGA * w)`: Vargas et al., "BiPer: Binary
            neural networks using a periodic function", CVPR 2024.
    """

    bits: Mapping[str, int] = field(default_factory=dict)
    odd: bool = True
    nested: bool = False
    normalise: bool = False
    sine: bool = False

    def of(self, node: str) -> tuple[int, bool]:
        """Bits of a node's weights, and whether their grid has no zero."""
        bits = self.bits.get(node, 8)
        return bits, bits == 1 or (self.odd and bits < 8) or self.nested


class QatNetwork(nn.Module):
    """A float network with the rounding of its integer graph; parameters are its weights.

    Args:
        network: as a frontend made it; it is folded, its codes are kept.
        feeds: calibration data by input name, (N, *rest of the shape): the first ranges.
        method: of finding them, one of `quantise.METHODS`.
        grids: of the weights.

    `forward` takes the first input, (N, *rest of its shape), and returns the first output. With
    `rounding` off it is the float network.
    """

    def __init__(
        self,
        network: Network,
        feeds: Mapping[str, Array],
        method: str = "percentile",
        grids: Grids | None = None,
    ) -> None:
        super().__init__()
        self.network = _with_signs(_with_rounded_operands(fold(network)))
        trainable = sorted(k for k, v in network_operators().items() if v.trainable)
        for node in self.network.nodes:
            if not operator_of(node).trainable:
                raise UsageError(
                    f"node {node.source or node.name!r} ({node.op}): it cannot be trained",
                    next=f"trainable are {', '.join(trainable)}",
                )
        self.rounding = True
        self.grids = grids or Grids()
        self.sites = sites(self.network)
        self.weights = {
            node.inputs[1]: node for node in self.network.nodes if operator_of(node).weighted
        }
        trained = {name for node in self.network.nodes for name in node.inputs[1:]
                   if operator_of(node).weighted} & set(self.network.constants)  # fmt: skip
        self.keys = {name: f"c{i}" for i, name in enumerate(self.network.constants)}
        self.constants = nn.ParameterDict()
        for name, values in self.network.constants.items():
            tensor = torch.from_numpy(np.array(values, np.float32))
            self.constants[self.keys[name]] = nn.Parameter(tensor, name in trained)
        # What a channel's scale is more than its grid's, log; of a grid of few levels, and of
        # layers that are normalised.
        self.gains = nn.ParameterDict()
        self.norms = nn.ModuleDict()
        # By weight: which are held, at what values, and the scales of the grid.
        self.held: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        for name in self.weights:
            self._prepare(name)
        known = dict(self.network.codes)
        for name, code in calibrate(self.network, feeds, method).items():
            known.setdefault(name, code)
        for node in self.network.nodes:
            fixed = fixed_code(node)
            if fixed is not None and node.name in self.sites:
                known[self.sites[node.name]] = fixed
        representatives = list(dict.fromkeys(self.sites.values()))
        self.ranges = nn.ModuleList(Range(known[name]) for name in representatives)
        self.index = {name: i for i, name in enumerate(representatives)}
        learned = {n for n in representatives if self._is_learned(n)}
        for name, i in self.index.items():
            self.ranges[i].requires_grad_(name in learned)

    def _prepare(self, name: str) -> None:
        """The parameters of a weight besides itself."""
        bits, without_zero = self.weight_grid(name)
        key, outputs = self.keys[name], len(self.network.constants[name])
        normalise = self.grids.normalise and bool(self._bias_key(name))
        if bits < 8 or without_zero or normalise:
            self.gains[key] = nn.Parameter(torch.zeros(outputs))
        if normalise:
            self.norms[key] = nn.BatchNorm1d(outputs, EPSILON, MOMENTUM, affine=False)
        if self.grids.sine and bits == 1:
            weight = self.constants[key].data
            most = weight.flatten(1).abs().amax(dim=1).clamp(min=1e-12)
            self.constants[key].data = torch.asin(weight / spread(most, weight)) / OMEGA

    def _bias_key(self, name: str) -> str:
        """Of the layer with that weight; "" where it has none."""
        inputs = self.weights[name].inputs
        return self.keys.get(inputs[2], "") if len(inputs) > 2 else ""

    def _is_learned(self, name: str) -> bool:
        """Whether a range is the training's to choose: not an input's, nor one that is known."""
        shared = [n for n, r in self.sites.items() if r == name]
        writers = [self.network.writer(n) for n in shared]
        given = name in self.network.codes or any(n in self.network.inputs for n in shared)
        return not given and all(w is None or fixed_code(w) is None for w in writers)

    def parameter_groups(self, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """For an optimiser: weights, which may decay, and biases and ranges, which do not."""
        weights = {id(self.constants[self.keys[name]]) for name in self.weights}
        parameters = [p for p in self.parameters() if p.requires_grad]
        return [
            {"params": [p for p in parameters if id(p) in weights], "weight_decay": weight_decay},
            {"params": [p for p in parameters if id(p) not in weights], "weight_decay": 0.0},
        ]

    def weight_grid(self, name: str) -> tuple[int, bool]:
        """Bits of a weight, and whether its grid has no zero."""
        return self.grids.of(self.weights[name].name)

    def round_weight(self, name: str) -> tuple[Tensor, Tensor]:
        """A weight with its channels' rounding and gain (O, ...), and their scales (O,)."""
        rounded, scale = self._on_grid(name)
        key = self.keys[name]
        if key not in self.gains:
            return rounded, scale
        gain = self._gain(key)
        return rounded * spread(gain, rounded), scale * gain

    def _gain(self, key: str) -> Tensor:
        """What a layer multiplies its sums by, (O,), with its normalisation."""
        gain = torch.exp(self.gains[key])
        return gain * torch.rsqrt(self._norm(key)[1] + EPSILON) if key in self.norms else gain

    def _norm(self, key: str) -> tuple[Tensor, Tensor]:
        """The running mean and variance of a layer that is normalised, (O,)."""
        norm = self.norms[key]
        assert isinstance(norm, nn.BatchNorm1d)
        assert norm.running_mean is not None and norm.running_var is not None
        return norm.running_mean, norm.running_var

    def hold(self) -> None:
        """From now on weights stay whose code is not about to change, and so do the grids.

        What is left to train is what swings about a border: Liu et al. (see above), confidence-
        guided annealing.
        """
        with torch.no_grad():
            for name in self.weights if not self.held else ():
                bits, odd = self.weight_grid(name)
                if bits == 8 and not odd:
                    continue
                weight = self._latent(name).clone()
                scale = grid_scale(weight, bits, odd)
                self.held[name] = to_border(weight, scale, bits, odd) > NEAR, weight, scale

    def _latent(self, name: str) -> Tensor:
        """What is rounded to a weight."""
        weight: Tensor = self.constants[self.keys[name]]
        sine = self.grids.sine and self.weight_grid(name)[0] == 1
        return torch.sin(OMEGA * weight) if sine else weight

    def _on_grid(self, name: str) -> tuple[Tensor, Tensor]:
        """A weight with its channels' rounding (O, ...), and the scales of the grid (O,)."""
        weight = self._latent(name)
        bits, odd = self.weight_grid(name)
        if name in self.held:
            stays, values, scale = self.held[name]
            return round_to_grid(torch.where(stays, values, weight), bits, odd, scale)
        if bits < 8 or odd:
            return round_to_grid(weight, bits, odd)
        with torch.no_grad():
            scale = weight.flatten(1).abs().amax(dim=1) / HIGH
            scale = scale.clamp(min=max(float(scale.max()) * SMALLEST_SCALE, 1e-12))
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -HIGH, HIGH), scale

    def forward(self, x: Tensor) -> Tensor:
        """The first output."""
        return self.tensors(x)[self.network.outputs[0]]

    def tensors(self, x: Tensor) -> dict[str, Tensor]:
        """Every tensor by name."""
        name = next(iter(self.network.inputs))
        values = {name: self._round_activation(name, x)}
        for node in self.network.nodes:
            values[node.name] = self._round_value(node, self._execute(node, values))
        return values

    @torch.no_grad()
    def match(self, x: Tensor) -> None:
        """Set gains and biases: each channel gets its mean and deviation in the float network.

        It is what a batch normalisation behind each layer would do. x: (N, *rest of its shape).
        """
        self.rounding = False
        wanted = self.tensors(x)
        self.rounding = True
        name = next(iter(self.network.inputs))
        values = {name: self._round_activation(name, x)}
        for node in self.network.nodes:
            value = self._execute(node, values)
            key = self.keys.get(node.inputs[1], "") if node.inputs[1:] else ""
            if operator_of(node).weighted and key in self.gains:
                if key in self.norms:
                    value = self._raw(node, values)
                axis = operator_of(node).channel_axis(value.dim())
                made, real = (v.movedim(axis, 0).flatten(1) for v in (value, wanted[node.name]))
                self._match_layer(node, key, made, real)
                training, self.training = self.training, False
                value = self._execute(node, values)
                self.training = training
            values[node.name] = self._round_value(node, value)

    def _match_layer(self, node: Node, key: str, made: Tensor, wanted: Tensor) -> None:
        """`match` for one layer: (O, n) as it computes them, and as the float network does."""
        if not self._bias_key(node.inputs[1]):
            return
        bias = self.constants[self._bias_key(node.inputs[1])]
        deviation = wanted.std(dim=1)
        if key in self.norms:
            mean, variance = self._norm(key)
            mean.copy_(made.mean(dim=1))
            variance.copy_(made.var(dim=1))
            self.gains[key].copy_(torch.log(deviation.clamp(min=1e-3)))
            bias.copy_(wanted.mean(dim=1))
            return
        gain = (deviation / made.std(dim=1).clamp(min=1e-6)).clamp(0.1, 10)
        gain = torch.where(deviation > 1e-6, gain, 1.0)  # a dead channel stays as it is
        self.gains[key].copy_(torch.log(gain))
        bias.copy_(wanted.mean(dim=1) - gain * (made.mean(dim=1) - bias))

    def _execute(self, node: Node, values: Mapping[str, Tensor]) -> Tensor:
        key = self.keys.get(node.inputs[1], "") if node.inputs[1:] else ""
        if self.rounding and operator_of(node).weighted and key in self.norms:
            y = self._raw(node, values)
            axis = operator_of(node).channel_axis(y.dim())
            bias = self.constants[self._bias_key(node.inputs[1])]
            gain = torch.exp(self.gains[key])
            y = batch_norm(
                y.movedim(axis, 1), *self._norm(key), gain, bias, self.training, MOMENTUM, EPSILON
            )
            return y.movedim(1, axis)
        inputs = [self._operand(name, values) for name in node.inputs]
        made: Tensor = operator_of(node).in_torch(inputs, node.attributes)
        return made

    def _raw(self, node: Node, values: Mapping[str, Tensor]) -> Tensor:
        """What a layer computes with the weights of its grid, without gain and bias."""
        weight = self._on_grid(node.inputs[1])[0]
        operands = [self._operand(node.inputs[0], values), weight, None]
        made: Tensor = operator_of(node).in_torch(operands, node.attributes)
        return made

    def _round_value(self, node: Node, value: Tensor) -> Tensor:
        if self._moves(node):
            return value
        return self._round_activation(node.name, value, operator_of(node).averages)

    def _moves(self, node: Node) -> bool:
        """Whether a node writes codes that were rounded before, in the code that they have."""
        shared = self.sites.get(node.name)
        held = {self.sites.get(name) for name in node.inputs if name not in self.keys}
        operator = operator_of(node)
        signs = node.attributes.get("mode") == "SIGN"
        return signs or (operator.keeps_code and not operator.averages and held == {shared})

    def _round_activation(self, name: str, x: Tensor, away: bool = False) -> Tensor:
        """An activation as the graph holds it."""
        if not self.rounding or name not in self.sites:
            return x
        held: Tensor = self.ranges[self.index[self.sites[name]]](x, away)
        return held

    def _operand(self, name: str, values: Mapping[str, Tensor]) -> Tensor | None:
        if not name:
            return None
        if name in values:
            return values[name]
        if name in self.weights and self.rounding:
            return self.round_weight(name)[0]
        constant: Tensor = self.constants[self.keys[name]]
        return constant

    def to_network(self) -> Network:
        """The network as it was trained: rounded weights, and the codes of all tensors."""
        network = self.network.copy()
        with torch.no_grad():
            for name, key in self.keys.items():
                network.constants[name] = self.constants[key].detach().numpy().copy()
            for name in self.weights:
                weight, scale = self.round_weight(name)
                network.constants[name] = weight.numpy().copy()
                bits, odd = self.weight_grid(name)
                even = name in self.network.codes
                network.codes[name] = Code(scale.numpy().copy(), bits=bits, odd=odd, even=even)
                if (key := self.keys[name]) in self.norms:
                    mean = self._norm(key)[0]
                    bias = self.constants[self._bias_key(name)] - mean * self._gain(key)
                    network.constants[self.weights[name].inputs[2]] = bias.numpy().copy()
        for name, i in self.index.items():
            held = self.ranges[i]
            if isinstance(held, Range):
                network.codes[name] = held.code()
        return network
