"""Personalisation: the user holds the device the other way round, digits are mirrored."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _gate import Gate, points
from torch import nn

from spikelet import export
from spikelet.board import find_board
from spikelet.graph import Array, Graph
from spikelet.learn import Setting, Twin
from spikelet.learn.learners.personal import Personal
from spikelet.package import Package
from spikelet.run.learner import device_learner, outputs_crc
from spikelet.run.workflow import SessionTarget, connect, make
from spikelet.train.data import DataSet, load

TITLE = "Personalisation, mirrored digits"
WHERE = "virt-rv32 (emulated), every sample"
TUNED_ON = "no record of it"
GATES = (
    Gate("user before", "<=", 0.50, lambda f: np.mean(f["user_before"])),
    Gate("user after", ">=", 0.88, lambda f: np.mean(f["user"])),
    Gate("generic loss, points", "<=", 3, lambda f: points(f["generic_before"], f["generic"])),
    Gate("MACs added, %", "<=", 10, lambda f: 100 * np.mean(f["macs"])),
    Gate("instructions added to a generic sample, %", "<=", 10,
         lambda f: 100 * (np.mean(f["generic_ticks"]) / np.mean(f["ticks_before"]) - 1)),
)  # fmt: skip
SAMPLES, PASSES = 200, 25  # of the user's
OPTIONS: dict[str, Any] = {"hidden": 32, "exemplars": 400, "rate": 0.03}
EPOCHS, RATE, BATCH = 10, 3e-3, 32  # of the global network
BOARD = "virt-rv32"


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """A global network a seed, trained upright; the user's samples on the emulated device."""
    digits = load("digits")
    rows = [_personalise(digits, seed) for seed in seeds]
    results = {name: [row[name] for row in rows] for name in rows[0]}
    mean = {name: float(np.mean(values)) for name, values in results.items()}
    return {
        "figure": (
            f"user {mean['user_before']:.3f} -> {mean['user']:.3f}, generic "
            f"{mean['generic_before']:.3f} -> {mean['generic']:.3f}; instructions of the network "
            f"alone {mean['ticks_before'] / 1000:.0f} k, generic {mean['generic_ticks'] / 1000:.0f}"
            f" k, user {mean['user_ticks'] / 1000:.0f} k; MACs {mean['macs']:.3f} more"
        ),
        **results,
    }


def _personalise(digits: DataSet, seed: int) -> dict[str, float]:
    """One user: accuracies before and after, and the instructions of an inference."""
    world = _train(digits, seed)
    x = world.inputs[0]

    def codes(images: Array) -> dict[str, Array]:
        real = images.reshape(len(images), *x.shape) / 255
        code = np.clip(np.rint(real / x.scale) + x.zero_point, -128, 127)
        return {x.name: code.astype(np.int8)}

    parts = {"generic": codes(digits.x_test), "user": codes(digits.x_test[:, :, ::-1])}
    results: dict[str, float] = {}
    for part, samples in parts.items():
        before = world.run(samples).outputs[world.outputs[0]]
        results[f"{part}_before"] = float((world.predicted(before) == digits.y_test).mean())
    results["ticks_before"] = _ticks(world, parts["generic"])

    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(digits.y_train))[:SAMPLES]
    order = np.concatenate([rng.permutation(chosen) for _ in range(PASSES)])
    setting = Setting(x.name, 10, seed=seed, calibration=codes(digits.x_train))
    graph = Personal(**OPTIONS).attach(world, setting)
    results["macs"] = _macs(graph, ("gate_1", "gate_2")) / _macs(world)
    twin = Twin(graph)
    lessons, labels = codes(digits.x_train[order][:, :, ::-1]), digits.y_train[order]
    with device_learner(graph, BOARD) as device:
        said = device.observe(lessons, labels)
        np.testing.assert_array_equal(said, outputs_crc(graph, twin.observe(lessons, labels)))
        device.agree(twin)
        for part, samples in parts.items():
            expected = twin.predict(samples).outputs
            outputs = device.predict(samples)
            for name, values in outputs.items():
                np.testing.assert_array_equal(values, expected[name])
            right = graph.predicted(outputs["scores"]) == digits.y_test
            results[part] = float(right.mean())
            chose = np.flatnonzero(outputs["is_user"][:, 0] == (part == "user"))[:1]
            device.predict({x.name: samples[x.name][chose]})
            assert device.ran is not None
            results[f"{part}_ticks"] = float(device.ran.ticks)
    return results


def _macs(graph: Graph, names: Sequence[str] = ()) -> int:
    nodes = [node for node in graph.nodes if not names or node.name in names]
    return sum(node.cost().macs for node in nodes)


def _ticks(world: Graph, samples: dict[str, Array]) -> float:
    """Instructions of an inference of the global network alone."""
    board, package = find_board(BOARD), Package(world)
    with tempfile.TemporaryDirectory() as folder:
        built = make(package, board, Path(folder))
        with connect(SessionTarget(board, built, "auto"), package) as (device, _):
            tensors = {t.name: t for t in world.inputs}
            one = {name: tensors[name].to_bytes(values[0]) for name, values in samples.items()}
            return float(device.run(inputs=one, deadline_s=60).ticks)


def _train(digits: DataSet, seed: int) -> Graph:
    """A small convolutional network of upright digits, in int8."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    images = torch.from_numpy(digits.x_train.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    labels = torch.from_numpy(digits.y_train)
    steps = EPOCHS * -(-len(labels) // BATCH)
    descent = torch.optim.Adam(net.parameters(), RATE)
    cooling = torch.optim.lr_scheduler.CosineAnnealingLR(descent, steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(labels)).split(BATCH):
            descent.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            descent.step()
            cooling.step()
    return export(net, images[:1], images[:300], name="digits_cnn", test=images[:1]).graph
