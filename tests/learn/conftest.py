"""Which of the learners' tests `make test` leaves to the long set."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`test_device_equals_twin` in emulators is long.

    tests/acceptance/test_learners.py has each learner in each of them for every change.
    """
    for item in items:
        spec = getattr(item, "callspec", None)
        if spec is None or not item.name.startswith("test_device_equals_twin["):
            continue
        if not str(spec.params.get("target", "native")).startswith("native"):
            item.add_marker(pytest.mark.long)
