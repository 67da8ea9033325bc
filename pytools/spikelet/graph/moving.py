"""Operators that move int8 codes and compute nothing: steps through memory.

C twin: firmware/kernels/move.h.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from spikelet.graph import c
from spikelet.graph.c import Expression, Fields, Statement
from spikelet.graph.operator import Emitter


def row_major(shape: Sequence[int]) -> list[int]:
    """Elements from one to the next in each dimension."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def emit_move(
    em: Emitter,
    name: str,
    source: Expression,
    to: Expression,
    dims: Sequence[int],
    reads: tuple[int, Sequence[int]],
    writes: tuple[int, Sequence[int]],
) -> list[Statement]:
    """Copy a box of elements.

    Args:
        em: takes the configuration.
        name: a unique C name for it.
        source: the memory that is read.
        to: the memory that is written.
        dims: of the box, at most four.
        reads: first element and stride in each dimension.
        writes: the same for the target.
    """
    em.include("kernels/move.h")
    dims, strides, to_strides = _join_dims(list(dims), list(reads[1]), list(writes[1]))
    pad = 4 - len(dims)
    fields: Fields = {
        "dims": (1,) * pad + tuple(dims),
        "first": reads[0],
        "stride": (0,) * pad + tuple(strides),
        "to_first": writes[0],
        "to_stride": (0,) * pad + tuple(to_strides),
    }
    return [c.run("spk_move_s8", em.config(name, "spk_move", fields), source, to)]


def _join_dims(
    dims: list[int], strides: list[int], to_strides: list[int]
) -> tuple[list[int], list[int], list[int]]:
    """The same box with inner dimensions that follow each other on both sides made one."""
    while len(dims) > 1 and all(s[-2] == s[-1] * dims[-1] for s in (strides, to_strides)):
        dims = [*dims[:-2], dims[-2] * dims[-1]]
        strides = [*strides[:-2], strides[-1]]
        to_strides = [*to_strides[:-2], to_strides[-1]]
    return dims, strides, to_strides
