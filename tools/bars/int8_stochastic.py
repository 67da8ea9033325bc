"""int8 weights that learn: stochastic rounding against rounding to nearest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate, points
from _shifted_digits import RATE, TRIED, learn, tuning

TITLE = "int8 training, stochastic rounding against nearest, shifted digits"
WHERE = "native, every sample at the chosen rate; other rates on the twin only"
TUNED_ON = "rate: a held-out fifth of the training part, for float32"
GATES = (
    Gate("points above rounding to nearest", ">=", 8,
         lambda f: points(*map(f["accuracy_by_rate"][str(RATE)].get, ("stochastic", "nearest")))),
)  # fmt: skip

__all__ = ["GATES", "TITLE", "TUNED_ON", "WHERE", "measure", "tuning"]


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Accuracy after the same samples at the same rate, on native device and twin.

    The lower the rate, the more steps are below half a unit of the weight, and lost to rounding to
    nearest: other rates are reported beside the one that was tuned for float32.
    """
    results = {
        rate: {
            rounding: [
                learn("i8", rounding, seed, rate, on_device=rate == RATE)["after"] for seed in seeds
            ]
            for rounding in ("stochastic", "nearest")
        }
        for rate in TRIED
    }
    means = {rate: {k: float(np.mean(v)) for k, v in row.items()} for rate, row in results.items()}
    gain = {rate: row["stochastic"] - row["nearest"] for rate, row in means.items()}
    others = ", ".join(f"{100 * gain[rate]:+.1f} at {rate}" for rate in TRIED if rate != RATE)
    return {
        "figure": (
            f"stochastic {means[RATE]['stochastic']:.3f}, nearest {means[RATE]['nearest']:.3f}: "
            f"{100 * gain[RATE]:+.1f} points at rate {RATE} ({others})"
        ),
        "accuracy_by_rate": {str(rate): row for rate, row in results.items()},
    }
