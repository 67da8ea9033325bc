"""A spiking network in real numbers, one step of it: what every framework's is read into.

Tensors are channels first, without the batch axis. A layer reads tensors of layers in front of it,
and by `Previous` what a later one wrote in the step before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.seeded_dense import MOST_WEIGHTS, seeded_signs
from spikelet.refusal import ImportRefused

Compare = Literal[">", ">="]
Reset = Literal["none", "zero", "value", "subtract"]
Timing = Literal["same_step", "next_step", "next_step_input_lost", "both_steps"]
Adapts = Literal["nothing", "threshold", "input"]
Margins = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """Base of all layers.

    Attributes:
        name: of the layer and of the tensor that it writes; an identifier.
        inputs: names of the tensors that it reads.
        source: what its author calls it, for messages.
    """

    name: str
    inputs: tuple[str, ...] = ()
    source: str = ""

    @property
    def called(self) -> str:
        """For messages."""
        return self.source or self.name


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear(Layer):
    """`weight @ x + bias`; weight (O, I), bias (O,) or None, float64.

    Attributes:
        delays: (O, I) whole steps, 0 to 255, that each synapse takes, or None. It reads spikes.
    """

    weight: Array
    bias: Array | None = None
    delays: Array | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Seeded(Linear):
    """Weights that are never trained: `size` times the signs of `seeded_signs`.

    They are made of the seed on a device, too, and take no memory.

    Attributes:
        seed: of the signs.
        size: of each weight.
        fan_out: how many outputs each input goes into; None for all.
    """

    seed: int
    size: float
    fan_out: int | None = None

    @staticmethod
    def of(
        name: str,
        source: str,
        shape: tuple[int, int],
        seed: int,
        size: float,
        fan_out: int | None = None,
        called: str = "",
    ) -> Seeded:
        """A layer of that shape, (outputs, inputs).

        Raises:
            ImportRefused: a number that the operator does not have.
        """
        outputs, inputs = shape
        each = outputs if fan_out is None else fan_out
        if not (
            0 <= seed < 1 << 32
            and 0 < size < np.inf
            and outputs > 0
            and 0 < each
            and inputs * each <= MOST_WEIGHTS
        ):
            raise ImportRefused(
                f"layer {called or name}: seed {seed}, size {size:g}, {inputs} inputs, {outputs} "
                f"outputs and fan-out {fan_out}",
                next=f"give a seed below 2^32, a size above 0, and at most {MOST_WEIGHTS} weights",
            )
        weight = size * seeded_signs(seed, outputs, inputs, fan_out).astype(np.float64)
        return Seeded(
            name=name, inputs=(source,), weight=weight, seed=seed, size=size, fan_out=fan_out,
            source=called,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv2d(Layer):
    """A convolution of (I, H, W) with 0 outside; one of a sequence is one of height 1.

    Attributes:
        weight: (O, I / groups, KH, KW) float64.
        bias: (O,) or None.
        stride, dilation: down, right.
        padding: top, left, bottom, right.
        groups: see `torch.nn.Conv2d`.
    """

    weight: Array
    bias: Array | None = None
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: Margins = (0, 0, 0, 0)
    groups: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class OneToOne(Layer):
    """`weight * x`, element by element or channel by channel: weight (n,), (C,) or (1,)."""

    weight: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool2d(Layer):
    """A pool of (C, H, W); cells outside count as 0 in a sum or mean, and not in a maximum."""

    mode: Literal["sum", "mean", "max"]
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: Margins = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Flatten(Layer):
    """(C, H, W) to (C * H * W,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Layer):
    """The sum of its inputs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation(Layer):
    """A function of sums or of integrators' membranes, element by element.

    `clip` to -limit..limit, `relu` clipped to 0..limit, or `tanh`. Layers of weights and
    integrators read what it writes, as 8 bits on a device.
    """

    function: Literal["clip", "relu", "tanh"]
    limit: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Delay(Layer):
    """Spikes that arrive later: steps (n,) or (1,), 0 to 255, in the order of its input."""

    steps: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Previous(Layer):
    """What the layer `of` wrote in the step before, 0 in the first; `shape` is its shape."""

    of: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A step of neurons: frameworks write it in several ways, which are this one.

        i = kept_current * i + x                   i = x without a current
        v = kept * v + gain * (i - w) + drift      w where an adaptation is taken off the input
        s = v > threshold + w                      or >=; w where it raises the threshold
        w = kept_adaptation * w + coupling * v + jump * s          v as it is stored

    With an alpha-shaped synapse the membrane is what two currents differ by: kept is 0, and

        i = kept_current * i + x;  j = kept_inhibitory * j - x;  v = gain * (i + j)

    A reset to zero, next_step_input_lost, sets all three to 0; one that subtracts, next_step, takes
    the threshold off i, sets j to 0, and gives v the j before.

    What a spike does to v, and when, says `timing`; see `spikelet.graph.ops.lif.Lif`. Each number
    that is an array has one value, one a channel of images, or one a neuron, float64.

    Attributes:
        kept: part of the membrane that a step keeps, 0 to 1.
        kept_current: the same of a synaptic current, or None where there is none.
        kept_inhibitory: part of the second current of an alpha-shaped synapse, None without one.
        gain: of what the membrane takes in.
        drift: what it gets besides, in every step.
        threshold: None for integrators that do not spike: they write their membrane.
        compare: whether a membrane at the threshold fires.
        reset: what a spike does to the membrane.
        timing: when.
        value: of a reset to a value.
        refractory: steps after a spike in which a neuron holds its membrane and takes nothing in.
        initial: membrane before the first step.
        adapts: what an adaptation w does, which is 0 before the first step.
        kept_adaptation: part of it that a step keeps.
        coupling: what the membrane adds to it.
        jump: what a spike adds to it.
        inhibition: of all neurons only the one farthest above its threshold spikes, the first of
            equals.
        most: spikes of a neuron in a step: the threshold is taken off as long as it fires.
        height: real value of a spike, as the layers behind see it.
        late: the membrane takes in the current that was there before the step; it rests at
            `initial`.
    """

    kept: Array
    kept_current: Array | None = None
    kept_inhibitory: Array | None = None
    gain: Array = field(default_factory=lambda: np.ones(1))
    drift: Array = field(default_factory=lambda: np.zeros(1))
    threshold: Array | None = field(default_factory=lambda: np.ones(1))
    compare: Compare = ">"
    reset: Reset = "zero"
    timing: Timing = "same_step"
    value: Array = field(default_factory=lambda: np.zeros(1))
    refractory: int = 0
    initial: float = 0.0
    adapts: Adapts = "nothing"
    kept_adaptation: Array = field(default_factory=lambda: np.zeros(1))
    coupling: Array = field(default_factory=lambda: np.zeros(1))
    jump: Array = field(default_factory=lambda: np.zeros(1))
    inhibition: bool = False
    most: int = 1
    height: float = 1.0
    late: bool = False

    def switches(self) -> list[str]:
        """What it has that most neurons have not, for those who carry plain neurons only."""
        there = {
            "alpha-shaped synapses": self.kept_inhibitory is not None,
            "adaptation": self.adapts != "nothing",
            "inhibition between neurons": self.inhibition,
            "neurons that spike several times in a step": self.most > 1,
            "spikes of another height than 1": self.height != 1,
            "currents that act a step later": self.late,
        }
        return [what for what, is_there in there.items() if is_there]


@dataclass(frozen=True, kw_only=True, eq=False)
class Neurons(Layer):
    """Neurons, each with one element of the input; they write spikes, or membranes."""

    rule: Rule


@dataclass(frozen=True)
class SpikingNetwork:
    """A network.

    Attributes:
        name: an identifier.
        inputs: of the network, shape by name; they may change from step to step.
        layers: in an order of execution.
        output: name of the tensor that is read out.
    """

    name: str
    inputs: dict[str, tuple[int, ...]]
    layers: tuple[Layer, ...]
    output: str

    def layer(self, name: str) -> Layer:
        """By name."""
        return next(layer for layer in self.layers if layer.name == name)

    def readers(self, name: str) -> list[Layer]:
        """Layers that read a tensor in the same step."""
        return [layer for layer in self.layers if name in layer.inputs]
