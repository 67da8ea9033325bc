"""Pools over spikes, counts or currents, without rounding. C twin: firmware/kernels/pool_sums.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import one_of
from spikelet.graph.int8 import by_channel, spread
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval
from spikelet.graph.pooling import Pool
from spikelet.graph.tensor import Array, Tensor

_C_TYPES = {
    "bit": "SPK_POOL_BITS",
    "u8": "SPK_POOL_BYTES",
    "i16": "SPK_POOL_SHORTS",
    "i32": "SPK_POOL_LONGS",
}


@dataclass(kw_only=True)
class Pool2dSums(Pool):
    """The sum or the maximum of each window, channel by channel.

    Reads (H, W, C) bit, u8, i16 or i32. A maximum has the type of its input; the sum of bits is
    u8, of others i16 where it is proved to fit, else i32.

    Attributes:
        mode: sum, or max.
    """

    KIND: ClassVar[str] = "pool2d_sums"

    mode: Annotated[str, one_of("sum", "max")] = "sum"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype not in _C_TYPES or len(x.shape) != 3:
            raise self.error(
                f"input {x.name} is {x.dtype} {x.shape}, expected bit, u8, i16 or i32 (H, W, C)"
            )
        shape = self.pooled_shape()
        low, high = by_channel(bounds[x.name])
        if self.mode == "max":
            bounds[self.name] = spread(shape, low, high)
            return Inferred([Tensor(self.name, x.dtype, shape)])
        cells = self.window[0] * self.window[1]
        least, most = cells * np.minimum(low, 0), cells * np.maximum(high, 0)
        if not any(self.padding):  # each window has all of its cells
            low, high = cells * low, cells * high
        else:
            low, high = least, most
        bounds[self.name] = spread(shape, low, high)
        # Partial sums are held in the type of the whole.
        for dtype in ("u8",) if x.dtype == "bit" else ("i16", "i32"):
            made = Tensor(self.name, dtype, shape)
            if made.limits[0] <= least.min() and most.max() <= made.limits[1]:
                return Inferred([made])
        raise self.error(f"a sum may reach from {least.min()} to {most.max()}, beyond {dtype}")

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        if self.mode == "max":
            env[self.name] = self.largest(x, self.ins[0].limits[0])
        else:
            total = sum(self.windows(x.astype(np.int64), 0))
            env[self.name] = np.asarray(total).astype(self.outs[0].numpy_dtype)

    def cost(self) -> Cost:
        return Cost(macs=self.outs[0].size * self.window[0] * self.window[1])

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/pool_sums.h")
        fields: Fields = {
            **{f"pool.{k}": v for k, v in self.window_fields(self.ins[0].shape[2]).items()},
            "max": self.mode == "max",
            "from": c.name(_C_TYPES[self.ins[0].dtype]),
            "to": c.name(_C_TYPES[self.outs[0].dtype]),
        }
        config = em.config(self.name, "spk_pool_sums", fields)
        return [c.run("spk_pool_sums", config, em.tensor(self.inputs[0]), em.tensor(self.name))]
