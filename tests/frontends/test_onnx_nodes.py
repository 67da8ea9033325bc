"""Every operator of ONNX that is claimed, on ONNX's own backend node tests."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_node_cases import CLAIMED, OUTSIDE, Case, cases, compute, outside

from spikelet.refusal import ImportRefused


@pytest.mark.parametrize("kind", sorted(CLAIMED))
def test_every_backend_test_in_range_passes(kind: str) -> None:
    mine = [case for case in cases() if case.kind == kind and not outside(case.name)]
    assert mine or kind in NO_TEST_IN_RANGE
    for case in mine:
        check(case)


# Tested against onnxruntime instead: ONNX's tests of them have weights that need nine bits.
NO_TEST_IN_RANGE = {"QLinearConv", "QLinearMatMul"}


def check(case: Case) -> None:
    found = compute(case)
    for name, wanted in case.outputs.items():
        assert found[name].shape == wanted.shape, case.name
        np.testing.assert_allclose(
            found[name].astype(np.float64),
            wanted.astype(np.float64),
            rtol=case.rtol,
            atol=case.atol,
            err_msg=case.name,
        )


def test_what_is_out_of_range_is_refused() -> None:
    matched = set()
    for case in cases():
        if patterns := outside(case.name):
            matched.update(patterns)
            with pytest.raises(ImportRefused):
                compute(case)
    assert matched == {pattern for patterns in OUTSIDE.values() for pattern in patterns}


def test_most_tests_are_in_range() -> None:
    inside = [case for case in cases() if not outside(case.name)]
    assert len(inside) >= 320
