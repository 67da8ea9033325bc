"""The real agent behind a bad wire: a run ends in the right answer or a named error, in time."""

from __future__ import annotations

import json
import random
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from echo_learner import EchoLearner
from link_agent import echo_outputs, start
from spikelet.errors import LinkDead
from spikelet.link import Device, DeviceReset, LearnAction, RunResult, diagnosis
from spikelet.link.faults import Faults, Wire

DEADLINE_S = 20.0
CAMPAIGNS = {
    "drop": ["--drop", "0.05"],
    "flip": ["--ber", "5e-5"],
    "lose": ["--lose", "3e-4"],
    "duplicate": ["--duplicate", "0.3"],
    "swap": ["--swap", "0.1"],
    "truncate": ["--truncate", "0.05"],
    "garbage": ["--garbage", "0.1"],
    "stall": ["--stall", "0.05", "--stall-s", "0.15"],
    "all": [
        *("--drop", "0.01", "--ber", "2e-5", "--lose", "1e-4", "--duplicate", "0.02"),
        *("--swap", "0.02", "--truncate", "0.01", "--garbage", "0.02"),
        *("--stall", "0.01", "--stall-s", "0.03"),
    ],
}


SLOW = {"latency": ["--delay-s", "0.15"], "9600 baud": ["--baud", "9600"]}


@pytest.mark.parametrize("campaign", ["latency", pytest.param("9600 baud", marks=pytest.mark.long)])
def test_a_slow_line_is_learned(device_elf: Path, campaign: str) -> None:
    """It is longer under way than the first guess; a few repeats, and then none."""
    image = bytes(range(256)) + bytes(44)
    with start(device_elf, SLOW[campaign]) as machine:
        device = Device(machine.transport, connect_deadline_s=30)
        for _ in range(3):
            assert device.run(inputs={"image": image}).outputs_crc == zlib.crc32(
                echo_outputs(image)[1]
            )
        learned = device.stats.retries
        assert learned <= 16
        for _ in range(3):
            assert device.run(inputs={"image": image}).finished
            assert device.get("image") == image
        assert device.stats.retries <= learned + 1


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize("campaign", list(CAMPAIGNS))
def test_right_answers(device_elf: Path, tmp_path: Path, campaign: str, seed: int) -> None:
    """None of these is bad enough to end a run: all answers must be right."""
    report = tmp_path / "report.json"
    faults = ["--seed", str(seed), "--report", str(report), *CAMPAIGNS[campaign]]
    rng = random.Random(seed)
    with start(device_elf, faults) as machine:
        device = Device(machine.transport)
        for _ in range(25):
            image, gate = rng.randbytes(300), rng.getrandbits(40)
            mix, sums = echo_outputs(image, gate)
            started = time.monotonic()
            inputs = {"image": image, "gate": gate.to_bytes(8, "little")}
            result = device.run(inputs=inputs, deadline_s=DEADLINE_S)
            assert result.outputs_crc == zlib.crc32(sums)
            assert device.get_many(["mix", "sum", "image"]) == {
                "mix": mix,
                "sum": sums,
                "image": image,
            }
            assert time.monotonic() - started < 2 * DEADLINE_S
        stats = device.stats
    counts = json.loads(report.read_text())
    for name in [campaign] if campaign != "all" else ["drop", "duplicate", "swap", "garbage"]:
        assert counts["to_device"][name] + counts["to_host"][name] > 0, "the wire did no harm"
    if campaign in ("drop", "flip", "lose", "truncate"):
        assert stats.retries > 0


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize("campaign", ["drop", "duplicate", "swap", "all"])
@pytest.mark.parametrize("ring", [512, 2048])
def test_runs_begin_before_the_last_one_is_answered(
    device_elf: Path, ahead_elf: Path, ring: int, campaign: str, seed: int
) -> None:
    """Each run has its own answer, whichever replies were lost."""
    rng = random.Random(seed)
    elf = ahead_elf if ring == 2048 else device_elf
    with start(elf, ["--seed", str(seed), *CAMPAIGNS[campaign]]) as machine:
        device = Device(machine.transport)
        assert (device.hello.ring, device.runs_ahead) == (ring, 5 if ring == 2048 else 2)
        started: deque[tuple[bytes, Callable[[], RunResult]]] = deque()
        for number in range(60):
            gate = rng.getrandbits(40)
            inputs = {"gate": gate.to_bytes(8, "little")}
            if number % 10 == 0:
                image = rng.randbytes(300)
                inputs["image"] = image
            mix, sums = echo_outputs(image, gate)
            wanted = zlib.crc32(mix).to_bytes(4, "little") + sums
            started.append((wanted, device.start_run(inputs, deadline_s=DEADLINE_S)))
            while len(started) >= device.runs_ahead or (number == 59 and started):
                wanted, finish = started.popleft()
                ran = finish()
                assert ran.outputs is not None
                assert ran.states_crc.to_bytes(4, "little") + ran.outputs["sum"] == wanted


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize("campaign", ["drop", "duplicate", "swap", "all"])
def test_each_sample_is_learned_once(learner_elf: Path, campaign: str, seed: int) -> None:
    """Steps, commits and uploads on a bad wire leave what they leave on a good one."""
    rng, twin = random.Random(seed), EchoLearner()
    with start(learner_elf, ["--seed", str(seed), *CAMPAIGNS[campaign]]) as machine:
        device = Device(machine.transport)
        for step in range(1, 41):
            image, label, wanted = rng.randbytes(300), rng.randrange(5), rng.randrange(-3, 4)
            targets = {"wanted": wanted.to_bytes(1, "little", signed=True)}
            ran, _ = device.learn(label, {"image": image}, targets, deadline_s=DEADLINE_S)
            twin.learn(label, wanted)
            assert ran is not None
            assert ran.outputs_crc == zlib.crc32(echo_outputs(image)[1])
            state = device.learn_state()
            assert (state.steps, state.crc) == (step, twin.crc())
            if step % 20 == 0:
                assert device.learn_state(LearnAction.COMMIT).generation == step // 20
                twin.commit()
                device.put_learned(twin.tensors(), step)
                assert device.get_many(device.learned_names) == twin.tensors()


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.long) for s in (1, 2))])
def test_resets_in_the_middle_of_learning_on_a_bad_wire(learner_elf: Path, seed: int) -> None:
    rng, twin = random.Random(seed), EchoLearner()
    committed, steps, resets = twin.tensors(), 0, 0
    faults = ["--seed", str(seed), "--drop", "0.05", "--duplicate", "0.1", "--swap", "0.05"]
    with start(learner_elf, faults) as machine:
        device = Device(machine.transport)
        for _ in range(30):
            fuse = rng.choice((0, 0, 0, 5, 100, 101))
            label = rng.randrange(5)
            try:
                device.learn(label, {"bomb": struct.pack("<II", fuse, 0)}, deadline_s=5.0)
                twin.learn(label)
                device.learn_state(LearnAction.COMMIT)
                twin.commit()
                assert fuse == 0
                steps += 1
                committed = twin.tensors()
            except DeviceReset:
                assert fuse
                resets += 1
                device.reconnect()
                assert device.get_many(device.learned_names) == committed
                assert device.learn_state().steps == steps
                twin = _of(committed)
        assert resets >= 8
        assert steps >= 8


def _of(tensors: dict[str, bytes]) -> EchoLearner:
    """The learner that holds these."""
    weight = list(struct.unpack("<8h", tensors["weight"]))
    commits = int.from_bytes(tensors["commits"], "little")
    return EchoLearner(weight=weight, ring=tensors["ring"][0], commits=commits)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(i, marks=pytest.mark.long) for i in (2, 3))])
def test_hopeless_wires_end_in_a_named_error(device_elf: Path, seed: int) -> None:
    rng = random.Random(seed)
    faults = ["--seed", str(seed), "--drop", "0.4", "--ber", "1e-3", "--garbage", "0.3"]
    image = rng.randbytes(300)
    right = zlib.crc32(echo_outputs(image)[1])
    with start(device_elf, faults) as machine:
        for _ in range(2):
            started = time.monotonic()
            try:
                device = Device(machine.transport, connect_deadline_s=1.5)
                result = device.run(inputs={"image": image}, deadline_s=1.5)
                assert result.outputs_crc == right
            except LinkDead as error:
                assert "frames good" in error.what
                assert error.cause
                assert error.next
            assert time.monotonic() - started < 5.0


def test_a_dead_direction_is_named(device_elf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "WAIT_S", 0.05)  # what no answer gets through to
    with start(device_elf, ["--drop", "1", "--only", "to-device"]) as machine:
        with pytest.raises(LinkDead) as caught:
            Device(machine.transport, connect_deadline_s=1.0)
        assert caught.value.cause == (
            "the device sends but does not answer: its receive line is open, or it hangs"
        )
    with start(device_elf, ["--drop", "1", "--only", "to-host"]) as machine:
        with pytest.raises(LinkDead) as caught:
            Device(machine.transport, connect_deadline_s=1.0)
        assert caught.value.cause == "port opened, no byte: firmware not running?"
        assert "no byte received" in caught.value.what
    with start(device_elf, ["--ber", "0.2", "--only", "to-host"]) as machine:
        with pytest.raises(LinkDead) as caught:
            Device(machine.transport, connect_deadline_s=1.0)
        assert caught.value.cause == "bytes arrive but no valid frame: wrong baud?"
        assert "last bytes" in caught.value.what


@pytest.mark.parametrize("seed", range(4))
def test_resets_in_the_middle_on_a_bad_wire(device_elf: Path, seed: int) -> None:
    rng = random.Random(seed)
    faults = ["--seed", str(seed), "--drop", "0.05", "--duplicate", "0.1", "--swap", "0.05"]
    resets = 0
    with start(device_elf, faults) as machine:
        device = Device(machine.transport)
        for _ in range(20):
            image = rng.randbytes(300)
            fuse = rng.choice((0, 0, rng.randint(1, 10)))
            inputs = {"image": image, "bomb": struct.pack("<II", fuse, 0)}
            try:
                result = device.run(inputs=inputs, deadline_s=5.0)
                assert fuse == 0
                assert result.outputs_crc == zlib.crc32(echo_outputs(image)[1])
                assert device.get("image") == image
            except DeviceReset:
                assert fuse
                resets += 1
                device.reconnect()
        assert resets >= 3
        assert device.hello.boot_id == 1 + resets


def test_the_same_seed_gives_the_same_faults() -> None:
    faults = Faults(ber=1e-3, lose=1e-3, drop=0.1, duplicate=0.1, swap=0.1, garbage=0.1)
    data = b"".join(b"\0" + bytes([i % 255 + 1] * 50) + b"\0" for i in range(400))
    outs = []
    for seed in (5, 5, 6):
        wire = Wire(faults, seed)
        outs.append(b"".join(piece for _, piece in wire.feed(data)) + wire.flush())
    assert outs[0] == outs[1] != outs[2]
    clean = Wire(Faults(), 5)
    assert b"".join(piece for _, piece in clean.feed(data)) + clean.flush() == data
    noisy = Wire(Faults(ber=1e-3), 1)
    noisy.feed(bytes(10) + b"\x55\x00" * 50000)
    expected = 1e-3 * 8 * 100000
    assert abs(noisy.counts["flip"] - expected) < 6 * expected**0.5
