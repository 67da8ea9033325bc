"""Addition."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.graph.ops.add import Add as IntegerAdd
from spikelet.quantise.arithmetic import Commutative
from spikelet.quantise.operator import Attributes
from spikelet.quantise.weighted import per_channel


class Add(Commutative):
    """`a + b`."""

    OP = "Add"
    scales_channels = True
    TORCH = "add"
    INTEGER = IntegerAdd

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        return np.asarray(inputs[0] + inputs[1])

    def affine(
        self, attributes: Attributes, constants: list[Array], shape: tuple[int, ...], axis: int
    ) -> tuple[Array, Array] | None:
        values = per_channel(constants[0], len(shape), axis, shape[axis])
        return None if values is None else (np.ones(len(values)), values)
