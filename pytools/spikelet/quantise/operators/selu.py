"""SELU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function

if TYPE_CHECKING:
    from torch import Tensor

# ONNX's defaults, which are PyTorch's constants.
ALPHA = 1.67326319217681884765625
GAMMA = 1.05070102214813232421875


class Selu(Function):
    """`gamma * x` from 0 on, `gamma * alpha * (exp(x) - 1)` below."""

    OP = "Selu"

    def value(self, x: Array, alpha: float = ALPHA, gamma: float = GAMMA) -> Array:
        y: Array = np.float32(gamma) * np.where(x < 0, np.float32(alpha) * np.expm1(x), x)
        return y

    def value_in_torch(self, x: Tensor, alpha: float = ALPHA, gamma: float = GAMMA) -> Tensor:
        from torch.nn.functional import elu

        result: Tensor = gamma * elu(x, alpha)
        return result
