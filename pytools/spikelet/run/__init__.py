"""Sessions: stream samples to a device, compare each with golden, record, report."""

from spikelet.run.inputs import SampleStream, data_stream, package_stream
from spikelet.run.session import Outcome, Speed, compare, summary
from spikelet.run.session_folder import Difference, Recording, Sample, SessionFolder
from spikelet.run.watch import Progress, Watch
from spikelet.run.workflow import (
    Built,
    Target,
    bands_text,
    choose_stream,
    connected,
    make,
    run,
    with_arena,
)

__all__ = [
    "Built",
    "Difference",
    "Outcome",
    "Progress",
    "Recording",
    "Sample",
    "SampleStream",
    "SessionFolder",
    "Speed",
    "Target",
    "Watch",
    "bands_text",
    "choose_stream",
    "compare",
    "connected",
    "data_stream",
    "make",
    "package_stream",
    "run",
    "summary",
    "with_arena",
]
