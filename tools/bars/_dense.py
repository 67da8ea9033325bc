"""Dense layers that are given, ready to learn behind a backbone: on the builder of the learners."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikelet.graph import Array, Graph
from spikelet.learn.learner import extend
from spikelet.learn.networks.builder import NetworkBuilder
from spikelet.learn.networks.formats import Formats, build_calibrated
from spikelet.learn.networks.parameters import RealLayer
from spikelet.learn.numbers.scalar import Descent


def learning(
    backbone: Graph,
    layers: Sequence[RealLayer],
    precision: str,
    descent: Descent,
    x: Array,
    seed: int,
) -> Graph:
    """The layers behind the tensor `features`.

    Args:
        backbone: with an input x, which no layer of it depends on the precision.
        layers: first to last; the last one's outputs are scores.
        precision: one of `scalar.PRECISIONS`.
        descent: the step of every layer.
        x: samples (N, *shape) that integers must hold while they are learned, with random labels.
        seed: of those labels and of stochastic rounding.
    """

    def build(formats: Formats) -> Graph:
        rng = np.random.default_rng([seed, 1])
        net, at = NetworkBuilder(backbone.tensors, formats, descent, rng), "features"
        for i, layer in enumerate(layers):
            at = net.layer(f"dense{i}", at, layer).name
        net.backward(at)
        return extend(backbone, net.nodes, net.learned, [at], layers[-1].outputs)

    labels = np.random.default_rng(seed).integers(0, layers[-1].outputs, len(x))
    return build_calibrated(precision, build, lambda: ({"x": x}, labels))
