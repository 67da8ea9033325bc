"""Layer-local learning: every layer has a head and a loss of its own, and nothing goes back.

A layer's outputs are judged by a linear head with softmax cross-entropy; the head's error moves
the head and that layer, and is discarded before the next layer learns. So no activation waits for
a backward pass, and what learning adds to a prediction is one error at a time. The prediction is
the sum of all heads' logits. Source: Park et al., "Forward Learning of Graph Neural Networks", ICLR
2024 (single forward), with a learned linear head where that has class prototypes. C twin:
firmware/learn/single_forward.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.graph import Array, Graph, Tensor, c
from spikelet.graph.c import Statement
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator
from spikelet.learn.bases.trainable import Trainable
from spikelet.learn.choices import RATES, Within
from spikelet.learn.learner import Learner, Setting, extend
from spikelet.learn.networks.classifier import SCORES, network_behind, random_layer, widths
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.scalar import Descent


@dataclass(kw_only=True)
class AddScores(Trainable):
    """The sum of all inputs, in their order: (C,) values of one scale each; writes (C,) sums."""

    KIND: ClassVar[str] = "add_scores"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_precision()
        for tensor in ins:
            self.expect_shape(tensor, (scalar.value_dtype(self.precision),), ins[0].shape)
            if tensor.scale != ins[0].scale:
                raise self.error(
                    f"inputs {ins[0].name} and {tensor.name} have scales {ins[0].scale:g} and "
                    f"{tensor.scale:g}"
                )
        written = Tensor(
            self.name, scalar.sum_dtype(self.precision), ins[0].shape, scale=ins[0].scale
        )
        most = 0 if self.real else sum(self.largest(tensor, bounds) for tensor in ins)
        bounds[self.name] = self.value_bounds(written, most)
        return Inferred([written])

    def golden(self, env: dict[str, Array], t: int) -> None:
        total = env[self.inputs[0]].astype(np.float32 if self.real else np.int32)
        for name in self.inputs[1:]:
            total = total + env[name]
        env[self.name] = total

    def cost(self) -> Cost:
        return Cost(synaptic_ops=self.ins[0].size * len(self.ins))

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/single_forward.h")
        n, to = c.unsigned(self.ins[0].size), em.tensor(self.name)
        return [
            c.run("spk_add_scores", n, em.tensor(name), i == 0, to)
            for i, name in enumerate(self.inputs)
        ]


@dataclass(kw_only=True)
class SingleForward(Learner):
    """Layers that learn from a loss of their own; nothing is propagated back.

    Attributes:
        hidden: widths of the layers, such as 64 or 256-256.
        precision: of weights and arithmetic.
        rate: learning rate.
        samples: of a task, along which the rate falls to 0; 0 for a constant rate.
        rounding: of integer weights.
    """

    NAME: ClassVar[str] = "single_forward"
    AFTER: ClassVar[str] = "single forward of ForwardGNN (Park et al., ICLR 2024)"
    DIFFERS: ClassVar[str] = (
        "dense layers, not graphs; a learned linear head a layer, not class prototypes; plain "
        "descent, not Adam"
    )

    hidden: str = "64"
    precision: Literal["f32", "f16", "i16", "i8"] = "i16"
    rate: Annotated[float, RATES] = 0.03
    samples: Annotated[int, Within(0, (1 << 31) - 1)] = 0
    rounding: Literal["nearest", "stochastic"] = "stochastic"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not widths(self.hidden):
            raise ValueError("hidden 0: single_forward has a hidden layer or more")

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        descent = Descent(self.rate, rounding=self.rounding)
        net = network_behind(backbone, setting, self.precision, descent, self.samples)
        x = net.tensor(setting.features)
        heads: list[str] = []
        learning: list[Operator] = []
        for i, width in enumerate(widths(self.hidden)):
            made = random_layer(net.rng, x.size, width)
            y = net.layer(f"hidden{i}", x.name, made, detached=True).y
            made = random_layer(net.rng, width, setting.classes, SCORES)
            head = net.layer(f"head{i}", y.name, made)
            predicting = len(net.nodes)
            net.backward(head.name, f"loss{i}")
            # No layer waits for another: the last one learns first, so that a layer's outputs are
            # needed no more when its error is written, which may lie where they were.
            learning = net.nodes[predicting:] + learning
            del net.nodes[predicting:]
            heads.append(head.name)
            x = y
        net.nodes.append(AddScores(name="scores", inputs=tuple(heads), precision=self.precision))
        net.nodes += learning
        return extend(backbone, net.nodes, net.learned, ["scores"], setting.classes)

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        counted = [v for k, v in learned.items() if k.endswith("_update.health")]
        skipped = [v for k, v in learned.items() if k.startswith("loss")]
        return {
            "skipped": float(sum(int(v[0]) for v in skipped)),
            "saturations": float(sum(int(v[0]) for v in counted)),
        }
