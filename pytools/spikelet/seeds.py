"""Seeds for the random encoders: one function for training, test vectors and a user's own data."""

from __future__ import annotations

from spikelet.graph import Array
from spikelet.graph.fixed import counted32


def sample_seeds(seed: int, count: int, first: int = 0) -> Array:
    """The encoder's seed of samples `first` to `first + count - 1`: (count, 1) uint32.

    A sample's seed depends on `seed` (the recipe's, kept in a package's manifest) and on its own
    index only: not on how many samples there are, nor on their order of execution.
    """
    return counted32(seed, count, first)[:, None]


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for `sample_seeds` in one pass over the training part; epochs count from 1."""
    return int(sample_seeds(~seed, 1, epoch)[0, 0])
