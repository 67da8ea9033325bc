"""ReLU with a slope below 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function

if TYPE_CHECKING:
    from torch import Tensor


class LeakyRelu(Function):
    """`x` from 0 on, `alpha * x` below."""

    OP = "LeakyRelu"
    homogeneous = True

    def value(self, x: Array, alpha: float = 0.01) -> Array:
        return np.where(x < 0, np.float32(alpha) * x, x)

    def value_in_torch(self, x: Tensor, alpha: float = 0.01) -> Tensor:
        from torch.nn.functional import leaky_relu

        return leaky_relu(x, alpha)
