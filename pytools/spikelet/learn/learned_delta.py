"""What `finetune` learned on a device, as a delta of the base: its head, biases, or both.

Device and golden twin hold the same weights, so they give the same delta, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spikelet.graph import Array, Graph
from spikelet.graph.adapted import DELTA, HEAD, Adapter, adapted_layers, with_places
from spikelet.graph.gains import bias_unit
from spikelet.graph.ops.add_delta import fractions
from spikelet.graph.quantised import Quantised
from spikelet.learn.delta import Delta
from spikelet.learn.state import StateError

_NEXT = "learn `finetune` with update=head, LAYER:bias, or several of these joined by +"


def learned_delta(base: Graph, learner: Graph, learned: Mapping[str, Array]) -> Delta:
    """The difference of what was learned from what the learner began with.

    Weights of the last layer become a matrix of 8 bits, each row with its own step. Biases become
    those of a delta of kind scale_bias, in its units: half an output code to one.

    Args:
        base: that the learner was attached to.
        learner: the graph with it.
        learned: its learned tensors.

    Raises:
        StateError: something else was learned than biases of convolutions and linear layers, and
            the last layer's weights.
    """
    start = learner.initial()
    moved = {
        k.tensor.name: k.tensor.real(learned[k.tensor.name]) - k.tensor.real(start[k.tensor.name])
        for k in learner.learned
    }
    layers = {n.name: n for n in adapted_layers(base) if isinstance(n, Quantised)}
    last = list(layers)[-1] if layers else ""
    weights = [n.name for n in base.nodes if f"{n.name}.weight" in moved]
    biased = [n.name for n in base.nodes if f"{n.name}.bias" in moved]
    wrong = [n for n in weights if n != last] + [n for n in biased if n not in layers]
    if wrong or not weights + biased:
        raise StateError(
            f"what graph {learner.name} learns is no delta: "
            + (f"layer {wrong[0]} has no place for it" if wrong else "no layer of the base learns"),
            "a delta holds biases of convolutions and linear layers, and the last layer's weights",
            _NEXT,
        )
    others = [name for name in biased if name not in weights]
    adapter = Adapter("scale_bias" if others else "head", head=bool(others and weights))
    values = with_places(base, adapter).initial()
    for name in others:
        values[f"{name}_{DELTA}.bias"] = _bias(layers[name], moved[f"{name}.bias"])
    if weights:
        matrix = _matrix(layers[last], moved[f"{last}.weight"], moved[f"{last}.bias"])
        values |= {f"{last}_{HEAD}.{part}": made for part, made in matrix.items()}
    return Delta.of(base, adapter, values)


def _bias(node: Quantised, moved: Array) -> Array:
    """(O,) i8 of a real bias (O,), in the units of `gains`."""
    factor = np.ldexp(node.multiplier.astype(np.float64), node.shift - 31)
    codes = moved / node.output_scale
    return _code(codes / np.where(factor > 0, factor * bias_unit(node.shift), np.inf))


def _matrix(node: Quantised, weight: Array, bias: Array) -> dict[str, Array]:
    """Values of a whole matrix that adds real weights (rows, I) and biases (O,) to a layer.

    Where rows became longer than the longest was, all scores are made smaller by that factor: the
    layer's codes would saturate, and the largest score stays the largest.
    """
    factor = np.ldexp(node.multiplier.astype(np.float64), node.shift - 31)  # of sums, to codes
    before = node.levels * factor[:, None]
    after = before.copy()
    after[: len(weight)] += weight * (node.ins[0].scale / node.output_scale)
    longest = [np.linalg.norm(rows, axis=1).max() for rows in (before, after)]
    smaller = min(1.0, longest[0] / longest[1]) if longest[0] > 0 else 1.0
    added = smaller * after - before
    step = np.abs(added).max(axis=1, keepdims=True) / 127
    gain, shift = fractions(step[:, 0])
    moved = smaller * (node.bias * factor + bias / node.output_scale) - node.bias * factor
    return {
        "down": _code(added / np.where(step > 0, step, 1)),
        "gain": gain,
        "shift": shift,
        "bias": _code(moved),
    }


def _code(values: Array) -> Array:
    """The nearest int8."""
    return np.clip(np.rint(values), -128, 127).astype(np.int8)
