"""A device that lies, one lie at a time: each ends in a named error, in bounded memory and time."""

from __future__ import annotations

import contextlib
import functools
import socket
import subprocess
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from lies import MODES, Liar
from lying_device import relay

from cli_support import small_package
from learned_models import learner_graph, samples
from spikelet.board import find_board
from spikelet.errors import Disagreement, SpikeletError
from spikelet.graph.counters import counters
from spikelet.learn.twin import Twin
from spikelet.link import Device, FdTransport, RunResult
from spikelet.link.messages import RunRequest
from spikelet.package import Package
from spikelet.run import (
    BuiltImage,
    Recording,
    SessionFolder,
    SessionTarget,
    compare,
    make,
    package_stream,
)
from spikelet.run.bench import effective_work, layer_ticks
from spikelet.run.learner import DeviceLearner
from spiking_graphs import event_frames, event_network
from support import need

MEMORY = 32 << 20  # bytes that a session may take, whatever the device says
SECONDS = 20.0
RUN_S = 3.0  # of a run that a lie holds up, whose deadline of its own is 10 s
NATIVE = find_board("native")
# Those that end with a deadline, which takes seconds; the rest of their kind is left to `long`.
SLOW = {"run-silent", "ack-endless", "echo-endless", "put-silent", "hello-nonce"}


@functools.cache
def learning_package() -> Package:
    return Package(learner_graph())


@functools.cache
def event_package() -> Package:
    vectors = {"x": event_frames("bit", samples=3)}
    return Package(event_network(), vectors, {"name": "event_bit"}).with_golden()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Package, BuiltImage]]:
    need("gcc")
    folder = tmp_path_factory.mktemp("lying")
    plain, learns = small_package(), learning_package()
    events = event_package()
    layers = make(plain, NATIVE, folder / "layers", toolchain="gcc", trace=True)
    return {
        "events": (events, make(events, NATIVE, folder / "events", toolchain="gcc")),
        "run": (plain, make(plain, NATIVE, folder / "run", toolchain="gcc")),
        "layers": (plain, layers),
        "counts": (plain, layers),
        "learn": (learns, make(learns, NATIVE, folder / "learn", toolchain="gcc")),
    }


def stored_crc(built: BuiltImage) -> int:
    return zlib.crc32(b"".join(constant.data for constant in built.generated.constants))


@contextlib.contextmanager
def lying(mode: str, built: BuiltImage) -> Iterator[FdTransport]:
    """The host's end of a link to a real agent behind a liar."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [built.firmware.elf], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None and process.stdout is not None
    device = process.stdout.fileno(), process.stdin.fileno()
    liar = Liar(mode, stored_crc(built))

    def run() -> None:
        with contextlib.suppress(OSError):
            relay(liar, (theirs.fileno(), theirs.fileno()), device)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield FdTransport(ours, name="liar")
    finally:
        ours.close()
        process.kill()
        thread.join()
        theirs.close()
        process.communicate()


def play_run(package: Package, device: Device, folder: Path, layers: bool = False) -> None:
    folder.mkdir()
    stream = package_stream(package).head(2)
    recording = Recording(SessionFolder(folder), {}, resume=False)
    outcome = compare(package, device, stream, recording, layers=layers)
    assert outcome.mismatches == 0


def play_layers(package: Package, device: Device, folder: Path) -> None:
    play_run(package, device, folder, layers=True)
    if device.hello.tick_unit:
        layer_ticks(package, device, package_stream(package), [1])


def play_counts(package: Package, device: Device, folder: Path) -> None:
    effective_work(package, package_stream(package).head(2).inputs, device)


def play_learn(package: Package, device: Device, folder: Path) -> None:
    learner, twin = DeviceLearner(package.graph, device), Twin(package.graph)
    inputs, labels = samples(4)
    learner.reset()
    learner.observe(inputs, labels)
    twin.observe(inputs, labels)
    learner.agree(twin)
    assert learner.compare(twin) == []
    learner.restore(twin.state(), 4)
    learner.commit()
    twin.commit()
    learner.agree(twin)
    assert learner.compare(twin) == []
    learner.predict(inputs)


SESSIONS: dict[str, Callable[[Package, Device, Path], None]] = {
    "run": play_run,
    "layers": play_layers,
    "counts": play_counts,
    "learn": play_learn,
    "events": play_run,
}


def end_of_session(
    kind: str, mode: str, image: tuple[Package, BuiltImage], folder: Path
) -> SpikeletError | None:
    """How a session with a liar ended: None where it went through."""
    package, built = image
    must = SessionTarget(NATIVE, built).expected_image(package)
    with lying(mode, built) as transport:
        try:
            device = Device(transport, connect_deadline_s=1.5, expected=must)
            SESSIONS[kind](package, device, folder)
        except SpikeletError as error:
            return error
    return None


def problems_of_end(
    kind: str, mode: str, image: tuple[Package, BuiltImage], folder: Path
) -> list[str]:
    """What is wrong with the end of a session: nothing, or a line each."""
    tracemalloc.start()
    started = time.monotonic()
    try:
        error = end_of_session(kind, mode, image, folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    seconds, wrong = time.monotonic() - started, []
    if peak > MEMORY or seconds > SECONDS:
        wrong.append(f"{kind} {mode}: {peak} bytes, {seconds:.1f} s")
    if error is not None:
        text = str(error)
        differs = isinstance(error, Disagreement)  # from golden: no fault of the link
        code = 1 if differs and kind == "counts" else 3
        if error.exit_code != code or not (error.what and error.cause and error.next):
            wrong.append(f"{kind} {mode}: exit {error.exit_code}, {text!r}")
        if any(ord(c) < 32 and c != "\n" for c in text):
            wrong.append(f"{kind} {mode}: control characters in {text!r}")
    return wrong if error is not None else [*wrong, f"{kind} {mode}: passes"]


@pytest.fixture(autouse=True)
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikelet.link.connection.DEADLINE_S", 1.0)


@pytest.mark.parametrize("kind", SESSIONS)
def test_an_honest_device_passes(
    kind: str, images: dict[str, tuple[Package, BuiltImage]], tmp_path: Path
) -> None:
    error = end_of_session(kind, "honest", images[kind], tmp_path / "s")
    assert error is None, error


def test_there_are_lies_enough() -> None:
    assert len(MODES) > 100


def test_every_lie_ends_in_a_named_error(
    images: dict[str, tuple[Package, BuiltImage]], tmp_path: Path
) -> None:
    check([mode for mode in MODES if mode not in SLOW], images, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("mode", sorted(SLOW))
def test_a_lie_that_ends_with_a_deadline_does(
    mode: str,
    images: dict[str, tuple[Package, BuiltImage]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = Device._start

    def soon(
        device: Device, asked: RunRequest, inputs: Mapping[str, bytes], deadline_s: float
    ) -> Callable[[], RunResult]:
        return start(device, asked, inputs, min(deadline_s, RUN_S))

    monkeypatch.setattr(Device, "_start", soon)
    check([mode], images, tmp_path)


def kinds_of(mode: str) -> list[str]:
    """The sessions in which a lie is told."""
    if mode.startswith(("close-", "events-")):
        return ["events"]
    return ["counts"] if mode.startswith("counts-") else ["run", "layers", "learn"]


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.startswith("counts-")])
def test_a_lie_about_work_is_named_by_layer_tensor_and_count(
    mode: str, images: dict[str, tuple[Package, BuiltImage]], tmp_path: Path
) -> None:
    package, _ = images["counts"]
    first, last = counters(package.graph)[0], counters(package.graph)[-1]
    error = end_of_session("counts", mode, images["counts"], tmp_path / "s")
    assert error is not None
    named = last if mode == "counts-last" else first
    assert f"layer {named.node.name}: the device counts " in error.what
    assert f" {named.counted} of {named.tensor.name}, golden " in error.what


def check(modes: list[str], images: dict[str, tuple[Package, BuiltImage]], folder: Path) -> None:
    """In one kind of session at the least a lie is met; it never does harm in any."""
    wrong = []
    for mode in modes:
        if mode == "honest":
            continue
        met = False
        kinds = kinds_of(mode)
        for kind in kinds:
            found = problems_of_end(kind, mode, images[kind], folder / f"{mode}-{kind}")
            met |= found != [f"{kind} {mode}: passes"]
            wrong += [line for line in found if not line.endswith(": passes")]
        if not met:
            wrong.append(f"{mode}: nobody notices")
    assert wrong == []
