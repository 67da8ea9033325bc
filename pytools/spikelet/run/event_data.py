"""Event files and data sets as what a session streams to a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.events import Binning, EventError
from spikelet.package import Package
from spikelet.recordings import UNLABELLED, Recordings, is_event_file, read_recordings
from spikelet.streams import SampleStream

OPTION = "--bin-us"


def holds_events(package: Package, path: Path) -> bool:
    """Whether what --data names are events, and not arrays of samples.

    A folder may be anything: it is one of recordings where the package takes events.
    """
    from spikelet.train.data import EVENT_SETS

    if path.is_dir() and package.graph.stream is None:
        return False
    return str(path) in EVENT_SETS or is_event_file(path)


def event_stream(package: Package, path: Path, bin_us: int | None) -> SampleStream:
    """Recordings for a package whose input comes as events, with golden's frames beside them.

    Args:
        package: of a network with an input of each step.
        path: a file, a folder, or the name of a data set, whose test part it is.
        bin_us: length of a step in microseconds; None for what the manifest says.

    Raises:
        EventError: a recording that cannot be used, or that does not fit the input.
        UsageError: the package takes no events, or nobody says how long a step is.
    """
    graph, given = package.graph, f"--data {path}"
    if graph.stream is None:
        raise UsageError(
            f"{given} holds events, and package {graph.name} takes none",
            "its input is constant, or whole sequences of frames",
            'export the network with encoder="events"',
        )
    recordings = _recordings(path)
    binning = _binning(package, recordings, bin_us, given)
    frames, _ = recordings.frames(binning)
    labels = None if (recordings.labels == UNLABELLED).all() else recordings.labels
    if labels is not None and labels.max() > graph.highest_prediction:
        raise UsageError(
            f"{given}: labels up to {labels.max()}, the model knows classes 0 to "
            f"{graph.highest_prediction}",
            "recordings of another data set",
        )
    source = f"{path}, {binning.steps} steps of {binning.bin_us} us"
    events = tuple(recordings.streams(binning))
    return SampleStream(source, {graph.stream.name: frames}, labels, events=events)


def _recordings(path: Path) -> Recordings:
    from spikelet.train.data import EVENT_SETS
    from spikelet.train.event_data import nmnist_recordings

    if str(path) in EVENT_SETS:
        return nmnist_recordings("test")
    return read_recordings(path)


def _binning(package: Package, recordings: Recordings, bin_us: int | None, given: str) -> Binning:
    """How recordings become the frames of a package's input."""
    graph = package.graph
    assert graph.stream is not None
    known: dict[str, Any] = package.manifest.get("events") or {}
    length = known.get("bin_us") if bin_us is None else bin_us
    if not isinstance(length, int):
        raise UsageError(
            f"{given}: package {graph.name} does not say how long a step is",
            "it was exported from samples that were frames already",
            f"give {OPTION}, in microseconds",
        )
    height, width, channels = recordings.sensor
    shape = graph.stream.shape
    for pool in range(1, max(height, width) + 1):
        binning = Binning(graph.steps, length, graph.stream.dtype != "bit", pool)
        made = binning.frame_shape(recordings.sensor)
        if made == shape or (len(shape) == 1 and np.prod(made) == shape[0]):
            return binning
    raise EventError(
        f"{given}: events of a sensor {height} x {width} x {channels}, the model takes {shape}",
        "recordings of another sensor, or channels that are not the last axis",
        "use recordings of the sensor that the model was trained with",
    )
