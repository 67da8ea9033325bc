"""Max pooling on int8. C twin: firmware/kernels/pool.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.graph.pooling import Pool2d
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class MaxPool2d(Pool2d):
    """The largest code of each window's cells inside the input."""

    KIND: ClassVar[str] = "max_pool2d"
    C_NAME: ClassVar[str] = "spk_max_pool_s8"

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        best: Array = np.full((len(x), *self.outs[0].shape), -128, np.int8)
        for cell in self.windows(x, -128):
            np.maximum(best, cell, out=best)
        env[self.name] = np.clip(best, *self.activation).astype(np.int8)
