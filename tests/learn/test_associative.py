"""The associative memory: against the formula in floats, when it is full, and on devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning import USUAL, device_equals_twin
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, GraphError, Tensor
from spikelet.learn import Setting, Twin, identity
from spikelet.learn.learners.associative import (
    Associative,
    AssociativeDistances,
    Binarise,
    pack_bits,
    unpack_bits,
)


def memory(bits: int, classes: int = 0, **options: Any) -> Graph:
    """Behind a backbone whose features are bits."""
    x = Tensor("x", "i8", (bits,), kind="input")
    binarise = Binarise(name="features", inputs=("x",), threshold=np.zeros(bits, np.int32))
    backbone = Graph("bits", 1, [x], [binarise], ["features"])
    return Associative(**options).attach(backbone, Setting("features", classes))


def cues(samples: int, bits: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 2, (samples, bits)).astype(np.int8)


def flip_bits(patterns: Array, share: float, seed: int = 0) -> Array:
    """With that share of the bits of each pattern inverted."""
    rng = np.random.default_rng(seed)
    found = patterns.copy()
    for row in found:
        row[rng.choice(len(row), round(share * len(row)), replace=False)] ^= 1
    return found


@pytest.mark.parametrize(
    ("target", "weights"),
    [*((target, "exp2") for target in USUAL), *((target, "pow3") for target in USUAL[:2])],
)
def test_device_equals_twin(target: str, weights: str, tmp_path: Path) -> None:
    graph = memory(70, 3, rows=45, weights=weights, full="oldest", beta=0.1)
    samples = 150
    x = np.concatenate([cues(50, 70), flip_bits(cues(100, 70), 0.2)])[:samples]
    y = np.random.default_rng(1).integers(0, 3, samples)
    twin = device_equals_twin(target, graph, {"x": x}, y, tmp_path, block=40)
    assert Associative().health(twin.learned) == {"rows": 45, "full": samples - 45}


@pytest.mark.parametrize("dtype", ["u8", "i32"])
def test_other_features_on_the_device_without_labels(dtype: str, tmp_path: Path) -> None:
    backbone = identity((33,), dtype)
    info = np.iinfo(backbone.inputs[0].numpy_dtype)
    rng = np.random.default_rng(0)
    x = rng.integers(info.min, info.max, (60, 33), endpoint=True).astype(info.dtype)
    x[0], x[1] = info.min, info.max
    setting = Setting("features", 0, calibration={"x": x})
    graph = Associative(rows=50).attach(backbone, setting)
    twin = device_equals_twin("native-gcc-sanitized", graph, {"x": x}, None, tmp_path)
    bits = unpack_bits(twin.learned["associative.patterns"], 33)
    np.testing.assert_array_equal(bits[2:50], x[2:50] > np.floor(np.median(x, axis=0)))
    assert twin.learned["associative.health"][0] == 10


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 80),
    st.integers(1, 12),
    st.sampled_from(["exp2", "pow3"]),
    st.integers(0, 2**32 - 1),
)
def test_recall_is_the_formula_in_floats(bits: int, rows: int, weights: str, seed: int) -> None:
    beta = 0.5
    twin = Twin(memory(bits, 4, rows=rows, weights=weights, beta=beta))
    stored, labels = cues(rows, bits, seed), np.arange(rows) % 4
    twin.observe({"x": stored}, labels)
    cue = cues(1, bits, seed ^ 1)
    outputs = twin.predict({"x": cue}).outputs
    signs = 2.0 * stored - 1
    overlaps = signs @ (2.0 * cue[0] - 1)
    weight = overlaps**3 if weights == "pow3" else 2.0 ** -np.floor(
        0.5 + beta * (overlaps.max() - overlaps)
    )  # fmt: skip
    votes = weight @ signs
    # Small weights are dropped, cubes are rounded: a vote close to 0 may be another.
    clear = np.abs(votes) > 1e-6 * np.abs(weight).sum()
    np.testing.assert_array_equal(outputs["am_recall"][0][clear], (votes >= 0)[clear])
    assert (outputs["am_recall"][0][votes == 0] == 1).all()
    share = outputs["am_scores"][0] / max(1, outputs["am_scores"][0].max())
    expected = np.bincount(labels, weight, 4)
    if expected.max() > 0:
        assert share == pytest.approx(expected / expected.max(), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(0, 20), st.sampled_from(["refuse", "oldest"]))
def test_a_full_memory_refuses_or_forgets_the_oldest(rows: int, samples: int, full: str) -> None:
    x = cues(max(samples, 1), 40)[:samples]
    twin = Twin(memory(40, rows=rows, full=full))
    if samples:
        twin.observe({"x": x})
    used = min(rows, samples)
    kept = x[:used] if full == "refuse" else x[samples - used :]
    held = unpack_bits(twin.learned["associative.patterns"], 40)[:used]
    assert sorted(map(bytes, held)) == sorted(map(bytes, kept))
    assert Associative().health(twin.learned) == {"rows": used, "full": samples - used}


def test_stored_patterns_are_recalled_from_noisy_cues() -> None:
    stored = cues(100, 128)
    twin = Twin(memory(128, rows=100))
    twin.observe({"x": stored})
    recalled = twin.predict({"x": flip_bits(stored, 0.2)}).outputs["am_recall"]
    assert (recalled == stored).all(axis=1).mean() >= 0.99


def test_without_patterns_every_bit_is_1_and_no_class_is_ahead() -> None:
    outputs = Twin(memory(40, 3)).predict({"x": cues(2, 40)}).outputs
    assert (outputs["am_recall"] == 1).all()
    assert (outputs["am_scores"] == 0).all()


@given(st.integers(1, 5), st.integers(1, 70))
def test_packing_is_reversible_and_pads_with_zeros(samples: int, bits: int) -> None:
    x = cues(samples, bits)
    words = pack_bits(x)
    np.testing.assert_array_equal(unpack_bits(words, bits), x)
    assert sum(int(w).bit_count() for w in words.flat) == x.sum()


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"rows = 0 is not in 1\.\.65535"):
        Associative(rows=0)
    with pytest.raises(UsageError, match="memory of 300 classes"):
        memory(8, 300)
    with pytest.raises(GraphError, match=r"patterns of 1025 bits; .* with pow3 1024"):
        memory(1025, rows=2, weights="pow3")
    with pytest.raises(GraphError, match=r"threshold is int32 of shape \(3,\), expected .* \(4,\)"):
        Binarise(name="b", inputs=("x",), threshold=np.zeros(3, np.int32)).place(
            identity((4,)).inputs, {"x": (np.zeros(4), np.zeros(4))}, 1
        )
    with pytest.raises(
        GraphError,
        match=r"patterns is learned u32 of shape \(2, 3\), expected learned u32 of shape \(2, 2\)",
    ):
        graph = memory(64, rows=2)
        tensors = [graph.tensors[n] for n in ("features", "associative.patterns")]
        wrong = Tensor("associative.patterns", "u32", (2, 3), "learned")
        AssociativeDistances(name="d", inputs=("features", wrong.name, "n")).place(
            [tensors[0], wrong, graph.tensors["associative.rows"]], {}, 1
        )
