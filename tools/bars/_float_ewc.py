"""Elastic weight consolidation in floats, as its paper has it: what a device's is compared with.

Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017. At the end
of a task all of its samples are seen once more, and the diagonal of the Fisher information is
exact: squared gradients of each sample for every label, weighted by the softmax.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikelet.graph import Array


class FloatEwc:
    """A network of one hidden layer that learns sample by sample, each task held by a penalty.

    Attributes:
        weights: of both layers, (outputs, inputs), float32.
        biases: of both layers.
    """

    def __init__(self, sizes: Sequence[int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        spread = (1.0, 0.5)
        pairs = list(zip(sizes[1:], sizes[:-1], spread, strict=True))
        self.weights = [
            rng.normal(0, s * np.sqrt(2 / n), (m, n)).astype(np.float32) for m, n, s in pairs
        ]
        self.biases = [np.zeros(m, np.float32) for m, _, _ in pairs]
        self._anchors = [w.copy() for w in self.weights]
        self._fisher = [np.zeros_like(w) for w in self.weights]

    def logits(self, x: Array) -> tuple[Array, Array]:
        """The hidden layer and the logits of samples x (N, n)."""
        h = np.maximum(x @ self.weights[0].T + self.biases[0], 0)
        return h, h @ self.weights[1].T + self.biases[1]

    def learn(self, x: Array, y: Array, rate: float, strength: float, every: int) -> None:
        """One task: all samples in their order, the rate falling to 0; then what it leaves behind.

        Args:
            x: (N, n) float32.
            y: (N,) labels.
            rate: learning rate at the start.
            strength: of the penalty, beside the loss of one sample; 0 for none.
            every: samples between two steps of the penalty.
        """
        for at, (sample, label) in enumerate(zip(x, y, strict=True)):
            now = np.float32(rate * (1 - at / len(x)))
            if at % every == every - 1:
                for w, f, a in zip(self.weights, self._fisher, self._anchors, strict=True):
                    w -= np.minimum(now * np.float32(strength * every) * f, 1) * (w - a)
            h, z = self.logits(sample[None])
            error = _softmax(z)[0]
            error[label] -= 1
            below = (error @ self.weights[1]) * (h[0] > 0)
            for i, (e, pre) in enumerate(((below, sample), (error, h[0]))):
                self.weights[i] -= now * np.outer(e, pre)
                self.biases[i] -= now * e
        for total, new in zip(self._fisher, self.fisher(x), strict=True):
            total += new
        self._anchors = [w.copy() for w in self.weights]

    def fisher(self, x: Array) -> list[Array]:
        """The diagonal of the Fisher information of both layers, summed over samples x."""
        h, z = self.logits(x)
        p = _softmax(z)
        sums = [np.zeros_like(w) for w in self.weights]
        for k in range(p.shape[1]):
            error = p.copy()
            error[:, k] -= 1
            below = (error @ self.weights[1]) * (h > 0)
            for i, (e, pre) in enumerate(((below, x), (error, h))):
                sums[i] += (p[:, k : k + 1] * e**2).T @ pre**2
        return sums


def _softmax(z: Array) -> Array:
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares
