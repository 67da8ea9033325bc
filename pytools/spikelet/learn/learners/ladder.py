"""A ladder: a narrow side network beside a frozen one, which no gradient goes through."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Operator, Tensor, c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Held, Natural, TensorScale
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.mean import Mean
from spikelet.graph.quantised import Quantised
from spikelet.learn.backbone import until
from spikelet.learn.bases.trainable import Trainable
from spikelet.learn.choices import PARTS, RATES, Within
from spikelet.learn.learner import Learner, Setting
from spikelet.learn.learners.finetune import calibration, saturations, scores_of
from spikelet.learn.networks.builder import NetworkBuilder, part_name
from spikelet.learn.networks.formats import VALUE_BITS, Formats, build_calibrated
from spikelet.learn.networks.parameters import Learns, RealLayer
from spikelet.learn.numbers import float32, scalar
from spikelet.learn.numbers.scalar import Descent

HEAD = "ladder_head"  # what it adds to the scores of the network's own head
REACH = 8.0  # standard deviations that integers hold
LEAST_SPREAD = 0.05  # added to a standard deviation, in parts of the tensor's root mean square
SAMPLES = 256  # of the calibration data, that means are taken from


@dataclass(kw_only=True)
class Standardise(Trainable):
    """`y = (x - mean) / deviation` of each channel of codes, with constants for both.

    Reads (C,) i8 or u8 codes, of any shape with C elements; writes (C,) values. In floats it is
    `fma(code - zero point, gain, offset)`; on integers `((code - zero point) * gain + offset) /
    2^shift`, rounded once, halves up. C twin: firmware/learn/ladder.h.

    Attributes:
        gain: (C,) float64, real output a unit of the code.
        offset: (C,) float64, real output where the code is that of 0.
        output_scale: of the outputs, on integers.
        output_limit: outputs saturate at +-limit, on integers.
    """

    KIND: ClassVar[str] = "standardise"

    gain: Annotated[Array, Held("float64", 1)]
    offset: Annotated[Array, Held("float64", 1)]
    output_scale: TensorScale = 1.0
    output_limit: Natural = 0

    facts: int = field(init=False, repr=False, compare=False)  # shift of the sums

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_precision()
        if len(ins) != 1 or ins[0].dtype not in ("i8", "u8"):
            raise self.error(f"reads {ins[0].dtype}, expected codes of 8 bits")
        for array in (self.gain, self.offset):
            if array.shape != (ins[0].size,) or array.dtype != np.float64:
                raise self.error(f"{array.dtype} of shape {array.shape}, not ({ins[0].size},)")
            if not np.isfinite(array).all():
                raise self.error("a gain or an offset is not a finite number")
        shift = 0 if self.real else self._finest(self.largest(ins[0], bounds))
        written = self.value(self.name, (ins[0].size,), self.output_scale, self.output_limit)
        bounds[self.name] = self.value_bounds(written, self.output_limit)
        return Inferred([written], shift)

    def _finest(self, largest: int) -> int:
        """The shift of the finest multipliers whose sums fit 32 bits."""
        for shift in range(24, 0, -1):
            gain, offset = self._integer_gains(shift)
            sums = np.abs(gain) * largest + np.abs(offset) + (1 << (shift - 1))
            if sums.max() < 1 << 31:
                return shift
        raise self.error(f"output_scale {self.output_scale:g} is too fine for its gains")

    def _integer_gains(self, shift: int) -> tuple[Array, Array]:
        """Gains and offsets on integers."""
        factor = 2.0**shift / self.output_scale
        gain = np.rint(self.gain * factor).astype(np.int64)
        return gain, np.rint(self.offset * factor).astype(np.int64)

    def _constants(self) -> tuple[Array, Array]:
        """Gains and offsets as the device has them."""
        if self.real:
            return self.gain.astype(np.float32), self.offset.astype(np.float32)
        gain, offset = self._integer_gains(self.facts)
        return gain.astype(np.int32), offset.astype(np.int32)

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        codes = x.reshape(len(x), -1).astype(np.int64) - self.ins[0].zero_point
        gain, offset = self._constants()
        if self.real:
            env[self.name] = float32.fma(codes.astype(np.float32), gain, offset)
            return
        sums: Array = codes * gain + offset + (1 << (self.facts - 1))
        out = sums >> self.facts
        env[self.name] = np.clip(out, -self.output_limit, self.output_limit).astype(np.int16)

    def cost(self) -> Cost:
        return Cost(macs=self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/ladder.h")
        n = self.ins[0].size
        gain, offset = self._constants()
        fields: Fields = {
            "channels": n,
            "zero_point": self.ins[0].zero_point,
            "is_signed": self.ins[0].dtype == "i8",
            "gain": em.const(f"{self.name}_gain", gain, f"({n},)"),
            "offset": em.const(f"{self.name}_offset", offset, f"({n},)"),
        }
        if not self.real:
            fields |= {"shift": self.facts, "limit": self.output_limit}
        config = em.config(self.name, "spk_standardise", fields)
        return [c.run("spk_standardise", config, em.tensor(self.inputs[0]), em.tensor(self.name))]


@dataclass(kw_only=True)
class Ladder(Learner):
    """Trains a narrow side network that reads activations of the frozen int8 network.

    Of each layer l that is read, h is the mean over height and width, standardised with the
    calibration data: `s_l = relu(mu * s_(l-1) + (1 - mu) * (D_l h_l + b_l))`. The scores of the
    frozen network's own head, where it has one, gain `H s`, and H starts at 0: before it has
    learned, the ladder says what the network says. The whole activation is free once h is taken,
    and the backward pass goes through the ladder only.

    Sources: Sung et al., "LST: Ladder Side-Tuning", NeurIPS 2022. There mu is learned, and the side
    network starts from the pruned backbone; here mu is an option, and D starts at random.

    Attributes:
        width: of the side network.
        mu: how much of it goes on from rung to rung.
        layers: whose outputs it reads, joined by `+`; none for the features and those of all layers
            with weights before them but depthwise ones.
        precision: of the side network.
        learning_rate: of the descent.
        momentum: 0 for none, which keeps no velocities.
        weight_decay: of weights, not of biases.
        rounding: of integer weights.
    """

    NAME: ClassVar[str] = "ladder"
    AFTER: ClassVar[str] = "LST, ladder side-tuning (Sung et al., NeurIPS 2022)"
    DIFFERS: ClassVar[str] = (
        "rungs read means over the image, mu is an option, and the side network starts at random; "
        "there mu is learned and the pruned backbone is the start"
    )
    WHOLE: ClassVar[bool] = True

    width: Annotated[int, Within(1, 256)] = 16
    mu: Annotated[float, PARTS] = 0.9
    layers: str | None = None
    precision: Literal["f32", "f16", "i16", "i8"] = "f32"
    learning_rate: Annotated[float, RATES] = 0.03
    momentum: Annotated[float, PARTS] = 0.0
    weight_decay: Annotated[float, PARTS] = 0.0
    rounding: Literal["stochastic", "nearest"] = "stochastic"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._descent.check()

    @property
    def _descent(self) -> Descent:
        return Descent(self.learning_rate, self.momentum, self.weight_decay, rounding=self.rounding)

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        rungs = self._rungs(backbone, setting)
        return build_calibrated(
            self.precision,
            lambda formats: self._attach(backbone, setting, rungs, formats),
            lambda: calibration(backbone, setting),
            scores=() if setting.features in backbone.outputs else (HEAD,),
        )

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        """Weights and biases that saturated, and samples skipped because float scores diverged."""
        return saturations(learned)

    def _attach(
        self, backbone: Graph, setting: Setting, rungs: list[_Rung], formats: Formats
    ) -> Graph:
        scores, fresh = scores_of(backbone, setting)
        whole = until(backbone, scores)
        read = {rung.standard: rung.tensor(formats) for rung in rungs}
        rng = np.random.default_rng([setting.seed, 29])
        net = NetworkBuilder({**whole.tensors, **read}, formats, self._descent, rng)
        draws = np.random.default_rng([setting.seed, 37])
        every = Learns(self.width, bias=True)
        side = ""
        for i, rung in enumerate(rungs):
            net.nodes += rung.nodes(formats)
            size = len(rung.gain)
            weight = draws.normal(0, (2 / size) ** 0.5, (self.width, size))
            down = f"ladder{i}_down" if i else "ladder0"
            layer = RealLayer(weight, np.zeros(self.width), every, relu=i == 0)
            net.layer(down, rung.standard, layer)
            gains = (self.mu, 1 - self.mu)
            side = net.weighted_sum(f"ladder{i}", (side, down), gains, relu=True) if i else down
        weight, bias = np.zeros((setting.classes, self.width)), np.zeros(setting.classes)
        name = "ladder" if fresh else HEAD
        net.layer(name, side, RealLayer(weight, bias, Learns(setting.classes, bias=True)))
        if not fresh:
            net.weighted_sum("ladder", (name, scores), (1.0, 1.0))
        net.backward("ladder")
        return dataclasses.replace(
            whole,
            nodes=_early(whole, net),
            outputs=["ladder"],
            learned=[*whole.learned, *net.learned],
            classes=setting.classes,
        )

    def _rungs(self, backbone: Graph, setting: Setting) -> list[_Rung]:
        """What the ladder reads, in the order of the network."""
        writers = {t.name: node for node in backbone.nodes for t in node.outs}
        if self.layers is None:
            weighted = [
                node.name
                for node in until(backbone, setting.features).nodes
                if isinstance(node, Quantised) and not isinstance(node, DepthwiseConv2d)
            ]
            # The features are the mean of what the last of them writes, or are read by themselves.
            names = [n for n in weighted[:-1] if n != setting.features] + [setting.features]
        else:
            names = [part.strip() for part in self.layers.split("+")]
        seen = _trace(backbone, setting)
        rungs = []
        for name in names:
            tensor = backbone.tensors.get(name)
            if name not in writers or tensor is None or tensor.dtype not in ("i8", "u8"):
                raise UsageError(
                    f"ladder: layers={self.layers} names {name!r}",
                    "it is no layer of the network that writes codes of 8 bits",
                    f"choose of {', '.join(writers)}",
                )
            rungs.append(_rung(tensor, seen[name][-1] if seen else np.zeros((0, *tensor.shape))))
        return rungs


@dataclass(frozen=True, eq=False)
class _Rung:
    """A layer that the ladder reads.

    Attributes:
        name: of the layer.
        mean: what averages it over height and width; None where it is no image.
        pooled: name of the average, or of the layer.
        gain, offset: (C,) what standardises its codes without their zero point.
    """

    name: str
    mean: Mean | None
    pooled: str
    gain: Array
    offset: Array

    @property
    def standard(self) -> str:
        """The tensor that the ladder reads."""
        return part_name(self.name, "standard")

    def tensor(self, formats: Formats) -> Tensor:
        """The same, as a layer that reads it needs it."""
        dtype = scalar.value_dtype(formats.precision)
        scale = 1.0 if formats.real else REACH * 2.0**-VALUE_BITS
        return Tensor(self.standard, dtype, self.gain.shape, scale=scale)

    def nodes(self, formats: Formats) -> list[Operator]:
        """What makes it."""
        standardise = Standardise(
            name=self.standard,
            inputs=(self.pooled,),
            precision=formats.precision,
            gain=self.gain,
            offset=self.offset,
            output_scale=self.tensor(formats).scale,
            output_limit=0 if formats.real else scalar.limit_of(VALUE_BITS),
        )
        return [standardise] if self.mean is None else [self.mean, standardise]


def _rung(tensor: Tensor, seen: Array) -> _Rung:
    """A rung, standardised with codes (N, *shape) of its layer, N = 0 where there are none."""
    image = len(tensor.shape) == 3 and tensor.dtype == "i8" and tensor.size > tensor.shape[2]
    channels = tensor.shape[2] if image else tensor.size
    real = (seen.astype(np.float64) - tensor.zero_point) * tensor.scale
    real = real.reshape(len(real), tensor.size // channels, channels).mean(axis=1)
    scale, zero_point = tensor.scale, tensor.zero_point
    if image and len(real) and real.min() >= 0:
        scale, zero_point = min(scale, 1.25 * max(float(real.max()), scale) / 255), -128
    gain, offset = np.full(channels, scale), np.zeros(channels)
    if len(real):
        deviation = real.std(axis=0)
        deviation += LEAST_SPREAD * max(float(np.sqrt((real**2).mean())), scale)
        gain, offset = gain / deviation, -real.mean(axis=0) / deviation
    if not image:
        return _Rung(tensor.name, None, tensor.name, gain, offset)
    mean = Mean(
        name=part_name(tensor.name, "mean"),
        inputs=(tensor.name,),
        axes=(0, 1),
        output_scale=scale,
        output_zero_point=zero_point,
    )
    return _Rung(tensor.name, mean, mean.name, gain, offset)


def _trace(backbone: Graph, setting: Setting) -> dict[str, Array]:
    """All tensors of the backbone on some of the calibration data; empty where there is none."""
    given = setting.calibration
    if not all(len(given.get(t.name, ())) for t in backbone.inputs):
        return {}
    inputs = {t.name: given[t.name][:SAMPLES] for t in backbone.inputs}
    return backbone.run(inputs, trace=True).trace


def _early(graph: Graph, net: NetworkBuilder) -> list[Operator]:
    """Each operator of the ladder as soon as what it reads is there, so that it is soon free."""
    known = {t.name for t in graph.inputs} | {k.tensor.name for k in net.learned}
    waiting = list(net.nodes)
    order: list[Operator] = []
    for node in graph.nodes:
        order.append(node)
        known |= {t.name for t in node.outs}
        while waiting and known.issuperset(waiting[0].inputs):
            known.add(waiting[0].name)
            order.append(waiting.pop(0))
    return order + waiting
