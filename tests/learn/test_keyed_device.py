"""A device with a key, over the link: what changes what it has learned, and what does not."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from int8_classifier import samples
from learned_models import learner_graph
from learned_models import samples as learner_samples
from monocypher import monocypher
from once import Once
from signed_states import OK, OLD, STATE, Signed, cases, signed_states
from spikelet.board import BuildError, Firmware, boards, find_board, start
from spikelet.errors import UsageError
from spikelet.learn import Twin
from spikelet.link import Device, DeviceRefused, Kind, LearnAction, generate
from spikelet.link.exchange import Reply, Request
from spikelet.link.faults import Faults
from spikelet.link.faulty import FaultyTransport
from spikelet.link.messages import (
    KEYED_TYPES,
    LEARN_RUN,
    NO_LABEL,
    PROTOCOL,
    RUN_RESTART,
    HelloRequest,
    LearnRequest,
    LearnStateRequest,
    RunRequest,
    SignedPutRequest,
    Status,
    TensorPutRequest,
    Type,
)
from spikelet.package import Package
from spikelet.run import SessionTarget, connect, make
from spikelet.run.learner import DeviceLearner
from support import need

BAD = Faults(drop=0.03, truncate=0.02, duplicate=0.05, ber=1e-5)
STATUS = {STATE: Status.RANGE, OLD: Status.OLD}  # of what C answers; else SIGNATURE


def built(signed: Signed, board: str, folder: Path, toolchain: str = "auto") -> Firmware:
    image = make(
        signed.placed, find_board(board), folder, toolchain=toolchain, device_key=signed.public
    )
    return image.firmware


@pytest.fixture(scope="module")
def signed(once: Once) -> Signed:
    monocypher()
    return once("keyed-states", signed_states)


@pytest.fixture(scope="module")
def image(once: Once, signed: Signed) -> Firmware:
    need("gcc")
    return once("keyed-native", lambda folder: built(signed, "native", folder, "gcc"))


@pytest.fixture
def device(image: Firmware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setenv("SPIKELET_STORAGE", str(tmp_path / "flash"))
    with start(image) as machine, Device(machine.transport) as link:
        yield link


def learned(device: Device) -> bytes:
    """What the device has learned: read, and of the CRC that it names."""
    memory = b"".join(device.get_many(device.learned_names).values())
    assert zlib.crc32(memory) == device.learn_state().crc
    return memory


def refusal(device: Device, state: bytes) -> DeviceRefused:
    """Of a state that a device does not take over; what it had learned is unchanged."""
    before = learned(device)
    with pytest.raises(DeviceRefused) as caught:
        device.put_signed(state)
    assert learned(device) == before
    return caught.value


def ask(device: Device, request: Request) -> Reply:
    """A request as it is; what the host has made of the device's answers so far is forgotten."""
    reply = device._exchange([request], 5.0)[0]
    device._claims.note_refusal()
    return reply


def check_golden(device: Device, package: Package, count: int = 3) -> None:
    inputs, _ = samples(count)
    expected = package.graph.run(inputs).outputs
    said = DeviceLearner(package.graph, device).predict(inputs)
    for name, values in said.items():
        assert (values == expected[name]).all()


def check_states(device: Device, signed: Signed, folder: Path, every: int = 1) -> None:
    """Each case is refused by its name with nothing changed, or taken over as golden has it."""
    given = cases(signed, folder)
    held = {0: b"", 7: signed.state(7), 8: signed.state(8), 2**32 - 1: signed.state(2**32 - 1)}
    check_golden(device, signed.placed)
    chosen = sorted([*given[:17], *given[17::every]], key=lambda case: case[1])  # counters rise
    counter = 0
    for state, before, status in chosen:
        if before > counter:
            device.put_signed(held[before])
            counter = before
        if status == OK:
            device.put_signed(state)
            counter = int.from_bytes(state[-68:-64], "little")
            assert device.learn_state().steps == 0
            check_golden(device, signed.delta.put(signed.base), 1)
        elif before < counter:  # it would be old here, too: who signed it is asked first
            assert refusal(device, state).status in (STATUS.get(status, Status.SIGNATURE), OLD)
        else:
            error = refusal(device, state)
            assert error.status == STATUS.get(status, Status.SIGNATURE), len(state)
            assert error.exit_code == 2
            if status == OLD:
                assert error.detail == counter
                assert "--counter" in str(error.next)


def test_only_what_is_signed_and_not_older_is_taken_over(
    device: Device, signed: Signed, tmp_path: Path
) -> None:
    assert device.hello.keyed
    check_states(device, signed, tmp_path)


@pytest.mark.parametrize(
    "board",
    [
        "virt-rv32",
        pytest.param("mps2-an386", marks=pytest.mark.long),
        pytest.param("virt-rv32e", marks=pytest.mark.long),
    ],
)
def test_an_emulated_core_refuses_as_the_host_does(
    board: str, signed: Signed, tmp_path: Path
) -> None:
    need("zig")
    firmware = built(signed, board, tmp_path / "build")
    assert firmware.stack is not None
    with start(firmware) as machine, Device(machine.transport, 30.0) as device:
        check_states(device, signed, tmp_path, every=9)
        raw(device)
        assert device.learn_state().pending is False


def raw(device: Device) -> None:
    """Each write that is not a signed state is refused, whatever it holds."""
    before = learned(device)
    for tensor in device.hello.tensors:
        if tensor.kind is not Kind.LEARNED:
            continue
        for data in (device.get(tensor.name)[:4], b"", bytes(4)):
            put = TensorPutRequest(tensor.id, 0, data[: tensor.bytes])
            reply = ask(device, Request(Type.TENSOR_PUT, put.pack()))
            assert (reply.status, reply.detail) == (Status.SIGNATURE, Type.TENSOR_PUT)
    accept = LearnStateRequest(LearnAction.ACCEPT, zlib.crc32(before), 9).pack()
    reply = ask(device, Request(Type.LEARN_STATE, accept))
    assert (reply.status, reply.detail) == (Status.SIGNATURE, Type.LEARN_STATE)
    assert learned(device) == before
    with pytest.raises(UsageError, match="only what the holder of its key has signed"):
        device.put_learned(device.get_many(device.learned_names))
    with pytest.raises(DeviceRefused) as caught:
        device.put(device.learned_names[0], device.get(device.learned_names[0]))
    assert caught.value.status == Status.SIGNATURE
    assert learned(device) == before


def test_a_raw_write_is_refused(device: Device, signed: Signed) -> None:
    raw(device)
    device.put_signed(signed.state(3))
    raw(device)
    check_golden(device, signed.delta.put(signed.base))  # inputs may be written


def payloads(device: Device, kind: int, rng: random.Random) -> Iterator[bytes]:
    """Of a request of some type: such as a host would send, and noise."""
    if kind == Type.LEARN_STATE:
        crc = device.learn_state().crc
        actions = reversed(range(256))  # COMMIT last: RESTORE goes back to the base until then
        yield from (LearnStateRequest(action, crc, 9).pack() for action in actions)
    elif kind == Type.TENSOR_PUT:
        for tensor in device.hello.tensors:
            now = device.get(tensor.name)[:64]
            flipped = bytes(byte ^ 1 for byte in now)
            yield from (TensorPutRequest(tensor.id, 0, data).pack() for data in (now, flipped))
    elif kind == Type.HELLO:
        yield HelloRequest(rng.randrange(1, 2**32), PROTOCOL, PROTOCOL, 0).pack()
        return  # a HELLO that is none takes no number: nothing would fit behind it
    elif kind == Type.SIGNED_PUT:
        yield from (SignedPutRequest(at, bytes(range(200))).pack() for at in (0, 200, 1, 2**32 - 1))
    elif kind == Type.RUN:
        yield RunRequest(RUN_RESTART, 0, 0, 0).pack()
    elif kind == Type.LEARN:
        yield LearnRequest(NO_LABEL, LEARN_RUN, 0).pack()
    elif kind == Type.RESET:
        return  # see test_a_counter_outlives_a_reset_with_the_state_that_it_is_of
    for size in (0, 4, 5, 9, 200) if kind in KEYED_TYPES else (0, 9):
        yield rng.randbytes(size)


def test_no_request_but_these_changes_what_is_learned(device: Device, signed: Signed) -> None:
    """Every type that a frame can carry, known or not, and every action: by what it does."""
    rng = random.Random(3)
    changed, served, before = set(), set(), None
    for kind in range(64):
        for payload in payloads(device, kind, rng):
            if before is None:
                with contextlib.suppress(DeviceRefused):
                    device.learn_state(LearnAction.RESTORE)
                device.put_signed(signed.state(5))
                before = learned(device)
            reply = ask(device, Request(kind, payload))
            if reply.status != Status.SIGNATURE:
                served.add(kind)
            if learned(device) != before:
                changed.add((kind, payload[0] if kind == Type.LEARN_STATE else None))
                before = None
    # Back to what is committed, as a reset does it: nothing else, and nothing that a host chose.
    assert changed == {(Type.HELLO, None), (Type.LEARN_STATE, LearnAction.RESTORE)}
    assert served | {Type.RESET} == KEYED_TYPES


def test_a_request_that_nobody_has_looked_at_is_refused() -> None:
    """A new one is not among those that a device with a key serves, unless its author says so."""
    spec = generate.load()
    assert {entry["name"] for entry in spec["type"] if entry.get("keyed")} == {
        "HELLO", "ECHO", "TENSOR_PUT", "TENSOR_GET", "RUN", "RESET", "FAULT", "LEARN",
        "LEARN_STATE", "CONSTANTS", "EVENTS", "EVENTS_CLOSE", "BAUD", "LINE", "SIGNED_PUT",
    }  # fmt: skip
    before = [line for line in generate.c_text(spec).splitlines() if "KEYED_TYPES" in line]
    new = {"name": "NEW", "id": 21, "doc": "New.", "request": ["data rest"], "reply": []}
    spec["type"].append(new)
    assert [line for line in generate.c_text(spec).splitlines() if "KEYED_TYPES" in line] == before
    new["keyed"] = True
    assert [line for line in generate.c_text(spec).splitlines() if "KEYED_TYPES" in line] != before


def test_a_counter_outlives_a_reset_with_the_state_that_it_is_of(
    device: Device, signed: Signed
) -> None:
    base = learned(device)
    device.learn_state(LearnAction.RESET)  # nothing signed is forgotten
    device.put_signed(signed.state(9))
    delta = learned(device)
    assert delta != base
    device.reset()  # it was not committed
    assert learned(device) == base
    device.put_signed(signed.state(4))
    device.learn_state(LearnAction.COMMIT)
    for _ in range(2):
        assert refusal(device, signed.state(3)).detail == 4
        for action in (LearnAction.RESET, LearnAction.TO_FACTORY):  # older than all
            with pytest.raises(DeviceRefused) as caught:
                device.learn_state(action)
            assert (caught.value.status, caught.value.detail) == (Status.OLD, 4)
            assert learned(device) == delta
        device.reset()
        assert learned(device) == delta
    device.put_signed(signed.state(6))
    device.learn_state(LearnAction.RESTORE)  # as a reset does
    device.put_signed(signed.state(5))
    device.learn_state(LearnAction.COMMIT)
    device.learn_state(LearnAction.COMMIT)  # in both slots
    device.learn_state(LearnAction.KEEP_FACTORY)
    device.reset()
    assert refusal(device, signed.state(4)).detail == 5
    check_golden(device, signed.delta.put(signed.base), 1)


def test_a_bad_wire_changes_nothing_of_it(image: Firmware, signed: Signed) -> None:
    with start(image) as machine:
        wire = FaultyTransport(machine.transport, BAD, BAD, 5)
        with Device(wire, 30.0) as device:
            for counter in (1, 2, 3):
                good = signed.state(counter)
                parts = [SignedPutRequest(at, good[at : at + 9]) for at in range(0, len(good), 9)]
                replies = device._exchange(
                    [Request(Type.SIGNED_PUT, part.pack()) for part in parts], 30.0
                )
                assert {reply.status for reply in replies} == {Status.OK}
                device.learn_state(LearnAction.ACCEPT_SIGNED)
                assert refusal(device, signed.state(counter + 9)[:-1]).status == Status.SIGNATURE
            assert device.stats.retries > 0
            assert learned(device) == b"".join(signed.delta.wire(signed.base).values())


def test_a_device_with_a_key_learns_by_itself(signed: Signed, tmp_path: Path) -> None:
    need("gcc")
    package = Package(learner_graph())
    board = find_board("native")
    image = make(package, board, tmp_path, toolchain="gcc", device_key=signed.public)
    twin = Twin(package.graph)
    with connect(SessionTarget(board, image), package) as (link, _):
        device = DeviceLearner(package.graph, link)
        device.reset()
        for seed in range(2):
            device.observe(*learner_samples(20, seed=seed))
            twin.observe(*learner_samples(20, seed=seed))
            device.commit()
            twin.commit()
            device.agree(twin)
        with pytest.raises(UsageError, match="only what the holder of its key"):
            device.restore(twin.state())
        device.agree(twin)


def test_a_key_belongs_to_an_image_that_learns(signed: Signed, tmp_path: Path) -> None:
    board = find_board("native")
    with pytest.raises(UsageError, match="nothing that a signed state"):
        make(signed.base, board, tmp_path, device_key=signed.public)
    with pytest.raises(UsageError, match="not an Ed25519 public key"):
        make(signed.placed, board, tmp_path, device_key=signed.key)


def test_without_monocypher_it_is_said_what_is_missing(
    signed: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKELET_MONOCYPHER", str(tmp_path))
    with pytest.raises(UsageError, match=r"holds no monocypher\.c") as caught:
        make(signed.placed, find_board("native"), tmp_path / "build", device_key=signed.public)
    assert "SPIKELET_MONOCYPHER" in str(caught.value)


def test_a_device_without_a_key_is_told_apart(signed: Signed, tmp_path: Path) -> None:
    need("gcc")
    board = find_board("native")
    plain = make(signed.placed, board, tmp_path, toolchain="gcc")
    keyed = dataclasses.replace(plain, defines=(*plain.defines, "SPK_SIGNED"))
    with start(plain.firmware) as machine, Device(machine.transport) as device:
        assert not device.hello.keyed
        reply = ask(device, Request(Type.SIGNED_PUT, SignedPutRequest(0, b"1").pack()))
        assert (reply.status, reply.detail) == (Status.BAD_TYPE, Type.SIGNED_PUT)
        with pytest.raises(UsageError, match="has no key"):
            device.put_signed(signed.state(1))
    target = SessionTarget(board, keyed)
    with pytest.raises(Exception, match="capabilities"), connect(target, signed.placed):
        pass


def test_no_bit_of_a_signed_state_can_be_changed_on_its_way(device: Device, signed: Signed) -> None:
    """In order, once: a part that is left out, repeated or exchanged is no whole."""
    good = signed.state(2)
    size = len(good) // 3 + 1
    parts = [(at, good[at : at + size]) for at in range(0, len(good), size)]
    accept = Request(Type.LEARN_STATE, LearnStateRequest(LearnAction.ACCEPT_SIGNED, 0, 0).pack())
    before = learned(device)
    for order in itertools.islice(itertools.permutations(parts), 1, 6):
        statuses = [
            ask(device, Request(Type.SIGNED_PUT, SignedPutRequest(*part).pack())).status
            for part in order
        ]
        assert Status.BAD_STATE in statuses
        assert ask(device, accept).status == Status.SIGNATURE
        assert learned(device) == before
    for part in parts:
        assert ask(device, Request(Type.SIGNED_PUT, SignedPutRequest(*part).pack())).status == 0
    assert ask(device, accept).status == Status.OK
    assert ask(device, accept).status == Status.SIGNATURE  # it is taken once
    assert np.frombuffer(learned(device), np.uint8).tobytes() != before


# They reserve less stack than the check can take: `memory.stack_bytes` of board.toml.
TOO_LITTLE_STACK = {"ch32v203", "hifive1-revb", "microbit", "sifive-e", "stm32vldiscovery"}


@pytest.mark.long
def test_every_board_has_room_for_a_key_or_says_what_is_missing(
    signed: Signed, tmp_path: Path
) -> None:
    """What a key costs: bytes of flash and RAM, and of stack with and without."""
    need("zig")
    refused = set()
    for name, board in boards().items():
        if board.library or board.memory is None or name.endswith("-rtl"):
            continue
        plain = make(signed.placed, board, tmp_path / name, toolchain="zig").firmware
        try:
            keyed = built(signed, name, tmp_path / f"{name}-keyed", "zig")
        except BuildError as error:
            assert f"the stack of board {name} has {board.memory.stack_bytes} bytes" in error.what
            print(f"| `{name}` | {error.what.split(':')[0]} |")
            refused.add(name)
            continue
        assert plain.stack is not None and keyed.stack is not None
        flash, ram = keyed.flash_bytes - plain.flash_bytes, keyed.ram_bytes - plain.ram_bytes
        print(f"| `{name}` | {flash} | {ram} | {plain.stack.bytes} | {keyed.stack.bytes} |")
        assert 12_000 < flash < 25_000
        assert 0 <= ram - len(signed.state(1)) < 16
        assert keyed.stack.bytes < 3800
    assert refused == TOO_LITTLE_STACK
