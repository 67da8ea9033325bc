"""LEARN and LEARN_STATE on the real agent: what is refused, what is kept, what is undone."""

from __future__ import annotations

import contextlib
import random
import struct
import zlib
from pathlib import Path

import pytest

from echo_learner import EchoLearner
from link_agent import echo_outputs, start
from spikelet.errors import UsageError
from spikelet.link import (
    Device,
    DeviceRefused,
    DeviceReset,
    LearnAction,
    LearningLost,
    LinkTimeout,
    Stored,
    TransportClosed,
)
from spikelet.link.exchange import Request
from spikelet.link.messages import LearnRequest, Status, TensorPutRequest, Type
from spikelet.link.transport import Transport

IMAGE = bytes(range(256)) + bytes(44)
STEPS = 10


def taught(device: Device, labels: list[int], twin: EchoLearner) -> None:
    for label in labels:
        device.learn(label, {"image": IMAGE})
        twin.learn(label)


def raises_refusal(status: Status, detail: int) -> pytest.RaisesExc[DeviceRefused]:
    def fits(error: BaseException) -> bool:
        return isinstance(error, DeviceRefused) and (error.status, error.detail) == (status, detail)

    return pytest.RaisesExc(DeviceRefused, check=fits)


def tensors(device: Device) -> dict[str, bytes]:
    return device.get_many(device.learned_names)


def test_a_step_runs_learns_and_counts(learner: Device) -> None:
    twin = EchoLearner()
    rng = random.Random(1)
    assert learner.hello.learns
    assert learner.learned_names == list(twin.tensors())
    assert tensors(learner) == twin.tensors()
    for step in range(30):
        image, label, wanted = rng.randbytes(300), rng.randrange(5), rng.randrange(-3, 4)
        targets = {"wanted": struct.pack("b", wanted)}
        if step % 3:
            ran, _ = learner.learn(label, {"image": image}, targets)
            assert ran is not None
            assert (ran.finished, ran.step) == (True, STEPS)
        else:
            ran = learner.run(inputs={"image": image})
            assert learner.learn(label, targets=targets)[0] is None
        assert ran.outputs_crc == zlib.crc32(echo_outputs(image)[1])
        twin.learn(label, wanted)
        state = learner.learn_state()
        assert (state.steps, state.crc, state.generation) == (step + 1, twin.crc(), 0)
        assert not state.is_committed
    assert tensors(learner) == twin.tensors()


@pytest.mark.parametrize("label", [5, 6, 255, 256, 65534, None])
def test_a_label_that_is_no_class_is_refused_and_nothing_is_learned(
    learner: Device, label: int | None
) -> None:
    twin = EchoLearner()
    for inputs in ({"image": IMAGE}, None):
        learner.run(inputs={"image": IMAGE})
        with pytest.raises(DeviceRefused) as caught:
            learner.learn(label, inputs)
        shown = "without a label" if label is None else f"with label {label}"
        assert f"LEARN {shown}: the device answered RANGE" in str(caught.value)
        assert caught.value.detail == (0xFFFF if label is None else label)
        state = learner.learn_state()
        assert (state.steps, state.crc) == (0, twin.crc())
    with pytest.raises(UsageError, match=r"label -1 is not within 0\.\.65534"):
        learner.learn(-1)
    with raises_refusal(Status.BAD_STATE, learner.tensor("label").id):
        learner.put("label", struct.pack("<i", 77))  # goes with LEARN


def test_learning_takes_a_whole_run_of_its_inputs(learner: Device) -> None:
    def not_ready(step: int) -> None:
        with raises_refusal(Status.BAD_STATE, step):
            learner.learn(1)

    not_ready(0)
    learner.run(inputs={"image": IMAGE}, steps=3)
    not_ready(3)
    learner.run(restart=False)
    learner.learn(1)
    not_ready(STEPS)  # what was kept of the sample is used up
    learner.run()
    learner.put("image", IMAGE)
    not_ready(STEPS)
    learner.run()
    learner.put("wanted", b"\1")  # a target is read by LEARN only
    learner.learn(1)
    learner.run()
    learner.learn_state()
    learner.learn(1)
    learner.run()
    learner.learn_state(LearnAction.RESET)
    not_ready(STEPS)
    assert learner.learn_state().steps == 0


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("level", struct.pack("<f", float("nan"))),
        ("level", struct.pack("<f", float("-inf"))),
        ("level", b"\1\0\x80\x7f"),  # a signalling NaN
        ("wanted", struct.pack("b", 4)),
        ("wanted", struct.pack("b", -128)),
    ],
)
def test_what_is_no_number_or_out_of_range_never_enters(
    learner: Device, name: str, data: bytes
) -> None:
    before = learner.get(name)
    wrong, right = ({name: data}, {"wanted": b"\1"}) if name == "level" else ({}, {name: data})
    with raises_refusal(Status.RANGE, 0):
        learner.learn(1, {"image": IMAGE, **wrong}, right)
    assert learner.get(name) == before
    assert learner.learn_state().steps == 0


def test_floats_are_written_by_whole_elements(learner: Device) -> None:
    level = learner.tensor("level").id
    for offset, data in ((0, b"\0\0"), (2, b"\x80\x7f"), (1, b"\0\0"), (0, b"\0\0\0")):
        request = Request(Type.TENSOR_PUT, TensorPutRequest(level, offset, data).pack())
        reply = learner._exchange([request], 5.0)[0]
        assert reply.status == Status.RANGE
    learner.put("level", struct.pack("<f", 3.4e38))


def other_state(seed: int = 3) -> EchoLearner:
    twin = EchoLearner()
    rng = random.Random(seed)
    for _ in range(11):
        twin.learn(rng.randrange(5), rng.randrange(-3, 4))
    twin.commit()
    return twin


def test_an_uploaded_state_is_in_use_once_it_is_accepted(learner: Device) -> None:
    twin = other_state()
    state = learner.put_learned(twin.tensors(), steps=11)
    assert (state.steps, state.crc, state.pending, state.generation) == (11, twin.crc(), False, 0)
    taught(learner, [1, 2, 3], twin)
    assert tensors(learner) == twin.tensors()
    assert learner.learn_state(LearnAction.COMMIT).steps == 14


def test_nothing_runs_on_an_upload_that_is_not_accepted(learner: Device) -> None:
    committed = EchoLearner()
    taught(learner, [4, 0, 2], committed)
    committed.commit()
    learner.learn_state(LearnAction.COMMIT)
    twin = other_state()
    for crc in (twin.crc() ^ 1, committed.crc()):
        learner.put("weight", twin.tensors()["weight"])
        assert learner.learn_state().pending
        for attempt in (
            learner.run,
            lambda: learner.learn(1, {}),
            lambda: learner.learn_state(LearnAction.COMMIT),
        ):
            with pytest.raises(DeviceRefused) as caught:
                attempt()
            assert caught.value.status == Status.BAD_STATE
            assert "ACCEPT or RESTORE" in str(caught.value)
        with pytest.raises(DeviceRefused) as caught:
            learner.learn_state(LearnAction.ACCEPT, crc)
        assert caught.value.status == Status.CHECKSUM
        assert "the last committed model is in use" in str(caught.value)
        assert tensors(learner) == committed.tensors()
        learner.run()
    with raises_refusal(Status.BAD_STATE, 0):
        learner.learn_state(LearnAction.ACCEPT, committed.crc())  # of nothing
    learner.put("weight", twin.tensors()["weight"])
    learner.reconnect()
    state = learner.learn_state()
    assert (state.pending, state.steps, state.is_committed) == (False, 3, True)
    assert tensors(learner) == committed.tensors()


@pytest.mark.parametrize(
    ("name", "data", "detail"),
    [
        ("ring", b"\x08", 0),
        ("weight", struct.pack("<8h", 0, 0, 0, 0, 0, 0, 1001, 0), 12),
        ("weight", struct.pack("<8h", -1001, 0, 0, 0, 0, 0, 0, 0), 0),
        ("commits", struct.pack("<I", 3_000_000_001), 0),
        ("real", struct.pack("<3f", 0, 0, float("inf")), 8),
        ("half", struct.pack("<5H", 0, 0x7BFF, 0xFC01, 0, 0), 4),
    ],
)
def test_an_upload_with_a_value_out_of_range_is_undone(
    learner: Device, name: str, data: bytes, detail: int
) -> None:
    committed = EchoLearner()
    with raises_refusal(Status.RANGE, detail):
        learner.put_learned({**other_state().tensors(), name: data})
    assert tensors(learner) == committed.tensors()
    assert learner.learn_state().is_committed
    learner.put_learned({**other_state().tensors(), "commits": struct.pack("<I", 3_000_000_000)})
    with pytest.raises(UsageError, match="learned tensor half is missing"):
        learner.put_learned({k: v for k, v in other_state().tensors().items() if k != "half"})


def test_commit_restore_reset(learner: Device) -> None:
    twin = EchoLearner()
    taught(learner, [1, 2, 3, 4], twin)
    twin.commit()
    state = learner.learn_state(LearnAction.COMMIT)
    learned = sum(map(len, twin.tensors().values()))
    assert (state.generation, state.steps, state.is_committed) == (1, 4, True)
    assert state.written_bytes == 64 + -(-learned // 64) * 64
    assert state.erased_pages == -(-(64 + learned) // state.page_bytes) == 1
    assert state.stored is Stored.LOADED
    committed = twin.tensors()
    taught(learner, [0, 1], twin)
    assert tensors(learner) == twin.tensors()
    for undo in (
        lambda: learner.learn_state(LearnAction.RESTORE),
        learner.reset,
        learner.reconnect,
    ):
        taught(learner, [0, 1, 3], twin)
        undo()
        assert tensors(learner) == committed
        assert (learner.learn_state().steps, learner.learn_state().generation) == (4, 1)
    assert learner.learn_state(LearnAction.RESET).crc == EchoLearner().crc()
    learner.reset()
    assert tensors(learner) == committed
    learner.learn_state(LearnAction.RESET)
    assert learner.learn_state(LearnAction.COMMIT).generation == 2  # the next slot
    learner.reset()
    assert struct.unpack("<I", learner.get("commits")) == (1,)


def test_what_diverged_is_not_committed(learner: Device) -> None:
    twin = other_state()
    twin.real[0] = twin.real[0].__class__(3e38)
    committed = tensors(learner)
    learner.put_learned(twin.tensors())
    learner.learn(0, {}, {"wanted": b"\3"})
    assert learner.get("real")[:4] == struct.pack("<f", float("inf"))
    with pytest.raises(DeviceRefused, match="COMMIT of tensor 'real', which has left its range"):
        learner.learn_state(LearnAction.COMMIT)
    assert tensors(learner) == committed
    assert learner.learn_state().generation == 0


@pytest.mark.parametrize(("bomb", "learns"), [(5, True), (100, True), (101, False)])
def test_a_reset_in_the_middle_brings_the_committed_model_back(
    learner: Device, bomb: int, learns: bool
) -> None:
    twin = EchoLearner()
    taught(learner, [3, 1, 2], twin)
    twin.commit()
    learner.learn_state(LearnAction.COMMIT)
    committed = twin.tensors()
    taught(learner, [4], twin)
    fuse = {"bomb": struct.pack("<II", bomb, 0)}
    with pytest.raises(DeviceReset):
        if learns:
            learner.learn(2, fuse)
        else:
            learner.learn(2, {})
            learner.put_many(fuse)
            learner.learn_state(LearnAction.COMMIT)
    learner.reconnect()
    assert tensors(learner) == committed
    state = learner.learn_state()
    assert (state.steps, state.generation, state.is_committed) == (3, 1, True)


def test_an_interrupted_session_says_what_became_of_its_learning(learner: Device) -> None:
    twin = EchoLearner()
    taught(learner, [1, 1], twin)
    slow = {"bomb": struct.pack("<II", 0, 30_000_000)}
    with pytest.raises(LinkTimeout):
        learner.learn(1, slow, deadline_s=0.05)
    with pytest.raises(LearningLost, match="the last committed model is in use"):
        learner.learn(1)
    assert tensors(learner) == EchoLearner().tensors()  # and it goes on
    with pytest.raises(LinkTimeout):
        learner.run(inputs=slow, deadline_s=0.05)
    assert learner.learn_state().steps == 0  # nothing was learned, nothing lost


def test_a_model_that_does_not_learn_says_so(device: Device) -> None:
    for attempt in (lambda: device.learn(1), device.learn_state, lambda: device.put_learned({})):
        with pytest.raises(UsageError, match="'echo' does not learn"):
            attempt()
    request = Request(Type.LEARN, LearnRequest(0, 0, 0).pack())
    assert device._exchange([request], 5.0)[0].status == Status.BAD_TYPE


class Cut:
    """A transport that breaks for good after so many bytes were sent; reads what came till then."""

    def __init__(self, transport: Transport, after: int) -> None:
        self._transport, self._left = transport, after
        self.name, self.baud = transport.name, transport.baud
        self.last_bytes, self.bytes_in = b"", 0

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        if self._left <= 0:
            raise TransportClosed("cut")
        return self._transport.read(max_bytes, timeout_s)

    def write(self, data: bytes) -> None:
        self._transport.write(data[: max(0, self._left)])
        self._left -= len(data)
        if self._left <= 0:
            raise TransportClosed("cut")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("upload", [False, True], ids=["learn", "upload"])
def test_a_link_that_is_cut_after_any_byte_leaves_the_committed_model(
    learner_elf: Path, upload: bool
) -> None:
    committed, new = EchoLearner(), other_state(9)
    with start(learner_elf) as machine:
        device = Device(machine.transport)
        taught(device, [1, 2], committed)
        device.learn_state(LearnAction.COMMIT)
        committed.commit()
        cuts = 0
        for after in range(1, 2000, 1 if not upload else 3):
            wire = Cut(machine.transport, after)
            device.transport = device._link.transport = wire
            with contextlib.suppress(TransportClosed):
                if upload:
                    device.put_learned(new.tensors())
                else:
                    device.learn(3, {"gate": bytes(8)}, {"wanted": b"\2"})
            whole = wire._left > 0
            device = Device(machine.transport)
            state = device.learn_state()
            assert (state.crc, state.pending, state.steps) == (committed.crc(), False, 2)
            if after % 50 == 1:
                assert tensors(device) == committed.tensors()
            if whole:
                break
            cuts += 1
        assert cuts > (100 if upload else 50)
