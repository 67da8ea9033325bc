"""One step of stochastic gradient descent of a small MLP: instructions and memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _dense import learning
from _gate import Gate

from spikelet.learn import Twin, identity
from spikelet.learn.networks.parameters import Learns, RealLayer
from spikelet.learn.numbers.scalar import Descent
from spikelet.run.learner import device_learner
from spikelet.train.data import load

TITLE = "MLP 64-32-10, ReLU, softmax and cross-entropy: one float32 SGD step, batch 1"
WHERE = "virt-rv32f (QEMU), 200 steps"
TUNED_ON = "nothing"
GATES = (
    Gate("instructions on RV32IMAFC, worst step (AIfES 302 k)", "<=", 22_000,
         lambda f: max(row["instructions_worst"] for row in f["rows"])),
    Gate("bytes beyond weights (AIfES 26 KB)", "<=", 400,
         lambda f: max(row["bytes_beyond_weights"] for row in f["rows"])),
)  # fmt: skip
STEPS = 200
CODE = ("model_start", "model_learn", "spk_softmax_cross_entropy")  # kernels are inlined there
WEIGHTS = 4 * (64 * 32 + 32 + 32 * 10 + 10)  # bytes


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Prediction and step together in QEMU; the device must agree with the twin."""
    data = load("digits").flat()
    results = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        layers = [
            RealLayer(rng.normal(size=(32, 64)) / 8, np.zeros(32), Learns(32, True), relu=True),
            RealLayer(rng.normal(size=(10, 32)) / 6, np.zeros(10), Learns(10, True)),
        ]
        backbone = identity((64,), "u8", scale=1 / 255)
        graph = learning(backbone, layers, "f32", Descent(0.05), data.x_train[:1], 1)
        part = rng.permutation(len(data.x_train))[:STEPS]
        x, y = data.x_train[part], data.y_train[part]
        twin = Twin(graph)
        counted = []
        with device_learner(graph, "virt-rv32f", toolchain="gcc", machine="qemu") as device:
            for i in range(STEPS):
                device.observe({"x": x[i : i + 1]}, y[i : i + 1])
                assert device.ran is not None
                assert device.learned is not None
                counted.append(device.ran.ticks + device.learned.ticks)
            twin.observe({"x": x}, y)
            device.agree(twin)
            facts = device.facts
        results.append(
            {
                "instructions_mean": float(np.mean(counted)),
                "instructions_worst": int(np.max(counted)),
                "bytes_beyond_weights": facts["arena_bytes"] - WEIGHTS,
                "kernel_code_bytes": sum(s["bytes"] for s in facts["symbols"] if s["name"] in CODE),
            }
        )
    worst = max(row["instructions_worst"] for row in results)
    mean = float(np.mean([row["instructions_mean"] for row in results]))
    beyond = max(row["bytes_beyond_weights"] for row in results)
    return {
        "figure": (
            f"{mean:.0f} instructions (worst step {worst}), {beyond} B beyond weights, input "
            "and activations included"
        ),
        "rows": results,
    }
