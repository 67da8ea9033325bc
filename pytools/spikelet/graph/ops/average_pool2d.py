"""Average pooling on int8. C twin: firmware/kernels/pool.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.pooling import Pool2d
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class AveragePool2d(Pool2d):
    """The mean code of each window's cells inside the input, rounded halves away from zero."""

    KIND: ClassVar[str] = "average_pool2d"
    C_NAME: ClassVar[str] = "spk_average_pool_s8"

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]].astype(np.int64)
        total: Array = np.zeros((len(x), *self.outs[0].shape), np.int64)
        count: Array = np.zeros((1, *self.outs[0].shape), np.int64)
        for cell in self.windows(x, 0):
            total += cell
        for cell in self.windows(np.ones((1, *self.ins[0].shape), np.int64), 0):
            count += cell
        magnitude = (np.abs(total) + count // 2) // count
        codes = np.where(total > 0, magnitude, -magnitude)
        env[self.name] = np.clip(codes, *self.activation).astype(np.int8)
