"""int16 training on a core without FPU: instructions, and accuracy on shifted digits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate, points
from _shifted_digits import learn, network, stream, tuning

from spikelet.learn import Twin
from spikelet.run.learner import device_learner

TITLE = "int16 training, 64-64-10, digits turned by 90 degrees and inverted"
WHERE = "native, every sample; virt-rv32 (QEMU), 100 steps"
TUNED_ON = "rate: a held-out fifth of the training part"
GATES = (
    Gate("instructions a MAC end to end on RV32IMAC, worst step", "<=", 9,
         lambda f: f["instructions_per_mac"]["worst"]),
    Gate("points below float32", "<=", 0.5,
         lambda f: points(*([r["after"] for r in f[k]] for k in ("f32", "i16")))),
)  # fmt: skip
STEPS = 100  # whose instructions are counted

__all__ = ["GATES", "TITLE", "TUNED_ON", "WHERE", "measure", "tuning"]


def instructions(seed: int) -> dict[str, float]:
    """Of prediction and step together on the emulated core, which must agree with the twin."""
    graph, data = network("i16", "nearest", seed)
    x, y = stream(data, seed)
    twin = Twin(graph)
    counted = []
    with device_learner(graph, "virt-rv32", toolchain="gcc", machine="qemu") as device:
        for i in range(STEPS):
            device.observe({"x": x[i : i + 1]}, y[i : i + 1])
            assert device.ran is not None
            assert device.learned is not None
            counted.append(device.ran.ticks + device.learned.ticks)
        twin.observe({"x": x[:STEPS]}, y[:STEPS])
        device.agree(twin)
    inputs, hidden, classes = 64, 64, 10
    # Forward, weight gradients, and the input gradient of the second layer.
    macs = 2 * (inputs * hidden + hidden * classes) + hidden * classes
    return {
        "macs": macs,
        "mean": float(np.mean(counted)) / macs,
        "worst": float(np.max(counted)) / macs,
    }


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Accuracy on native device and twin, instructions in QEMU."""
    real = [learn("f32", "nearest", seed) for seed in seeds]
    fixed = [learn("i16", "nearest", seed) for seed in seeds]
    count = instructions(seeds[0])
    f32 = float(np.mean([r["after"] for r in real]))
    i16 = float(np.mean([r["after"] for r in fixed]))
    before = float(np.mean([r["before"] for r in fixed]))
    return {
        "figure": (
            f"{count['mean']:.2f} instructions a MAC (worst step {count['worst']:.2f}); "
            f"from {before:.3f} to {i16:.3f}, float32 {f32:.3f}"
        ),
        "instructions_per_mac": count,
        "i16": fixed,
        "f32": real,
    }
