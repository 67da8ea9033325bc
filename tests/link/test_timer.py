"""No line from 9,600 to 2,000,000 baud and 0 to 300 ms has frames sent twice that were not lost."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from once import Once
from spikelet.link.faults import CLEAN, Faults
from spikelet.link.timer import RetransmissionTimer
from spikelet.paths import firmware_dir
from support import need

WINDOW = 16  # of a ring of 2 KB: what is behind a lost frame goes again


@pytest.fixture(scope="module")
def timer() -> ModuleType:
    need("gcc")
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.syspath_prepend(str(firmware_dir().parent / "tools"))
        import link_timer
    return link_timer


@pytest.fixture(scope="module")
def library(once: Once, timer: ModuleType) -> Path:
    return once("link-timer", lambda folder: timer.library(folder))


def test_over_all_lines(library: Path, timer: ModuleType) -> None:
    for baud in timer.BAUDS:
        for ms in timer.ROUND_TRIPS_MS:
            clean = timer.measured(library, baud, ms / 1000, CLEAN)
            assert (clean.again, clean.wrong, clean.overflown) == (0, 0, 0), (baud, ms)
            lossy = timer.measured(library, baud, ms / 1000, Faults(drop=timer.LOST))
            assert lossy.wrong == 0 and 0 < lossy.lost, (baud, ms)
            assert lossy.again <= (WINDOW + 1) * lossy.lost, (baud, ms)
            assert lossy.seconds < 3 * clean.seconds + 2 * lossy.lost, (baud, ms)


def test_a_timer_that_does_not_follow_sends_in_storms(
    library: Path, timer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RetransmissionTimer, "timeout_s", 0.05)
    assert timer.measured(library, 115_200, 0.3, CLEAN).again > 20
