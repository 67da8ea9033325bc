"""Weights of less than 8 bits, or an odd grid, as Arm's DSP extension takes them.

C twin: firmware/kernels/arch/packed_dsp.h, which says what the fields mean.
"""

from __future__ import annotations

import numpy as np

from spikelet.graph.tensor import Array

BLOCK = 16  # taps, SPK_PACKED_BLOCK
MOST_TAPS = 4096  # of 4 bits: the sum of a channel keeps within 24 bits


def packed_pairs(rows: Array, bits: int, taps: int, *, quads: bool) -> Array:
    """(O, n) codes to words (ceil(O / 4), 2, taps * bits / 16): two channels a lane.

    taps: a multiple of 16, or of 8 but for 1 bit. quads: four taps in the order 0, 2, 1, 3.
    """
    rows = np.pad(rows, ((0, -len(rows) % 4), (0, 0)))
    low, high = _fields(rows, bits, taps, 2, quads, raised=2 if bits == 4 else 1)
    apart = 8 if bits >= 4 else 16 - bits
    lanes = (low | high << apart).reshape(len(low), -1, 2)
    words = lanes[..., 0] | lanes[..., 1] << 16
    each, step = {8: (1, 0), 4: (2, 4)}.get(bits, (8 // bits, 2 * bits))
    turned = words.reshape(len(low), -1, each) << (step * np.arange(each))
    merged: Array = np.bitwise_or.reduce((turned | turned >> 32) & 0xFFFFFFFF, axis=-1)
    return merged.astype("<u4").reshape(len(rows) // 4, 2, -1)


def packed_vector(rows: Array, bits: int) -> Array:
    """(O, n) codes to words of four channels, (ceil(O / 4), ...): for one vector of inputs."""
    n = rows.shape[1]
    if bits == 4:
        a, b, c, d = _fields(rows, bits, n + -n % 8, 4, True, raised=3)
        lanes = (a | b << 4 | c << 8 | d << 12).reshape(len(a), -1, 2)
        words: Array = lanes[..., 0] | lanes[..., 1] << 16
        return words.astype("<u4")
    pairs = packed_pairs(rows, bits, n + -n % (16 if bits == 1 else 8), quads=True)
    return np.ascontiguousarray(pairs.transpose(0, 2, 1))


def _fields(
    rows: Array, bits: int, taps: int, together: int, quads: bool, *, raised: int
) -> list[Array]:
    """(O, n) codes to the fields of each of `together` channels, (groups, taps) int64.

    The first `raised` of them lie as k + 2^(bits - 1), the others in two's complement; taps past n
    and channels past O are 0.
    """
    channels, n = rows.shape
    margin = ((0, -channels % together), (0, taps - n))
    codes = rows.astype(np.int64)
    half = 1 << (bits - 1)
    found = []
    for channel in range(together):
        fields = np.pad(codes + half if channel < raised else codes & (2 * half - 1), margin)
        fields = fields[channel::together]
        if quads:
            fields = fields.reshape(len(fields), -1, 4)[..., [0, 2, 1, 3]].reshape(len(fields), -1)
        found.append(fields)
    return found
