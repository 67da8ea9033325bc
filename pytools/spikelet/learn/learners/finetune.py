"""Fine-tuning of a whole int8 or spiking network, or of chosen layers, by gradient descent."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.ops.add import Add
from spikelet.graph.ops.argmax import Argmax
from spikelet.graph.ops.average_pool2d import AveragePool2d
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.mean import Mean
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.ops.softmax import Softmax
from spikelet.graph.quantised import INT8, Quantised
from spikelet.learn.backbone import has_weights, until
from spikelet.learn.choices import PARTS, RATES, Within
from spikelet.learn.learner import Learner, Setting
from spikelet.learn.networks.builder import NetworkBuilder, part_name
from spikelet.learn.networks.formats import Formats, build_calibrated
from spikelet.learn.networks.parameters import DeployedCodes, Learns, RealLayer
from spikelet.learn.networks.spiking import SpikingNetwork, ThreeFactor, gain_of
from spikelet.learn.numbers.scalar import Descent

SAMPLES = 24  # of the calibration data, that ranges are taken from
ONCE = 2.0**-13  # of a code: halves go away from zero, whatever float32 lost
LEARNS = (Conv2d, DepthwiseConv2d, FullyConnected, Dense)  # layers whose weights have a gradient
HEAD = "head"  # the layer that is added where a backbone has none


@dataclass(kw_only=True)
class FineTune(Learner):
    """Trains chosen layers of an int8 or a spiking network on the device, by gradient descent.

    What depends on a layer that learns is computed in `precision`, with the weights that the int8
    codes stand for, and rounded and held as the codes are, clamps and the ends of int8 included;
    what does not stays as it is. So it says what the network says until it has learned. Behind the
    first layer that learns, layers that do not have their weights in flash and only pass gradients
    on; nothing goes below it. Scores are rounded, but may grow beyond int8.

    A backbone that is cut behind its features gets a new dense head.

    Dense layers of a spiking network learn as int16, whatever `precision` says, by a three-factor
    rule: presynaptic trace, surrogate derivative and error, of every time step, once a sample.

    Sources: Lin et al., "On-Device Training Under 256KB Memory", NeurIPS 2022 (sparse update); Xiao
    et al., "Online Training Through Time for Spiking Neural Networks", NeurIPS 2022.

    Attributes:
        update: what learns, joined by `+`: a layer's name, `LAYER:N` for its first N output
            channels, `LAYER:bias` for its biases, `head` for the last layer with weights, `biases`
            for those of all layers, `all`.
        precision: of what learns, and of what depends on it.
        learning_rate: of the descent.
        momentum: 0 for none, which keeps no velocities.
        weight_decay: of weights, not of biases.
        batch: samples a step; more than one are kept until the last one came.
        rounding: of integer weights.
        recompute: layers, joined by `+`, whose outputs are computed again in the backward pass and
            not kept; `depthwise` for all depthwise ones.
        feedback: of spiking layers: errors go back through the weights, or, direct, from the scores
            to each layer through random signs.
        surrogate_width: of spiking layers: how far from its threshold a potential still learns, in
            thresholds.
    """

    NAME: ClassVar[str] = "finetune"
    AFTER: ClassVar[str] = (
        "sparse update (Lin et al., NeurIPS 2022); in spiking layers OTTT (Xiao et al., NeurIPS "
        "2022)"
    )
    DIFFERS: ClassVar[str] = (
        "layers and channels are named, not searched for; weights that learn have `precision`, "
        "and gradients are not scaled for int8; in spiking layers the loss is that of the whole "
        "run, and weights move once a sample"
    )
    WHOLE: ClassVar[bool] = True

    update: str = HEAD
    precision: Literal["f32", "f16", "i16", "i8"] = "f32"
    learning_rate: Annotated[float, RATES] = 0.01
    momentum: Annotated[float, PARTS] = 0.0
    weight_decay: Annotated[float, PARTS] = 0.0
    batch: Annotated[int, Within(1, 64)] = 1
    rounding: Literal["stochastic", "nearest"] = "stochastic"
    recompute: str = ""
    feedback: Literal["weights", "direct"] = "weights"
    surrogate_width: Annotated[float, Within(0.125, 8)] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._descent.check()

    @property
    def _descent(self) -> Descent:
        return Descent(
            self.learning_rate, self.momentum, self.weight_decay, self.batch, self.rounding
        )

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        scores, fresh = scores_of(backbone, setting)
        whole = until(backbone, scores)
        learns = self._learning(whole, fresh)
        if any(isinstance(node, Dense) for node in whole.nodes if node.name in learns):
            return self._attach_spiking(whole, setting, learns)
        return build_calibrated(
            self.precision,
            lambda formats: self._attach(whole, setting, formats, learns),
            lambda: calibration(backbone, setting),
        )

    def goes_on(self, graph: Graph, classes: int) -> bool:
        """Also from scores of which the graph tells the largest: spiking networks do."""
        return graph.names_classes and graph.highest_prediction + 1 == classes

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        """Weights and biases that saturated, and samples skipped because float scores diverged."""
        return saturations(learned)

    def _attach_spiking(
        self, whole: Graph, setting: Setting, learns: Mapping[str, Learns]
    ) -> Graph:
        """Spiking layers that learn; `whole` ends with the scores."""
        for name, wanted in (("momentum", 0.0), ("weight_decay", 0.0), ("batch", 1)):
            if getattr(self, name) != wanted:
                raise UsageError(
                    f"finetune: {name}={getattr(self, name)} in a spiking network",
                    "spiking layers move once a sample, and keep no velocities",
                    f"leave {name} at {wanted}",
                )
        rule = ThreeFactor(self.learning_rate, self.rounding, self.surrogate_width, self.feedback)
        net = SpikingNetwork(whole, learns, rule, np.random.default_rng([setting.seed, 29]))
        scores = whole.outputs[0]
        if not net.live(scores):
            raise UsageError(
                f"finetune: {scores} does not depend on update={self.update}",
                "scores are counts of spikes, or membranes, of a layer behind what learns",
                "learn on the whole network",
            )
        inputs, _ = calibration(whole, setting)
        net.backward(scores, gain_of(whole, inputs))
        return dataclasses.replace(
            whole,
            nodes=net.nodes,
            learned=[*whole.learned, *net.learned],
            classes=setting.classes,
        )

    def _attach(
        self, whole: Graph, setting: Setting, formats: Formats, learns: Mapping[str, Learns]
    ) -> Graph:
        scores, fresh = scores_of(whole, setting)
        again, rng = self._again(whole, learns), np.random.default_rng([setting.seed, 29])
        net = NetworkBuilder(whole.tensors, formats, self._descent, rng, again=again)
        still: list[Operator] = []
        for node in whole.nodes:
            layer = learns.get(node.name, Learns())
            if layer or any(map(net.live, node.inputs)):
                _lay(net, whole, node, layer, scores)
            else:
                still.append(node)
        if fresh:
            weight = np.zeros((setting.classes, whole.tensors[scores].size))
            every = Learns(setting.classes, bias=True)
            head = RealLayer(weight, np.zeros(setting.classes), every)
            scores = net.layer(HEAD, scores, head).name
        if not net.live(scores):
            raise UsageError(
                f"finetune: update={self.update} leaves nothing that learns",
                "each layer learns 0 channels and no bias",
                "name a layer, or give it channels",
            )
        net.backward(scores)
        return dataclasses.replace(
            whole,
            nodes=[*still, *net.nodes],
            outputs=[scores],
            learned=[*whole.learned, *net.learned],
            classes=setting.classes,
        )

    def _learning(self, graph: Graph, fresh: bool) -> dict[str, Learns]:
        """What of each layer learns, by its name."""
        layers = {n.name: n for n in graph.nodes if has_weights(graph, n)}
        last = next(reversed(layers), None)
        by_layer: dict[str, Learns] = {}

        def add(name: str, part: str) -> None:
            node = layers[name]
            if not isinstance(node, LEARNS):
                able = [n for n, layer in layers.items() if isinstance(layer, LEARNS)]
                raise UsageError(
                    f"finetune: update={self.update} asks for layer {name} ({node.KIND}), which "
                    "cannot learn",
                    "gradients are known of conv2d, depthwise_conv2d, fully_connected and dense",
                    f"name of {', '.join([*able, HEAD])} what is to learn"
                    if able or fresh
                    else "use a learner that reads features, such as streaming_lda",
                )
            channels = len(node.weight) if isinstance(node, Dense) else len(node.bias)
            if isinstance(node, Dense) and part.isdecimal():
                raise UsageError(
                    f"finetune: update={self.update} asks for {part} channels of {name}",
                    "a spiking layer learns whole, or its biases",
                    f"write {name} or {name}:bias",
                )
            if part == "bias":
                channels = 0
            elif part.isdecimal() and 1 <= int(part) <= channels:
                channels = int(part)
            elif part:
                raise UsageError(
                    f"finetune: update={self.update} asks for {part!r} of {name}",
                    f"{name} has {channels} output channels",
                    f"write {name}, {name}:N for the first N of them, or {name}:bias",
                )
            before = by_layer.get(name, Learns())
            by_layer[name] = Learns(max(before.channels, channels), bias=True)

        for term in filter(None, (part.strip() for part in self.update.split("+"))):
            name, _, part = term.partition(":")
            if name == HEAD and fresh:
                continue
            if name == HEAD and last is not None:
                name = last
            if term in ("all", "biases"):
                for each in layers:
                    add(each, "bias" if term == "biases" else "")
            elif name in layers:
                add(name, part)
            else:
                raise UsageError(
                    f"finetune: update={self.update} names {name!r}, which has no weights",
                    "a mistyped layer, or one without weights",
                    f"choose of {', '.join([*layers, 'biases', 'all'])}",
                )
        return by_layer

    def _again(self, graph: Graph, learns: Mapping[str, Learns]) -> set[str]:
        """The layers whose outputs are computed again."""
        again: set[str] = set()
        layers = {n.name: n for n in graph.nodes if has_weights(graph, n)}
        for name in filter(None, (part.strip() for part in self.recompute.split("+"))):
            if name == "depthwise":
                again |= {n for n, node in layers.items() if isinstance(node, DepthwiseConv2d)}
            elif name in layers:
                again.add(name)
            else:
                raise UsageError(
                    f"finetune: recompute={self.recompute} names {name!r}, which has no weights",
                    "a mistyped layer, or one that is not computed from weights",
                    f"choose of {', '.join([*layers, 'depthwise'])}",
                )
        return again


def saturations(learned: Mapping[str, Array]) -> dict[str, float]:
    """Of all layers: samples skipped as float scores diverged, saturated weights and biases."""
    counts = {name: int(v[0]) for name, v in learned.items() if name.endswith(".health")}
    skipped = counts.pop("error.health", 0)
    return {"skipped": skipped, "saturations": sum(counts.values())}


def calibration(backbone: Graph, setting: Setting) -> tuple[dict[str, Array], Array]:
    """Some inputs of the calibration data, and labels at random, to take ranges of numbers from.

    Wrong labels give large errors, as a network that has to learn sees them.

    Raises:
        UsageError: there is none.
    """
    names = [t.name for t in backbone.inputs]
    samples = len(setting.calibration.get(names[0], ()))
    if any(name not in setting.calibration for name in names) or not samples:
        raise UsageError(
            "learning on integers chooses its number formats from inputs, and was given none",
            "precision i16 or i8 without calibration data",
            "give some inputs of the network as calibration, or take precision f32",
        )
    rows = np.unique(np.linspace(0, samples - 1, SAMPLES).astype(int))
    labels = np.random.default_rng([setting.seed, 31]).integers(0, setting.classes, len(rows))
    return {name: setting.calibration[name][rows] for name in names}, labels


def scores_of(backbone: Graph, setting: Setting) -> tuple[str, bool]:
    """The tensor of scores, and whether a new head is to make them of it."""
    if setting.features in backbone.outputs:
        return setting.features, True
    name = backbone.outputs[0]
    writers = {t.name: node for node in backbone.nodes for t in node.outs}
    while isinstance(writers[name], Softmax | Argmax):  # the largest score stays the largest
        name = writers[name].inputs[0]
    if backbone.tensors[name].size < setting.classes:
        raise UsageError(
            f"finetune: {name} has {backbone.tensors[name].size} scores for {setting.classes} "
            "classes",
            "the network's head was made for fewer classes",
            f"cut it behind {setting.features}: then a new head learns",
        )
    return name, False


def _lay(net: NetworkBuilder, graph: Graph, node: Operator, learns: Learns, scores: str) -> None:
    """Make an int8 operator part of the network, in real numbers, rounded as its codes are."""
    x, output = node.inputs[0], graph.tensors[node.name]
    if isinstance(node, Conv2d | DepthwiseConv2d) and node.dilation == (1, 1):
        weight, bias = _real(node, graph.tensors[x])
        if isinstance(node, Conv2d):
            weight = weight.transpose(1, 2, 3, 0)
        elif node.depth_multiplier != 1:
            raise _layer_error(node, f"depth_multiplier {node.depth_multiplier}")
        codes = _codes(node, output, node.activation, scores)
        layer = RealLayer(
            weight, bias, learns, codes=codes, stride=node.stride, padding=node.padding
        )
        net.layer(node.name, x, layer)
    elif isinstance(node, FullyConnected) and graph.tensors[x].size == node.weight.shape[1]:
        weight, bias = _real(node, graph.tensors[x])
        codes = _codes(node, output, node.activation, scores)
        net.layer(node.name, x, RealLayer(weight, bias, learns, codes=codes))
    elif isinstance(node, Mean) and _over_image(node, net.tensor(x).shape):
        codes = _codes(node, output, INT8, scores)
        height, width, _ = net.tensor(x).shape
        to = node.name if len(output.shape) == 3 else part_name(node.name, "image")
        net.average(to, x, (height, width), codes=codes)
        if to != node.name:
            net.reshape(node.name, to, output.shape)
    elif isinstance(node, AveragePool2d):
        codes = _codes(node, output, node.activation, scores)
        net.average(node.name, x, node.window, node.stride, node.padding, codes)
    elif isinstance(node, Reshape):
        net.reshape(node.name, x, tuple(node.shape))
    elif isinstance(node, Add) and len({net.tensor(name).shape for name in node.inputs}) == 1 == (
        len(node.inputs) - 1
    ):
        codes = _codes(node, output, node.activation, scores)
        net.weighted_sum(node.name, node.inputs, (1.0, 1.0), codes=codes)
    else:
        raise _layer_error(node)


def _layer_error(node: Operator, what: str = "") -> UsageError:
    return UsageError(
        f"finetune: layer {node.name} ({node.KIND}{', ' + what if what else ''}) depends on what "
        "learns, and has no backward pass",
        "those with one are conv2d and depthwise_conv2d without dilation, fully_connected, add, "
        "reshape, average_pool2d, and mean over height and width",
        "let only layers behind it learn",
    )


def _over_image(node: Mean, shape: tuple[int, ...]) -> bool:
    """Whether a mean is that of height and width, for each channel."""
    kept = [size for axis, size in enumerate(shape) if axis not in node.axes]
    return len(shape) == 3 and 2 not in node.axes and math.prod(kept) == shape[2]


def _codes(
    node: Operator, output: Tensor, activation: tuple[int, int], scores: str
) -> DeployedCodes:
    """What a layer makes of its sums: ReLU, ReLU6 and the ends of int8 are limits alike.

    Scores have none: they may grow while they are learned.
    """
    nudge = np.full(1, ONCE)
    if isinstance(node, Conv2d | DepthwiseConv2d | Mean):
        # The doubled high word is rounded first, to units of 2^shift codes.
        shift = node.shift if isinstance(node, Quantised) else np.array([node.factor()[1]])
        nudge = np.clip(2.0 ** (shift - 1.0), ONCE, 0.25)
    nudge = nudge.astype(np.float32)
    if node.name == scores:
        return DeployedCodes(output.scale, nudge)
    low, high = (end - output.zero_point for end in activation)
    return DeployedCodes(output.scale, nudge, low, high)


def _real(node: Quantised, x: Tensor) -> tuple[Array, Array]:
    """The real weights, in the shape of the codes, and biases (O,)."""
    ratio = node.multiplier.astype(np.float64) * 2.0 ** (node.shift.astype(np.float64) - 31)
    scale = ratio * node.output_scale / x.scale
    by_channel = scale if isinstance(node, DepthwiseConv2d) else _first_axis(scale, node.weight)
    return node.weight * by_channel, node.bias * scale * x.scale


def _first_axis(scale: Array, weight: Array) -> Array:
    return scale.reshape(-1, *(1,) * (weight.ndim - 1))
