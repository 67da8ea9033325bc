"""The benchmark network of 64-128-10 with its weights rounded to 4 bits: instructions."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _gate import Gate

from spikelet.graph import Graph, Operator
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.lif import Lif
from spikelet.package import Package

TITLE = "digits_bernoulli, 64-128-10, 25 steps, weights of 4 bits"
WHERE = "virt-rv32, mps2-an386 (QEMU, gcc)"
TUNED_ON = "nothing"
BOARDS = ("virt-rv32", "mps2-an386")
GATES = (
    Gate("instructions an inference, the worst core", "<=", 105_000,
         lambda f: max(row["instructions"] for row in f["rows"])),
)  # fmt: skip
COARSER = 16  # steps of 8 bits in one of 4
SAMPLES = 20


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """The recipe trained with 8 bits, its weights rounded: what it costs, and how often right.

    Training with the rounding is another matter (`[quantise] bits` of a recipe): the spikes, and so
    the instructions, are about as many.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            path = Path(folder) / f"{seed}.spk"
            _spikelet("train", "digits_bernoulli", "--seed", str(seed), "-o", str(path))
            package = _coarse(Package.load(path))
            package.save(path)
            for board in BOARDS:
                made = _spikelet("bench", str(path), "--board", board, "--toolchain", "gcc")
                rows.append(
                    {
                        "seed": seed, "board": board, "mismatches": made["mismatches"],
                        "accuracy": _accuracy(package),
                        "instructions": made["instructions_per_inference"],
                    }
                )  # fmt: skip
    each = [max(r["instructions"] for r in rows if r["board"] == board) for board in BOARDS]
    return {"figure": " / ".join(f"{n:,.0f}" for n in each), "rows": rows}


def _coarse(package: Package) -> Package:
    """Its weights of 4 bits, thresholds as they are: sums keep their unit by a shift."""
    shift = COARSER.bit_length() - 1
    nodes: list[Operator] = []
    for node in package.graph.nodes:
        if isinstance(node, Dense):
            codes = np.floor(node.weight / COARSER + 0.5).clip(-8, 7).astype(np.int8)
            nodes.append(dataclasses.replace(node, weight=codes, bits=4))
        elif isinstance(node, Lif):
            nodes.append(dataclasses.replace(node, input_shift=node.input_shift + shift))
        else:
            nodes.append(node)
    was = package.graph
    graph = Graph(was.name, was.steps, was.inputs, nodes, was.outputs)
    names = {tensor.name for tensor in graph.inputs} | {"y"}
    vectors = {k: v[:SAMPLES] for k, v in package.vectors.items() if k in names}
    return Package(graph, vectors, {}).with_golden()


def _accuracy(package: Package) -> float:
    inputs = {tensor.name: package.vectors[tensor.name] for tensor in package.graph.inputs}
    found = package.graph.run(inputs).outputs["label"].reshape(-1)
    return float(np.mean(found == package.vectors["y"]))


def _spikelet(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "spikelet", *arguments, "--json"]
    made: dict[str, Any] = json.loads(subprocess.check_output(command))
    return made
