"""How far an output must begin before its input, from the order of a kernel's reads and writes."""

from __future__ import annotations

import numpy as np

from spikelet.graph.operator import Overlap
from spikelet.graph.tensor import Array


def raster(first: Array, size: int, *, gathered: bool = False) -> Overlap:
    """Of a kernel that makes its outputs one after the other, or some neighbours together.

    Args:
        first: (outputs,) the lowest byte of the input that each output needs.
        size: bytes of an output.
        gathered: all that an output, or a group of them, needs is read before the first byte of it
            is written. Otherwise outputs are made one by one, and any byte of one may be written
            before any is read that it needs.
    """
    pending = np.minimum.accumulate(first[::-1].astype(np.int64))[::-1]
    made = np.arange(1, len(first) + 1)
    if gathered:
        made, pending = made[:-1], pending[1:]  # once the last one is gathered nothing is read
    return Overlap(max(0, int((made * size - pending).max(initial=0))))


def window_starts(
    image: tuple[int, ...], out: tuple[int, ...], stride: tuple[int, int], before: tuple[int, int]
) -> Array:
    """(OH * OW,) the first byte of each window over an (H, W, C) image, padded above and left."""
    rows = np.maximum(np.arange(out[0]) * stride[0] - before[0], 0)
    columns = np.maximum(np.arange(out[1]) * stride[1] - before[1], 0)
    starts: Array = (rows[:, None] * image[1] + columns) * image[2]
    return starts.reshape(-1)
