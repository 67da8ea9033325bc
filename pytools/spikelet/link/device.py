"""A device on a link: its facts, its tensors, and runs. Bytes only; values are spikelet.run's."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Self

from spikelet.errors import LinkDead, UsageError
from spikelet.link.errors import DeviceRefused, DeviceReset, ModelMismatch, ProtocolError
from spikelet.link.exchange import Exchange, LinkStats, Reply, Request
from spikelet.link.messages import (
    CAPABILITY_LEARN,
    CAPABILITY_TRACE,
    DONE_FINISHED,
    DONE_STOPPED,
    NO_LABEL,
    PROTOCOL,
    PROTOCOL_HASH,
    RUN_RESTART,
    RUN_STOP,
    EchoReply,
    EchoRequest,
    Entry,
    Facts,
    FaultReply,
    HelloReply,
    HelloRequest,
    LearnReply,
    LearnRequest,
    RunReply,
    RunRequest,
    Status,
    TensorGetReply,
    TensorGetRequest,
    TensorPutRequest,
    Type,
)
from spikelet.link.transport import Transport

_PUT_HEAD = 6
_GET_HEAD = 7
_DEADLINE_S = 10.0
_DEADLINE_S_PER_BYTE = 1e-3


class Kind(IntEnum):
    """What a tensor is for; the codes of spk_model.h."""

    INPUT = 0
    OUTPUT = 1
    STATE = 2
    ACTIVATION = 3
    DIGESTS = 4
    LEARNED = 5
    TARGET = 6


class Dtype(IntEnum):
    """What a tensor holds; the codes of spk_model.h. BIT is packed, least significant first."""

    BIT = 0
    U8 = 1
    I8 = 2
    I16 = 3
    I32 = 4
    U32 = 5
    F32 = 6
    F16 = 7


@dataclass(frozen=True)
class DeviceTensor:
    """One row of the device's tensor table.

    Attributes:
        bytes: its size in memory and on the wire.
        scale: real = (code - zero_point) * scale.
        op: the operator that writes it; None for inputs and the digests.
    """

    name: str
    id: int
    kind: Kind
    dtype: Dtype
    shape: tuple[int, ...]
    bytes: int
    scale: float
    zero_point: int
    op: int | None

    @property
    def writable(self) -> bool:
        """Whether the device accepts a PUT."""
        return self.kind in (Kind.INPUT, Kind.STATE, Kind.LEARNED, Kind.TARGET)


@dataclass(frozen=True)
class DeviceInfo:
    """What the device says of itself in HELLO; sizes in bytes.

    Attributes:
        steps: time steps of one inference.
        tick_unit: 0 none, 1 instruction, 2 cycle, 3 microsecond.
        tick_hz: ticks a second; 0 where a tick is not a time.
        arena_bytes: planned to the byte at build time: used and limit are the same figure.
        reset_cause: 0 power, 1 request, 2 fault.
        frames_good: that the device received before this HELLO.
        trace: a trace build: lists every tensor and can stop inside a step.
    """

    boot_id: int
    protocol: int
    protocol_hash: int
    payload: int
    ring: int
    capabilities: int
    tick_unit: int
    tick_hz: int
    firmware: str
    steps: int
    arena_bytes: int
    unique_id: bytes
    reset_cause: int
    fault_cause: int
    fault_pc: int
    fault_address: int
    frames_good: int
    frames_bad: int
    package_sha256: bytes
    isa: str
    model: str
    tensors: tuple[DeviceTensor, ...]

    @property
    def trace(self) -> bool:
        """Whether the firmware is a trace build."""
        return bool(self.capabilities & CAPABILITY_TRACE)

    @property
    def learns(self) -> bool:
        """Whether the model has a learner."""
        return bool(self.capabilities & CAPABILITY_LEARN)


@dataclass(frozen=True)
class LearnResult:
    """The outcome of LEARN.

    Attributes:
        ticks: of the learning operators alone, in the device's tick.
        stack: bytes of stack ever used; 0 = unknown.
        saturations: since the sample's run began, the learning step included.
    """

    ticks: int
    stack: int
    saturations: int


@dataclass(frozen=True)
class RunResult:
    """The outcome of RUN.

    Attributes:
        finished: all steps and the end operators ran.
        stopped: it stopped inside a step, as asked.
        step: steps done since the start.
        ticks: of start, steps and finish alone, in the device's tick.
        stack: bytes of stack ever used; 0 = unknown.
        saturations: membranes that saturated since the start.
        outputs_crc: CRC-32 over all outputs in table order.
    """

    finished: bool
    stopped: bool
    step: int
    ticks: int
    stack: int
    saturations: int
    outputs_crc: int


class Device:
    """A session with one device.

    Args:
        transport: an open byte stream; the device closes it.
        connect_deadline_s: for the first answer; a simulator may need time to start.
        on_log: called with text that the device sends.
        expect_sha256: of the package that the device must hold; None = any.

    Raises:
        LinkDead: no answer; the text names the likely cause.
        ModelMismatch: the device holds another package.
        DeviceRefused: no common protocol version.
    """

    def __init__(
        self,
        transport: Transport,
        connect_deadline_s: float = 10.0,
        on_log: Callable[[str], None] | None = None,
        expect_sha256: bytes | None = None,
    ) -> None:
        self.transport = transport
        self._link = Exchange(transport, on_log)
        self._connect_deadline_s = connect_deadline_s
        self._expect_sha256 = expect_sha256
        self._lost: DeviceReset | None = None
        self._unsure = True  # whether the device's next number is ours
        self._hello: DeviceInfo | None = None
        self._by_name: dict[str, DeviceTensor] = {}
        self.reconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def hello(self) -> DeviceInfo:
        """What the device said in the handshake."""
        if self._hello is None:
            raise LinkDead("the handshake did not finish", next="call reconnect()")
        return self._hello

    @property
    def stats(self) -> LinkStats:
        """Counts since the transport was opened."""
        return self._link.stats

    @property
    def on_log(self) -> Callable[[str], None] | None:
        """Called with text that the device sends."""
        return self._link.on_log

    @on_log.setter
    def on_log(self, callback: Callable[[str], None] | None) -> None:
        self._link.on_log = callback

    def close(self) -> None:
        """Gives the port back."""
        self.transport.close()

    def reconnect(self) -> DeviceInfo:
        """Opens a new session: after a reset of the device, or to begin anew."""
        self._lost = None
        self._unsure = True
        self._hello = self._handshake(self._connect_deadline_s)
        self._by_name = {tensor.name: tensor for tensor in self._hello.tensors}
        expected = self._expect_sha256
        if expected is not None and self._hello.package_sha256 != expected:
            raise ModelMismatch(
                f"{self.transport.name}: the device holds model {self._hello.model!r}, package "
                f"{self._hello.package_sha256.hex()[:16]}..., not {expected.hex()[:16]}...",
                "the device was flashed with another package",
                "build this package for the board and flash it, or run the package it holds",
            )
        return self._hello

    def tensor(self, name: str) -> DeviceTensor:
        """The table's row of that name.

        Raises:
            UsageError: there is none; the text lists what there is.
        """
        found = self._by_name.get(name)
        if found is None:
            build = "" if self.hello.trace else "; layer outputs are listed by a trace build only"
            raise UsageError(
                f"the device has no tensor {name!r}",
                f"a mistyped name{build}",
                f"use one of: {', '.join(self._by_name)}",
            )
        return found

    def put(self, name: str, data: bytes) -> None:
        """Writes a whole input or state, in its wire layout.

        Raises:
            UsageError: unknown name, wrong size, or not writable.
            DeviceRefused, LinkDead.
        """
        self.put_many({name: data})

    def put_many(self, tensors: Mapping[str, bytes]) -> None:
        """Writes several tensors in one window; see `put`."""
        requests = self._puts(tensors)
        self._all_ok(requests, self._exchange(requests, _deadline(tensors.values())))
        self.stats.bytes += sum(len(data) for data in tensors.values())

    def get(self, name: str) -> bytes:
        """Reads a whole tensor, in its wire layout.

        Raises:
            UsageError: unknown name.
            DeviceRefused, LinkDead.
        """
        return self.get_many([name])[name]

    def get_many(self, names: Iterable[str]) -> dict[str, bytes]:
        """Reads several tensors in one window; see `get`."""
        found = {name: self.tensor(name) for name in names}
        memory = {tensor.id: bytearray(tensor.bytes) for tensor in found.values()}
        chunk = self.hello.payload - _GET_HEAD
        wanted = [
            TensorGetRequest(tensor.id, at, min(chunk, tensor.bytes - at))
            for tensor in found.values()
            for at in range(0, tensor.bytes, chunk)
        ]
        total = sum(tensor.bytes for tensor in found.values())
        deadline_s = _DEADLINE_S + total * _DEADLINE_S_PER_BYTE
        while wanted:
            requests = [Request(Type.TENSOR_GET, ask.pack()) for ask in wanted]
            replies = self._exchange(requests, deadline_s)
            self._all_ok(requests, replies)
            short = []
            for ask, reply in zip(wanted, replies, strict=True):
                got = TensorGetReply.unpack(reply.data)
                size = len(got.data)
                if (
                    got[:2] != ask[:2]
                    or not 0 < size <= ask.size
                    or reply.more != (size < ask.size)
                ):
                    raise ProtocolError(
                        f"asked tensor {ask.tensor} bytes {ask.offset}+{ask.size}, got tensor "
                        f"{got.tensor} bytes {got.offset}+{size}"
                    )
                memory[ask.tensor][ask.offset : ask.offset + size] = got.data
                if reply.more:
                    rest = ask.size - size
                    short.append(TensorGetRequest(ask.tensor, ask.offset + size, rest))
            wanted = short
        self.stats.bytes += total
        return {name: bytes(memory[tensor.id]) for name, tensor in found.items()}

    def run(
        self,
        restart: bool = True,
        steps: int = 0,
        stop: tuple[int, int] | None = None,
        deadline_s: float = 10.0,
        inputs: Mapping[str, bytes] | None = None,
    ) -> RunResult:
        """Runs time steps.

        Args:
            restart: begin at step 0.
            steps: how many; 0 = to the end.
            stop: (step, op): stop after that operator, with all tensors as it left them; trace
                builds only.
            deadline_s: for all of it.
            inputs: tensors to write first, in the same window.

        Raises:
            LinkTimeout: not done within `deadline_s`.
            DeviceReset: the device was reset in the middle.
            UsageError, DeviceRefused, LinkDead.
        """
        flags = (RUN_RESTART if restart else 0) | (RUN_STOP if stop else 0)
        stop_step, stop_op = stop or (0, 0)
        limits = (("steps", steps, 0xFFFF), ("step", stop_step, 0xFFFF), ("op", stop_op, 0xFF))
        for name, value, limit in limits:
            if not 0 <= value <= limit:
                raise UsageError(f"run: {name} {value} is not within 0..{limit}")
        requests = self._puts(inputs or {})
        requests.append(Request(Type.RUN, RunRequest(flags, stop_op, steps, stop_step).pack()))
        replies = self._exchange(requests, deadline_s, slow_last=True)
        self._all_ok(requests, replies)
        self.stats.bytes += sum(len(data) for data in (inputs or {}).values())
        return self._ran(replies[-1])

    def learn(
        self,
        label: int | None = None,
        inputs: Mapping[str, bytes] | None = None,
        targets: Mapping[str, bytes] | None = None,
        deadline_s: float = 10.0,
    ) -> tuple[RunResult | None, LearnResult]:
        """Learns from a sample, once.

        Args:
            label: its class; None where the model takes targets, or nothing.
            inputs: of a sample to run first, in the same window; None to learn from the sample
                that was run last.
            targets: to write first.
            deadline_s: for all of it.

        Returns:
            what `run` returns, None without inputs; and the outcome of learning.

        Raises:
            LinkTimeout: not done within `deadline_s`.
            DeviceReset: the device was reset in the middle.
            DeviceRefused: RANGE for a label that the model does not have, BAD_STATE without a
                whole run before it.
            UsageError, LinkDead.
        """
        if label is not None and not 0 <= label < NO_LABEL:
            raise UsageError(
                f"label {label} is not within 0..{NO_LABEL - 1}",
                "a label that is not a class number",
                "pass the class's number, counted from 0",
            )
        sent = {**(inputs or {}), **(targets or {})}
        requests = self._puts(sent)
        if inputs is not None:
            requests.append(Request(Type.RUN, RunRequest(RUN_RESTART, 0, 0, 0).pack()))
        number = NO_LABEL if label is None else label
        requests.append(Request(Type.LEARN, LearnRequest(number).pack()))
        replies = self._exchange(requests, deadline_s, slow_last=True)
        self._all_ok(requests, replies)
        self.stats.bytes += sum(len(data) for data in sent.values())
        try:
            result = LearnReply.unpack(replies[-1].data)
        except struct.error as error:
            raise ProtocolError(f"LEARN's reply has {len(replies[-1].data)} bytes") from error
        self._same_boot(result.boot_id)
        learned = LearnResult(result.ticks, result.stack, result.saturations)
        return (None if inputs is None else self._ran(replies[-2])), learned

    def _ran(self, reply: Reply) -> RunResult:
        try:
            result = RunReply.unpack(reply.data)
        except struct.error as error:
            raise ProtocolError(f"RUN's reply has {len(reply.data)} bytes") from error
        self._same_boot(result.boot_id)
        return RunResult(
            finished=result.done == DONE_FINISHED,
            stopped=result.done == DONE_STOPPED,
            step=result.step,
            ticks=result.ticks,
            stack=result.stack,
            saturations=result.saturations,
            outputs_crc=result.outputs_crc,
        )

    def _same_boot(self, boot_id: int) -> None:
        if boot_id != self._link.boot_id:
            self._lost = self._link.reset_error(boot_id)
            raise self._lost

    def echo(self, data: bytes) -> bytes:
        """Sends bytes to the device and back.

        Raises:
            DeviceRefused: longer than a payload less one.
            LinkDead.
        """
        return self.echo_many([data])[0]

    def echo_many(self, messages: Iterable[bytes]) -> list[bytes]:
        """Several echoes in one window; measures the link."""
        requests = [Request(Type.ECHO, EchoRequest(data).pack()) for data in messages]
        replies = self._exchange(requests, _deadline(r.payload for r in requests))
        self._all_ok(requests, replies)
        return [EchoReply.unpack(reply.data).data for reply in replies]

    def fault(self) -> FaultReply:
        """The cause of the last reset, and the last fault."""
        requests = [Request(Type.FAULT, b"")]
        replies = self._exchange(requests, _DEADLINE_S)
        self._all_ok(requests, replies)
        return FaultReply.unpack(replies[0].data)

    def reset(self) -> DeviceInfo:
        """Resets the device and opens a session with it.

        Raises:
            LinkDead: it did not come back, or came back without having been reset.
        """
        before = self.hello.boot_id
        with contextlib.suppress(DeviceReset):  # its reply may be lost, its first text is not
            self._exchange([Request(Type.RESET, b"")], _DEADLINE_S)
        info = self.reconnect()
        if info.boot_id == before:
            raise LinkDead(
                f"{self.transport.name}: RESET was answered, but the boot id stays 0x{before:08x}",
                "the board's reset call does not reset the core",
                "press the board's reset button",
            )
        return info

    def _puts(self, tensors: Mapping[str, bytes]) -> list[Request]:
        """PUT requests for whole tensors; checked here, so that the mistake has a name."""
        chunk = self.hello.payload - _PUT_HEAD
        requests = []
        for name, data in tensors.items():
            tensor = self.tensor(name)
            if not tensor.writable:
                raise UsageError(
                    f"tensor {name!r} is of kind {tensor.kind.name.lower()}: not writable",
                    next="write inputs and states only",
                )
            if len(data) != tensor.bytes:
                raise UsageError(
                    f"tensor {name!r} has {tensor.bytes} bytes ({tensor.dtype.name.lower()} "
                    f"{tensor.shape}), not {len(data)}",
                    "wrong shape or dtype",
                    "pass the tensor in its wire layout: little endian, row-major",
                )
            for at in range(0, len(data), chunk):
                part = TensorPutRequest(tensor.id, at, data[at : at + chunk])
                requests.append(Request(Type.TENSOR_PUT, part.pack()))
        return requests

    def _exchange(
        self, requests: list[Request], deadline_s: float, slow_last: bool = False
    ) -> list[Reply]:
        if self._lost is not None:
            raise self._lost
        if self._unsure:
            before = self.hello
            info = self._handshake(self._connect_deadline_s)
            if info.boot_id != before.boot_id:
                self._link.boot_id = before.boot_id
                self._lost = self._link.reset_error(info.boot_id)
                raise self._lost
        # Until the batch is through, an exception (Ctrl-C too) leaves replies under way: then the
        # next call opens a new session first, which they cannot be taken for part of.
        self._unsure = True
        try:
            replies = self._link.run(requests, deadline_s, slow_last)
        except DeviceReset as error:
            self._lost = error
            raise
        self._unsure = False
        return replies

    def _all_ok(self, requests: list[Request], replies: list[Reply]) -> None:
        for request, reply in zip(requests, replies, strict=True):
            if reply.status != Status.OK:
                what = Type(request.type).name
                if request.type in (Type.TENSOR_PUT, Type.TENSOR_GET):
                    number, offset = struct.unpack_from("<HI", request.payload)
                    what += f" of tensor {self.hello.tensors[number].name!r} at byte {offset}"
                raise DeviceRefused(f"{self.transport.name}: {what}", reply.status, reply.detail)

    def _handshake(self, deadline_s: float) -> DeviceInfo:
        deadline = time.monotonic() + deadline_s
        nonce = int.from_bytes(os.urandom(4), "little") or 1
        raw = nonce.to_bytes(4, "little")
        reply = self._link.hello(HelloRequest(nonce, PROTOCOL, PROTOCOL, 0).pack(), raw, deadline_s)
        if reply.status != Status.OK:
            raise DeviceRefused(f"{self.transport.name}: HELLO", reply.status, reply.detail)
        try:
            facts = Facts.unpack(reply.data[6:])
        except (struct.error, IndexError) as error:
            raise ProtocolError(f"HELLO's facts have {len(reply.data)} bytes") from error
        if facts.protocol_hash != PROTOCOL_HASH:
            raise DeviceRefused(f"{self.transport.name}: HELLO", Status.VERSION, facts.protocol)
        self._link.boot_id = facts.boot_id
        known = self._hello
        same = (facts.boot_id, facts.package_sha256, facts.tensor_count)
        if known and same == (known.boot_id, known.package_sha256, len(known.tensors)):
            tensors = known.tensors
        else:
            tensors = self._table(nonce, facts.tensor_count, deadline)
        self._unsure = False
        return _info(facts, tensors)

    def _table(self, nonce: int, count: int, deadline: float) -> tuple[DeviceTensor, ...]:
        tensors: list[DeviceTensor] = []
        while len(tensors) < count:
            part = len(tensors) + 1
            request = Request(Type.HELLO, HelloRequest(nonce, PROTOCOL, PROTOCOL, part).pack())
            left = max(0.1, deadline - time.monotonic())
            reply = self._link.run([request], left)[0]
            if reply.status != Status.OK:
                raise DeviceRefused(f"{self.transport.name}: HELLO", reply.status, reply.detail)
            try:
                if HelloReply.unpack(reply.data) != (nonce, part):
                    raise ProtocolError(f"HELLO part {part} was answered with another part")
                found = _entries(reply.data[6:])
            except (struct.error, IndexError, ValueError) as error:
                raise ProtocolError(f"HELLO part {part} is malformed: {error}") from error
            tensors += found
            numbers = [tensor.id for tensor in tensors]
            if not found or numbers != list(range(len(tensors))) or len(tensors) > count:
                raise ProtocolError(f"HELLO part {part} lists tensors {numbers} of {count}")
        return tuple(tensors)


def _deadline(parts: Iterable[bytes]) -> float:
    return _DEADLINE_S + sum(len(part) for part in parts) * _DEADLINE_S_PER_BYTE


def _info(facts: Facts, tensors: tuple[DeviceTensor, ...]) -> DeviceInfo:
    values = facts._asdict()
    del values["tensor_count"]
    version = facts.firmware.to_bytes(4, "big")
    values["firmware"] = ".".join(str(number) for number in version[1:])
    return DeviceInfo(tensors=tensors, **values)


def _entries(data: bytes) -> list[DeviceTensor]:
    """The table rows in one part of HELLO."""
    head = struct.calcsize("<HBBBBIfi")
    found = []
    while data:
        entry = Entry.unpack(data)
        shape = struct.unpack_from(f"<{entry.rank}H", data, head)
        at = head + 2 * entry.rank
        end = at + 1 + data[at]
        if end > len(data):
            raise ValueError(f"a name of {data[at]} bytes runs over the end")
        found.append(
            DeviceTensor(
                name=data[at + 1 : end].decode("utf-8"),
                id=entry.tensor,
                kind=Kind(entry.kind),
                dtype=Dtype(entry.dtype),
                shape=shape,
                bytes=entry.size,
                scale=entry.scale,
                zero_point=entry.zero_point,
                op=None if entry.op == 0xFF else entry.op,
            )
        )
        data = data[end:]
    return found
