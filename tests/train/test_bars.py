"""The bars of the models that come with it, on the held-out digits that no tuning has seen."""

from __future__ import annotations

import numpy as np
import pytest

from spikelet.paths import models_dir
from spikelet.train.report import Row, measure


@pytest.fixture(scope="module")
def digits_snn() -> list[Row]:
    return measure(models_dir() / "digits_snn", [0, 1, 2])


def test_digits_snn_reaches_its_accuracy(digits_snn: list[Row]) -> None:
    assert np.mean([row.integer_accuracy for row in digits_snn]) >= 0.970
    assert all(row.manifest["samples"] == 360 for row in digits_snn)


def test_digits_snn_drifts_at_most_half_a_point(digits_snn: list[Row]) -> None:
    assert max(abs(row.drift) for row in digits_snn) <= 0.5


def test_digits_snn_is_small_and_short(digits_snn: list[Row]) -> None:
    assert all(row.weight_bytes <= 12 * 1024 for row in digits_snn)
    assert all(row.manifest["recipe"]["network"]["steps"] <= 16 for row in digits_snn)
    assert all(row.saturations == 0 for row in digits_snn)


def test_digits_bernoulli_is_the_benchmark_network() -> None:
    row = measure(models_dir() / "digits_bernoulli", [0])[0]
    assert row.integer_accuracy >= 0.9667
    assert row.manifest["recipe"]["network"] == {
        "steps": 25,
        "encoder": "poisson",
        "readout": "spike_count",
    }
    assert row.weight_bytes == 64 * 128 + 128 * 10
    assert row.metrics.dense == 236_800
    assert 0.85 <= row.metrics.activation_sparsity <= 0.90
    assert 60_000 <= row.metrics.effective_acs <= 72_000
