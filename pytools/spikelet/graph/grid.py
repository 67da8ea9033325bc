"""What codes of few bits stand for, and how they lie for sums of spikes: see dense_packed.h."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from spikelet.graph.tensor import Array, GraphError


def levels_of(codes: Array, odd: bool, upper: int = 8) -> Array:
    """What codes k stand for, in units of the weight's step: k, or 2k + 1 (`odd`); int8 or int16.

    upper: of odd codes of 8 bits, how many count, as if the others were half of a step.
    """
    if not odd:
        return codes
    step = 1 << (8 - upper)
    kept: Array = codes.astype(np.int16) & np.int16(-step)
    return 2 * kept + np.int16(step)


def check_codes(error: Callable[[str], GraphError], codes: Array, bits: int, odd: bool) -> None:
    """Refuse codes that `bits` do not hold, and a grid of one level and none beside it."""
    half = 1 << (bits - 1)
    least, most = int(codes.min()), int(codes.max())
    if least < -half or most >= half:
        raise error(
            f"weight codes are {least} to {most}, expected {-half} to {half - 1} of {bits} bits"
        )
    if bits == 1 and not odd:
        raise error("weights of 1 bit are -1 and 1: expected odd")


def check_spike_weights(
    error: Callable[[str], GraphError], codes: Array, bits: int, odd: bool, dtype: str
) -> None:
    """Refuse weights of sums that read a `dtype`: few bits are for spikes, 8 bits are not odd."""
    check_codes(error, codes, bits, odd)
    if bits < 8 and dtype != "bit":
        raise error(f"weights of {bits} bits read {dtype}: expected spikes, or 8 bits")
    if bits == 8 and odd:
        raise error("odd weights of 8 bits: expected less bits, or odd=False")


def fewest_bits(levels: Array) -> tuple[Array, Literal[1, 2, 4, 8], bool]:
    """The narrowest codes that stand for int8 levels: codes, bits, and whether they are odd."""
    grids: tuple[tuple[Literal[1, 2, 4], bool], ...] = (
        (1, True), (2, False), (2, True), (4, False), (4, True),
    )  # fmt: skip
    for bits, odd in grids:
        half = 1 << (bits - 1)
        codes = (levels.astype(np.int16) - 1) >> 1 if odd else levels
        if np.all(levels_of(codes, odd) == levels) and -half <= codes.min() <= codes.max() < half:
            return codes.astype(np.int8), bits, odd
    return levels, 8, False


def lane_fields(codes: Array, bits: int) -> Array:
    """(m, n) codes of 1, 2 or 4 bits to columns (n, ceil(m * bits / 32)) uint32, for spk_few_fill.

    A code k lies as k + 2^(bits - 1). Of the outputs of a word, those end side by side in 16 bits
    whose fields are as far apart as they can be.
    """
    m, n = codes.shape
    each = 32 // bits
    order = np.argsort([_output(field, bits) for field in range(each)], kind="stable")
    padded = np.zeros((-(-m // each) * each, n), np.int64)
    padded[:m] = codes.astype(np.int64) + (1 << (bits - 1))
    fields = padded.reshape(-1, each, n).transpose(2, 0, 1)
    words: Array = (fields << (bits * order)).sum(axis=-1).astype("<u4")
    return words


def _output(field: int, bits: int) -> int:
    """Which output of a word a field belongs to."""
    word, lane, width = 0, field, bits
    while width < 16:
        word, lane, width = 2 * word + lane % 2, lane // 2, 2 * width
    return 2 * word + lane
