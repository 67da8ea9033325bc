"""The real agent over a clean wire."""

from __future__ import annotations

import random
import signal
import struct
import threading
import time
import zlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from link_agent import build_device, compilers, echo_outputs, expected_of, start
from spikelet import __version__
from spikelet.codegen import DIGESTS
from spikelet.errors import UsageError
from spikelet.link import (
    Device,
    DeviceDiffers,
    DeviceRefused,
    DeviceReset,
    Dtype,
    Kind,
    LinkTimeout,
    ModelMismatch,
    TransportClosed,
)
from spikelet.link.exchange import Request
from spikelet.link.messages import Status, TensorGetRequest, TensorPutRequest, Type

IMAGE = random.Random(3).randbytes(300)
CONSTANTS = bytes((3, 1, 4, 1, 5)) + struct.pack("<3H", 0x1234, 0xFFFF, 1)
SHA = bytes((0xEC, 0x40, *range(1, 31)))


def _ask(device: Device, code: int, payload: bytes) -> tuple[int, int]:
    """Status and detail of one raw request."""
    reply = device._exchange([Request(code, payload)], 5.0)[0]
    return reply.status, reply.detail


def test_hello(device: Device) -> None:
    info = device.hello
    assert (info.isa, info.model, info.steps, info.protocol) == ("native", "echo", 10, 2)
    assert (info.payload, info.ring, info.firmware) == (244, 512, __version__)
    assert info.package_sha256 == SHA
    assert info.unique_id == b"abcdefgh"
    assert not info.trace
    assert [tensor.name for tensor in info.tensors] == ["image", "bomb", "gate", "mix", "sum"]
    mix = device.tensor("mix")
    assert (mix.kind, mix.dtype, mix.shape, mix.bytes) == (Kind.STATE, Dtype.U32, (300,), 1200)
    assert (mix.scale, mix.zero_point, mix.op) == (0.5, -7, 1)
    assert device.tensor("gate").shape == (5, 8)
    assert device.tensor("image").op is None


def test_the_crc_of_the_constants_has_any_seed_and_goes_around_the_end(device: Device) -> None:
    memory = CONSTANTS
    size = device.hello.constant_bytes
    assert size == len(memory)
    for first in range(size + 1):
        for count in range(size + 1):
            seed = 0x9E3779B1 * (first + 16 * count) & 0xFFFFFFFF
            part = (memory + memory)[first : first + count]
            assert device.constants_crc(seed, first, count) == zlib.crc32(part, seed)
    for first, count in ((size + 1, 0), (0, size + 1), (0xFFFFFFFF, 1), (1, 0xFFFFFFFF)):
        with pytest.raises(DeviceRefused) as caught:
            device.constants_crc(0, first, count)
        assert (caught.value.status, caught.value.detail) == (Status.RANGE, first)


@pytest.mark.parametrize("compiler", list(compilers()))
def test_put_run_get(tmp_path: Path, compiler: str) -> None:
    elf = build_device(tmp_path / "device", ["-O2"], compiler)
    with start(elf) as machine, Device(machine.transport) as device:
        device.put_many({"image": IMAGE, "gate": (0b1011).to_bytes(8, "little")})
        assert device.get("image") == IMAGE
        result = device.run()
        mix, sums = echo_outputs(IMAGE, gate=0b1011)
        assert device.get_many(["mix", "sum"]) == {"mix": mix, "sum": sums}
        assert (result.finished, result.stopped, result.step) == (True, False, 10)
        assert result.outputs_crc == zlib.crc32(sums)
        assert device.stats.retries == 0
        assert device.stats.bad_frames == 0


def test_run_in_parts(device: Device) -> None:
    device.put("image", IMAGE)
    first = device.run(steps=4)
    assert (first.finished, first.step) == (False, 4)
    assert device.get("mix") == echo_outputs(IMAGE, steps=4)[0]
    assert device.run(restart=False, steps=5).step == 9
    last = device.run(restart=False)
    assert (last.finished, last.step) == (True, 10)
    assert device.get("sum") == echo_outputs(IMAGE)[1]


def test_run_with_inputs_in_one_window(device: Device) -> None:
    for seed in range(5):
        image = random.Random(seed).randbytes(300)
        result = device.run(inputs={"image": image})
        assert result.outputs_crc == zlib.crc32(echo_outputs(image)[1])


def test_run_refusals(device: Device) -> None:
    with pytest.raises(DeviceRefused, match="BAD_STATE") as no_start:
        device.run(restart=False)
    assert no_start.value.exit_code == 2
    device.run()
    with pytest.raises(DeviceRefused, match="BAD_STATE, detail 10"):
        device.run(restart=False)
    with pytest.raises(DeviceRefused, match="RANGE, detail 11"):
        device.run(steps=11)
    with pytest.raises(DeviceRefused, match="BAD_STATE") as stop:
        device.run(stop=(0, 0))
    assert "trace" in stop.value.next
    assert device.run().finished


def test_device_checks_every_edge(device: Device) -> None:
    put, get = Type.TENSOR_PUT, Type.TENSOR_GET
    bad = Status.BAD_STATE, 4
    assert _ask(device, put, TensorPutRequest(4, 0, b"x").pack()) == bad
    assert _ask(device, put, TensorPutRequest(5, 0, b"x").pack()) == (Status.BAD_TENSOR, 5)
    assert _ask(device, put, TensorPutRequest(0, 300, b"x").pack()) == (Status.RANGE, 300)
    assert _ask(device, put, TensorPutRequest(0, 299, b"xy").pack()) == (Status.RANGE, 299)
    far = 0xFFFFFFFF
    assert _ask(device, put, TensorPutRequest(0, far, b"xy").pack()) == (Status.RANGE, far)
    assert _ask(device, put, b"\0\0\0") == (Status.BAD_LEN, 3)
    assert _ask(device, put, TensorPutRequest(0, 300, b"").pack()) == (Status.OK, 0)
    assert _ask(device, get, TensorGetRequest(0, 0, 301).pack()) == (Status.RANGE, 0)
    assert _ask(device, get, TensorGetRequest(9, 0, 1).pack()) == (Status.BAD_TENSOR, 9)
    assert _ask(device, get, b"") == (Status.BAD_LEN, 0)
    assert _ask(device, Type.RUN, b"\x80" + bytes(6)) == (Status.RANGE, 0x80)
    assert _ask(device, Type.RUN, bytes(6)) == (Status.BAD_LEN, 6)
    assert _ask(device, Type.FAULT, b"x") == (Status.BAD_LEN, 1)
    for code in (0, Type.LOG, Type.ACK, Type.LEARN, Type.PARAM, Type.WORKING, 0x3F, 0x44):
        assert _ask(device, code, b"") == (Status.BAD_TYPE, code)
    with pytest.raises(DeviceRefused, match="BAD_LEN"):
        device.echo(bytes(244))
    assert device.echo(bytes(243)) == bytes(243)


def test_padding_bits_of_spikes_cannot_be_set(device: Device) -> None:
    full = (1 << 40) - 1
    device.put("gate", full.to_bytes(8, "little"))
    for bit in (40, 47, 63):
        with pytest.raises(DeviceRefused, match=f"'gate' .*RANGE, detail {bit // 8}"):
            device.put("gate", (1 << bit).to_bytes(8, "little"))
    assert device.get("gate") == full.to_bytes(8, "little")


def test_mistakes_are_named_before_anything_is_sent(device: Device) -> None:
    sent = device.stats.sent
    with pytest.raises(UsageError, match=r"no tensor 'imgae'(?s:.*)image, bomb, gate, mix, sum"):
        device.put("imgae", b"")
    with pytest.raises(UsageError, match=r"300 bytes \(u8 \(300,\)\), not 299"):
        device.put("image", bytes(299))
    with pytest.raises(UsageError, match="kind output: not writable"):
        device.put("sum", bytes(12))
    assert device.stats.sent == sent


def test_wrong_model_is_refused(device_elf: Path) -> None:
    with start(device_elf) as machine, Device(machine.transport) as device:
        right = expected_of(device.hello, CONSTANTS)
    with start(device_elf) as machine, Device(machine.transport, expected=right) as device:
        assert device.hello.tensors == right.release
    with (
        start(device_elf) as machine,
        pytest.raises(ModelMismatch, match="holds model 'echo', package ec40") as caught,
    ):
        Device(machine.transport, expected=replace(right, package_sha256=bytes(32)))
    assert caught.value.exit_code == 2


def test_a_bit_of_the_constants_is_named(device_elf: Path) -> None:
    with start(device_elf) as machine, Device(machine.transport) as device:
        info = device.hello
    for at in range(len(CONSTANTS)):
        flipped = bytearray(CONSTANTS)
        flipped[at] ^= 1 << (at % 8)
        name, byte = ("odd", at) if at < 5 else ("halves", at - 5)
        with (
            start(device_elf) as machine,
            pytest.raises(DeviceDiffers, match=f"constants: {name}, at byte {byte} of") as caught,
        ):
            Device(machine.transport, expected=expected_of(info, bytes(flipped)))
        assert caught.value.exit_code == 3


def test_reset(device: Device) -> None:
    log: list[str] = []
    device.on_log = log.append
    before = device.hello.boot_id
    assert device.reset().boot_id == before + 1
    assert "boot" in log
    assert device.hello.reset_cause == device.fault().reset_cause == 1
    with pytest.raises(DeviceRefused, match="BAD_STATE"):
        device.run(restart=False)


def test_reset_in_the_middle_of_a_run_is_named(device: Device) -> None:
    device.put("image", IMAGE)
    device.put("bomb", struct.pack("<II", 5, 0))
    started = time.monotonic()
    with pytest.raises(DeviceReset) as caught:
        device.run(deadline_s=20)
    assert time.monotonic() - started < 2
    assert "boot id 0x00000001 before, 0x00000002 now" in caught.value.what
    assert caught.value.exit_code == 3
    with pytest.raises(DeviceReset):  # until someone decides to go on
        device.get("sum")
    device.reconnect()
    assert device.get("image") == bytes(300)
    assert device.run(inputs={"image": IMAGE}).finished


def test_a_long_run_has_its_own_deadline(device_elf: Path) -> None:
    with start(device_elf) as machine:
        device = Device(machine.transport)
        device.put("bomb", struct.pack("<II", 0, 0x7FFFFFFF))
        started = time.monotonic()
        with pytest.raises(LinkTimeout, match="no reply to RUN") as caught:
            device.run(deadline_s=0.7)
        machine.process.kill()
    assert 0.6 < time.monotonic() - started < 1.5
    assert caught.value.exit_code == 3
    assert "boot id 0x00000001" in caught.value.what


def test_a_run_longer_than_the_timeout_is_done_once(fast_elf: Path) -> None:
    with start(fast_elf) as machine:
        slow = Device(machine.transport)
        slow.put("bomb", struct.pack("<II", 0, 120_000_000))
        started = time.monotonic()
        result = slow.run(inputs={"image": IMAGE}, deadline_s=60)
        assert time.monotonic() - started > 0.2
        assert result.outputs_crc == zlib.crc32(echo_outputs(IMAGE)[1])
        assert slow.stats.retries > 0


def test_a_dead_device_is_named(device_elf: Path) -> None:
    with start(device_elf) as machine:
        device = Device(machine.transport)
        machine.process.kill()
        with pytest.raises(TransportClosed, match="closed by the other end") as caught:
            device.run()
        assert caught.value.exit_code == 3


def test_a_stopped_device_is_named_with_the_last_bytes(fast_elf: Path) -> None:
    with start(fast_elf) as machine:
        device = Device(machine.transport)
        device.echo(b"spike train")
        machine.process.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(LinkTimeout) as caught:
            device.echo(b"?")
        assert time.monotonic() - started < 4
        machine.process.send_signal(signal.SIGCONT)
        text = str(caught.value)
        assert "sent 5 times" in text
        assert "spike train" in text
        assert b"spike train".hex(" ") in text
        assert "port native; frames good" in text
        assert "the device hangs or was unplugged" in text
        assert device.echo(b"!") == b"!"  # a new session, by itself


def test_ctrl_c_leaves_the_link_clean(fast_elf: Path) -> None:
    with start(fast_elf) as machine:
        device = Device(machine.transport)
        for delay in (0.02, 0.1, 0.3):
            device.put("bomb", struct.pack("<II", 0, 20_000_000))
            main = threading.main_thread().ident
            timer = threading.Timer(delay, signal.pthread_kill, (main, signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):
                timer.start()
                while True:
                    device.run(inputs={"image": IMAGE}, deadline_s=30)
            device.put("bomb", bytes(8))
            assert device.run(inputs={"image": IMAGE}).outputs_crc == zlib.crc32(
                echo_outputs(IMAGE)[1]
            )
            assert device.get("sum") == echo_outputs(IMAGE)[1]


def test_pipelined_requests_are_quick(fast_elf: Path) -> None:
    with start(fast_elf) as machine:
        device = Device(machine.transport)
        messages = [n.to_bytes(4, "little") for n in range(10000)]
        started = time.monotonic()
        assert device.echo_many(messages) == messages
        rate = len(messages) / (time.monotonic() - started)
        assert rate >= 5000, f"{rate:.0f} requests a second"


def test_trace_build_digests_every_operator(trace_elf: Path) -> None:
    with start(trace_elf) as machine:
        device = Device(machine.transport)
        assert device.hello.trace
        assert device.tensor(DIGESTS).shape == (10, 4)
        device.run(inputs={"image": bytes([255] * 300)})
        rows = list(struct.iter_unpack("<4I", device.get(DIGESTS)))
        expected = []
        for t in range(10):
            mix = echo_outputs(bytes([255] * 300), steps=t + 1)[0]
            bits = sum((mix[4 * i + 3] >> 7) << i for i in range(300))
            spikes = bits.to_bytes(40, "little")
            total = zlib.crc32(device.get("sum")) if t == 9 else 0
            once = zlib.crc32(bytes(4)) if t == 0 else 0
            expected.append((zlib.crc32(mix), total, zlib.crc32(spikes), once))
        assert rows == expected


def test_trace_build_keeps_ticks_in_place_of_digests(trace_elf: Path) -> None:
    with start(trace_elf) as machine:
        device = Device(machine.transport)
        result = device.run(inputs={"image": IMAGE}, timed=True)
        table = list(struct.iter_unpack("<4I", device.get(DIGESTS)))
        order = [table[0][3], *(row[i] for row in table for i in (0, 2)), table[9][1], result.ticks]
        # A microsecond of the host's clock may fall to the model or to the probe.
        assert all(later - earlier >= -2 for earlier, later in pairwise(order))
        assert order[-1] + 2 * len(order) >= max(order)
        device.run(inputs={"image": IMAGE})
        assert list(struct.iter_unpack("<4I", device.get(DIGESTS)))[9][0] == zlib.crc32(
            echo_outputs(IMAGE)[0]
        )


def test_a_release_build_keeps_no_ticks(device: Device) -> None:
    with pytest.raises(DeviceRefused, match="BAD_STATE"):
        device.run(timed=True)


def test_trace_build_stops_inside_a_step(trace_elf: Path) -> None:
    with start(trace_elf) as machine:
        device = Device(machine.transport)
        device.put("image", IMAGE)
        result = device.run(stop=(6, 1))
        assert (result.stopped, result.finished, result.step) == (True, False, 6)
        assert device.get("mix") == echo_outputs(IMAGE, steps=7)[0]
        with pytest.raises(DeviceRefused, match="BAD_STATE"):
            device.run(restart=False)
        assert device.run(stop=(0, 0)).step == 0
        assert device.get("mix") == bytes(1200)
        assert device.run(stop=(9, 3)).stopped
        with pytest.raises(DeviceRefused, match="RANGE, detail 10"):
            device.run(stop=(10, 0))
        assert device.run().finished
