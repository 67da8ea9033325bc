"""Orthogonal projection with Hebbian columns in floats: what a device's integers are compared with.

The same rule as `spikelet.learn.learners.hlop`, sample by sample, without any rounding. See there
for the source.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikelet.graph import Array


class FloatHlop:
    """Layers without biases, each beside the columns that old tasks used of its inputs.

    Attributes:
        weights: of the layers, (outputs, inputs).
        old: columns of old tasks, (inputs, K) a layer.
    """

    def __init__(self, sizes: Sequence[int], seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        pairs = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.weights = [self._rng.normal(0, np.sqrt(2 / n), (m, n)) for m, n in pairs]
        self.weights[-1] *= 0.5
        self.old = [np.zeros((n, 0)) for _, n in pairs]

    def activations(self, x: Array) -> list[Array]:
        """What each layer reads of samples (N, n), and the logits."""
        layers = [x]
        for weight in self.weights[:-1]:
            layers.append(np.maximum(layers[-1] @ weight.T, 0))
        return [*layers, layers[-1] @ self.weights[-1].T]

    def learn(self, x: Array, y: Array, rate: float, columns: Sequence[int]) -> None:
        """One task: all samples in their order, both rates falling to 0, then its columns join.

        Args:
            x: (N, n).
            y: (N,) labels.
            rate: learning rate at the start.
            columns: of each layer, for this task.
        """
        new = [
            self._rng.choice([-0.5, 0.5], (len(old), k)) / np.sqrt(len(old))
            for old, k in zip(self.old, columns, strict=True)
        ]
        for at, (sample, label) in enumerate(zip(x, y, strict=True)):
            left = 1 - at / len(x)
            *read, logits = self.activations(sample)
            error = np.exp(logits - logits.max())
            error /= error.sum()
            error[label] -= 1
            for i in reversed(range(len(self.weights))):
                below = (error @ self.weights[i]) * (read[i] > 0)
                trace = read[i] - self.old[i] @ (read[i] @ self.old[i])
                self.weights[i] -= rate * left * np.outer(error, trace)
                norm = trace @ trace
                if norm > 0:
                    coordinates = trace @ new[i]
                    rest = trace - new[i] @ coordinates
                    new[i] += left / norm * np.outer(rest, coordinates)
                error = below
        self.old = [np.concatenate(pair, axis=1) for pair in zip(self.old, new, strict=True)]
