"""Ways to train signs on signs, on Fashion-MNIST: each against the same training without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _gate import Gate, points

from spikelet.train import int8
from spikelet.train.recipe import Int8Recipe

TITLE = "1-bit MLP on signs, 196-384-180-10, Fashion-MNIST in 14x14 pixels, 8 epochs"
WHERE = "the integer graph (golden), 10,000 test images"
TUNED_ON = "nothing"
GATES = (
    Gate("sine in place of straight-through, points lost", "<=", 0.3,
         lambda f: points(f["plain"], f["sine"])),
    Gate("weights held in the last two epochs, points lost", "<=", 0,
         lambda f: points(f["plain"], f["held"])),
    Gate("Gram distillation, points gained", ">=", 0.5, lambda f: points(f["gram"], f["plain"])),
)  # fmt: skip
FOLDER = Path(__file__).resolve().parents[2] / "models" / "mnist_xnor_mlp"  # its layers
# A float teacher's similarities of samples, and nothing else of it.
GRAM = {"channels": 16, "epochs": 4, "learning_rate": 6e-3, "share": 0.0, "gram": 0.3}
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sine": {"quantise": {"signs": "sine"}},
    "held": {"quantise": {"hold_epochs": 2}},
    "gram": {"teacher": GRAM},
}


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Accuracies on the test part, one a seed."""
    found = {way: [_accuracy(seed, how) for seed in seeds] for way, how in WAYS.items()}
    means = ", ".join(f"{way} {np.mean(values):.4f}" for way, values in found.items())
    return {"figure": means, **found}


def _accuracy(seed: int, how: dict[str, Any]) -> float:
    recipe = Int8Recipe.model_validate(
        {
            "name": "few_bits",
            "seed": seed,
            "data": {"name": "fashion_mnist", "size": 14},
            "train": {"epochs": 2, "batch": 256, "learning_rate": 5e-3, "weight_decay": 1e-4},
            "package": {"vectors": 10},
            **how,
            "quantise": {
                "epochs": 8, "learning_rate": 3e-3, "bits": 1, "normalise": True,
                **how.get("quantise", {}),
            },
        }
    )  # fmt: skip
    return float(int8.train(FOLDER, recipe, None, "test").manifest["integer_accuracy"])
