"""Associative memory: 1000 random patterns of 256 bits, recalled from cues with a quarter wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from _gate import Gate

from spikelet.graph import Graph, Tensor
from spikelet.learn import Setting, Twin, needs
from spikelet.learn.learners.associative import Associative, Binarise
from spikelet.run.learner import device_learner, outputs_crc

TITLE = "Associative memory, N = 256, P = 1000, 25 % flips"
WHERE = "virt-rv32 (emulated), every sample"
TUNED_ON = "nothing: there is no data"
GATES = (
    Gate("patterns recalled without an error, exp2", ">=", 0.99, lambda f: min(f["recalled_exp2"])),
)
BITS, PATTERNS, CUES, FLIPPED = 256, 1000, 200, 64
BOARD = "virt-rv32"  # without an FPU, without an instruction that counts bits


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Both weights on the emulated device and the twin."""
    results = {weights: [_recall(weights, seed) for seed in seeds] for weights in ("exp2", "pow3")}
    recalled, right, ticks = (
        {weights: [row[i] for row in rows] for weights, rows in results.items()} for i in range(3)
    )
    arena = needs(_memory("exp2")).arena_bytes
    return {
        "figure": (
            f"exp2 {np.mean(recalled['exp2']):.3f} ({ticks['exp2'][0] / 1000:.0f} k instructions); "
            f"pow3 {np.mean(recalled['pow3']):.3f}, {np.mean(right['pow3']):.4f} of its bits "
            f"({ticks['pow3'][0] / 1000:.0f} k); arena {arena} bytes"
        ),
        "arena_bytes": arena,
        **{f"recalled_{weights}": recalled[weights] for weights in results},
        **{f"right_bits_{weights}": right[weights] for weights in results},
        **{f"instructions_{weights}": ticks[weights] for weights in results},
    }


def _memory(weights: str) -> Graph:
    x = Tensor("x", "u8", (BITS,), kind="input")
    bits = Binarise(name="bits", inputs=("x",), threshold=np.zeros(BITS, np.int32))
    backbone = Graph("raw", 1, [x], [bits], ["bits"])
    learner = Associative(rows=PATTERNS, weights=weights)  # type: ignore[arg-type]
    return learner.attach(backbone, Setting("bits", 0))


def _recall(weights: str, seed: int) -> tuple[float, float, int]:
    """Share of patterns recalled, share of bits, instructions of a recall."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 2, (PATTERNS, BITS)).astype(np.uint8)
    wanted = rng.choice(PATTERNS, CUES, replace=False)
    cues = patterns[wanted].copy()
    for cue in cues:
        cue[rng.choice(BITS, FLIPPED, replace=False)] ^= 1
    graph = _memory(weights)
    twin = Twin(graph)
    with device_learner(graph, BOARD) as device:
        said = device.observe({"x": patterns})
        np.testing.assert_array_equal(said, outputs_crc(graph, twin.observe({"x": patterns})))
        device.agree(twin)
        recalls = device.predict({"x": cues})["am_recall"]
        ticks = 0 if device.ran is None else device.ran.ticks
    np.testing.assert_array_equal(recalls, twin.predict({"x": cues}).outputs["am_recall"])
    same = recalls == patterns[wanted]
    return float(same.all(axis=1).mean()), float(same.mean()), ticks
