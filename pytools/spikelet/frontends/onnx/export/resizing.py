"""Resizes: ONNX's own where it gives these very shares and places, else products and gathers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from spikelet.frontends.onnx.export.writer import Writer, exports
from spikelet.graph import Array
from spikelet.graph.ops.resize_bilinear import ONE as RESIZE_ONE

_COORDINATES: dict[str, Callable[[Array, int, int], Array]] = {
    "half_pixel": lambda at, size, length: (at + 0.5) * length / size - 0.5,
    "asymmetric": lambda at, size, length: at * length / size,
    "align_corners": lambda at, size, length: at * ((length - 1) / max(size - 1, 1)),
}


@exports("resize_bilinear")
def _resize_bilinear(to: Writer, node: Any) -> None:
    """`Resize` where a coordinate transform gives these very shares, else products with them."""
    source, real = to.source(node)
    lengths = source.shape[:2]
    tables = zip((node.rows, node.columns), lengths, strict=True)
    shares = [_shares(table, length) for table, length in tables]
    scales = np.array([1, 1, *(len(v) / n for v, n in zip(shares, lengths, strict=True))], "f4")
    reached = [math.floor(n * float(s)) for n, s in zip(lengths, scales[2:], strict=True)]
    for mode in _COORDINATES if reached == [len(share) for share in shares] else ():
        if all(np.array_equal(_linear(mode, *share.shape), share) for share in shares):
            factors = to.constant(f"{node.name}/scales", scales)
            real = to.add(
                "Resize", [real, "", factors], f"{node.name}/resized", mode="linear",
                coordinate_transformation_mode=mode,
            )  # fmt: skip
            to.write_output(node, real)
            return
    rows, columns = (
        to.constant(f"{node.name}/{name}", values.astype(np.float32))
        for name, values in zip(("rows", "columns"), (shares[0], shares[1].T), strict=True)
    )
    real = to.add("MatMul", [rows, real], f"{node.name}/down")
    to.write_output(node, to.add("MatMul", [real, columns], f"{node.name}/across"))


def _shares(table: Array, length: int) -> Array:
    """(outputs, inputs) of each input in each output, of a table of two places and a share."""
    shares = np.zeros((len(table), length))
    each = np.arange(len(table))
    share = table[:, 2] / RESIZE_ONE
    np.add.at(shares, (each, table[:, 0]), 1 - share)
    np.add.at(shares, (each, table[:, 1]), share)
    return shares


def _linear(mode: str, size: int, length: int) -> Array:
    """The same of a linear `Resize`."""
    at = np.arange(size)
    place = np.clip(_COORDINATES[mode](at, size, length), 0, length - 1)
    first = np.floor(place).astype(np.int64)
    weights = np.zeros((size, length))
    np.add.at(weights, (at, first), 1 - (place - first))
    np.add.at(weights, (at, np.minimum(first + 1, length - 1)), place - first)
    return weights


@exports("resize_nearest")
def _resize(to: Writer, node: Any) -> None:
    source, real = to.source(node)
    given = (node.rows, node.columns)
    whole = [len(i) // n for i, n in zip(given, source.shape, strict=False)]
    if all(
        np.array_equal(i, np.repeat(np.arange(n), k))
        for i, n, k in zip(given, source.shape, whole, strict=False)
    ):
        scales = to.constant(f"{node.name}/scales", np.array([1, 1, *whole], np.float32))
        real = to.add(
            "Resize", [real, "", scales], f"{node.name}/resized", mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip
    else:
        for axis, indices in enumerate(given, start=2):
            chosen = to.constant(f"{node.name}/{axis}", indices.astype(np.int64))
            real = to.add("Gather", [real, chosen], f"{node.name}/chosen{axis}", axis=axis)
    to.write_output(node, real)
