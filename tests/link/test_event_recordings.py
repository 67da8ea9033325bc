"""A recording of address events costs one round trip where four replies are kept, not three."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from once import Once
from spikelet.codegen import generate
from spikelet.events import EventStream
from spikelet.link import Device
from spikelet.paths import firmware_dir
from spiking_graphs import event_frames, event_network
from support import need
from virtual_line import VirtualDevice, build_library

ROUND_TRIP_S = 0.2


@pytest.mark.parametrize(("ring", "most"), [(2048, 1.3), (512, 2.6)])
def test_a_recording_takes_few_round_trips(once: Once, ring: int, most: float) -> None:
    need("gcc")
    graph = event_network("bit")

    def made(folder: Path) -> Path:
        generate(graph, bytes(32).hex(), folder)
        flags = (f"-DSPK_LINK_RING={ring}", "-DSPK_EVENTS", f"-I{folder}")
        flags += (f"-I{firmware_dir()}", "-w", "-Wno-error")
        return build_library(folder / "events.so", flags, folder / "model.c")

    line = VirtualDevice(once(f"link-events-{ring}", made), 921_600, ROUND_TRIP_S / 2)
    device = Device(line, clock=line.clock)
    x = event_frames("bit")
    golden = graph.run({"x": x}).outputs["counts"]
    for i, frames in enumerate(x):
        began = line.now
        ran = device.run_events(EventStream.of_frames(frames.reshape(len(frames), -1)))
        assert (line.now - began) / ROUND_TRIP_S < most
        counts = graph.tensors["counts"].from_bytes(device.outputs(ran)["counts"])
        np.testing.assert_array_equal(counts, golden[i])
    assert (device.stats.retries, line.lost) == (0, 0)
