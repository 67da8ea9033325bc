"""Trainable dense layers: PyTorch's autograd within a stated tolerance, a device bit for bit.

Tolerances of one step, against PyTorch in float64 from the same (already rounded) weights. f32:
1e-5. f16: that, and half a unit of the largest weight. i16 and i8: a unit of the weight, and what
ERROR more in the product of an error and an input moves a weight by.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dense_networks import trainable
from learning import device_equals_twin
from spikelet.graph import Array, Graph, GraphError, Learned, Tensor
from spikelet.learn import Twin, identity
from spikelet.learn.layers.dense import DenseForward
from spikelet.learn.layers.softmax_cross_entropy import SoftmaxCrossEntropy
from spikelet.learn.networks.parameters import Learns, RealLayer
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.scalar import PRECISIONS, Descent
from support import need

KINK = 0.01  # a neuron nearer to its threshold may be rounded to the other side of it
ERROR = 0.02  # rounded activations, logits and errors; the table of powers


def layers(
    rng: np.random.Generator, sizes: Sequence[int], learns: Sequence[tuple[int | None, bool]]
) -> list[RealLayer]:
    """Random layers, ReLU but for the last one; `learns`: rows and bias of each."""
    made = []
    for i, (rows, bias) in enumerate(learns):
        made.append(
            RealLayer(
                rng.normal(size=(sizes[i + 1], sizes[i])) / np.sqrt(sizes[i]),
                rng.normal(size=sizes[i + 1]) * 0.1,
                Learns(sizes[i + 1] if rows is None else rows, bias),
                relu=i + 2 < len(sizes),
            )
        )
    return made


def source(precision: str, dtype: str, n: int) -> Graph:
    """A backbone whose features are values of the precision or codes; real within +-1."""
    if dtype == "value":
        value = scalar.value_dtype(precision)
        return identity((n,), value, scale=1.0 if value == "f32" else 1 / 256)
    return identity((n,), dtype, scale=1 / 128, zero_point=128 if dtype == "u8" else 0)


def samples(rng: np.random.Generator, graph: Graph, count: int) -> Array:
    """Inputs x within +-1 of real numbers."""
    tensor = graph.inputs[0]
    if tensor.dtype == "f32":
        return rng.uniform(-1, 1, (count, *tensor.shape)).astype(np.float32)
    codes = np.rint(rng.uniform(-0.99, 0.99, (count, *tensor.shape)) / tensor.scale)
    return (codes + tensor.zero_point).astype(tensor.numpy_dtype)


def network(
    precision: str,
    sizes: Sequence[int],
    descent: Descent,
    dtype: str = "u8",
    learns: Sequence[tuple[int | None, bool]] | None = None,
    loss: str = "softmax_cross_entropy",
    seed: int = 0,
) -> Graph:
    """A network of random layers; its ranges hold `samples(default_rng(seed), graph, 3)`."""
    rng = np.random.default_rng(seed)
    learns = learns or [(None, True)] * (len(sizes) - 1)
    values = dtype == "value" and not scalar.is_float(precision)

    def backbone(number: str) -> Graph:
        return bounded_features(sizes[0], number) if values else source(number, dtype, sizes[0])

    graph = backbone(precision)
    observed = samples(np.random.default_rng(seed), graph, 3)
    inputs = {"x": np.concatenate([observed, samples(rng, graph, 24)])}
    return trainable(backbone, layers(rng, sizes, learns), precision, descent, inputs, loss)


def bounded_features(n: int, precision: str) -> Graph:
    """Features i16 that are proved to be within 12 bits: the prefix of an integer network."""
    from spikelet.learn.layers.to_scalar import ToScalar

    x = Tensor("x", "i8", (n,), kind="input", scale=1 / 128)
    node = ToScalar(
        name="features", inputs=("x",), precision=precision, output_scale=1 / 512, output_limit=1023
    )
    return Graph("raw", 1, [x], [node], ["features"])


class Reference:
    """The same network in PyTorch, from the twin's weights as real numbers."""

    def __init__(self, graph: Graph, descent: Descent) -> None:
        self.torch: Any = pytest.importorskip("torch")
        self.graph = graph
        self.descent = descent
        self.forwards = [n for n in graph.nodes if isinstance(n, DenseForward)]
        self.weights, self.biases, learning = [], [], []
        for node in self.forwards:
            rows = node.learning_rows
            parts = [self._real(f"{node.name}.weight")] if rows else []
            if node.frozen is not None:
                parts.append(node.frozen.astype(np.float64) * node.weight_scale)
            weight = self.torch.tensor(np.concatenate(parts), requires_grad=True)
            names = {k.tensor.name for k in graph.learned}
            if f"{node.name}.bias" in names:
                bias = self._real(f"{node.name}.bias")
            else:
                assert node.frozen_bias is not None
                scale = 1.0 if node.real else node.weight_scale * self._input_scale(node)
                bias = node.frozen_bias.astype(np.float64) * scale
            self.weights.append(weight)
            self.biases.append(self.torch.tensor(bias, requires_grad=True))
            learning.append((rows, f"{node.name}.bias" in names))
        self.learning = learning
        self.optimizer = self.torch.optim.SGD(
            [
                {"params": self.weights, "weight_decay": descent.decay},
                {"params": self.biases, "weight_decay": 0.0},
            ],
            lr=descent.rate,
            momentum=descent.momentum,
        )
        self.pending = 0

    def _input_scale(self, node: DenseForward) -> float:
        return self.graph.tensors[node.inputs[0]].scale

    def _real(self, name: str) -> Array:
        learned = next(k for k in self.graph.learned if k.tensor.name == name)
        return learned.start().astype(np.float64) * learned.tensor.scale

    def input(self, x: Array) -> Any:
        """(1, I) real inputs of codes (1, I)."""
        tensor = self.graph.inputs[0]
        real = x.astype(np.float64)
        if tensor.dtype != "f32":
            real = (real - tensor.zero_point) * tensor.scale
        return self.torch.tensor(real)

    def logits(self, x: Array) -> Any:
        """The outputs, (1, classes)."""
        h = self.input(x)
        for node, weight, bias in zip(self.forwards, self.weights, self.biases, strict=True):
            h = h @ weight.T + bias
            h = self.torch.relu(h) if node.relu else h
        return h

    def from_kink(self, x: Array) -> float:
        """How near a neuron is to the threshold of its ReLU: rounding may take it across."""
        h, nearest = self.input(x), np.inf
        for node, weight, bias in zip(self.forwards, self.weights, self.biases, strict=True):
            h = h @ weight.T + bias
            if node.relu:
                nearest = min(nearest, float(h.detach().abs().min()))
                h = self.torch.relu(h)
        return nearest

    def step(self, x: Array, label: int | None, target: Array | None = None) -> float:
        """Learn one sample; its loss before."""
        y = self.logits(x)
        if label is not None:
            loss = self.torch.nn.functional.cross_entropy(y, self.torch.tensor([label]))
        else:
            loss = self.torch.nn.functional.mse_loss(y, self.torch.tensor(target))
        (loss / self.descent.batch).backward()
        self.pending += 1
        if self.pending == self.descent.batch:
            before = [(w.detach().clone(), b.detach().clone()) for w, b in self._pairs()]
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.pending = 0
            with self.torch.no_grad():
                for (w, b), (w0, b0), (rows, bias) in zip(
                    self._pairs(), before, self.learning, strict=True
                ):
                    w[rows:] = w0[rows:]
                    if not bias:
                        b[:] = b0
        return float(loss.detach())

    def _pairs(self) -> list[tuple[Any, Any]]:
        return list(zip(self.weights, self.biases, strict=True))

    def learned(self) -> dict[str, Array]:
        """Real weights and biases by the names of the twin's."""
        found = {}
        for node, w, b, (rows, _) in zip(
            self.forwards, self.weights, self.biases, self.learning, strict=True
        ):
            found[f"{node.name}.weight"] = w.detach().numpy()[:rows]
            found[f"{node.name}.bias"] = b.detach().numpy()
        return found


def apart(twin: Twin, reference: Reference) -> dict[str, tuple[float, float]]:
    """By weight and bias: the largest distance to PyTorch's, and the unit of its code.

    The unit of a float is that of the largest value, ours or PyTorch's.
    """
    expected = reference.learned()
    distances = {}
    for learned in twin.graph.learned:
        name = learned.tensor.name
        if name.endswith((".weight", ".bias")):
            codes, unit = twin.learned[name], learned.tensor.scale
            real = codes.astype(np.float64) * unit
            if codes.dtype.kind == "f":
                largest = max(np.abs(real).max(), np.abs(expected[name]).max())
                unit = float(np.spacing(codes.dtype.type(largest)))
            distances[name] = float(np.abs(real - expected[name]).max()), unit
    return distances


def tolerance(precision: str, descent: Descent, unit: float) -> float:
    """What one step may differ by; see the head of this file."""
    if precision == "f32":
        return 1e-5
    if precision == "f16":
        return 1e-5 + unit / 2
    return unit + descent.rate * ERROR


MASKS: list[tuple[int | None, bool]] = [(None, True), (0, True), (2, True), (2, False), (0, False)]


@given(
    precision=st.sampled_from(PRECISIONS),
    sizes=st.lists(st.integers(2, 11), min_size=2, max_size=4),
    dtype=st.sampled_from(["u8", "i8", "value"]),
    momentum=st.sampled_from([0.0, 0.9]),
    decay=st.sampled_from([0.0, 0.01]),
    batch=st.sampled_from([1, 3]),
    rounding=st.sampled_from(["nearest", "stochastic"]),
    seed=st.integers(0, 1000),
)
@example("f16", [2, 2, 2, 2], "u8", 0.0, 0.0, 3, "nearest", 42)  # a weight above 1
@example("i16", [2, 2, 2, 2], "u8", 0.0, 0.0, 1, "nearest", 285)  # a dead layer
@settings(max_examples=40, deadline=None)
def test_a_step_is_pytorchs(
    precision: str, sizes: list[int], dtype: str, momentum: float, decay: float, batch: int,
    rounding: str, seed: int,
) -> None:  # fmt: skip
    descent = Descent(0.05, momentum, decay, batch, rounding)
    graph = network(precision, sizes, descent, dtype, seed=seed)
    twin, reference = Twin(graph), Reference(graph, descent)
    rng = np.random.default_rng(seed)
    x, y = samples(rng, graph, batch), rng.integers(0, sizes[-1], batch)
    assume(scalar.is_float(precision) or reference.from_kink(x) > KINK)
    twin.observe({"x": x}, y)
    assume(not any(v.any() for k, v in twin.learned.items() if k.endswith(".health")))  # saturated
    for i in range(batch):
        reference.step(x[i : i + 1], int(y[i]))
    for name, (distance, unit) in apart(twin, reference).items():
        assert distance <= tolerance(precision, descent, unit), name


@pytest.mark.parametrize("precision", ["f32", "i16"])
def test_every_subset_of_layers_and_what_learns_in_it(precision: str) -> None:
    """What learns is PyTorch's; what does not learn is not in RAM, and does not change."""
    rng = np.random.default_rng(3)
    descent = Descent(0.05)
    every = [*itertools.product(MASKS, repeat=3)]
    for masks in every if precision == "f32" else every[::4]:
        if not any(rows is None or rows or bias for rows, bias in masks):
            continue
        graph = network(precision, (6, 5, 7, 4), descent, learns=masks)
        twin, reference = Twin(graph), Reference(graph, descent)
        # A second step of integers may find a neuron on the other side of its threshold.
        for _ in range(2 if precision == "f32" else 1):
            x, label = samples(rng, graph, 1), int(rng.integers(4))
            while precision != "f32" and reference.from_kink(x) < KINK:
                x = samples(rng, graph, 1)
            twin.observe({"x": x}, [label])
            reference.step(x, label)
        for name, (distance, unit) in apart(twin, reference).items():
            assert distance <= 2 * tolerance(precision, descent, unit), (masks, name)
        for i, (rows, bias) in enumerate(masks):
            weight = [k for k in graph.learned if k.tensor.name == f"dense{i}.weight"]
            assert [k.tensor.shape[0] for k in weight] == (
                [] if rows == 0 else [rows or (5, 7, 4)[i]]
            )
            assert any(k.tensor.name == f"dense{i}.bias" for k in graph.learned) is bias


# By precision: how far from PyTorch's the loss may be in any of 200 steps, and on average.
TRAJECTORY = {"f32": (1e-4, 1e-5), "f16": (0.1, 0.01), "i16": (0.25, 0.03), "i8": (2.5, 0.35)}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_loss_follows_pytorchs_for_200_steps(precision: str, momentum: float) -> None:
    descent = Descent(0.05 * (1 - momentum), momentum, 1e-4, rounding="stochastic")
    graph = network(precision, (16, 24, 5), descent)
    twin, reference = Twin(graph), Reference(graph, descent)
    rng = np.random.default_rng(0)
    means = rng.normal(size=(5, 16))
    y = rng.integers(0, 5, 200)
    x = np.clip(means[y] * 40 + rng.normal(size=(200, 16)) * 20 + 128, 0, 255).astype(np.uint8)
    out = graph.tensors[graph.outputs[0]]
    said = twin.observe({"x": x}, y)[out.name].astype(np.float64) * out.scale
    powers = said - said.max(axis=1, keepdims=True)
    loss = np.log(np.exp(powers).sum(axis=1)) - powers[np.arange(200), y]
    expected = np.array([reference.step(x[i : i + 1], int(y[i])) for i in range(200)])
    worst, mean = TRAJECTORY[precision]
    assert np.abs(loss - expected).max() <= worst
    assert abs(loss.mean() - expected.mean()) <= mean
    assert expected[-50:].mean() < expected[:20].mean() / 3  # it does learn
    assert loss[-50:].mean() < loss[:20].mean() / 3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_mean_squared_error_is_pytorchs(precision: str) -> None:
    descent = Descent(0.1)
    graph = network(precision, (9, 7, 3), descent, loss="mse")
    twin, reference = Twin(graph), Reference(graph, descent)
    rng = np.random.default_rng(5)
    target = graph.targets[0]
    for _ in range(3):
        x = samples(rng, graph, 1)
        if target.dtype == "f32":
            given_, real = (rng.normal(size=(1, 3)).astype(np.float32),) * 2
        else:
            given_ = rng.integers(-60, 60, (1, 3)).astype(np.int16)
            real = given_ * target.scale
        twin.observe({"x": x}, None, {"target": given_})
        reference.step(x, None, real.astype(np.float64))
    for name, (distance, unit) in apart(twin, reference).items():
        assert distance <= {"f32": 1e-5, "f16": 1e-3}.get(precision, 3 * unit + 0.01), name


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "logits", [(-120.0, -121.0, -122.0), (15.9, -15.9, 0.0), (0.0, 0.0, 0.0), (3e4, -3e4, 1e-3)]
)
def test_extreme_logits(precision: str, logits: tuple[float, ...]) -> None:
    real = scalar.is_float(precision)
    dtype = scalar.value_dtype(precision)
    scale = 1.0 if real else 2.0**-4
    values = np.clip(np.array(logits) / scale, -32767, 32767) if not real else np.array(logits)
    node = SoftmaxCrossEntropy(
        name="error",
        inputs=("y", "label") + (("health",) if real else ()),
        precision=precision,
    )
    y = Tensor("y", dtype, (3,), scale=scale)
    label, health = Tensor("label", "i32", (1,)), Tensor("health", "i32", (1,))
    bounds = {t.name: t.interval() for t in (y, label, health)}
    bounds["label"] = label.interval(0, 2)
    node = node.place([y, label, health][: 2 + real], bounds, 1)
    env = {
        "y": values[None].astype(y.numpy_dtype),
        "label": np.array([[1]], np.int32),
        "health": np.zeros(1, np.int32),
    }
    node.golden(env, 0)
    held = env["y"][0].astype(np.float64) * scale
    powers = np.exp(held - held.max())
    expected = powers / powers.sum() - np.array([0, 1, 0])
    found = env["error"][0] * (1.0 if real else 2.0**-11)
    assert np.abs(found - expected).max() <= (1e-6 if real else 2.0**-11)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e30])
def test_a_network_that_diverged_skips_the_sample_and_says_so(value: float) -> None:
    graph = network("f32", (6, 5, 4), Descent(0.1), "value")
    twin = Twin(graph)
    twin.learned["dense1.bias"][2] = value
    before = {name: values.copy() for name, values in twin.learned.items()}
    twin.observe({"x": np.ones((1, 6), np.float32)}, [1])
    assert twin.learned["error.health"][0] == 1
    for name in ("dense0.weight", "dense0.bias", "dense1.weight", "dense1.bias"):
        np.testing.assert_array_equal(twin.learned[name], before[name])


def test_weights_saturate_and_are_counted() -> None:
    graph = network("i8", (6, 5, 4), Descent(0.5))
    twin = Twin(graph)
    limits = {k.tensor.name: k.high for k in graph.learned}
    for name in ("dense0.weight", "dense1.weight"):
        twin.learned[name][...] = limits[name]
    twin.observe({"x": np.full((1, 6), 255, np.uint8)}, [1])
    rows = twin.learned["dense1.weight"].astype(int)
    assert (rows[1] == limits["dense1.weight"]).all()  # the label's would go beyond
    assert (rows[[0, 2, 3]] < limits["dense1.weight"]).all()
    assert twin.learned["dense1_update.health"][0] == rows.shape[1]


def test_stochastic_rounding_is_unbiased_and_rests_at_no_gradient() -> None:
    step = scalar.Sgd.of(
        "i8", Descent(0.01, rounding="stochastic"), (2.0**-10, 1 << 12), (2.0**-6, 127)
    )
    w = np.zeros(1 << 16, np.int64)
    byte = scalar.random_bytes(scalar.draws(7, 1 << 14)[0]).reshape(-1)
    for gradient in (-3000, -70, 0, 70, 3000):
        moved, _, _ = step.end(w, None, np.full_like(w, gradient) * int(step.rate), byte)
        exact = -gradient * 0.01 * 2.0**-10 / 2.0**-6
        assert abs(moved.mean() - exact) < 0.004 + 2.0**-8 * (gradient != 0)
    assert not step.end(w, None, w, byte)[0].any()


def test_draws_are_the_generators() -> None:
    from spikelet.graph.fixed import xorshift32

    drawn, state = scalar.draws(12345, 1000)
    expected = np.array([12345], np.uint32)
    for i in range(1000):
        expected = xorshift32(expected)
        assert drawn[i] == expected[0]
    assert state == drawn[-1]


def test_a_schedule_of_a_half_is_half_the_rate() -> None:
    step = scalar.Sgd.of("i16", Descent(0.1), (2.0**-12, 1 << 14), (2.0**-12, 4095))
    assert abs(step.at_rate(1 << 14).rate - step.rate / 2) <= 0.5
    assert step.at_rate(1 << 15) == step
    real = scalar.Sgd.of("f32", Descent(0.1, decay=0.5))
    assert real.at_rate(1 << 14).rate == np.float32(-0.1) / 2


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"rate": 1e-9}, "learning rate"),
        ({"rate": -1.0}, "rate is -1.0"),
        ({"momentum": 1.0}, "not in \\[0, 1\\)"),
        ({"batch": 0}, "batch is 0"),
        ({"rounding": "up"}, "one of nearest, stochastic"),
    ],
)
def test_steps_that_cannot_be_are_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(GraphError, match=match):
        network("i16", (6, 5, 4), Descent(**{"rate": 0.1, **change}))


def test_a_sum_that_may_overflow_is_refused() -> None:
    x = Tensor("x", "i16", (64,), kind="input")
    weight = Learned.of("w.weight", "i16", (4, 64))
    bias = Learned.of("w.bias", "i32", (4,), low=-1000, high=1000)
    node = DenseForward(
        name="y", inputs=("x", "w.weight", "w.bias"), precision="i16", outputs=4, output_limit=1000
    )
    with pytest.raises(GraphError, match=r"layer y .* beyond 32 bits"):
        Graph("g", 1, [x], [node], ["y"], [weight, bias])


def test_two_precisions_in_one_image_are_refused(tmp_path: Path) -> None:
    from spikelet.codegen import generate

    one = network("f32", (6, 5, 4), Descent(0.1))
    other = layers(np.random.default_rng(0), (6, 3), [(None, True)])
    inputs = {"x": np.zeros((1, 6), np.uint8)}
    both = trainable(lambda _: one, other, "i16", Descent(0.1), inputs, prefix="second_")
    with pytest.raises(GraphError, match="SPK_SCALAR"):
        generate(both, "0" * 64, tmp_path)


# Options that between them take every branch of the kernels.
CASES: dict[str, dict[str, Any]] = {
    "plain": {"sizes": (13, 9, 6), "descent": Descent(0.05, rounding="stochastic")},
    "heavy": {
        "sizes": (10, 7, 5),
        "descent": Descent(0.02, 0.9, 0.01, 3, "stochastic"),
        "learns": [(4, True), (None, True)],
        "dtype": "i8",
    },
    "sparse": {
        "sizes": (9, 8, 6, 4),
        "descent": Descent(0.05),
        "learns": [(0, True), (5, False), (0, False)],
        "dtype": "value",
    },
}
DEVICES = [
    ("native-gcc-sanitized", "f32", "heavy"),
    ("native-gcc-sanitized", "f32", "sparse"),
    ("native-gcc-sanitized", "f16", "heavy"),
    ("native-gcc-sanitized", "i16", "sparse"),
    ("native-gcc-sanitized", "i8", "heavy"),
    ("rv32-gcc-qemu", "i16", "heavy"),
    ("rv32f-gcc-qemu", "f32", "heavy"),
    ("m4-gcc-qemu", "f16", "heavy"),
    ("m4-gcc-qemu", "i8", "sparse"),
]
MORE_DEVICES = [
    ("rv32-gcc-qemu", "f32", "plain"),
    ("rv32-gcc-qemu", "i8", "plain"),
    ("rv32f-gcc-qemu", "f16", "plain"),
    ("m4-gcc-qemu", "f32", "sparse"),
    ("m4-gcc-qemu", "i16", "plain"),
]


@pytest.mark.parametrize(
    ("target", "precision", "case"),
    [*DEVICES, *(pytest.param(*device, marks=pytest.mark.long) for device in MORE_DEVICES)],
)
def test_a_device_learns_bit_for_bit(
    target: str, precision: str, case: str, tmp_path: Path
) -> None:
    graph = network(precision, **CASES[case])
    rng = np.random.default_rng(1)
    x = samples(rng, graph, 60)
    y = rng.integers(0, graph.classes, 60)
    twin = device_equals_twin(target, graph, {"x": x}, y, tmp_path, block=20)
    start = graph.initial()
    moved = [n for n in twin.learned if n.endswith(("weight", "bias"))]
    assert all((twin.learned[n] != start[n]).any() for n in moved)


@pytest.mark.parametrize("precision", ["f32", "i16"])
def test_a_device_learns_a_target_bit_for_bit(precision: str, tmp_path: Path) -> None:
    need("gcc")
    graph = network(precision, (9, 7, 3), Descent(0.1), loss="mse")
    rng = np.random.default_rng(1)
    target = rng.normal(size=(30, 3)).astype(np.float32)
    if precision == "i16":
        target = rng.integers(-60, 60, (30, 3)).astype(np.int16)
    device_equals_twin(
        "native-gcc-sanitized", graph, {"x": samples(rng, graph, 30)}, None, tmp_path,
        targets={"target": target}, block=10,
    )  # fmt: skip
