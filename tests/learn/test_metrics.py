"""Metrics of continual and lifelong learning on hand-made curves, with exact values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikelet.errors import UsageError
from spikelet.learn.continual.metrics import (
    Evaluation,
    Log,
    Training,
    accuracy_matrix,
    continual,
    lifelong,
    smooth,
)


def evaluation(*accuracy: float) -> Evaluation:
    return Evaluation(np.array(accuracy))


def training(task: int, *correct: int) -> Training:
    return Training(task, np.array(correct, bool))


# Two tasks; the second costs the first 0.4.
FORGETTING: Log = [
    evaluation(0.1, 0.2),
    training(0, 0, 1, 1, 1),
    evaluation(0.9, 0.3),
    training(1, 0, 0, 1, 1),
    evaluation(0.5, 0.8),
]
# The first task keeps what it had.
KEEPING: Log = [*FORGETTING[:4], evaluation(0.9, 0.8)]


def test_acc_bwt_and_fwt() -> None:
    found = continual(FORGETTING)
    assert found["accuracy_matrix"] == [[0.1, 0.2], [0.9, 0.3], [0.5, 0.8]]
    assert found["acc"] == pytest.approx(0.65)
    assert found["bwt"] == pytest.approx(-0.4)
    assert found["fwt"] == pytest.approx(0.1)
    assert found["bwt_of_tasks"] == {"0": pytest.approx(-0.4)}


def test_a_task_that_comes_last_again_has_no_backward_transfer() -> None:
    log = [*FORGETTING, training(0, 1, 1), evaluation(0.95, 0.7)]
    assert continual(log)["bwt_of_tasks"] == {"1": pytest.approx(-0.1)}


def test_blocks_of_one_task_are_one_phase() -> None:
    log = [
        evaluation(0.0, 0.0), training(0, 0), evaluation(0.4, 0.0), training(0, 1),
        evaluation(0.8, 0.0), training(1, 1), evaluation(0.6, 0.7),
    ]  # fmt: skip
    assert accuracy_matrix(log).tolist() == [[0.0, 0.0], [0.8, 0.0], [0.6, 0.7]]
    assert continual(log)["bwt"] == pytest.approx(-0.2)


def test_perfect_retention_maintains_and_transfers_nothing() -> None:
    found = lifelong(KEEPING)
    assert found["performance_maintenance"] == 0
    assert found["backward_transfer_contrast"] == 0
    assert found["backward_transfer_ratio"] == 1
    assert continual(KEEPING)["bwt"] == 0


def test_maintenance_and_transfer_in_percent() -> None:
    found = lifelong(FORGETTING)
    assert found["performance_maintenance"] == pytest.approx(50 - 90)
    # The last tenth of four experiences is the last one: 100.
    assert found["performance_maintenance_terminal"] == pytest.approx(50 - 100)
    assert found["forward_transfer_ratio"] == pytest.approx(0.3 / 0.2)
    assert found["forward_transfer_contrast"] == pytest.approx(0.1 / 0.5)
    assert found["backward_transfer_ratio"] == pytest.approx(0.5 / 0.9)
    assert found["backward_transfer_contrast"] == pytest.approx(-0.4 / 1.4)
    assert found["performance_recovery"] is None
    assert found["relative_performance"] is None


def test_maintenance_refers_to_the_last_training() -> None:
    log = [
        *FORGETTING,
        training(0, 1, 1), evaluation(1.0, 0.6),
        training(1, 1, 1), evaluation(0.7, 0.9),
    ]  # fmt: skip
    # Task 0: 0.5 - 0.9 after the second block, 0.7 - 1.0 after the fourth; task 1: 0.6 - 0.8.
    assert lifelong(log)["performance_maintenance"] == pytest.approx(
        ((50 - 90 + 70 - 100) / 2 + (60 - 80)) / 2
    )


def test_a_transfer_from_nothing_has_no_ratio() -> None:
    log = [evaluation(0.0, 0.0), training(0, 1), evaluation(1.0, 0.0), training(1, 1),
           evaluation(1.0, 1.0)]  # fmt: skip
    found = lifelong(log)
    assert found["forward_transfer_ratio"] is None
    assert found["forward_transfer_contrast"] is None


def test_recovery_gets_faster() -> None:
    # Back at 100 after 3, then 2, then 1 experiences: the Theil-Sen slope is -1.
    log = [
        evaluation(0.0), training(0, 1, 1, 1, 1), evaluation(0.0),
        training(0, 0, 0, 0, 1), evaluation(0.0), training(0, 0, 0, 1, 1), evaluation(0.0),
        training(0, 0, 1, 1, 1), evaluation(0.0),
    ]  # fmt: skip
    assert lifelong(log)["performance_recovery"] == 1


def test_what_is_not_recovered_counts_one_experience_more_than_there_were() -> None:
    log = [
        evaluation(0.0), training(0, 1, 1), evaluation(0.0), training(0, 0, 1), evaluation(0.0),
        training(0, 0, 0), evaluation(0.0),
    ]  # fmt: skip
    # Recovery times 1 and 3.
    assert lifelong(log)["performance_recovery"] == -2


def test_against_single_task_experts() -> None:
    experts = {0: np.array([0, 0, 1, 1, 1]), 1: np.array([0, 1, 1, 1])}
    found = lifelong(FORGETTING, experts)
    # Sums over the common length: 3 of 2 and 2 of 3.
    assert found["relative_performance"] == pytest.approx((3 / 2 + 2 / 3) / 2)
    # All saturate at 100: experts after 2 and 1 experiences, the learner after 1 and 2.
    assert found["sample_efficiency"] == pytest.approx((2 / 1 + 1 / 2) / 2)


def rising(seed: int, count: int, low: float, high: float) -> np.ndarray:
    """(n,) outcomes whose probability goes from low to high."""
    return np.random.default_rng(seed).random(count) < np.linspace(low, high, count)


# Blocks (task, outcomes), experts, and what SampleEfficiency and STERelativePerf of l2metrics 3.1.0
# (from PyPI, with numpy 2.4.6 and pandas 3.1.1) give for them, blocks smoothed as its report does.
ORACLE = {
    "two tasks, one again": (
        [(0, rising(1, 40, 0.1, 0.9)), (1, rising(2, 60, 0.2, 0.8)), (0, rising(3, 50, 0.5, 0.95))],
        {0: rising(4, 70, 0.1, 0.95), 1: rising(5, 45, 0.1, 0.9)},
        0.8007685397391279, 1.0895854309303261,
    ),
    "windows too short to smooth": (
        [(0, rising(6, 12, 0.1, 0.9)), (1, rising(7, 9, 0.2, 0.9))],
        {0: rising(8, 20, 0.1, 0.9), 1: rising(9, 14, 0.1, 0.9)},
        2.6904761904761907, 2.7142857142857144,
    ),
    "the widest windows": (
        [(0, rising(10, 700, 0.1, 0.7)), (0, rising(11, 600, 0.6, 0.9))],
        {0: rising(12, 900, 0.1, 0.95)},
        0.6222819161724883, 0.8489740368509213,
    ),
    "a curve that falls from the start": (
        [(0, rising(13, 80, 0.9, 0.2)), (1, rising(14, 80, 0.1, 0.9))],
        {0: rising(15, 80, 0.1, 0.9), 1: rising(16, 80, 0.1, 0.9)},
        0.8690360272638753, 0.8693732369970802,
    ),
    "below a fifth of the expert": (
        [(0, rising(17, 200, 0.0, 0.05))], {0: rising(18, 200, 0.2, 1.0)},
        0.0, 0.06104207543056464,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ORACLE)
def test_efficiency_is_that_of_l2metrics(name: str) -> None:
    blocks, experts, efficiency, relative = ORACLE[name]
    nothing = Evaluation(np.zeros(len(experts)))
    log: list[Evaluation | Training] = [nothing]
    for task, correct in blocks:
        log += [Training(task, correct), nothing]
    found = lifelong(log, experts)
    assert found["sample_efficiency"] == pytest.approx(efficiency, rel=1e-12)
    assert found["relative_performance"] == pytest.approx(relative, rel=1e-12)


def test_sample_efficiency_needs_a_rise() -> None:
    assert lifelong(FORGETTING, {0: np.array([1, 1])})["sample_efficiency"] is None


def test_smoothing_is_the_moving_average_of_a_fifth() -> None:
    values = np.zeros(15)
    values[7] = 3
    assert smooth(values).tolist() == [0] * 7 + [1, 1, 1] + [0] * 5
    assert smooth(np.arange(10.0)).tolist() == list(range(10))


@given(st.lists(st.sampled_from([0, 100]), min_size=1, max_size=700))
def test_smoothing_keeps_length_and_range(values: list[int]) -> None:
    smoothed = smooth(np.array(values))
    assert len(smoothed) == len(values)
    assert min(values) - 1e-9 <= smoothed.min() and smoothed.max() <= max(values) + 1e-9
    window = min(int(len(values) * 0.2), 100)
    if window >= 3:
        around = np.pad(np.array(values, float), window - 1, mode="reflect")
        first = [around[i : i + window].mean() for i in range(len(values) + window - 1)]
        begin = (window - 2) // 2
        assert np.allclose(smoothed, first[begin : begin + len(values)])


def test_a_log_that_broke_off_is_refused() -> None:
    with pytest.raises(UsageError, match="broke off"):
        continual(FORGETTING[:4])
    with pytest.raises(UsageError, match="block 1 is no training"):
        continual([evaluation(0.1), evaluation(0.2), evaluation(0.3)])
