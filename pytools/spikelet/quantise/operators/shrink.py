"""Shrinkage: 0 between two limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function

if TYPE_CHECKING:
    from torch import Tensor


class Shrink(Function):
    """`x - bias` above `lambd`, `x + bias` below `-lambd`, 0 between."""

    OP = "Shrink"

    def value(self, x: Array, lambd: float = 0.5, bias: float = 0.0) -> Array:
        low, offset = np.float32(lambd), np.float32(bias)
        return np.where(x < -low, x + offset, np.where(x > low, x - offset, np.float32(0)))

    def value_in_torch(self, x: Tensor, lambd: float = 0.5, bias: float = 0.0) -> Tensor:
        import torch

        inner = torch.where(x > lambd, x - bias, torch.zeros_like(x))
        return torch.where(x < -lambd, x + bias, inner)
