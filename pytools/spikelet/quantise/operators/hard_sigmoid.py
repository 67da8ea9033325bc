"""A logistic function of straight lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function
from spikelet.quantise.network import Code
from spikelet.quantise.operator import UNIT

if TYPE_CHECKING:
    from torch import Tensor


class HardSigmoid(Function):
    """`alpha * x + beta`, clamped to 0 to 1."""

    OP = "HardSigmoid"

    def value(self, x: Array, alpha: float = 0.2, beta: float = 0.5) -> Array:
        y: Array = np.clip(np.float32(alpha) * x + np.float32(beta), 0, 1)
        return y

    def value_in_torch(self, x: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
        import torch

        return torch.clamp(x * alpha + beta, 0.0, 1.0)

    def fixed_code(self, measured: bool) -> Code | None:
        return None if measured else UNIT
