"""Training of an adapter's values on the host: gradients straight through the integer graph.

The graph is executed in PyTorch in units of codes, each code rounded as the device rounds it but
for halves, with the gradient of what is rounded. Sums up to 2^24 are exact. What is kept is
measured by golden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spikelet.graph import Array, Graph, GraphError, Operator
from spikelet.graph.adapted import BASE, Adapter, values_of, with_places
from spikelet.graph.gains import GAIN_BITS, bias_unit
from spikelet.graph.int8 import Lookup
from spikelet.graph.ops.add import Add
from spikelet.graph.ops.add_delta import MIDDLE, AddDelta, fractions
from spikelet.graph.ops.average_pool2d import AveragePool2d
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.max_pool2d import MaxPool2d
from spikelet.graph.ops.mean import Mean
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.ops.slice import Slice
from spikelet.graph.ops.softmax import Softmax
from spikelet.graph.quantised import INT8, Quantised

BATCH = 16
SAMPLES = 256  # that sizes of tensors are taken from
REACH = 4.0  # how many times the root mean square of its sums the middle holds
UNIT_RATE = 0.02  # at which what one of the middle is follows the sums
FIRST = 1e-3  # of `up`, as it begins
TINY = 1e-9
RATE, RATE_OF_SIGNS = 0.01, 0.03  # signs of two matrices do nothing until they turn
WHOLE = 4.0  # rate of a whole matrix, which begins at 0, in that of two
LOGIT_SPREAD = 3.0  # largest standard deviation of the scores that the loss sees


@dataclass(frozen=True)
class Training:
    """How values are trained.

    Attributes:
        epochs: over the samples that are not held out.
        rate: highest learning rate of Adam; it falls to 0 by a cosine. None: the one that suits
            the adapter, three times as high where it has two matrices of signs.
        held_out: share of the samples that choose the best epoch.
        seed: of everything that is drawn.
    """

    epochs: int = 60
    rate: float | None = None
    held_out: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class Adapted:
    """What training gave.

    Attributes:
        values: the learned tensors by name, of the best epoch.
        held: how many samples were held out.
        before: golden's share of them that is right without the adapter.
        after: and with it.
    """

    values: dict[str, Array]
    held: int
    before: float
    after: float


def rounded(x: Tensor) -> Tensor:
    """To the nearest integer; the gradient is that of x."""
    return x + (x.round() - x).detach()


class Values(nn.Module):
    """The values of one adapted layer, in real numbers; `quantised` gives the integers.

    Matrices are trained as they are before rounding, and the forward pass rounds them: to signs
    times a mean magnitude (of a row of `down`, of all of `up`), or to 127 steps either side.

    Source: Jie et al., "Revisiting the Parameter Efficiency of Adapters from the Perspective of
    Precision Redundancy", ICCV 2023.
    """

    seen: Tensor  # one of `down`, in codes of y a code of x; with a middle, 1 a code of x
    unit: Tensor  # one of the middle
    size: Tensor  # of what y varies by, in codes: one of `up` and of the bias

    def __init__(self, node: AddDelta, y: Tensor, x: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        self.node = node
        outputs, rows = y.shape[-1], node.rank or y.shape[-1]
        self.places: Tensor | None = None  # (rows, kept) of the taps that are drawn
        if node.kept:
            self.seed = int(torch.randint(1, 1 << 31, (1,), generator=generator))
            self.places = torch.from_numpy(node.drawn(self.seed))
        drawn = torch.randn(rows, node.kept or node.taps, generator=generator)
        self.down = nn.Parameter(drawn if node.rank else 0 * drawn)
        self.bias = nn.Parameter(torch.zeros(outputs))
        size, seen = y.std().clamp(min=1.0), 1 / _spread(self._sums(x, drawn))
        self.register_buffer("size", size)
        self.register_buffer("seen", seen if node.rank else WHOLE * size * seen)
        if node.rank:
            self.up = nn.Parameter(FIRST * torch.randn(node.rank, outputs, generator=generator))
            self.register_buffer("unit", torch.tensor(REACH / MIDDLE))

    def _matrix(self, latent: Tensor, by_row: bool) -> tuple[Tensor, Tensor]:
        """Integers with the gradient of the matrix, and what one of them is, (1,) or (rows,)."""
        size = latent.detach().abs()
        if self.node.bits == 8:
            step = size.max().reshape(1).clamp(min=TINY) / 127
            return rounded(latent / step), step
        step = (size.mean(1) if by_row else size.mean().reshape(1)).clamp(min=TINY)
        real = latent / step[:, None]
        return real + (torch.where(real >= 0, 1.0, -1.0) - real).detach(), step

    def _sums(self, x: Tensor, matrix: Tensor) -> Tensor:
        """(N, pixels, rows) of x (N, *shape), centred."""
        node = self.node
        if self.places is not None:
            whole = torch.zeros(len(matrix), node.taps)
            matrix = whole.scatter_add(1, self.places, matrix)
        if node.kernel is None:
            return (x.reshape(len(x), -1) @ matrix.T)[:, None]
        weight = matrix.reshape(len(matrix), *node.kernel, -1).permute(0, 3, 1, 2)
        image, groups = padded(x, node.padding), len(matrix) if node.own else 1
        made = functional.conv2d(
            image, weight, stride=node.stride, dilation=node.dilation, groups=groups
        )
        return made.permute(0, 2, 3, 1).flatten(1, 2)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Codes of y with what is added to them."""
        down, step = self._matrix(self.down, True)
        delta = self._sums(x - self.node.ins[1].zero_point, down) * (step * self.seen)
        if self.node.rank:
            if self.training:
                now = REACH / MIDDLE * _spread(delta.detach())
                self.unit += UNIT_RATE * (now - self.unit)
            middle = rounded(delta / self.unit).clamp(-MIDDLE, MIDDLE)
            up, step = self._matrix(self.up, False)
            delta = middle @ up * (step * self.size * self.unit)
        added = (rounded(delta) + rounded(self.bias * self.size)).reshape(y.shape)
        low, high = self.node.activation
        if not self.node.halved:
            return _clamped(y + added, low, high)
        whole = 2 * y + self.node.ins[0].zero_point + added
        return _clamped(whole.clamp(min=low), low, high)

    def quantised(self) -> dict[str, Array]:
        """The values as the device holds them."""
        with torch.no_grad():
            down, gains = self._matrix(self.down, True)
            gains = gains.expand(len(down)) * self.seen
            made = {"down": self._packed(down)}
            if self.node.rank:
                up, step = self._matrix(self.up, False)
                made["up"] = self._packed(up)
                gains = torch.cat([gains / self.unit, step * self.size * self.unit])
            made["gain"], made["shift"] = fractions(gains.double().numpy())
            bias = (self.bias * self.size).round().clamp(-128, 127).numpy().astype(np.int8)
        made["bias"] = bias
        if self.places is not None:
            made["seed"] = np.array([self.seed], np.uint32)
        if self.node.halved:
            made["half"] = np.ones(1, np.uint8)
        return made

    def _packed(self, matrix: Tensor) -> Array:
        if self.node.bits == 1:
            return np.packbits(matrix.numpy() > 0, axis=1, bitorder="little")
        packed: Array = matrix.numpy().astype(np.int8)
        return packed


class _Gains(nn.Module):
    """Gains and biases of one layer, in real numbers; `quantised` gives the integers."""

    size: Tensor  # of what the output varies by, in codes: one of the biases

    def __init__(self, node: Quantised, y: Tensor) -> None:
        super().__init__()
        self.node = node
        factor = np.ldexp(node.multiplier.astype(np.float64), node.shift - 31)
        unit = bias_unit(node.shift) * factor  # of the integers, in codes
        self.gain, self.bias = (nn.Parameter(torch.zeros(len(factor))) for _ in range(2))
        self.register_buffer("size", y.std().clamp(min=1.0) / torch.from_numpy(unit).float())

    def _integers(self) -> tuple[Tensor, Tensor]:
        """Gains and biases, with the gradient of the real ones."""
        gain = rounded(self.gain * (1 << GAIN_BITS))
        return _clamped(gain, -128, 127), _clamped(rounded(self.bias * self.size), -128, 127)

    def forward(self, sums: Tensor) -> Tensor:
        """Sums (N, ..., O), with their bias, as gains and biases scale them."""
        gain, bias = self._integers()
        unit = torch.from_numpy(bias_unit(self.node.shift)).float()
        return (sums + bias * unit) * (1 + gain / (1 << GAIN_BITS))

    def quantised(self) -> dict[str, Array]:
        """The values as the device holds them."""
        with torch.no_grad():
            gain, bias = (v.numpy().astype(np.int8) for v in self._integers())
        return {"gain": gain, "bias": bias}


def _spread(sums: Tensor) -> Tensor:
    """Root mean square of the largest row."""
    return sums.square().mean((0, 1)).max().sqrt().clamp(min=TINY)


def padded(x: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
    """(N, H, W, C) to (N, C, H, W), with zeros around."""
    top, left, bottom, right = padding
    return functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))


def _clamped(x: Tensor, low: int, high: int) -> Tensor:
    """Within the ends; outside, the gradient goes on, or what is cut off never comes back."""
    return x + (x.clamp(low, high) - x).detach()


def _rescaled(node: Quantised, sums: Tensor) -> Tensor:
    """Codes of sums with their bias, (N, ..., O)."""
    if node.steps is not None:
        raise node.error("an output of steps has no gradient; it cannot be adapted")
    factor = np.ldexp(node.multiplier.astype(np.float64), node.shift - 31)
    offset = np.zeros(len(factor))
    if node.offset is not None:
        words = node.offset[:, 0].astype(np.uint32).astype(np.float64)
        whole = words + np.ldexp(node.offset[:, 1].astype(np.float64), 32)
        offset = np.ldexp(whole, node.shift - 31)
    real = sums * torch.from_numpy(factor.astype(np.float32)) + torch.from_numpy(offset).float()
    if node.halved:
        return rounded(real / 2).clamp(*INT8)
    low, high = node.activation
    return rounded(real + node.output_zero_point).clamp(low, high)


def _weighted(node: Quantised, x: Tensor, gains: nn.Module | None = None) -> Tensor:
    sums = _sums(node, x)
    return _rescaled(node, sums if gains is None else gains(sums))


def _sums(node: Quantised, x: Tensor) -> Tensor:
    """(N, ..., O) sums with their bias."""
    levels = torch.from_numpy(node.levels.astype(np.float32))
    centred, bias = x - node.ins[0].zero_point, torch.from_numpy(node.bias).float()
    if isinstance(node, FullyConnected):
        return centred.reshape(len(x), -1) @ levels.T + bias
    if not isinstance(node, Conv2d | DepthwiseConv2d):
        raise node.error("adapters cannot be trained through it")
    image, groups = padded(centred, node.padding), 1
    if isinstance(node, DepthwiseConv2d):
        weight, groups = levels.permute(2, 0, 1)[:, None], image.shape[1]
    else:
        weight = levels.permute(0, 3, 1, 2)
    sums = functional.conv2d(
        image, weight, stride=node.stride, dilation=node.dilation, groups=groups
    )
    return sums.permute(0, 2, 3, 1) + bias


def _looked_up(node: Lookup, x: Tensor) -> Tensor:
    """The table's entry; its gradient is half of the difference of the entries beside it."""
    table = torch.from_numpy(np.roll(node.table, 128).astype(np.float32))
    at = x.detach().long().clamp(-128, 127) + 128
    slope = (table[(at + 1).clamp(max=255)] - table[(at - 1).clamp(min=0)]) / 2
    return table[at] + slope * (x - x.detach())


def _added(node: Add, *given: Tensor) -> Tensor:
    total = sum(
        (x - t.zero_point) * (t.scale / node.output_scale)
        for x, t in zip(given, node.ins, strict=True)
    )
    return rounded(torch.as_tensor(total) + node.output_zero_point).clamp(-128, 127)


def _pooled(node: MaxPool2d | AveragePool2d, x: Tensor) -> Tensor:
    image = x.permute(0, 3, 1, 2)
    if any(node.padding):
        raise node.error("a pool with padding cannot be trained through")
    if isinstance(node, MaxPool2d):
        made = functional.max_pool2d(image, node.window, node.stride)
    else:
        made = rounded(functional.avg_pool2d(image, node.window, node.stride))
    return made.permute(0, 2, 3, 1)


def _averaged(node: Mean, x: Tensor) -> Tensor:
    factor = node.ins[0].scale / node.output_scale
    mean = (x - node.ins[0].zero_point).mean(dim=[a + 1 for a in node.axes]) * factor
    shaped = mean.reshape(len(x), *node.outs[0].shape)
    return rounded(shaped + node.output_zero_point).clamp(-128, 127)


_MEANING: list[tuple[type[Operator], Callable[..., Tensor]]] = [
    (Quantised, _weighted),
    (Lookup, _looked_up),
    (Add, _added),
    (MaxPool2d, _pooled),
    (AveragePool2d, _pooled),
    (Mean, _averaged),
    (Slice, lambda node, x: x[:, node.begin[0] :][:, : node.size[0]]),
    (Reshape, lambda node, x: x.reshape(len(x), *node.outs[0].shape)),
    (Softmax, lambda node, x: (x - node.ins[0].zero_point) * node.ins[0].scale),
]


def meaning(node: Operator) -> Callable[..., Tensor]:
    """What an operator computes, of itself and codes.

    Raises:
        GraphError: it has no gradient here.
    """
    found = next((made for kind, made in _MEANING if isinstance(node, kind)), None)
    if found is None:
        raise node.error("adapters cannot be trained through it")
    return found


class Through(nn.Module):
    """A graph with places, in PyTorch."""

    def __init__(self, graph: Graph, x: Array, seed: int) -> None:
        super().__init__()
        self.graph = graph
        if len(graph.inputs) != 1 or graph.steps != 1:
            raise GraphError(
                f"graph {graph.name}: {len(graph.inputs)} inputs and {graph.steps} time steps; "
                "adapters are trained for one input and no time"
            )
        generator = torch.Generator().manual_seed(seed)
        trace = graph.run({graph.inputs[0].name: x}, trace=True).trace
        self.layers = nn.ModuleDict()
        for node in graph.nodes:
            if isinstance(node, AddDelta):
                source = node.ins[1]
                seen = x if source.kind == "input" else trace[source.name][0]
                centred = torch.from_numpy(seen.astype(np.float32)) - source.zero_point
                base = torch.from_numpy(trace[node.inputs[0]][0].astype(np.float32))
                self.layers[node.name] = Values(node, base, centred, generator)
            elif isinstance(node, Quantised) and node.gained:
                y = torch.from_numpy(trace[node.name][0].astype(np.float32))
                self.layers[node.name] = _Gains(node, y)

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes) real scores of codes (N, *shape)."""
        made = {self.graph.inputs[0].name: x}
        for node in self.graph.nodes:
            given = [made[n] for n in node.inputs if n in made]
            if isinstance(node, AddDelta):
                made[node.name] = self.layers[node.name](*given)
                continue
            if isinstance(node, Quantised) and node.gained:
                made[node.name] = _weighted(node, given[0], self.layers[node.name])
                continue
            if len(given) != len(node.inputs) and not (isinstance(node, Quantised) and node.halved):
                raise node.error("adapters cannot be trained through it")
            made[node.name] = meaning(node)(node, *given)
        name = self.graph.outputs[0]
        tensor, scores = self.graph.tensors[name], made[name].reshape(len(x), -1)
        softmax = any(isinstance(node, Softmax) and node.name == name for node in self.graph.nodes)
        return scores if softmax else (scores - tensor.zero_point) * tensor.scale

    @property
    def rate(self) -> float:
        """The learning rate that suits its values."""
        nodes = [node for node in self.graph.nodes if isinstance(node, AddDelta)]
        signs = any(node.rank and node.bits == 1 for node in nodes)
        return RATE_OF_SIGNS if signs else RATE

    def values(self) -> dict[str, Array]:
        """The learned tensors by name, as the device holds them."""
        found = {BASE: self.graph.initial()[BASE]}
        for node in self.graph.nodes:
            if node.name in self.layers:
                layer = self.layers[node.name]
                assert isinstance(layer, Values | _Gains)
                values = layer.quantised()
                found |= {t.name: values[what] for what, t in values_of(self.graph, node).items()}
        return found


def adapt(
    base: Graph,
    adapter: Adapter,
    x: Array,
    labels: Array,
    training: Training = Training(),
    on_epoch: Callable[[int, float], None] | None = None,
) -> Adapted:
    """Train the values of an adapter; the base stays as it is.

    Args:
        base: of int8 operators, with one input, whose first output has the scores.
        adapter: its form.
        x: (N, *shape) int8 codes of the input.
        labels: (N,) classes.
        training: options.
        on_epoch: told each epoch's number and its accuracy on the samples held out.

    Raises:
        GraphError: an operator that has no gradient here.
    """
    graph, name = with_places(base, adapter), base.inputs[0].name
    order = np.random.default_rng(training.seed).permutation(len(x))
    held = order[: max(1, round(training.held_out * len(x)))]
    kept = order[len(held) :]
    torch.manual_seed(training.seed)
    model = Through(graph, x[kept[:SAMPLES]], training.seed)
    best = graph.initial()
    before = most = accuracy(graph, best, {name: x[held]}, labels[held])
    for epoch in trained(model, x[kept], labels[kept], training):
        values = model.values()
        now = accuracy(graph, values, {name: x[held]}, labels[held])
        if now >= most:
            best, most = values, now
        if on_epoch is not None:
            on_epoch(epoch, now)
    return Adapted(best, len(held), before, most)


def trained(model: Through, x: Array, labels: Array, training: Training) -> Iterator[int]:
    """Train a model on all of these samples; after each epoch, its number."""
    optimiser = torch.optim.Adam(model.parameters(), lr=training.rate or model.rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.epochs)
    codes, wanted = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(labels).long()
    with torch.no_grad():
        spread = float(model(codes).std())
    cooled = max(1.0, spread / LOGIT_SPREAD)
    for epoch in range(training.epochs):
        shuffled = torch.randperm(len(x))
        for at in range(0, len(x), BATCH):
            batch = shuffled[at : at + BATCH]
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(codes[batch]) / cooled, wanted[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        falling.step()
        yield epoch


def accuracy(
    graph: Graph, values: dict[str, Array], inputs: dict[str, Array], labels: Array
) -> float:
    """Share of samples that golden names right, with these values of learned tensors."""
    right = 0
    for part in graph.parts(len(labels)):
        given = {name: x[part] for name, x in inputs.items()}
        scores = graph.run(given, learned=values).outputs[graph.outputs[0]]
        right += int((graph.predicted(scores) == labels[part]).sum())
    return right / len(labels)
