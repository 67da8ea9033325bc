"""Address events over a real link: frames of any cut give golden's answer, bad ones are refused."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from link_agent import sanitizing_compilers, start
from once import Once
from spikelet.board import find_board
from spikelet.errors import UsageError
from spikelet.events import EventError, EventStream
from spikelet.graph import Array, Graph
from spikelet.link import Device, DeviceRefused, EventResult
from spikelet.link.events import encoded
from spikelet.link.exchange import Request
from spikelet.link.messages import EventsCloseRequest, EventsRequest, Status, Type
from spikelet.package import Package
from spikelet.run.expected import expected_image
from spikelet.run.workflow import BuiltImage, SessionTarget, connect, make
from spiking_graphs import event_frames, event_network

DTYPES = ("bit", "u8")


def built(once: Once, dtype: str) -> tuple[Package, BuiltImage]:
    def build(folder):  # type: ignore[no-untyped-def]
        package = Package(event_network(dtype))
        sanitize = bool(sanitizing_compilers())
        return package, make(package, find_board("native"), folder, sanitize=sanitize)

    made: tuple[Package, BuiltImage] = once(f"events-{dtype}", build)
    return made


@pytest.fixture(params=DTYPES)
def opened(request: pytest.FixtureRequest, once: Once) -> Iterator[tuple[Graph, Device]]:
    package, image = built(once, request.param)
    with connect(SessionTarget(find_board("native"), image), package) as (device, _):
        yield package.graph, device


@pytest.fixture
def device(once: Once) -> Iterator[Device]:
    package, image = built(once, "bit")
    with connect(SessionTarget(find_board("native"), image), package) as (device, _):
        yield device


def stream_of(frames: Array, bin_us: int, seed: int = 1) -> EventStream:
    """Events at random times within their steps."""
    plain = EventStream.of_frames(frames.reshape(len(frames), -1))
    rng = np.random.default_rng(seed)
    t = plain.t * bin_us + rng.integers(0, bin_us, len(plain.t))
    order = np.argsort(t, kind="stable")
    return EventStream(t[order], plain.addresses[order], bin_us)


def answer(graph: Graph, device: Device, ran: EventResult) -> dict[str, Array]:
    memory = device.outputs(ran)
    return {name: graph.tensors[name].from_bytes(memory[name]) for name in graph.outputs}


def raw(device: Device, bin_us: int, data: bytes) -> tuple[int, int]:
    """Status and detail of EVENTS with any payload."""
    request = Request(Type.EVENTS, EventsRequest(bin_us, data).pack())
    (reply,) = device._exchange([request], 5.0)
    return reply.status, reply.detail


def numbers(data: bytes) -> list[int]:
    """The varints of a frame."""
    found, value, shift = [], 0, 0
    for byte in data:
        value += (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(value)
            value = shift = 0
    return found


@pytest.mark.parametrize("bin_us", [1, 7, 10_000, 300_000])
def test_events_give_what_golden_makes_of_their_frames(
    opened: tuple[Graph, Device], bin_us: int
) -> None:
    graph, device = opened
    x = event_frames("u8" if graph.inputs[0].dtype == "u8" else "bit")
    golden = graph.run({"x": x}).outputs
    for i, frames in enumerate(x):
        stream = stream_of(frames, bin_us)
        ran = device.run_events(stream)
        assert isinstance(ran, EventResult)
        assert (ran.events, ran.late, ran.clipped) == (len(stream.t), 0, 0)
        assert ran.finished and ran.step == graph.steps
        for name, values in answer(graph, device, ran).items():
            np.testing.assert_array_equal(values, golden[name][i])


def test_frames_become_events(opened: tuple[Graph, Device]) -> None:
    graph, device = opened
    x = event_frames(graph.inputs[0].dtype)
    golden = graph.run({"x": x}).outputs["counts"]
    for i in range(len(x)):
        ran = device.run(inputs={"x": graph.wire(graph.inputs[0], x[i])})
        assert isinstance(ran, EventResult) and ran.events == x[i].sum()
        np.testing.assert_array_equal(answer(graph, device, ran)["counts"], golden[i])


def test_each_step_has_an_answer(opened: tuple[Graph, Device]) -> None:
    graph, device = opened
    frames = event_frames(graph.inputs[0].dtype, samples=1)[0]
    stream = stream_of(frames, 500)
    device.begin_events()
    for step in range(graph.steps):
        device.send_events(stream.part(step, step + 1))
        ran = device.close_events(step + 1, answer=True)
        assert ran.step == step + 1 and ran.finished == (step + 1 == graph.steps)
        short = Graph("so_far", step + 1, graph.inputs, graph.nodes, graph.outputs)
        golden = short.run({"x": frames[None, : step + 1]}).outputs
        np.testing.assert_array_equal(answer(graph, device, ran)["counts"], golden["counts"][0])


def test_what_is_late_or_does_not_fit_is_counted(opened: tuple[Graph, Device]) -> None:
    graph, device = opened
    t = np.array([0, 0, 0, *range(1, graph.steps), graph.steps, graph.steps + 3])
    stream = EventStream(t, np.full(len(t), 7), 1)
    ran = device.run_events(stream)
    assert isinstance(ran, EventResult)
    clipped = 2 if graph.inputs[0].dtype == "bit" else 0
    assert (ran.events, ran.late, ran.clipped) == (len(t), 2, clipped)
    many = EventStream(np.zeros(300, np.int64), np.full(300, 3), 1)
    ran = device.run_events(many)
    assert isinstance(ran, EventResult)
    assert ran.clipped == (299 if graph.inputs[0].dtype == "bit" else 45)


def test_events_of_a_whole_run_are_checked_once(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked, check = [], device._check_events
    monkeypatch.setattr(device, "_check_events", lambda e: (checked.append(e), check(e))[1])
    stream = EventStream(np.array([0, 2]), np.array([1, 2]), 1)
    device.run_events(stream)
    assert checked == [stream]


def test_bad_events_are_named_before_they_are_sent(device: Device) -> None:
    device.begin_events()
    zeros = np.zeros(3, np.int64)
    for t, addresses, text in (
        (np.array([0, 5, 4]), zeros, "out of order: event 2 at 4 comes after one at 5"),
        (zeros, np.array([0, 60, 0]), "out of range: event 1 has the address 60, input x has 60"),
        (zeros, np.array([0, 0, -1]), "event 2 has the address -1"),
        (np.array([0, 0, 1 << 33]), zeros, "event 2 at 8589934592 comes after one at 0"),
    ):
        with pytest.raises(EventError, match=text):
            device.send_events(EventStream(t, addresses, 10))
        before = device.stats.sent
        with pytest.raises(EventError, match=text):
            device.run_events(EventStream(t, addresses, 10))
        assert device.stats.sent == before
    assert device.close_events().events == 0  # nothing of it went over the link
    device.begin_events()
    device.send_events(EventStream(np.array([25]), np.array([1]), 10))
    with pytest.raises(EventError, match="event 1 at 24 comes after one at 25"):
        device.send_events(EventStream(np.array([24]), np.array([1]), 10))
    assert device.close_events(4).step == 4
    with pytest.raises(EventError, match="event 1 at 39 comes after one at 40"):
        device.send_events(EventStream(np.array([39]), np.array([1]), 10))


@pytest.mark.parametrize(
    ("data", "status", "detail"),
    [
        (b"\x00\x05\x00", Status.BAD_LEN, 2),  # no address
        (b"\x00\x05\x80", Status.BAD_LEN, 2),  # a number that is cut
        (b"\x00\x05\x00\xff", Status.BAD_LEN, 2),
        (b"\x00\x3c", Status.RANGE, 0),  # 60 of 60 elements
        (b"\x01\x05\x00\xff\xff\xff\xff\x0f", Status.RANGE, 2),
        (b"\x80\x80\x80\x80\x10\x00", Status.BAD_LEN, 0),  # beyond 32 bits
        (b"\x80\x80\x80\x80\x80\x00\x00", Status.BAD_LEN, 0),
    ],
)
def test_a_bad_frame_is_refused_as_a_whole(
    device: Device, data: bytes, status: Status, detail: int
) -> None:
    device.begin_events()
    assert raw(device, 3, data) == (status, detail)
    ran = device.close_events()
    assert (ran.events, ran.late, ran.clipped) == (0, 0, 0)
    silent = event_network().run({"x": np.zeros((1, 8, 6, 5, 2), np.uint8)}).outputs
    crc = 0
    for tensor in (t for t in event_network().tensors.values() if t.kind == "output"):
        crc = zlib.crc32(tensor.to_bytes(silent[tensor.name][0]), crc)
    assert ran.outputs_crc == crc


def test_a_bad_wire_loses_no_event_and_repeats_none(once: Once, tmp_path: Path) -> None:
    package, image = built(once, "u8")  # counts: an event that came twice would show
    graph, report = package.graph, tmp_path / "report.json"
    rates = {"drop": 0.03, "duplicate": 0.05, "swap": 0.03, "truncate": 0.02, "garbage": 0.05}
    faults = ["--seed", "3", "--report", str(report)]
    faults += [word for name, rate in rates.items() for word in (f"--{name}", str(rate))]
    x = event_frames("u8", samples=5)
    golden = graph.run({"x": x}).outputs["counts"]
    with start(image.firmware.elf, faults) as machine:
        device = Device(machine.transport, expected=expected_image(package, find_board("native")))
        for i, frames in enumerate(x):
            few = stream_of(frames, 100)
            t = np.repeat(few.t, 5)  # more frames on the wire
            stream = EventStream(t, np.repeat(few.addresses, 5), 100)
            fives = np.minimum(frames.astype(int) * 5, 255).astype(np.uint8)
            expected = graph.run({"x": fives[None]}).outputs["counts"][0]
            ran = device.run_events(stream, deadline_s=20)
            assert (ran.events, ran.late, ran.clipped) == (len(t), 0, 0)
            np.testing.assert_array_equal(answer(graph, device, ran)["counts"], expected)
            again = device.run(inputs={"x": graph.wire(graph.inputs[0], frames)}, deadline_s=20)
            assert again.finished
            np.testing.assert_array_equal(answer(graph, device, again)["counts"], golden[i])
        assert device.stats.retries > 0
    assert machine.stop() is not None


def accepted(data: bytes, elements: int) -> int | None:
    """Events of a frame that is good, None of another: written down once more."""
    found = []
    while data:
        size = next((i + 1 for i, byte in enumerate(data[:5]) if byte < 128), 0)
        if not size:
            return None
        value = sum((byte & 127) << 7 * i for i, byte in enumerate(data[:size]))
        if value >> 32:
            return None
        found.append(value)
        data = data[size:]
    good = len(found) % 2 == 0 and all(address < elements for address in found[1::2])
    return len(found) // 2 if good else None


def test_any_bytes_are_taken_or_refused_as_a_whole(device: Device) -> None:
    rng = np.random.default_rng(8)
    taken = {True: 0, False: 0}
    for _ in range(30):
        device.begin_events()
        events = 0
        for _ in range(12):
            kind = rng.integers(0, 3)
            data = rng.integers(0, 256 if kind == 0 else 60, rng.integers(0, 40)).astype(np.uint8)
            if kind == 2 and len(data):
                data[rng.integers(0, len(data))] |= 128
            count = accepted(data.tobytes(), 60)
            status, _ = raw(device, int(rng.integers(1, 50)), data.tobytes())
            assert (status == Status.OK) == (count is not None)
            assert status in (Status.OK, Status.BAD_LEN, Status.RANGE)
            events += count or 0
            taken[count is not None] += 1
        device._events_sent = events
        ran = device.close_events()
        assert (ran.events, ran.step) == (events, 8)
    assert min(taken.values()) > 50


def test_events_without_a_run_that_waits_are_refused(device: Device) -> None:
    assert raw(device, 3, b"\x00\x05")[0] == Status.BAD_STATE
    device.run(steps=2)  # of frames that a host writes itself
    assert raw(device, 3, b"\x00\x05")[0] == Status.BAD_STATE
    with pytest.raises(DeviceRefused):
        device._all_ok(
            [request := Request(Type.EVENTS_CLOSE, EventsCloseRequest(0, 0).pack())],
            device._exchange([request], 5.0),
            {Status.BAD_STATE},
        )
    device.begin_events()
    assert raw(device, 0, b"\x00\x05") == (Status.RANGE, 0)  # a step without a length
    with pytest.raises(DeviceRefused, match="EVENTS_CLOSE"):
        device.close_events(9)


def test_a_stream_that_breaks_off_leaves_nothing_behind(device: Device) -> None:
    """A run that begins anew, and one of another session, are those of a fresh device."""
    x = event_frames("bit", samples=1)
    golden = event_network().run({"x": x}).outputs["counts"][0]
    stream = stream_of(x[0], 100)
    device.begin_events()
    device.send_events(EventStream(np.array([0, 150]), np.array([0, 1]), 100))
    ran = device.run_events(stream)
    assert isinstance(ran, EventResult) and ran.events == len(stream.t)
    np.testing.assert_array_equal(answer(event_network(), device, ran)["counts"], golden)


def test_a_model_without_events_refuses_them(device_elf, once: Once) -> None:  # type: ignore[no-untyped-def]
    with start(device_elf) as machine, Device(machine.transport) as plain:
        assert raw(plain, 3, b"\x00\x05") == (Status.BAD_TYPE, Type.EVENTS)
        with pytest.raises(UsageError, match="'echo' takes no events"):
            plain.begin_events()


def test_frames_hold_whole_events_and_no_more_than_fits() -> None:
    t = np.array([0, 1, 128, 129, 40_000, 3_000_000_000])
    addresses = np.array([0, 127, 128, 3000, 5, 0])
    whole = b"".join(data for data, _ in encoded(EventStream(t, addresses, 1), 0, 1000))
    assert whole[:7] == bytes.fromhex("0000 017f 7f8001")
    assert numbers(whole) == [0, 0, 1, 127, 127, 128, 1, 3000, 39_871, 5, 2_999_960_000, 0]
    for room in (8, 9, 20):
        parts = list(encoded(EventStream(t, addresses, 1), 0, room))
        assert b"".join(data for data, _ in parts) == whole
        assert sum(count for _, count in parts) == len(t)
        assert all(len(data) <= room for data, _ in parts)
