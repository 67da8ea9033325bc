"""Tells at the end which tools were missing, so that a skip is not overlooked."""

from __future__ import annotations

import signal

import pytest

from once import Once
from support import MISSING


@pytest.fixture(scope="session")
def once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes what several files of tests need, once for all workers."""
    base = tmp_path_factory.getbasetemp()
    return Once((base.parent if hasattr(request.config, "workerinput") else base) / "once")


def pytest_configure() -> None:
    # A shell starts background jobs with Ctrl-C ignored, and what they start inherits it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MISSING:
        terminalreporter.section("NOT TESTED: tools are missing", sep="!", red=True)
        terminalreporter.line(f"{', '.join(sorted(MISSING))}: run `make tools`")
