"""A device on a link: its facts, its tensors, and runs. Bytes only; values are spikelet.run's."""

from __future__ import annotations

import contextlib
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from spikelet.errors import LinkDead, UsageError
from spikelet.link.errors import (
    DeviceRefused,
    DeviceReset,
    LearningLost,
    ModelMismatch,
    ProtocolError,
)
from spikelet.link.exchange import Exchange, LinkStats, Reply, Request
from spikelet.link.facts import (
    DeviceInfo,
    DeviceTensor,
    Dtype,
    Kind,
    LearnAction,
    LearnResult,
    LearnState,
    RunResult,
    Stored,
)
from spikelet.link.messages import (
    DONE_FINISHED,
    DONE_STOPPED,
    LEARN_RUN,
    NO_LABEL,
    PROTOCOL,
    PROTOCOL_HASH,
    RUN_RESTART,
    RUN_STOP,
    RUN_TICKS,
    ConstantsReply,
    ConstantsRequest,
    EchoReply,
    EchoRequest,
    Entry,
    Facts,
    FaultReply,
    HelloReply,
    HelloRequest,
    LearnReply,
    LearnRequest,
    LearnStateReply,
    LearnStateRequest,
    RunReply,
    RunRequest,
    Status,
    TensorGetReply,
    TensorGetRequest,
    TensorPutRequest,
    Type,
)
from spikelet.link.transport import Transport

NO_OP = 0xFFFF  # SPK_NO_OP of spk_model.h
_PUT_HEAD = 6
_GET_HEAD = 7
_DEADLINE_S = 10.0
_DEADLINE_S_PER_BYTE = 1e-3


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
        self._uncommitted = False  # whether the end of the session undoes what was learned
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
        self._uncommitted = False
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
        learns = any(self.tensor(name).kind is Kind.LEARNED for name in tensors)
        deadline_s = _DEADLINE_S + self._wire_s(_bytes(tensors.values()))
        self._all_ok(requests, self._exchange(requests, deadline_s, learns=learns))
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
        deadline_s = _DEADLINE_S + self._wire_s(total)
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
        timed: bool = False,
        deadline_s: float = 10.0,
        inputs: Mapping[str, bytes] | None = None,
    ) -> RunResult:
        """Runs time steps.

        Args:
            restart: begin at step 0.
            steps: how many; 0 = to the end.
            stop: (step, op): stop after that operator, with all tensors as it left them; trace
                builds only.
            timed: keep in the tensor `trace`, in place of each digest, the ticks that the model
                had taken when that operator was done; trace builds only.
            deadline_s: for all of it but the bytes on the wire, whose time is added.
            inputs: tensors to write first, in the same window.

        Raises:
            LinkTimeout: not done within `deadline_s`.
            DeviceReset: the device was reset in the middle.
            UsageError, DeviceRefused, LinkDead.
        """
        flags = (RUN_RESTART if restart else 0) | (RUN_STOP if stop else 0)
        flags |= RUN_TICKS if timed else 0
        stop_step, stop_op = stop or (0, 0)
        limits = (("steps", steps, 0xFFFF), ("step", stop_step, 0xFFFF), ("op", stop_op, NO_OP - 1))
        for name, value, limit in limits:
            if not 0 <= value <= limit:
                raise UsageError(f"run: {name} {value} is not within 0..{limit}")
        requests = self._puts(inputs or {})
        requests.append(Request(Type.RUN, RunRequest(flags, steps, stop_step, stop_op).pack()))
        sent = _bytes((inputs or {}).values())
        replies = self._exchange(requests, deadline_s + self._wire_s(sent), slow_last=True)
        self._all_ok(requests, replies)
        self.stats.bytes += sent
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
            deadline_s: for all of it but the bytes on the wire, whose time is added.

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
        self._learns()
        sent = {**(inputs or {}), **(targets or {})}
        requests = self._puts(sent)
        number = NO_LABEL if label is None else label
        flags = 0 if inputs is None else LEARN_RUN
        requests.append(Request(Type.LEARN, LearnRequest(number, flags, len(requests)).pack()))
        size = _bytes(sent.values())
        allowed_s = deadline_s + self._wire_s(size)
        replies = self._exchange(requests, allowed_s, slow_last=True, learns=True)
        self._all_ok(requests, replies)
        self.stats.bytes += size
        try:
            result = LearnReply.unpack(replies[-1].data)
        except struct.error as error:
            raise ProtocolError(f"LEARN's reply has {len(replies[-1].data)} bytes") from error
        self._same_boot(result.boot_id)
        learned = LearnResult(result.ticks, result.stack, result.saturations)
        if inputs is None:
            return None, learned
        ran = RunResult(
            finished=True,
            stopped=False,
            step=self.hello.steps,
            ticks=result.run_ticks,
            stack=result.stack,
            saturations=result.run_saturations,
            outputs_crc=result.outputs_crc,
        )
        return ran, learned

    def learn_state(
        self,
        action: LearnAction = LearnAction.INFO,
        crc: int = 0,
        steps: int = 0,
        deadline_s: float = 60.0,
    ) -> LearnState:
        """Reads about what was learned, or decides what becomes of it.

        What a session has learned and not committed ends with it: the next one finds the last
        committed model.

        Args:
            action: what to do first.
            crc: ACCEPT: CRC-32 of all learned tensors, in table order.
            steps: ACCEPT: learning steps behind them.
            deadline_s: for all of it; a commit erases and writes flash.

        Raises:
            DeviceRefused: STORAGE, NO_MEM, RANGE for a commit that failed; MODEL_MISMATCH, VERSION
                or CHECKSUM where the storage holds nothing that RESTORE could load; CHECKSUM for
                an ACCEPT of other tensors than were written. In use is then what was committed
                last, but for a commit that met STORAGE or NO_MEM: it may be repeated.
            BAD_STATE: ACCEPT without a write, COMMIT before it.
            DeviceReset, LinkTimeout, LinkDead, UsageError.
        """
        self._learns()
        if not (0 <= crc < 2**32 and 0 <= steps < 2**32):
            raise UsageError(f"crc {crc} or steps {steps} is not within 0..{2**32 - 1}")
        payload = LearnStateRequest(action, crc, steps).pack()
        requests = [Request(Type.LEARN_STATE, payload)]
        changes = action in (LearnAction.RESET, LearnAction.ACCEPT)
        replies = self._exchange(requests, deadline_s, slow_last=True, learns=changes)
        self._all_ok(requests, replies)
        try:
            state = LearnStateReply.unpack(replies[0].data)
            stored = Stored(state.stored)
        except (struct.error, ValueError) as error:
            raise ProtocolError(f"LEARN_STATE's reply is {replies[0].data.hex()}") from error
        self._same_boot(state.boot_id)
        if action in (LearnAction.COMMIT, LearnAction.RESTORE):
            self._uncommitted = False
        return LearnState(
            steps=state.steps,
            crc=state.crc,
            generation=state.generation,
            committed_crc=state.committed_crc,
            ticks=state.ticks,
            written_bytes=state.written,
            erased_pages=state.erased,
            slot_bytes=state.slot_bytes,
            page_bytes=state.page_bytes,
            stored=stored,
            pending=bool(state.pending),
        )

    @property
    def learned(self) -> list[str]:
        """Names of the learned tensors, in table order."""
        return [t.name for t in self.hello.tensors if t.kind is Kind.LEARNED]

    def put_learned(self, tensors: Mapping[str, bytes], steps: int = 0) -> LearnState:
        """Replaces all learned tensors; it counts as uncommitted learning.

        Args:
            tensors: every learned tensor by name, in its wire layout.
            steps: learning steps behind them.

        Raises:
            UsageError: one is missing, unknown, or has the wrong size.
            DeviceRefused: a value is out of range; the last committed model is in use then.
            LinkDead: nothing of it is in use.
        """
        self._learns()
        missing = [name for name in self.learned if name not in tensors]
        if missing:
            raise UsageError(
                f"learned tensor {missing[0]} is missing",
                "what is learned is replaced as a whole",
                f"pass all of: {', '.join(self.learned)}",
            )
        crc = 0
        for name in self.learned:
            crc = zlib.crc32(tensors[name], crc)
        try:
            self.put_many(tensors)
            return self.learn_state(LearnAction.ACCEPT, crc, steps)
        except DeviceRefused:
            with contextlib.suppress(DeviceRefused):  # of a storage that holds nothing of use
                self.learn_state(LearnAction.RESTORE)
            raise

    def _learns(self) -> None:
        if not self.hello.learns:
            raise UsageError(
                f"the device's model {self.hello.model!r} does not learn",
                "its package holds no learner",
                "build and flash a package with one",
            )

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
        messages = list(messages)
        requests = [Request(Type.ECHO, EchoRequest(data).pack()) for data in messages]
        sent = self._wire_s(2 * _bytes(messages))
        replies = self._exchange(requests, _DEADLINE_S + sent)
        self._all_ok(requests, replies)
        return [EchoReply.unpack(reply.data).data for reply in replies]

    def constants_crc(self, seed: int, first: int, size: int) -> int:
        """CRC-32, begun with `seed`, of the model's constants as they lie in the device's memory.

        Args:
            seed: what zlib.crc32 would begin with.
            first: byte to begin at, counted over all constants.
            size: bytes; behind the last one comes the first.
        """
        payload = ConstantsRequest(seed, first, size).pack()
        requests = [Request(Type.CONSTANTS, payload)]
        deadline_s = _DEADLINE_S + size * _DEADLINE_S_PER_BYTE
        replies = self._exchange(requests, deadline_s, slow_last=True)
        self._all_ok(requests, replies)
        try:
            return ConstantsReply.unpack(replies[0].data).crc
        except struct.error as error:
            raise ProtocolError(f"CONSTANTS' reply has {len(replies[0].data)} bytes") from error

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

    def _wire_s(self, size: int) -> float:
        """Seconds that tensors of so many bytes may take on the wire, repeats included."""
        return size * _DEADLINE_S_PER_BYTE + 4 * self._link.wire_s(size)

    def _puts(self, tensors: Mapping[str, bytes]) -> list[Request]:
        """PUT requests for whole tensors; checked here, so that the mistake has a name."""
        chunk = (self.hello.payload - _PUT_HEAD) & ~3  # the device checks whole elements
        requests = []
        for name, data in tensors.items():
            tensor = self.tensor(name)
            if not tensor.writable:
                raise UsageError(
                    f"tensor {name!r} is of kind {tensor.kind.name.lower()}: not writable",
                    next="write inputs, states, targets and learned tensors only",
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
        self,
        requests: list[Request],
        deadline_s: float,
        slow_last: bool = False,
        learns: bool = False,
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
            self._unsure = False
            if self._uncommitted:
                self._uncommitted = False
                raise LearningLost(
                    f"{self.transport.name}: the session was interrupted, and what it had learned "
                    "and not committed is undone: the last committed model is in use",
                    "the link failed, or the program was interrupted, in the middle of a request",
                    "learn again from the first sample after the last commit",
                )
        self._uncommitted |= learns
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
                what = f"{self.transport.name}: {self._named(request, reply)}"
                raise DeviceRefused(what, reply.status, reply.detail)

    def _named(self, request: Request, reply: Reply) -> str:
        """A request that was refused, as a person would name it."""
        what, tensors = Type(request.type).name, self.hello.tensors
        if request.type in (Type.TENSOR_PUT, Type.TENSOR_GET):
            number, offset = struct.unpack_from("<HI", request.payload)
            return f"{what} of tensor {tensors[number].name!r} at byte {offset}"
        if request.type == Type.LEARN:
            label = LearnRequest.unpack(request.payload).label
            return f"{what} {'without a label' if label == NO_LABEL else f'with label {label}'}"
        if request.type == Type.LEARN_STATE:
            action = LearnAction(LearnStateRequest.unpack(request.payload).action)
            if (action, reply.status) == (LearnAction.COMMIT, Status.RANGE):
                name = tensors[reply.detail].name if reply.detail < len(tensors) else "?"
                return f"COMMIT of tensor {name!r}, which has left its range: learning diverged"
            return action.name
        return what

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


def _bytes(parts: Iterable[bytes]) -> int:
    return sum(len(part) for part in parts)


def _info(facts: Facts, tensors: tuple[DeviceTensor, ...]) -> DeviceInfo:
    values = facts._asdict()
    del values["tensor_count"]
    version = facts.firmware.to_bytes(4, "big")
    values["firmware"] = ".".join(str(number) for number in version[1:])
    return DeviceInfo(tensors=tensors, **values)


def _entries(data: bytes) -> list[DeviceTensor]:
    """The table rows in one part of HELLO."""
    head = struct.calcsize("<HBBHBIfi")
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
                op=None if entry.op == NO_OP else entry.op,
            )
        )
        data = data[end:]
    return found
