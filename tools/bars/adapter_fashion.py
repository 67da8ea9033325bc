"""Adapters of fashion_cnn for images that are turned by 90 degrees and inverted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate
from _shifts import compare, told
from _turned_clothing import network, shift

from spikelet.graph.adapted import Adapter

TITLE = "Adapter of fashion_cnn, images turned by 90 degrees and inverted, 1,000 labels"
WHERE = "golden; that devices agree with it is tests/learn/test_delta.py's"
FORM = Adapter("low_rank", 0, 1, head=True, ranks=(8, 6, 2, 1, 1))
HEAD_BYTES = 520
GATES = (
    Gate("bytes beside those of a head", "<=", 600, lambda f: f["bytes"] - HEAD_BYTES),
    Gate(
        "points below the whole network", "<=", 2,
        lambda f: 100 * (np.mean(f["whole"]) - np.mean(f["delta"])),
    ),
    Gate("share of old outputs unchanged without a delta", ">=", 1, lambda f: f["kept"]),
)  # fmt: skip
TUNED_ON = "training part: kind (low rank, sparse, whole first layers, scale and bias), ranks, rate"


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Accuracy on images of the test part."""
    graph = network()
    score = lambda said, y: float(np.mean(said == y))  # noqa: E731
    found = compare(graph, FORM, [shift(graph)], seeds, score)
    return {"figure": told(found), **found}
