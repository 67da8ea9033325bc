"""Seeds for the random encoders: one function for training, test vectors and a user's own data."""

from __future__ import annotations

import numpy as np

from spikelet.graph import Array

_GAMMA = 0x9E3779B9  # 2^32 / golden ratio, odd: the increment of splitmix


def mix32(values: Array) -> Array:
    """A bijective hash of uint32: the finaliser of splitmix32, any shape.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with
    the 32-bit constants of T. Ettinger.
    """
    z = values.astype(np.uint32)
    z = (z ^ (z >> np.uint32(16))) * np.uint32(0x21F0AAAD)
    z = (z ^ (z >> np.uint32(15))) * np.uint32(0x735A2D97)
    hashed: Array = z ^ (z >> np.uint32(15))
    return hashed


def sample_seeds(seed: int, count: int, first: int = 0) -> Array:
    """The encoder's seed of samples `first` to `first + count - 1`: (count, 1) uint32.

    A sample's seed depends on `seed` (the recipe's, kept in a package's manifest) and on its own
    index only: not on how many samples there are, nor on their order of execution.
    """
    start = int(mix32(np.array([seed & 0xFFFFFFFF], np.uint32))[0])
    index = np.arange(first + 1, first + 1 + count, dtype=np.uint64)
    states = (start + index * _GAMMA) & 0xFFFFFFFF
    return mix32(states.astype(np.uint32))[:, None]


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for `sample_seeds` in one pass over the training part; epochs count from 1."""
    return int(sample_seeds(~seed, 1, epoch)[0, 0])
