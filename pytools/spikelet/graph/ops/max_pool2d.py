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
        best = self.largest(env[self.inputs[0]], -128)
        env[self.name] = np.clip(best, *self.activation).astype(np.int8)
