"""ReLU from a threshold on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function

if TYPE_CHECKING:
    from torch import Tensor


class ThresholdedRelu(Function):
    """`x` above `alpha`, 0 up to it."""

    OP = "ThresholdedRelu"

    def value(self, x: Array, alpha: float = 1.0) -> Array:
        return np.where(x > np.float32(alpha), x, np.float32(0))

    def value_in_torch(self, x: Tensor, alpha: float = 1.0) -> Tensor:
        from torch.nn.functional import threshold

        return threshold(x, alpha, 0.0)
