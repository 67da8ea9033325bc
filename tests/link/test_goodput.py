"""How much of a fast line with the latency of USB carries tensors; in simulated time."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikelet.paths import firmware_dir
from support import need


def test_a_line_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a ring of 2 KB; one of 512 bytes has two frames under way a round trip."""
    need("gcc")
    monkeypatch.syspath_prepend(str(firmware_dir().parent / "tools"))
    import link_goodput

    latency_s = 0.016
    for ring, least, samples in ((2048, 0.9, 60), (512, 0.25, 50)):
        share = link_goodput.measured(*link_goodput.large(tmp_path, ring), latency_s, 20)[1]
        assert least < share < least + 0.05
        assert (
            link_goodput.measured(*link_goodput.digits(tmp_path, ring), latency_s, 60)[0] > samples
        )
