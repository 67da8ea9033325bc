"""Sessions: stream samples to a device, compare each with golden, record, report."""

from spikelet.run.session import Outcome, Speed, compare, summary
from spikelet.run.session_folder import Difference, Recording, Sample, SessionFolder
from spikelet.run.watch import SampleProgress, Watch
from spikelet.run.workflow import (
    BuiltImage,
    SessionTarget,
    bands_text,
    choose_stream,
    connect,
    image_folder,
    make,
    run,
    with_arena,
)
from spikelet.streams import SampleStream, data_stream, package_stream

__all__ = [
    "BuiltImage",
    "Difference",
    "Outcome",
    "Recording",
    "Sample",
    "SampleProgress",
    "SampleStream",
    "SessionFolder",
    "SessionTarget",
    "Speed",
    "Watch",
    "bands_text",
    "choose_stream",
    "compare",
    "connect",
    "data_stream",
    "image_folder",
    "make",
    "package_stream",
    "run",
    "summary",
    "with_arena",
]
