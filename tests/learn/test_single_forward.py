"""Layer-local learning: against PyTorch, its locality, and on devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from learning import device_equals_twin
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.layers.schedule import FULL, Schedule
from spikelet.learn.learner import extend
from spikelet.learn.learners.single_forward import SingleForward
from spikelet.learn.networks.classifier import widths
from spikelet.train.data import load

# Integers only: a core with an FPU runs what one without it runs.
TARGETS = ("native-gcc-sanitized", "rv32-gcc-qemu", "m4-gcc-qemu")
DIGITS = load("digits").held_out().flat()


def network(hidden: str = "20-14", seed: int = 1, **options: object) -> Graph:
    backbone = identity((64,), "u8", scale=1 / 255)
    learner = SingleForward(hidden=hidden, **options)  # type: ignore[arg-type]
    return learner.attach(backbone, Setting("features", 10, seed))


def accuracy(twin: Twin) -> float:
    scores = twin.predict({"x": DIGITS.x_test}).outputs["scores"]
    return float((twin.graph.predicted(scores) == DIGITS.y_test).mean())


@pytest.mark.parametrize("target", TARGETS)
def test_device_equals_twin(target: str, tmp_path: Path) -> None:
    samples = 500
    x, y = DIGITS.x_train[:samples], DIGITS.y_train[:samples]
    graph = network("12-7", samples=400)
    twin = device_equals_twin(target, graph, {"x": x}, y, tmp_path, commit_after=(300,))
    assert twin.learned["schedule.count"] == 200  # it began anew


def test_device_equals_twin_in_floats(tmp_path: Path) -> None:
    x, y = DIGITS.x_train[:150], DIGITS.y_train[:150]
    device_equals_twin("rv32f-gcc-qemu", network("12-7", precision="f32"), {"x": x}, y, tmp_path)


def test_floats_are_the_rule_in_pytorch() -> None:
    rate, samples = 0.05, 120
    graph = network(precision="f32", rate=rate)
    start = graph.initial()

    def parameter(name: str) -> torch.Tensor:
        return torch.tensor(start[name], requires_grad=True)

    layers = [[parameter(f"{k}{i}.{p}") for k in ("hidden", "head") for p in ("weight", "bias")]
              for i in range(2)]  # fmt: skip
    twin, losses = Twin(graph), []
    for x, y in zip(DIGITS.x_train[:samples], DIGITS.y_train[:samples], strict=True):
        h = torch.tensor(x.astype(np.float32) / 255)
        total = torch.zeros(10)
        for weight, bias, head, head_bias in layers:
            h = torch.relu(nn.functional.linear(h.detach(), weight, bias))  # nothing goes back
            logits = nn.functional.linear(h, head, head_bias)
            total = total + logits.detach()
            loss = nn.functional.cross_entropy(logits[None], torch.tensor([int(y)]))
            loss.backward()
            losses.append(loss.item())
        for p in [p for layer in layers for p in layer]:
            assert p.grad is not None
            with torch.no_grad():
                p -= rate * p.grad
            p.grad = None
        scores = twin.observe({"x": x[None]}, [int(y)])["scores"]
        assert np.abs(scores[0] - total.numpy()).max() < 1e-3
    assert np.mean(losses[-40:]) < 0.9 * np.mean(losses[:40])  # it did learn something
    for i, layer in enumerate(layers):
        names = [f"{k}{i}.{p}" for k in ("hidden", "head") for p in ("weight", "bias")]
        for name, p in zip(names, layer, strict=True):
            assert np.abs(twin.learned[name] - p.detach().numpy()).max() < 1e-4, name


@given(seed=st.integers(0, 1000), width=st.integers(1, 9), precision=st.sampled_from(["i16", "i8"]))
@settings(max_examples=6, deadline=None)
def test_a_layer_learns_the_same_whatever_is_behind_it(
    seed: int, width: int, precision: str
) -> None:
    x, y = DIGITS.x_train[:25], DIGITS.y_train[:25]
    alone = Twin(network("10", seed, precision=precision))
    both = Twin(network(f"10-{width}", seed, precision=precision))
    alone.observe({"x": x}, y)
    both.observe({"x": x}, y)
    for name, values in alone.learned.items():
        assert np.array_equal(values, both.learned[name]), name
    assert any((alone.learned[n] != v).any() for n, v in alone.graph.initial().items())


def test_int16_learns_as_float_does() -> None:
    found = {}
    for precision in ("i16", "f32"):
        twin = Twin(network("32", precision=precision, rate=0.1, samples=len(DIGITS.x_train)))
        twin.observe({"x": DIGITS.x_train}, DIGITS.y_train)
        found[precision] = accuracy(twin)
    assert found["i16"] > 0.90
    assert abs(found["i16"] - found["f32"]) < 0.015


@given(samples=st.integers(1, 1 << 30), floor=st.integers(0, FULL), at=st.floats(0, 1))
def test_a_schedule_falls_in_a_line(samples: int, floor: int, at: float) -> None:
    count = round(at * samples)
    learned = Learned.of("s.count", "i32", (1,), np.array([count], np.int32), low=0, high=samples)
    node = Schedule(name="s", inputs=("s.count",), samples=samples, floor=floor)
    graph = extend(identity((1,)), [node], [learned], ["features"])
    env: dict[str, Array] = graph.initial()
    node = next(n for n in graph.nodes if isinstance(n, Schedule))
    node.golden(env, 0)
    line = FULL + (floor - FULL) * count / samples
    assert abs(int(env["s"][0, 0]) - line) <= 1 + samples / (1 << 16)
    assert floor <= env["s"][0, 0] <= FULL
    assert env["s.count"][0] == min(count + 1, samples)


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="a hidden layer or more"):
        SingleForward(hidden="0")
    with pytest.raises(ValueError, match="not widths such as"):
        widths("12,7")
    with pytest.raises(UsageError, match="reads u8, i8 or i16"):
        SingleForward().attach(identity((64,), "i32"), Setting("features", 10))
    with pytest.raises(UsageError, match="leave 3 bits to a weight"):
        SingleForward().attach(identity((4000,), "i16"), Setting("features", 10))
