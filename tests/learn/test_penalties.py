"""Penalties: their steps, their importances against PyTorch's gradients, and on devices."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from learning import device_equals_twin
from spikelet.graph import Array, Graph, GraphError, Learned, Operator, Tensor
from spikelet.graph.ops.reshape import Reshape
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.layers.penalty import (
    CODES,
    REACHED,
    STEPS,
    Anchor,
    Gather,
    Join,
    OwnError,
    Pull,
    downs,
    parts,
)
from spikelet.learn.learner import extend
from spikelet.learn.learners.penalties import Penalties, error_below
from spikelet.learn.networks.classifier import classifier, network_behind
from spikelet.learn.numbers.scalar import PRECISIONS, Descent
from spikelet.run.learner import device_learner
from spikelet.train.data import load

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "bars"))

from _float_ewc import FloatEwc

# Integers only: a core with an FPU runs what one without it runs.
TARGETS = ("native-gcc-sanitized", "rv32-gcc-qemu", "m4-gcc-qemu")
DIGITS = load("digits").held_out().flat()
SHAPE = (5, 9)  # outputs, inputs


def network(**options: object) -> Graph:
    learner = Penalties(**options)  # type: ignore[arg-type]
    return learner.attach(identity((64,), "u8", scale=1 / 255), Setting("features", 10, seed=1))


def alone(
    *nodes: Operator,
    weight: str = "i16",
    limit: int = 32767,
    exact: bool = False,
    reach: int = 32767,
) -> Graph:
    """Operators on one layer's tensors, features (9,) u8 and post (5,) i16 being inputs."""
    x = Tensor("x", "u8", SHAPE[1:], kind="input")
    post = Tensor("p", "i16", SHAPE[:1], kind="input")
    backbone = Graph("alone", 1, [x, post], [
        Reshape(name="features", inputs=("x",), shape=x.shape),
        Reshape(name="post", inputs=("p",), shape=post.shape),
    ], ["features"])  # fmt: skip
    learned = [
        Learned.of("w.weight", weight, SHAPE, low=-limit, high=limit),
        Learned.of("w.anchor", "i16", SHAPE, low=-reach, high=reach)
        if exact
        else Learned.of("w.anchor", "i8", SHAPE),
        Learned.of("w.importance", "u8", SHAPE, high=CODES),
        Learned.of("w.gathered", "u8", SHAPE, high=CODES),
        Learned.of("w.random", "u32", (1,), np.array([9], np.uint32), low=1),
        Learned.of("w.count", "i32", (1,), low=0, high=0),
    ]
    return extend(backbone, nodes, learned, ["features"], SHAPE[0])


PULL = ("w.weight", "w.anchor", "w.count")
GATHER = ("features", "post", "w.gathered", "w.random", "w.count")


@pytest.mark.parametrize("target", TARGETS)
def test_device_equals_twin(target: str, tmp_path: Path) -> None:
    graph = network(hidden="12", every=3, strength=0.3, samples=150)
    x, y = DIGITS.x_train[:500], DIGITS.y_train[:500]
    twin = device_equals_twin(target, graph, {"x": x}, y, tmp_path, commit_after=(150, 300, 450))
    assert twin.learned["hidden0.importance"].max() > 100
    naive = Twin(network(hidden="12", kind="none", samples=150))
    naive.observe({"x": x[:300]}, y[:300])
    assert (naive.learned["hidden0.weight"] != twin.learned["hidden0.weight"]).any()


@pytest.mark.parametrize("options", [
    {"kind": "l2", "hidden": "7", "strength": 0.5}, {"kind": "mas", "hidden": "7"},
    {"kind": "mas", "hidden": "0", "precision": "i8", "rate": 0.1, "strength": 0.1},
    {"kind": "ewc", "hidden": "9-7", "precision": "i8", "rate": 0.1, "strength": 0.1},
    {"kind": "ewc", "hidden": "0"},
], ids=["l2", "mas", "mas-i8", "ewc-i8-deep", "ewc-linear"])  # fmt: skip
def test_other_penalties_on_the_device(options: dict[str, object], tmp_path: Path) -> None:
    x, y = DIGITS.x_train[:150], DIGITS.y_train[:150]
    device_equals_twin(
        "native-zig", network(every=2, **options), {"x": x}, y, tmp_path, commit_after=(50, 100)
    )


@given(
    seed=st.integers(0, 10_000), part=st.integers(0, 32767),
    limit=st.sampled_from([127, 4095, 32767]), rate=st.integers(0, 1 << 15),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_pull_goes_its_part_of_the_way_and_no_further(
    seed: int, part: int, limit: int, rate: int
) -> None:
    rng = np.random.default_rng(seed)
    graph = alone(
        Pull(name="pull", inputs=PULL, parts=np.array([part], np.int16)),
        weight="i8" if limit == 127 else "i16", limit=limit,
    )  # fmt: skip
    width = max(1, (limit + 1) // 128)  # of the weights that an anchor stands for
    env = graph.initial()
    w = rng.integers(-limit, limit + 1, SHAPE)
    w.flat[:2] = -limit, limit
    anchor = rng.integers(-128, 128, SHAPE)
    anchor.flat[:2] = 127, -128
    env["w.weight"][...], env["w.anchor"][...] = w, anchor
    graph.nodes[-1].golden(env, 0)
    nearest = np.clip(w, anchor * width, anchor * width + width - 1)
    expected = w - (w - nearest) * part / 32768
    assert np.abs(env["w.weight"] - expected).max() <= 0.5
    assert ((env["w.weight"] - nearest) * (w - nearest) >= 0).all()


@given(seed=st.integers(0, 10_000), part=st.integers(0, 32767))
@settings(max_examples=30, deadline=None)
def test_to_an_anchor_of_all_bits_no_distance_is_free(seed: int, part: int) -> None:
    rng = np.random.default_rng(seed)
    graph = alone(
        Pull(name="pull", inputs=PULL, parts=np.array([part], np.int16)),
        Anchor(name="anchor", inputs=PULL[:2]),
        exact=True,
    )
    env = graph.initial()
    w, anchor = (rng.integers(-32767, 32768, SHAPE) for _ in range(2))
    w.flat[:2], anchor.flat[:2] = (-32767, 32767), (32767, -32767)
    env["w.weight"][...], env["w.anchor"][...] = w, anchor
    graph.nodes[-2].golden(env, 0)
    assert np.abs(env["w.weight"] - (w - (w - anchor) * part / 32768)).max() <= 0.5
    graph.nodes[-1].golden(env, 0)
    assert (env["w.anchor"] == env["w.weight"]).all()


@given(seed=st.integers(0, 10_000), limit=st.sampled_from([127, 4095, 32767]))
@settings(max_examples=20, deadline=None)
def test_a_weight_that_is_its_anchor_stays(seed: int, limit: int) -> None:
    graph = alone(
        Pull(name="pull", inputs=PULL, parts=np.array([32767], np.int16)),
        Anchor(name="anchor", inputs=PULL[:2]),
        limit=limit,
    )
    env = graph.initial()
    w = np.random.default_rng(seed).integers(-limit, limit + 1, SHAPE)
    env["w.weight"][...] = w
    graph.nodes[-1].golden(env, 0)
    graph.nodes[-2].golden(env, 0)
    assert (env["w.weight"] == w).all()


@pytest.mark.parametrize("squared", [True, False])
def test_gathered_sums_are_unbiased(squared: bool) -> None:
    """The mean over many counters of what they stand for is the sum of what was added."""
    rng = np.random.default_rng(5)
    graph = alone(Gather(name="gather", inputs=GATHER, squared=squared))
    node = graph.nodes[-1]
    a, b = downs(255, 32768, squared)
    power = 2 if squared else 1
    expected, found, samples = np.zeros(SHAPE), np.zeros(SHAPE), 60
    x = rng.integers(0, 256, (samples, SHAPE[1])).astype(np.uint8)
    post = rng.integers(-20000, 20000, (samples, SHAPE[0])).astype(np.int16)
    x[:, 3], post[:, 2] = 0, 0
    env = graph.initial()
    for _ in range(200):
        env["w.gathered"][...] = 0
        for i in range(samples):
            env["features"], env["post"] = x[i : i + 1], post[i : i + 1]
            node.golden(env, 0)
        found += REACHED[env["w.gathered"]] / 200
    powers = [np.abs(v.astype(np.int64)) ** power >> s for v, s in ((x, a), (post, b))]
    expected = powers[1].T @ powers[0]
    assert (found[:, 3] == 0).all()
    assert (found[2] == 0).all()
    rows, columns = np.ix_([0, 1, 3, 4], [0, 1, 2, 4, 5, 6, 7, 8])
    assert np.abs(found[rows, columns] / expected[rows, columns] - 1).max() < 0.06


def test_importance_is_the_true_fisher_information() -> None:
    """Of a network that has learned and stands still: the mean over the labels of its softmax.

    Of weights down to a thousandth of the largest; tolerance: what is drawn and counted is within
    0.45 octaves of it in the mean. The squared gradients of the true labels are farther off.
    """
    x, y = DIGITS.x_train, DIGITS.y_train
    learned = Twin(network(hidden="16", every=1))
    learned.observe({"x": x[:300]}, y[:300])
    twin = Twin(network(hidden="16", every=1, rate=1e-5, rounding="nearest", strength=1e-6))
    stay = [k for k in twin.learned if k.endswith((".weight", ".bias"))]
    for name in stay:
        twin.learned[name][...] = learned.learned[name]
    twin.observe({"x": x}, y)
    assert all((twin.learned[k] == learned.learned[k]).all() for k in stay if "weight" in k)
    scales = {k.tensor.name: k.tensor.scale for k in twin.graph.learned}
    real = {k: torch.tensor((twin.learned[k] * scales[k]).astype(np.float32)) for k in stay}
    weights = [real[f"{k}.weight"].requires_grad_() for k in ("hidden0", "scores")]
    true, given_labels = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    for sample, label in zip(x, y, strict=True):
        h = torch.relu(weights[0] @ torch.tensor(sample / np.float32(255)) + real["hidden0.bias"])
        said = torch.log_softmax(weights[1] @ h + real["scores.bias"], 0)
        for k in range(10):
            gradients = torch.autograd.grad(said[k], weights, retain_graph=True)
            for i, gradient in enumerate(gradients):
                true[i] += said[k].detach().exp() * gradient**2
                given_labels[i] += (k == label) * gradient**2
    for layer, fisher, other in zip(("hidden0", "scores"), true, given_labels, strict=True):
        codes = twin.learned[f"{layer}.gathered"]
        off = [_octaves(codes, total.numpy()) for total in (fisher, other)]
        assert off[0] < 0.45, layer
        assert off[1] > 1.3 * off[0], layer


def _octaves(codes: Array, exact: Array) -> float:
    """How far what codes stand for is from a multiple of the exact sums, in the mean."""
    large = exact > exact.max() / 1000
    assert large.sum() > 50
    apart = np.log2(REACHED[codes[large]] + 1) - np.log2(exact[large])
    return float(np.abs(apart - np.median(apart)).mean())


def test_labels_are_drawn_as_the_softmax_says() -> None:
    x = Tensor("x", "i16", (4,), kind="input", scale=2.0**-11)
    ins = ("error", "label", "w.random", "w.count")
    backbone = Graph("own", 1, [x], [Reshape(name="error", inputs=("x",), shape=(4,))], ["error"])
    learned = [
        Learned.of("w.random", "u32", (1,), np.array([9], np.uint32), low=1),
        Learned.of("w.count", "i32", (1,), low=0, high=1),
    ]
    graph = extend(backbone, [OwnError(name="own", inputs=ins, every=2)], learned, ["error"], 4)
    node, env = graph.nodes[-1], graph.initial()
    p = np.array([1024, 0, 256, 768])
    for label in range(4):
        env["error"] = (p - 2048 * (np.arange(4) == label))[None].astype(np.int16)
        env["label"] = np.array([[label]], np.int32)
        drawn = np.zeros(4)
        for _ in range(2000):
            node.golden(env, 0)
            assert not env["own"].any()
            node.golden(env, 0)
            assert env["own"].sum() == 0
            assert sorted(p - env["own"][0]) == [0, 0, 0, 2048]
            drawn += p - env["own"][0] > 0
        assert drawn[1] == 0
        assert np.abs(drawn / 2000 - p / 2048).max() < 0.04  # 3.5 standard deviations


@pytest.mark.parametrize(
    "precision",
    [pytest.param(p, marks=[pytest.mark.long] * (p != "i16")) for p in PRECISIONS],
)
def test_an_error_goes_back_as_in_learning(precision: str, tmp_path: Path) -> None:
    """A layer that learns of `DenseBackward` is to the bit one that learns of `DenseUpdate`."""
    x, y = DIGITS.x_train[:60], DIGITS.y_train[:60]
    learned = []
    for apart in (False, True):
        backbone = identity((64,), "u8", scale=1 / 255)
        net = network_behind(backbone, Setting("features", 10, 1), precision, Descent(0.05))
        hidden, last = classifier(net, "features", [9], 10)
        error = net.loss("scores", "loss")
        if apart:
            below = error_below(net, "below", last, error)
            step = last.step("scores_update")
            net.learned += last.bind(step, hidden.y, error, 1, net.formats.kept_limits)
            net.nodes.append(step)
            net.descend("hidden0", below)
        else:
            net.descend("scores", error)
        graph = extend(backbone, net.nodes, net.learned, ["scores"], 10)
        twin = device_equals_twin("native-gcc-sanitized", graph, {"x": x}, y, tmp_path / str(apart))
        learned.append(twin.learned)
    for name in ("hidden0.weight", "hidden0.bias", "scores.weight", "scores.bias"):
        np.testing.assert_array_equal(learned[0][name], learned[1][name])


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_joined_importances_are_added(seed: int) -> None:
    graph = alone(Join(name="join", inputs=("w.gathered", "w.importance")))
    rng = np.random.default_rng(seed)
    env = graph.initial()
    a, b = (rng.integers(0, CODES + 1, SHAPE) for _ in range(2))
    a[0, 0], b[0, 0], a[0, 1], b[0, 1] = 0, 77, CODES, CODES
    env["w.gathered"][...], env["w.importance"][...] = a, b
    graph.nodes[-1].golden(env, 0)
    total = np.where(a > 0, 2 ** (a / 8), 0) + np.where(b > 0, 2 ** (b / 8), 0)
    expected = np.minimum(np.where(total > 0, 8 * np.log2(np.maximum(total, 1)), 0), CODES)
    assert np.abs(env["w.importance"] - expected).max() <= 1
    assert env["w.importance"][0, 0] == 77
    assert (env["w.gathered"] == 0).all()


def test_codes_grow_by_an_eighth_of_an_octave() -> None:
    assert (np.diff(REACHED) == STEPS).all()
    assert abs(np.log2(REACHED[200] / REACHED[120]) - 10) < 0.05
    table = parts(2.0**-35)
    assert table[0] == 0
    assert (np.diff(table) >= 0).all()
    assert table[CODES] == 16384  # half of the way, at a sum of 2^34


def test_without_a_penalty_it_is_gradient_descent_in_pytorch() -> None:
    graph = network(hidden="9", kind="none", precision="f32", rate=0.05)
    twin, start = Twin(graph), graph.initial()
    names = [f"{k}.{p}" for k in ("hidden0", "scores") for p in ("weight", "bias")]
    w = [torch.tensor(start[name], requires_grad=True) for name in names]
    optimiser = torch.optim.SGD(w, 0.05)
    for x, y in zip(DIGITS.x_train[:80], DIGITS.y_train[:80], strict=True):
        h = torch.relu(nn.functional.linear(torch.tensor(x / np.float32(255)), w[0], w[1]))
        logits = nn.functional.linear(h, w[2], w[3])
        optimiser.zero_grad()
        nn.functional.cross_entropy(logits[None], torch.tensor([int(y)])).backward()
        optimiser.step()
        twin.observe({"x": x[None]}, [int(y)])
    for name, p in zip(names, w, strict=True):
        assert np.abs(twin.learned[name] - p.detach().numpy()).max() < 1e-4, name


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="is for i16 and i8"):
        Penalties(precision="f32")
    with pytest.raises(ValueError, match="strength = 0 is not in"):
        Penalties(strength=0)
    with pytest.raises(GraphError, match="elements of 0"):
        alone(Pull(name="pull", inputs=PULL, parts=np.array([-1], np.int16)))
    with pytest.raises(GraphError, match="every is 0"):
        alone(Gather(name="gather", inputs=GATHER, squared=True, every=0))
    with pytest.raises(GraphError, match="expected u8"):
        alone(Gather(name="gather", inputs=("features", "features", *GATHER[2:]), squared=True))
    with pytest.raises(GraphError, match="expected learned i8"):
        alone(Anchor(name="a", inputs=PULL[:2]), weight="i8", exact=True, limit=127)
    with pytest.raises(GraphError, match="may be where weight"):
        alone(Anchor(name="a", inputs=PULL[:2]), exact=True, limit=4095, reach=4096)
    with pytest.raises(GraphError, match="has scale 1"):
        ins = ("post", "label", *GATHER[3:])
        alone(OwnError(name="own", inputs=ins))


def test_ewc_keeps_what_it_does_in_floats() -> None:
    """Three tasks of permuted digits, against EWC in floats with an exact Fisher at a task's end.

    Tolerance: 5 points of the mean accuracy over the tasks, of two seeds; forgetting costs more.
    """
    rate, strength, every = 0.08, 0.004, 8
    x, y = DIGITS.x_train[:700], DIGITS.y_train[:700]
    found: dict[str, list[float]] = {"ewc": [], "none": [], "float": []}
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        pixels = [rng.permutation(64) for _ in range(3)]
        orders = [np.concatenate([rng.permutation(len(x)) for _ in range(3)]) for _ in pixels]
        tests = [np.ascontiguousarray(DIGITS.x_test[:, pixel]) for pixel in pixels]
        net = FloatEwc((64, 64, 10), seed)
        for pixel, order in zip(pixels, orders, strict=True):
            given = x[order][:, pixel].astype(np.float32) / 255
            net.learn(given, y[order], rate, strength, every)
        said = [net.logits(t.astype(np.float32) / 255)[1].argmax(axis=1) for t in tests]
        found["float"].append(float(np.mean([k == DIGITS.y_test for k in said])))
        for kind in ("ewc", "none"):
            options = {"strength": strength, "every": every} if kind == "ewc" else {}
            graph = network(kind=kind, hidden="64", rate=rate, samples=len(orders[0]), **options)
            twin = Twin(graph)
            with device_learner(graph) as device:
                for pixel, order in zip(pixels, orders, strict=True):
                    device.observe({"x": np.ascontiguousarray(x[order][:, pixel])}, y[order])
                    device.commit()
                twin.restore(device.state())
            said = [graph.predicted(twin.predict({"x": t}).outputs["scores"]) for t in tests]
            found[kind].append(float(np.mean([k == DIGITS.y_test for k in said])))
    mean = {kind: np.mean(values) for kind, values in found.items()}
    assert mean["ewc"] > mean["float"] - 0.05, found
    assert mean["ewc"] > mean["none"] + 0.05, found
