"""Tells at the end which tools were missing, so that a skip is not overlooked."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from once import Once
from quick import has_quick_tests
from support import MISSING

# Threads of PyTorch and BLAS would only wait for each other beside the other workers.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes what several files of tests need, once for all workers."""
    base = tmp_path_factory.getbasetemp()
    return Once((base.parent if hasattr(request.config, "workerinput") else base) / "once")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m quick` imports no file that has no quick test."""
    asked = config.option.markexpr == "quick" and collection_path.match("test_*.py")
    return True if asked and not has_quick_tests(collection_path) else None


def pytest_configure() -> None:
    # A shell starts background jobs with Ctrl-C ignored, and what they start inherits it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MISSING:
        terminalreporter.section("NOT TESTED: tools are missing", sep="!", red=True)
        terminalreporter.line(f"{', '.join(sorted(MISSING))}: run `make tools`")
