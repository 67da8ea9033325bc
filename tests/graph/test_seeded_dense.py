"""Weights made of a seed, against a plain loop over a plain splitmix32, and an explicit matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spikelet.graph import Array, Graph, GraphError, Tensor
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.seeded_dense import MOST_WEIGHTS, SeededDense, seeded_signs


def words(seed: int, count: int) -> list[int]:
    """Of splitmix32, from the number that a hash of the seed is."""

    def mixed(z: int) -> int:
        z = (z ^ z >> 16) * 0x21F0AAAD % 2**32
        z = (z ^ z >> 15) * 0x735A2D97 % 2**32
        return z ^ z >> 15

    return [mixed((mixed(seed) + k * 0x9E3779B9) % 2**32) for k in range(1, count + 1)]


def matrix(seed: int, outputs: int, inputs: int, fan_out: int | None) -> Array:
    """By the definition, word by word."""
    weight = np.zeros((outputs, inputs), np.int64)
    each = fan_out or -(-outputs // 32)
    for k, word in enumerate(words(seed, inputs * each)):
        if fan_out:
            weight[word // 2 * outputs // 2**31, k // each] += 1 if word % 2 else -1
            continue
        for bit in range(min(32, outputs - k % each * 32)):
            weight[k % each * 32 + bit, k // each] = 1 if word >> bit & 1 else -1
    return weight


def layer(dtype: str, inputs: int, **fields: int | None) -> Graph:
    x = Tensor("x", dtype, (inputs,), kind="input")
    node = SeededDense(name="y", inputs=("x",), **fields)  # type: ignore[arg-type]
    return Graph("one", 1, [x], [node], ["y"])


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(1, 40),
    st.none() | st.integers(1, 90), st.sampled_from(["bit", "u8", "i8"]), st.data(),
)  # fmt: skip
@example(0, 1, 1, None, "i8", None)
@settings(max_examples=60, deadline=None)
def test_sums_are_those_of_the_explicit_matrix(
    seed: int, outputs: int, inputs: int, fan_out: int | None, dtype: str, data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, 300)) if data else 1
    zero = data.draw(st.integers(-128, 127)) if data and dtype == "i8" else 0
    zero = data.draw(st.integers(0, 255)) if data and dtype == "u8" else zero
    weight = matrix(seed, outputs, inputs, fan_out)
    assert np.array_equal(weight, seeded_signs(seed, outputs, inputs, fan_out))
    graph = layer(
        dtype, inputs, outputs=outputs, seed=seed, fan_out=fan_out, size=size, zero=zero
    )  # fmt: skip
    low, high = graph.inputs[0].limits
    rng = np.random.default_rng(seed)
    x = rng.integers(low, high + 1, (5, inputs))
    found = graph.run({"x": x.astype(graph.inputs[0].numpy_dtype)}).outputs["y"]
    assert np.array_equal(found, (x - zero) @ (size * weight).T)
    least, most = graph.bounds["y"]
    assert (least <= found).all() and (found <= most).all()
    met = graph.nodes[0].synapses()["x"]
    assert np.array_equal(met, (weight != 0).sum(axis=0))


def test_a_seeded_layer_is_a_dense_one_of_the_same_matrix() -> None:
    seeded = layer("bit", 40, outputs=50, seed=9, size=77)
    weight = (77 * seeded_signs(9, 50, 40)).astype(np.int8)
    dense = Graph("one", 1, seeded.inputs, [Dense(name="y", inputs=("x",), weight=weight)], ["y"])
    x = np.random.default_rng(0).integers(0, 2, (20, 40)).astype(np.uint8)
    assert np.array_equal(seeded.run({"x": x}).outputs["y"], dense.run({"x": x}).outputs["y"])


def test_signs_are_spread_evenly() -> None:
    signs = seeded_signs(0, 400, 400)
    assert abs(signs.mean()) < 0.01
    assert np.linalg.norm(signs, 2) < 2.1 * 20  # of a random matrix: twice the root of its side
    other = seeded_signs(1, 400, 400)
    assert abs((signs * other).mean()) < 0.01
    few = seeded_signs(0, 400, 400, 10)
    assert np.abs(few).sum() < 4000  # some meet
    assert 3600 < np.count_nonzero(few)
    assert abs(np.count_nonzero(few[:200]) - np.count_nonzero(few[200:])) < 200


@pytest.mark.parametrize(
    ("dtype", "inputs", "fields", "text"),
    [
        ("i16", 3, {}, "input x is i16, expected bit, u8 or i8"),
        ("u8", 3, {"zero": -1}, "zero is -1, no code of 0 of u8"),
        ("bit", 3, {"zero": 1}, "zero is 1, no code of 0 of bit"),
        ("i8", 3, {"seed": -1}, "seed"),
        ("i8", 3, {"seed": 2**32}, "seed"),
        ("i8", 3, {"outputs": 0}, "outputs"),
        ("i8", 3, {"fan_out": 0}, "fan_out"),
        ("i8", 3, {"size": 0}, "size"),
        ("i8", MOST_WEIGHTS // 1024 + 1, {"outputs": 1024}, "4097 inputs with 1024 weights each"),
        ("u8", 600, {"size": 32767}, "a sum may reach 2690498370, beyond 32 bits"),
    ],
)
def test_what_it_cannot_hold_is_named(
    dtype: str, inputs: int, fields: dict[str, int], text: str
) -> None:
    with pytest.raises(GraphError, match=f"layer y.*{text}"):
        layer(dtype, inputs, **{"outputs": 5, "seed": 0} | fields)
