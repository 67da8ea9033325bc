"""Constants of less than 8 bits, as ONNX and TensorFlow Lite store them."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelet.graph import Array


def packed_bytes(count: int, bits: int) -> int:
    """How many bytes that many fields take."""
    return -(-count * bits // 8)


def unpack(raw: bytes, bits: int, dtype: np.dtype[Any], count: int) -> Array:
    """(count,) fields, the lowest bits of a byte first, in a type of 8 bits, signed or not."""
    fields = np.frombuffer(raw, np.uint8)[:, None] >> np.arange(0, 8, bits, dtype=np.uint8)
    values: Array = (fields & ((1 << bits) - 1)).reshape(-1)[:count].astype(np.int8)
    if dtype.kind == "i":
        values -= (values >> (bits - 1)) << bits
    return values.astype(dtype)
