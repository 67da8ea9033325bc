"""CUBER: four tasks that show MNIST ever more turned, so that a later one may help those before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate
from _tasks import Course, backward, matrix, singular_vectors
from scipy.ndimage import rotate

from spikelet.graph import Array
from spikelet.learn.learners.hlop import Hlop
from spikelet.train.data import DataSet, load

TITLE = "CUBER without its penalty, MNIST turned by 0, 10, 20 and 30 degrees, 784-100-10, int16"
WHERE = "native, every sample; the twin the first and last 30 of each task"
TUNED_ON = "cosine: a held-out fifth of the training part"
GATES = (
    Gate("BWT, points", ">", 0, lambda f: 100 * np.mean(f["bwt"]["cuber"])),
    Gate("where GPM has", "<=", 0, lambda f: 100 * np.mean(f["bwt"]["gpm"])),
)
ANGLES, SAMPLES = (0, 10, 20, 30), 4_000  # of a task, each shown once
HIDDEN, RATE = "100", 0.03
TESTED = 5_000
PROBE, COSINE = SAMPLES // 4, 0.3
TRIED = (0.1, 0.3, 0.5)


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Backward transfer, and the mean accuracy over all tasks in the end."""
    data = load("mnist").flat()
    kinds = ("cuber", "hlop", "gpm")
    matrices = {k: [_learn(k, data, seed) for seed in seeds] for k in kinds}
    bwt = {k: [backward(m) for m in v] for k, v in matrices.items()}
    acc = {k: [float(m[-1].mean()) for m in v] for k, v in matrices.items()}
    return {
        "figure": "; ".join(
            f"{k.upper()} BWT {100 * np.mean(bwt[k]):+.2f} points, ACC {np.mean(acc[k]):.3f}"
            for k in kinds
        ),
        "bwt": bwt,
        "acc": acc,
    }


def tuning(seeds: Sequence[int]) -> dict[str, float]:
    """Mean accuracy on held-out images of the training part, by cosine."""
    data = load("mnist").held_out().flat()
    return {
        f"cosine {cosine}": float(
            np.mean([_learn("cuber", data, seed, cosine)[-1].mean() for seed in seeds])
        )
        for cosine in TRIED
    }


def _learn(kind: str, data: DataSet, seed: int, cosine: float = COSINE) -> Array:
    """Accuracy of each task after each task; GPM: HLOP with columns that the host found."""
    rng = np.random.default_rng(seed)
    tested = rng.permutation(len(data.x_test))[:TESTED]
    orders = [rng.permutation(len(data.x_train))[:SAMPLES] for _ in ANGLES]
    views = [lambda x, angle=angle: _turn(x, angle) for angle in ANGLES]
    cuber = {"cuber": PROBE, "cosine": cosine} if kind == "cuber" else {}
    learner = Hlop(hidden=HIDDEN, tasks=len(ANGLES), rate=RATE, samples=SAMPLES, **cuber)
    after = {"after": singular_vectors} if kind == "gpm" else {}
    return matrix(learner, Course(data, views, orders, tested), seed, **after)


def _turn(x: Array, degrees: float) -> Array:
    images = x.reshape(-1, 28, 28)
    rotated: Array = rotate(images, degrees, axes=(1, 2), reshape=False, order=1)
    return rotated.reshape(x.shape)
