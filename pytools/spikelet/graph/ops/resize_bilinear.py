"""Bilinear resize of int8 images. C twin: firmware/kernels/resize_bilinear.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Held
from spikelet.graph.int8 import Int8Operator, codes_of
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval
from spikelet.graph.tensor import Array

ONE = 1 << 10  # of a fraction


@dataclass(kw_only=True)
class ResizeBilinear(Int8Operator):
    """Each output is a mean of four inputs of (H, W, C), rounded half away from zero.

    Attributes:
        rows: (OH, 3) int16: the two rows that an output row lies between, and the share of the
            second one in 1024ths; it may be negative where both are the same.
        columns: (OW, 3) int16.
    """

    KIND: ClassVar[str] = "resize_bilinear"

    rows: Annotated[Array, Held("int16", 2)]
    columns: Annotated[Array, Held("int16", 2)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.activation_input(ins[0], rank=3)
        self.same_code(ins[0])
        for name, table, length in (
            ("rows", self.rows, ins[0].shape[0]),
            ("columns", self.columns, ins[0].shape[1]),
        ):
            if table.dtype != np.int16 or table.ndim != 2 or table.shape[1] != 3:
                raise self.error(f"{name} is {table.dtype} {table.shape}, expected int16 (n, 3)")
            places, shares = table[:, :2], table[:, 2]
            if places.min() < 0 or places.max() >= length or np.abs(shares).max() > ONE:
                raise self.error(f"{name} reach {places.max()} of {length}, or beyond a share of 1")
        shape = (len(self.rows), len(self.columns), ins[0].shape[2])
        return Inferred(self.output(shape, bounds, reach=codes_of(ins[0], bounds)))

    def follows(self) -> list[Array | None] | None:
        return [np.arange(self.ins[0].shape[2])]

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]].astype(np.int64)
        down = self.rows[:, 2].astype(np.int64)[:, None, None]
        right = self.columns[:, 2].astype(np.int64)[:, None]
        upper, lower = x[:, self.rows[:, 0]], x[:, self.rows[:, 1]]
        both = upper * (ONE - down) + lower * down
        first, second = both[:, :, self.columns[:, 0]], both[:, :, self.columns[:, 1]]
        total = first * (ONE - right) + second * right
        codes = np.sign(total) * ((np.abs(total) + ONE * ONE // 2) // (ONE * ONE))
        env[self.name] = codes.astype(np.int8)

    def cost(self) -> Cost:
        return Cost(macs=4 * len(self.rows) * len(self.columns) * self.ins[0].shape[2])

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/resize_bilinear.h")
        tables = [
            em.const(f"{self.name}_{name}", table, f"({len(table)}, 3) two places, a share")
            for name, table in (("rows", self.rows), ("columns", self.columns))
        ]
        fields: Fields = {
            "width": self.ins[0].shape[1],
            "channels": self.ins[0].shape[2],
            "rows": tables[0],
            "columns": tables[1],
            "out_height": len(self.rows),
            "out_width": len(self.columns),
        }
        config = em.config(self.name, "spk_resize_bilinear", fields)
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        return [c.run("spk_resize_bilinear_s8", config, source, to)]


def between(size: int, source: int, *, align_corners: bool, half_pixel_centers: bool) -> Array:
    """(size, 3) places and shares, in the 10 bits of TensorFlow Lite's reference kernel."""
    part, whole = (source - 1, size - 1) if align_corners and size > 1 else (source, size)
    scale = (ONE * part + whole // 2) // whole
    at = np.arange(size, dtype=np.int64) * scale
    if half_pixel_centers:
        at += scale // 2 - ONE // 2
    # C's division rounds toward zero: a place before the first one is the first one.
    first = np.maximum(at, 0) // ONE
    second = np.minimum(np.maximum(at + ONE - 1, 0) // ONE, source - 1)
    return np.stack([first, second, at - first * ONE], axis=1)
