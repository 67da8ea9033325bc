"""Dense layers of any numbers that learn, with labels or with a target: for tests of the layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from spikelet.graph import Array, Graph, Learned, Tensor
from spikelet.learn.layers.mse import Mse
from spikelet.learn.learner import extend
from spikelet.learn.networks.builder import NetworkBuilder
from spikelet.learn.networks.formats import Formats, build_calibrated
from spikelet.learn.networks.parameters import RealLayer, value
from spikelet.learn.numbers.scalar import Descent


def trainable(
    backbone: Callable[[str], Graph],
    layers: Sequence[RealLayer],
    precision: str,
    descent: Descent,
    inputs: Mapping[str, Array],
    loss: str = "softmax_cross_entropy",
    prefix: str = "",
) -> Graph:
    """The layers behind the tensor `features`; the output is the last one's.

    Args:
        backbone: what is in front, for layers of a precision.
        layers: first to last; layer i is named `dense{i}`.
        precision: one of `scalar.PRECISIONS`.
        descent: the step of every layer.
        inputs: samples (N, *shape) that integers must hold, with any label.
        loss: softmax_cross_entropy, for labels, or mse, for a target tensor named `target`.
        prefix: of the names of its tensors and operators.
    """
    samples, outputs = len(next(iter(inputs.values()))), layers[-1].outputs

    def build(formats: Formats) -> Graph:
        graph, error = backbone(formats.precision), f"{prefix}error"
        net = NetworkBuilder(graph.tensors, formats, descent, np.random.default_rng(1))
        x, targets = "features", list[Tensor]()
        for i, layer in enumerate(layers):
            x = net.layer(f"{prefix}dense{i}", x, layer).name
        if loss == "mse":
            y = net.tensor(x)
            targets = [Tensor("target", y.dtype, y.shape, kind="target", scale=y.scale)]
            net.descend(x, squared_error(net, error, y))
        else:
            net.backward(x, error)
        classes = 0 if targets else outputs
        return extend(graph, net.nodes, net.learned, [x], classes, targets)

    def calibration() -> tuple[dict[str, Array], Array | None]:
        if loss == "mse":
            return {**inputs, "target": np.zeros((samples, outputs), np.float32)}, None
        every = {name: values.repeat(outputs, axis=0) for name, values in inputs.items()}
        return every, np.tile(np.arange(outputs), samples)

    return build_calibrated(precision, build, calibration)


def squared_error(net: NetworkBuilder, name: str, y: Tensor) -> Tensor:
    """The error of the mean squared difference to `target`."""
    precision, (scale, limit) = net.formats.precision, net.formats.error(name)
    health = [Learned.of(f"{name}.health", "i32", (1,))] if net.formats.real else []
    net.learned += health
    net.nodes.append(
        Mse(
            name=name,
            inputs=(y.name, "target", *(k.tensor.name for k in health)),
            precision=precision,
            error_scale=scale,
            error_limit=limit,
        )
    )
    return value(precision, name, y.shape, scale)
