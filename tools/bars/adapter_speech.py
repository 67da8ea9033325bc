"""Adapters of kws_dscnn for a noisy room: background clips added to spoken words, 0 and 10 dB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _noisy_speech import apart, noisy
from _shifts import GATES, Shift, compare, told
from _turned_sensor import codes

from spikelet.graph.adapted import Adapter
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.train.data import load

__all__ = ["FORM", "GATES", "TITLE", "TUNED_ON", "WHERE", "measure"]
TITLE = "Adapter of kws_dscnn, background clips added to the words at 0 and 10 dB"
WHERE = "golden; that devices agree with it is tests/learn/test_delta.py's"
DECIBELS = (0, 10)
SAMPLES = 500  # of the training part, to adapt to
FORM = Adapter("scale_bias")
TUNED_ON = "nothing: defaults; the kind by its size"


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Accuracy on the test part, a mean over both levels of noise.

    The words to adapt to and their noise are of the training part; those tested, of the test part.
    """
    data = load("speech_commands_v2_test")
    graph = Package.load(models_dir() / "kws_dscnn" / "kws_dscnn.spk").graph
    quiet = list(data.class_names or ()).index("_silence_")
    rows = np.random.default_rng(0).permutation(len(data.x_train))[:SAMPLES]
    shifts = []
    for level in DECIBELS:
        made = [
            codes(graph, data, noisy(x, clips[y == quiet], level, seed))[graph.inputs[0].name]
            for x, clips, y, seed in (
                (data.x_train[rows], data.x_train, data.y_train, 1),
                (data.x_test, data.x_test, data.y_test, 2),
            )
        ]
        shifts.append(Shift(made[0], data.y_train[rows], made[1], data.y_test))
    found = compare(graph, FORM, shifts, seeds, lambda said, y: float(np.mean(said == y)))
    distance = {level: apart(level) for level in DECIBELS}
    waves = ", ".join(f"{d['mixed']:.1f} dB at {level} dB" for level, d in distance.items())
    return {
        "figure": f"{told(found)}; from codes of added waveforms {waves}",
        "apart": distance,
        **found,
    }
