"""Layer-local learning against backpropagation: MNIST, int16, sample by sample on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import _forward_forward
import numpy as np
from _gate import Gate, points
from _long import accuracy, learn

from spikelet.learn import Learner, Setting, Twin, identity, needs
from spikelet.learn.learners.penalties import Penalties
from spikelet.learn.learners.single_forward import SingleForward
from spikelet.run.learner import device_learner
from spikelet.train.data import DataSet, load

TITLE = "Single forward with a linear head a layer, MNIST, 784-256-256, int16"
WHERE = "native, every sample; the twin the first and last 60"
TUNED_ON = "rates: a held-out part of the training part, by hand"
GATES = (
    Gate("20,000 samples of MNIST", ">=", 0.968, lambda f: np.mean(f["single_forward"])),
    Gate("points below backpropagation", "<=", 0.5,
         lambda f: points(f["backpropagation"], f["single_forward"])),
    Gate("digits", ">=", 0.96, lambda f: np.mean(f["digits"])),
)  # fmt: skip
SAMPLES, EPOCHS = 20_000, 3
HIDDEN = "256-256"
RATES = {"single_forward": 0.03, "backpropagation": 0.02}  # by a held-out part, of 0.02 and 0.03
DIGITS_EPOCHS, DIGITS_RATE = 15, 0.05
CHECKED = 60  # samples at either end that the twin learns too


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Accuracy on the 10,000 test images after three passes over 20,000 others.

    On digits Forward-Forward stands beside it, in floats on the host.
    """
    data, digits = load("mnist").flat(), load("digits").flat()
    steps = SAMPLES * EPOCHS
    also = ("digits", "digits_forward_forward")
    results: dict[str, list[float]] = {name: [] for name in (*RATES, *also)}
    work = {}
    for seed in seeds:
        learners: dict[str, Learner] = {
            "single_forward": SingleForward(
                hidden=HIDDEN, rate=RATES["single_forward"], samples=steps
            ),
            "backpropagation": Penalties(
                kind="none", hidden=HIDDEN, rate=RATES["backpropagation"], samples=steps
            ),
        }
        for name, learner in learners.items():
            accurate, work[name] = _learn(learner, data, seed, SAMPLES, EPOCHS)
            results[name].append(accurate)
        samples = len(digits.x_train)
        small = SingleForward(hidden="128-128", rate=DIGITS_RATE, samples=DIGITS_EPOCHS * samples)
        results["digits"].append(_learn(small, digits, seed, samples, DIGITS_EPOCHS)[0])
        results["digits_forward_forward"].append(
            _forward_forward.accuracy(digits, [128, 128], seed)
        )
    mean = {name: float(np.mean(values)) for name, values in results.items()}
    local, back = mean["single_forward"], mean["backpropagation"]
    return {
        "figure": (
            f"{local:.4f}, backpropagation {back:.4f} ({100 * (local - back):+.2f} points); "
            f"working memory {work['single_forward']} and {work['backpropagation']} B; digits "
            f"{mean['digits']:.3f}, Forward-Forward in floats {mean['digits_forward_forward']:.3f}"
        ),
        **results,
        "work_bytes": work,
    }


def _learn(
    learner: Learner, data: DataSet, seed: int, samples: int, epochs: int
) -> tuple[float, int]:
    """Test accuracy, and the bytes that learning works in."""
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(data.x_train))[:samples]
    order = np.concatenate([rng.permutation(drawn) for _ in range(epochs)])
    backbone = identity(data.x_train.shape[1:], "u8", scale=1 / 255)
    graph = learner.attach(backbone, Setting("features", data.classes, seed))
    twin = Twin(graph)
    with device_learner(graph) as device:
        learn(device, twin, data.x_train[order], data.y_train[order], CHECKED)
        accurate = accuracy(device, twin, data.x_test, data.y_test)
    return accurate, needs(graph).work_bytes
