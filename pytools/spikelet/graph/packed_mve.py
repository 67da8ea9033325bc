"""Weights of less than 8 bits as Arm's M-profile vector extension takes them.

C twin: firmware/kernels/arch/packed_mve.h.
"""

from __future__ import annotations

import numpy as np

from spikelet.graph.tensor import Array

HELD = 64  # taps that registers hold


def packed_bytes(rows: Array, bits: int, taps: int = 0) -> Array:
    """(O, n) codes to bytes of 8 / bits channels of a tap, by sixteen taps.

    (ceil(O / 4), taps / 16, 2, 16) of 4 bits, else (ceil(O * bits / 8), taps / 16, 16). The first
    fields of a byte lie as k + 2^(bits - 1), the last in two's complement. taps: at least.
    """
    channels, n = rows.shape
    taps = max(taps, n)
    taps += -taps % 16
    together = 8 // bits
    raised = rows.astype(np.int64) + (1 << (bits - 1))
    margin = ((0, -channels % max(together, 4)), (0, taps - n))
    fields = np.pad(raised, margin)
    last = np.pad(rows.astype(np.int64) & ((1 << bits) - 1), margin)[together - 1 :: together]
    whole = last << (bits * (together - 1))
    for place in range(together - 1):
        whole |= fields[place::together] << (bits * place)
    blocks = whole.astype(np.uint8).view(np.int8).reshape(len(whole), -1, 16)
    if bits < 4:
        return blocks
    pairs: Array = blocks.reshape(len(blocks) // 2, 2, -1, 16).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(pairs)
