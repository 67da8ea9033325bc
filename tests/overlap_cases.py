"""Graphs in which every operator that states an overlap occurs, in odd shapes of its kind."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import adapter_graphs
import every_learner
import int8_graphs
import plan_graphs
from dense_networks import trainable
from int8_classifier import classifier, setting
from plan_graphs import CODE, image
from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.elementwise import Elementwise
from spikelet.graph.int8 import Lookup
from spikelet.graph.operator import operators
from spikelet.graph.ops.cumsum import Cumsum
from spikelet.graph.ops.resize_nearest import ResizeNearest
from spikelet.graph.ops.slice import Slice
from spikelet.graph.ops.softmax import Softmax
from spikelet.graph.reduction import Reduction
from spikelet.learn import Setting, identity, until
from spikelet.learn.learner import learners
from spikelet.learn.learners.finetune import FineTune
from spikelet.learn.networks.parameters import Learns, RealLayer
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.scalar import Descent

SHAPES: list[tuple[int, ...]] = [(1,), (7,), (64,), (1, 1, 5), (3, 5, 7), (4, 1, 16), (2, 9, 33)]


def subclasses(base: type[Operator]) -> list[Any]:
    """The kinds of one base, in order of their names."""
    return [cls for _, cls in sorted(operators().items()) if issubclass(cls, base)]


class _Singles:
    """Collects operators, each on inputs of its own."""

    def __init__(self) -> None:
        self.inputs: list[Any] = []
        self.nodes: list[Operator] = []

    def add(self, kind: Any, shapes: list[tuple[int, ...]], **fields: Any) -> None:
        number = len(self.nodes)
        names = tuple(f"x{number}_{i}" for i in range(len(shapes)))
        self.inputs += [image(name, shape) for name, shape in zip(names, shapes, strict=True)]
        self.nodes.append(kind(name=f"n{number}", inputs=names, **{**CODE, **fields}))

    def graph(self, name: str) -> Graph:
        return Graph(name, 1, self.inputs, self.nodes, [self.nodes[-1].name])


def pointwise() -> Graph:
    """Functions of a code and of two, from the classes of their kind."""
    rng, made = np.random.default_rng(1), _Singles()
    for kind in subclasses(Lookup):
        for shape in SHAPES:
            made.add(kind, [shape], table=plan_graphs.table(rng))
    for kind in subclasses(Elementwise):
        for shape in SHAPES[1:]:
            made.add(kind, [shape, shape])
        made.add(kind, [(3, 5, 7), (5, 1)])
        made.add(kind, [(5, 1), (3, 5, 7)])
        constant = rng.integers(-128, 128, (4, 1, 6)).astype(np.int8)
        made.add(kind, [(4, 3, 6)], constant=constant, constant_scale=plan_graphs.SCALE)
    return made.graph("pointwise")


def moving() -> Graph:
    """Reductions, moves and softmax."""
    made = _Singles()
    for kind in subclasses(Reduction):
        for axes in ((0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)):
            for shape in ((3, 5, 7), (4, 4, 16), (2, 3, 33), (1, 6, 5)):
                made.add(kind, [shape], axes=axes)
    for axis, exclusive, reverse in itertools.product((0, 1, 2), (False, True), (False, True)):
        for shape in ((3, 5, 7), (1, 6, 5)):
            made.add(Cumsum, [shape], axis=axis, exclusive=exclusive, reverse=reverse)
    for size, begin, stride in (
        ((3, 3), (1, 2), (2, 1)),
        ((2, 2), (0, 1), (1, 3)),
        ((1, 7), (5, 0), (1, 1)),
        ((6, 1), (0, 6), (1, 1)),
        ((3, 4), (0, 0), (2, 2)),
    ):
        for channels in (1, 3, 16):
            made.add(
                Slice, [(6, 7, channels)], begin=(*begin, 0), size=(*size, channels),
                stride=(*stride, 1),
            )  # fmt: skip
    for rows, columns, channels in ((2, 3, 1), (5, 7, 4), (8, 11, 3), (1, 20, 2), (9, 1, 17)):
        at = [(np.arange(n) * have // n).astype(np.uint16) for n, have in ((rows, 5), (columns, 7))]
        made.add(ResizeNearest, [(5, 7, channels)], rows=at[0], columns=at[1])
    for shape in ((1,), (3, 2), (2, 37), (1, 300)):
        number = len(made.nodes)
        made.inputs.append(image(f"x{number}", shape))
        made.nodes.append(Softmax(name=f"n{number}", inputs=(f"x{number}",)))
    return made.graph("moving")


def trained_layers(precision: str, loss: str, sizes: tuple[int, ...] = (6, 9, 5, 4)) -> Graph:
    """Dense layers on values; the last one's error is that of a loss."""
    rng = np.random.default_rng(len(sizes))
    dtype = scalar.value_dtype(precision)
    backbone = identity((sizes[0],), "i8" if dtype == "i16" else dtype, scale=1 / 128)
    made = [
        RealLayer(
            rng.normal(size=(n, m)) / np.sqrt(m), rng.normal(size=n) * 0.1,
            Learns(n, bias=True), relu=i + 2 < len(sizes),
        )
        for i, (m, n) in enumerate(itertools.pairwise(sizes))
    ]  # fmt: skip
    inputs, descent = draw(backbone.inputs, 24), Descent(0.05, rounding="nearest")
    graph = trainable(lambda _: backbone, made, precision, descent, inputs, loss)
    # Its last layer is no output, so that it dies where the loss is made.
    first = next(n.name for n in graph.order if n.name not in backbone.tensors)
    return dataclasses.replace(graph, outputs=[first])


def draw(tensors: Iterable[Tensor], samples: int) -> dict[str, Array]:
    """Codes over their whole range, numbers within +-1, those in 16 bits within +-500."""
    rng = np.random.default_rng(7)
    found: dict[str, Array] = {}
    for t in tensors:
        shape = (samples, *t.shape)
        if t.dtype == "f32":
            found[t.name] = rng.uniform(-1, 1, shape).astype(np.float32)
        else:
            low, high = (-500, 500) if t.dtype == "i16" else t.limits
            found[t.name] = rng.integers(low, high, shape, endpoint=True).astype(t.numpy_dtype)
    return found


def taught(name: str, **options: Any) -> Graph:
    """A learner on clouds of the digits, with options."""
    images, labels = every_learner.digits()
    made, backbone = learners()[name](**options), every_learner.backbone()
    setting = Setting(
        "features", every_learner.CLASSES, seed=7, calibration={"x": images[:300]},
        labels=labels[:300],
    )  # fmt: skip
    return made.attach(backbone if made.WHOLE else until(backbone, "features"), setting)


def fine_tuned_network() -> Graph:
    """A network of all layers that fine-tuning knows."""
    graph = classifier(relu_after_add=True)
    return FineTune(update="all").attach(graph, setting(graph))


# Graphs of int8 layers, each layer independent of the others.
LAYERS: dict[str, Callable[[], Graph]] = {
    "added_deltas": adapter_graphs.added_deltas,
    "convolutions": int8_graphs.convolutions,
    "depthwise": int8_graphs.depthwise,
    "elementwise": int8_graphs.elementwise,
    "pools": int8_graphs.pools,
    "pointwise": pointwise,
    "moving": moving,
}
# Graphs that learn.
LEARNING: dict[str, Callable[[], Graph]] = {
    "cross entropy, f32": functools.partial(trained_layers, "f32", "softmax_cross_entropy"),
    "mse, i16": functools.partial(trained_layers, "i16", "mse"),
    "ladder": functools.partial(taught, "ladder"),
    "hlop": functools.partial(taught, "hlop"),
    "sample_gate": functools.partial(taught, "sample_gate"),
    "finetune": fine_tuned_network,
}
