from __future__ import annotations

import numpy as np

from spikelet.graph.fixed import mix32
from spikelet.seeds import epoch_seed, sample_seeds


def splitmix32(state: int) -> int:
    """The finaliser, written with Python's integers."""
    z = state
    z = ((z ^ (z >> 16)) * 0x21F0AAAD) & 0xFFFFFFFF
    z = ((z ^ (z >> 15)) * 0x735A2D97) & 0xFFFFFFFF
    return z ^ (z >> 15)


def test_seeds_are_those_of_a_plain_splitmix32() -> None:
    start = splitmix32(7)
    expected = [splitmix32((start + (i + 1) * 0x9E3779B9) & 0xFFFFFFFF) for i in range(1000)]
    seeds = sample_seeds(7, 1000)
    assert seeds.dtype == np.uint32
    assert seeds.shape == (1000, 1)
    assert seeds[:, 0].tolist() == expected


def test_a_seed_depends_on_the_sample_alone() -> None:
    np.testing.assert_array_equal(sample_seeds(3, 100)[40:60], sample_seeds(3, 20, first=40))


def test_no_two_samples_of_a_run_share_a_seed() -> None:
    assert len(np.unique(sample_seeds(0, 100_000))) == 100_000
    assert len(np.unique(mix32(np.arange(100_000, dtype=np.uint32)))) == 100_000


def test_training_and_test_draw_different_seeds() -> None:
    test = set(sample_seeds(0, 360).ravel().tolist())
    for epoch in range(1, 31):
        drawn = set(sample_seeds(epoch_seed(0, epoch), 1437).ravel().tolist())
        assert len(test & drawn) <= 1
    assert len({epoch_seed(0, e) for e in range(1, 1001)}) == 1000
