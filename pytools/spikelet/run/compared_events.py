"""What became of events, as the device counted it and as golden's frames have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from spikelet.events import EventError, EventStream
from spikelet.graph import Graph
from spikelet.link import EventResult
from spikelet.streams import SampleStream


@dataclass(frozen=True)
class Fate:
    """Of one sample's events.

    Attributes:
        events: all.
        late: after the last step.
        clipped: whose bit was set already, or whose count was full.
    """

    events: int
    late: int
    clipped: int


class ComparedEvents:
    """Collects, over samples, what became of their events.

    Args:
        graph: the model.
        stream: its samples.
    """

    def __init__(self, graph: Graph, stream: SampleStream) -> None:
        self.graph, self.stream = graph, stream
        self.most_ticks = 0
        self.seen: dict[int, Fate] = {}
        self.of_real_time: float | None = None

    def fate(self, index: int, steps: int | None = None) -> Fate:
        """What golden's frames make of a sample's events.

        Args:
            index: of the sample.
            steps: that were run; None for all.
        """
        graph = self.graph
        assert graph.stream is not None
        steps = graph.steps if steps is None else steps
        frames = self.stream.inputs[graph.stream.name][index]
        if self.stream.events is None:
            events = EventStream.of_frames(frames.reshape(graph.steps, -1))
        else:
            events = self.stream.events[index]
        within = int(np.searchsorted(events.t, steps * events.bin))
        held = int(frames[:steps].sum(dtype=np.int64))
        return Fate(len(events.t), len(events.t) - within, within - held)

    def compare(self, result: EventResult, index: int, steps: int | None = None) -> int:
        """How many of the device's counts are not golden's."""
        expected = self.seen[index] = self.fate(index, steps)
        self.most_ticks = max(self.most_ticks, result.most_ticks)
        device = Fate(result.events, result.late, result.clipped)
        names = ("events", "late", "clipped")
        return sum(getattr(device, name) != getattr(expected, name) for name in names)

    def timed(self, index: int, seconds: float) -> None:
        """Note what a recording took: sending, steps and the answer.

        Raises:
            EventError: longer than it lasted, where it had to be in real time.
        """
        assert self.stream.events is not None
        events = self.stream.events[index]
        lasted = self.graph.steps * events.bin / 1e6
        share = seconds / lasted
        self.of_real_time = max(share, self.of_real_time or 0.0)
        if self.stream.realtime and share > 1:
            raise EventError(
                f"recording {index}: an event rate beyond the link: {len(events.t)} events in "
                f"{lasted:.3g} s took {seconds:.3g} s over link and device",
                "a line that is too slow for so many events, or steps that take longer than their "
                "events last",
                "a higher baud, larger steps (--bin-us), pooled events; `longest step` of a run "
                "without --realtime says what a step takes",
            )

    def totals(self, per_tick: float) -> dict[str, Any] | None:
        """Sums over all samples that were run; None where the model takes no events."""
        if self.graph.stream is None:
            return None
        fates = self.seen.values()
        return {
            "events": sum(fate.events for fate in fates),
            "late": sum(fate.late for fate in fates),
            "clipped": sum(fate.clipped for fate in fates),
            "most_a_step": per_tick * self.most_ticks or None,
            "of_real_time": self.of_real_time,
        }
