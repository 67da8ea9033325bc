"""Which of the learners' tests `make test` leaves to the long set."""

from __future__ import annotations

import pytest

# What they reach beyond the kernels of the default options, a schedule, test_single_forward.py has.
SAME_KERNELS = {"test_hlop", "test_hlop_spiking", "test_penalties", "test_personal", "test_replay"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`test_device_equals_twin` in emulators is long, and of SAME_KERNELS on the host, too.

    tests/acceptance/test_learners.py has each learner on the host and in an emulator.
    """
    for item in items:
        spec = getattr(item, "callspec", None)
        if spec is None or not item.name.startswith("test_device_equals_twin["):
            continue
        native = str(spec.params.get("target", "native")).startswith("native")
        if not native or item.path.stem in SAME_KERNELS:
            item.add_marker(pytest.mark.long)
