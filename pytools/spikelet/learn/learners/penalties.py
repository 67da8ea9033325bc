"""A network that learns by backpropagation, held near its weights of old tasks by a penalty.

L2: `strength * (w - anchor)`; elastic weight consolidation (EWC): the same times the diagonal of
the Fisher information, summed over the samples of old tasks; memory aware synapses (MAS) in their
local form: times the sum of products of input and output. Without a penalty it is the naive
baseline. A commit ends a task. Sources: see `spikelet.learn.layers.penalty`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.graph import Array, Graph, Learned, Tensor
from spikelet.graph.graph import LABEL
from spikelet.learn.choices import RATES, Within
from spikelet.learn.layers.dense_backward import DenseBackward
from spikelet.learn.layers.penalty import CODES, Anchor, Gather, Join, OwnError, Pull, downs, parts
from spikelet.learn.learner import Learner, Setting, extend
from spikelet.learn.networks.builder import SCHEDULE, NetworkBuilder
from spikelet.learn.networks.classifier import classifier, network_behind, widths
from spikelet.learn.networks.parameters import Parameters, value
from spikelet.learn.numbers.scalar import Descent


def error_below(net: NetworkBuilder, name: str, layer: Parameters, error: Tensor) -> Tensor:
    """The error of the ReLU that a layer reads, of an error that the layer does not learn from."""
    scale, limit = net.error_format(name, layer.x.name)
    net.nodes.append(
        DenseBackward(
            name=name,
            inputs=(error.name, layer.inputs[0], layer.x.name),
            precision=layer.precision,
            output_scale=scale,
            output_limit=limit,
        )
    )
    return value(layer.precision, name, layer.x.shape, scale)


@dataclass(kw_only=True)
class Penalties(Learner):
    """Dense layers that learn task after task, their weights held back by L2, EWC or MAS.

    EWC weighs by the true Fisher information: squared gradients with a label that is drawn from the
    softmax, not with the sample's own. It differs from its paper in when: of one sample in `every`,
    while the task is learned and not at its end, where no sample is left. MAS is its local form.
    Beside its weight, one takes a byte of its anchor with L2, and two more with MAS; with EWC the
    anchor has all bits of the weight, for the paper's penalty has no distance that is free.

    Attributes:
        kind: of the penalty; none for plain backpropagation.
        strength: of the penalty, beside the loss of one sample; None for 0.003 with l2, 0.004 with
            ewc and 2e-5 with mas, whose sums are the largest.
        hidden: widths of the layers, such as 128; 0 for a linear classifier.
        every: samples between two steps of the penalty, and between two that are gathered.
        precision: of weights; i16 or i8 with a penalty.
        rate: learning rate.
        samples: of a task, along which the rate falls to 0; 0 for a constant rate.
        rounding: of integer weights.
    """

    NAME: ClassVar[str] = "penalties"
    AFTER: ClassVar[str] = "EWC (Kirkpatrick et al., PNAS 2017), MAS (Aljundi et al., ECCV 2018)"
    DIFFERS: ClassVar[str] = (
        "EWC: one drawn label of one sample in `every`, while a task is learned, summed in a "
        "logarithm of 8 bits, with one anchor for all tasks; MAS: its local form"
    )

    kind: Literal["none", "l2", "ewc", "mas"] = "ewc"
    strength: Annotated[float | None, Within(2.0**-40, 2.0**20)] = None
    hidden: str = "128"
    every: Annotated[int, Within(1, 65536)] = 32
    precision: Literal["f32", "f16", "i16", "i8"] = "i16"
    rate: Annotated[float, RATES] = 0.03
    samples: Annotated[int, Within(0, (1 << 31) - 1)] = 0
    rounding: Literal["nearest", "stochastic"] = "stochastic"

    def __post_init__(self) -> None:
        super().__post_init__()
        widths(self.hidden)
        if self.kind != "none" and self.precision not in ("i16", "i8"):
            raise ValueError(f"a penalty of kind {self.kind} is for i16 and i8")

    @property
    def _strength(self) -> float:
        defaults = {"none": 1.0, "l2": 0.003, "ewc": 0.004, "mas": 2e-5}
        return defaults[self.kind] if self.strength is None else self.strength

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        descent = Descent(self.rate, rounding=self.rounding)
        net = network_behind(backbone, setting, self.precision, descent, self.samples)
        layers = classifier(net, setting.features, widths(self.hidden), setting.classes)
        posts: dict[str, Tensor] = {}

        def before(layer: Parameters, error: Tensor) -> None:
            if self.kind == "ewc" and not posts:
                posts.update(self._own_errors(net, layers, error))
            if self.kind != "none":
                self._hold(net, layer, posts.get(layer.name, layer.y))

        net.backward("scores", "loss", before=before)
        return extend(backbone, net.nodes, net.learned, ["scores"], setting.classes)

    def _own_errors(
        self, net: NetworkBuilder, layers: list[Parameters], error: Tensor
    ) -> dict[str, Tensor]:
        """By layer, its error by a label that the network draws, before any weight has moved."""
        random = Learned.of("own.random", "u32", (1,), np.array([net.seed()], np.uint32), low=1)
        drawn = Learned.of("own.drawn", "i32", (1,), low=0, high=self.every - 1)
        net.learned += [random, drawn]
        last = layers[-1].name
        ins = (error.name, LABEL, random.tensor.name, drawn.tensor.name)
        net.nodes.append(OwnError(name=f"{last}_own", inputs=ins, every=self.every))
        own = dataclasses.replace(error, name=f"{last}_own")
        net.largest[own.name] = net.largest[error.name]
        errors = {last: own}
        for layer in reversed(layers[1:]):
            errors[layer.x.name] = own = error_below(net, f"{layer.x.name}_own", layer, own)
        return errors

    def _hold(self, net: NetworkBuilder, layer: Parameters, post: Tensor) -> None:
        name, weight = layer.name, layer.learned[0].tensor
        step = self.rate * self._strength * self.every
        anchor = Learned.of(f"{name}.anchor", "i8", weight.shape)
        if self.kind == "ewc":
            of = layer.format[1]
            anchor = Learned.of(f"{name}.anchor", weight.dtype, weight.shape, low=-of, high=of)
        pulled = Learned.of(f"{name}.pulled", "i32", (1,), low=0, high=self.every - 1)
        net.learned += [anchor, pulled]
        ins = [weight.name, anchor.tensor.name, pulled.tensor.name]
        part = np.array([min(round(step * 2**15), 2**15 - 1)], np.int16)
        if self.kind != "l2":
            part = parts(step * self._unit(net, layer.x, post))
            ins.append(self._gather(net, layer, post))
        net.nodes.append(
            Pull(
                name=f"{name}_pull",
                inputs=(*ins, *([SCHEDULE] if self.samples else [])),
                parts=part,
                every=self.every,
                scheduled=self.samples > 0,
            )
        )
        net.nodes.append(Anchor(name=f"{name}_anchor", inputs=(weight.name, anchor.tensor.name)))

    def _gather(self, net: NetworkBuilder, layer: Parameters, post: Tensor) -> str:
        """What counts the importance of a layer's weights; its name."""
        name, shape = layer.name, layer.real.weight.shape
        importance = Learned.of(f"{name}.importance", "u8", shape, high=CODES)
        gathered = Learned.of(f"{name}.gathered", "u8", shape, high=CODES)
        random = Learned.of(f"{name}.random", "u32", (1,), np.array([net.seed()], np.uint32), low=1)
        counted = Learned.of(f"{name}.counted", "i32", (1,), low=0, high=self.every - 1)
        net.learned += [importance, gathered, random, counted]
        own = [k.tensor.name for k in (gathered, random, counted)]
        net.nodes += [
            Gather(
                name=f"{name}_gather",
                inputs=(layer.x.name, post.name, *own),
                squared=self.kind == "ewc",
                every=self.every,
            ),
            Join(name=f"{name}_join", inputs=(gathered.tensor.name, importance.tensor.name)),
        ]
        return importance.tensor.name

    def _unit(self, net: NetworkBuilder, pre: Tensor, post: Tensor) -> float:
        """What a sum of 1 stands for: of all samples, `every` times as many as are gathered."""
        squared = self.kind == "ewc"
        a, b = downs(net.largest[pre.name], net.largest[post.name], squared)
        return float((pre.scale * post.scale) ** (2 if squared else 1) * 2 ** (a + b) * self.every)

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        skipped = [v for k, v in learned.items() if k == "loss.health"]
        counted = [v for k, v in learned.items() if k.endswith("_update.health")]
        return {
            "skipped": float(sum(int(v[0]) for v in skipped)),
            "saturations": float(sum(int(v[0]) for v in counted)),
        }
