"""Nearest-neighbour resize of int8 images. C twin: firmware/kernels/move.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Held
from spikelet.graph.int8 import Int8Operator, codes_of
from spikelet.graph.operator import Emitter, Inferred, Interval, Overlap
from spikelet.graph.overlap import raster
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array


@dataclass(kw_only=True)
class ResizeNearest(Int8Operator):
    """`y[i, j, c] = x[rows[i], columns[j], c]` on (H, W, C).

    Attributes:
        rows: (OH,) uint16, the row that each output row copies.
        columns: (OW,) uint16.
    """

    KIND: ClassVar[str] = "resize_nearest"

    rows: Annotated[Array, Held("uint16", 1)]
    columns: Annotated[Array, Held("uint16", 1)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.activation_input(ins[0], rank=3)
        self.same_code(ins[0])
        for name, indices, length in (
            ("rows", self.rows, ins[0].shape[0]),
            ("columns", self.columns, ins[0].shape[1]),
        ):
            if indices.dtype != np.uint16 or indices.ndim != 1 or not len(indices):
                raise self.error(f"{name} is {indices.dtype} {indices.shape}, expected uint16 (n,)")
            if int(indices.max()) >= length:
                raise self.error(f"{name} reach {int(indices.max())} of {length}")
        shape = (len(self.rows), len(self.columns), ins[0].shape[2])
        return Inferred(self.output(shape, bounds, reach=codes_of(ins[0], bounds)))

    def follows(self) -> list[Array | None] | None:
        return [np.arange(self.ins[0].shape[2])]

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = env[self.inputs[0]]
        env[self.name] = np.ascontiguousarray(x[:, self.rows][:, :, self.columns])

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        _, width, channels = self.ins[0].shape
        cells = self.rows[:, None].astype(np.int64) * width + self.columns
        return (raster(cells.reshape(-1) * channels, channels),)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("kernels/move.h")
        rows = em.const(f"{self.name}_rows", self.rows, f"({len(self.rows)},)")
        columns = em.const(f"{self.name}_columns", self.columns, f"({len(self.columns)},)")
        source, to = em.tensor(self.inputs[0]), em.tensor(self.name)
        _, width, channels = self.ins[0].shape
        size = (rows, len(self.rows), columns, len(self.columns))
        return [c.run("spk_resize_s8", source, width, channels, *size, to)]


def nearest(size: int, source: int, *, align_corners: bool, half_pixel_centers: bool) -> Array:
    """(size,) indices into `source`, in single precision as TensorFlow Lite computes them."""
    scale = np.float32(source) / np.float32(size)
    if align_corners and size > 1:
        scale = np.float32(source - 1) / np.float32(size - 1)
    at = (np.arange(size, dtype=np.float32) + np.float32(0.5 * half_pixel_centers)) * scale
    rows = np.floor(at + np.float32(0.5)) if align_corners else np.floor(at)
    indices: Array = np.clip(rows.astype(np.int64), 0, source - 1).astype(np.uint16)
    return indices
