"""Max pooling of signs. C twin: firmware/kernels/binary_pool.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Held
from spikelet.graph.int8 import by_channel, spread
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval
from spikelet.graph.ops.binary_conv2d import WORD
from spikelet.graph.pooling import Pool
from spikelet.graph.tensor import Array, Tensor


@dataclass(kw_only=True)
class BinaryMaxPool2d(Pool):
    """1 where a bit of the window's cells inside the input is 1, channel by channel.

    Reads and writes bits (H, W, C), C a multiple of 32; a bit 1 stands for 1, 0 for -1.

    Attributes:
        inverted: (C,) uint8, 1 for channels that are written the other way round: so a batch norm
            behind the pool may turn a channel upside down.
    """

    KIND: ClassVar[str] = "binary_max_pool2d"

    inverted: Annotated[Array, Held("uint8", 1, 0, 1)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[0]
        if x.dtype != "bit" or len(x.shape) != 3 or x.shape[2] % WORD:
            raise self.error(
                f"input {x.name} is {x.dtype} of shape {x.shape}, expected bit (H, W, C), C a "
                f"multiple of {WORD}"
            )
        shape = self.pooled_shape()
        if self.inverted.dtype != np.uint8 or self.inverted.shape != shape[2:]:
            raise self.error(
                f"inverted is {self.inverted.dtype} of shape {self.inverted.shape}, expected "
                f"uint8 ({shape[2]},)"
            )
        ends = np.stack([end ^ self.inverted for end in by_channel(bounds[x.name])])
        bounds[self.name] = spread(shape, ends.min(axis=0), ends.max(axis=0))
        return Inferred([Tensor(self.name, "bit", shape)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.name] = self.largest(env[self.inputs[0]], 0) ^ self.inverted

    def cost(self) -> Cost:
        return Cost(macs=self.outs[0].size * self.window[0] * self.window[1])

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/binary_pool.h")
        words = len(self.inverted) // WORD
        mask = np.packbits(self.inverted, bitorder="little").view("<u4")
        inverted = em.const(f"{self.name}_inverted", mask, f"({words},) a bit a channel")
        config = em.config(self.name, "spk_pool", self.window_fields(words))
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_binary_max_pool", config, source, inverted, to)]
