"""Trainable layers at the ends of their ranges: kernels alone, sanitised, against golden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isolated
from dense_networks import trainable
from learning import USUAL, device_equals_twin
from spikelet.graph import Array, Graph, GraphError, Tensor
from spikelet.graph.tensor import Learned
from spikelet.learn import identity
from spikelet.learn.layers.conv2d import Conv2dUpdate
from spikelet.learn.layers.dense import DenseForward, DenseUpdate
from spikelet.learn.layers.to_scalar import ToScalar
from spikelet.learn.networks.parameters import Learns, RealLayer
from spikelet.learn.numbers import scalar

SCALE = 2.0**-7
WHOLE = {"i8": (-128, 127), "i16": (-32768, 32767)}
INPUTS, OUTPUTS = 3, 5


def host_inputs(
    precision: str, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[list[Tensor], list[Any]]:
    """Inputs of the host, and what makes values of a precision of them."""
    if scalar.is_float(precision):
        return [Tensor(name, "f32", shape, "input", 1.0) for name, shape in shapes.items()], []
    inputs = [Tensor(f"{name}_code", "i8", shape, "input", SCALE) for name, shape in shapes.items()]
    nodes = [
        ToScalar(
            name=name, inputs=(f"{name}_code",), precision=precision,
            output_scale=SCALE, output_limit=127,
        )
        for name in shapes
    ]  # fmt: skip
    return inputs, nodes


def at_end(state: Learned) -> Learned:
    """Begins at the upper end of its range; counters, floats and health where they always do."""
    if state.tensor.dtype in ("u32", "f32") or state.tensor.name == "u.health":
        return state
    return replace(state, initial=state.interval[1].astype(state.tensor.numpy_dtype))


def layer(
    precision: str,
    *,
    weight: tuple[int | None, int | None] = (-100, 100),
    initial: Array | None = None,
    limits: tuple[int, int] | None = None,
    at: str = "middle",
    schedule: tuple[int, int] = (0, scalar.Q15),
    **options: Any,
) -> Graph:
    """A dense layer and its update; errors and inputs are of the host.

    Args:
        precision: of the layer.
        weight: low and high.
        initial: weights; None where they do not learn.
        limits: of what is kept for a batch.
        at: where in its range what is learned begins: middle or end.
        schedule: low and high.
        options: of the update.
    """
    floats = scalar.is_float(precision)
    value, scale = ("f32", 1.0) if floats else ("i16", SCALE)
    shapes = {"x": (INPUTS,), "e": (OUTPUTS,)}
    inputs, nodes = host_inputs(precision, shapes)
    held = None if initial is not None else np.ones((OUTPUTS, INPUTS), np.float32)
    bias = np.zeros(OUTPUTS, np.float32 if floats else np.int32)
    formats: dict[str, Any] = {} if floats else {"weight_scale": SCALE}
    output = {} if floats else {"output_scale": SCALE, "output_limit": 32767}
    step: dict[str, Any] = {"rate": 0.05, **formats, **options}
    if not floats:
        step |= {"gradient_scale": SCALE, "gradient_limit": 32767}
    learned = []
    if initial is not None:
        low, high = (None, None) if floats else weight
        learned.append(
            Learned.of("w", precision, initial.shape, initial, low=low, high=high, scale=scale)
        )
    nodes.append(
        DenseForward(
            name="y", inputs=("x", "w")[: 1 + (held is None)], precision=precision,
            outputs=OUTPUTS, frozen=held, frozen_bias=bias,
            **output, **formats,
        )
    )  # fmt: skip
    update = DenseUpdate(
        name="u", inputs=(), precision=precision, outputs=OUTPUTS, frozen=held, bias=False,
        **step,
    )  # fmt: skip
    of = {name: Tensor(name, value, shape, scale=scale) for name, shape in shapes.items()}
    state = update.state(of["x"], of["e"], scale * scale, limits=limits)
    if at == "end":
        state = [at_end(k) for k in state]
    learned += state
    if update.scheduled:
        learned.append(Learned.of("s", "i32", (1,), low=schedule[0], high=schedule[1]))
    known = {"error": "e", "x": "x", "weight": "w", "schedule": "s"}
    known |= {k.tensor.name.split(".")[1]: k.tensor.name for k in state}
    update.inputs = tuple(known[role] for role in update.roles(of["x"].shape))
    return Graph("edge", 1, inputs, [*nodes, update], ["y"], learned)


def fill(precision: str, number: int) -> Array:
    return np.full((OUTPUTS, INPUTS), number, {"i8": np.int8, "i16": np.int16}[precision])


@pytest.mark.parametrize(("precision", "rounding"), [
    ("i8", "stochastic"), ("i16", "nearest"),
    pytest.param("i8", "nearest", marks=pytest.mark.long),
    pytest.param("i16", "stochastic", marks=pytest.mark.long),
])  # fmt: skip
def test_weights_of_their_whole_type_saturate(
    precision: str, rounding: str, tmp_path: Path
) -> None:
    """Beyond the largest code of either sign is the other end of the type."""
    low, high = WHOLE[precision]
    initial = fill(precision, high - 1)
    initial[::2] = low
    graph = layer(
        precision, weight=(None, None), initial=initial, rounding=rounding,
        rate=0.1 if precision == "i8" else 30.0,
    )  # fmt: skip
    isolated.run(graph, 6, tmp_path)
    env, rng = graph.initial(), np.random.default_rng(0)
    for _ in range(6):
        env.update({t.name: isolated.random_values(t, rng)[None] for t in graph.inputs})
        for node in graph.order:
            node.golden(env, 0)
    assert env["u.health"][0] > 0
    assert (env["w"][1::2] > 0).all()
    assert (env["w"][::2] < 0).all()


def test_frozen_layer_passes_the_error_on_in_a_batch(tmp_path: Path) -> None:
    """It has nothing to count samples of."""
    isolated.run(layer("f32", gradient=True, batch=3), 4, tmp_path)


@pytest.mark.parametrize("count", [0, 2])
def test_samples_kept_at_their_limits(count: int, tmp_path: Path) -> None:
    graph = layer(
        "i16", initial=fill("i16", 90), limits=(127, 127), at="end", batch=3, decay=0.1
    )  # fmt: skip
    kept = {k.tensor.name: k for k in graph.learned}
    assert int(kept["u.kept_x"].interval[1].max()) == 127
    assert int(kept["u.kept_error"].interval[0].min()) == -127
    kept["u.count"].start()[0] = count
    isolated.run(graph, 4, tmp_path)


def test_what_may_not_be_proved_is_refused() -> None:
    initial = fill("i16", 1)
    with pytest.raises(GraphError, match=r"bits do not hold"):  # kept: anything of int16
        layer("i16", initial=initial, batch=3)
    with pytest.raises(GraphError, match=r"w learns, but may only be 0 to 100"):
        layer("i16", initial=initial, weight=(0, 100))
    with pytest.raises(GraphError, match=r"s may be 0 to 32769, expected 0 to 32768"):
        layer("i16", initial=initial, scheduled=True, schedule=(0, 32769))
    with pytest.raises(GraphError, match=r"momentum 1e-05 is less than 2\^-15"):
        layer("i16", initial=initial, momentum=1e-5)


def test_infinite_sum_stays_infinite(tmp_path: Path) -> None:
    """Weights that a host may upload, far beyond what is learned."""
    graph = layer("f32", initial=np.full((OUTPUTS, INPUTS), -3e38, np.float32))
    forward = Graph("forward", 1, graph.inputs[:1], graph.nodes[:1], ["y"], graph.learned[:1])
    with np.errstate(over="ignore"):
        y = forward.run({"x": np.full((1, INPUTS), 2, np.float32)}).outputs["y"]
        assert np.isneginf(y).all()
        isolated.run(forward, 8, tmp_path)


def test_codes_kept_for_a_batch_lie_about_their_zero_point() -> None:
    """A code is up to 255 from a zero point at the end, and its gradient that much larger."""
    x = Tensor("x", "i8", (1, 1, 1), "input", SCALE, -128)
    kept = Tensor("kept_x", "i8", (2, 1, 1, 1), "learned", persistent=True)
    node = Conv2dUpdate(
        name="u", inputs=(), precision="i16", kernel=(1, 1), outputs=1, rate=0.1, batch=3
    )  # fmt: skip
    bounds = {"x": x.interval(-128, 0), "kept_x": kept.interval()}
    assert node.largest_kept("x", {"x": x, "kept_x": kept}, bounds) == 255


@pytest.mark.parametrize("target", USUAL)
def test_a_network_that_diverged_has_the_same_bits_on_every_core(
    target: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    layers = [
        RealLayer((rng.choice([-1, 1], (outputs, inputs)) * size).astype(np.float32),
                  np.zeros(outputs, np.float32), Learns(outputs, True), relu=outputs > 3)
        for inputs, outputs, size in ((4, 6, 1e20), (6, 5, 1e38), (5, 3, 1e38))
    ]  # fmt: skip
    descent = scalar.Descent(rate=0.1)
    inputs = {"x": rng.normal(0, 3, (6, 4)).astype(np.float32)}
    graph = trainable(lambda _: identity((4,), "f32"), layers, "f32", descent, inputs)
    with np.errstate(all="ignore"):
        twin = device_equals_twin(target, graph, inputs, np.arange(6) % 3, tmp_path)
        outputs = twin.predict(inputs).outputs[graph.outputs[0]]
    assert np.isnan(outputs).any()
