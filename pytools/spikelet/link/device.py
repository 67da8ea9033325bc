"""A device on a link: its facts, its tensors, and runs. Bytes only; values are spikelet.run's."""

from __future__ import annotations

import contextlib
import os
import struct
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from types import TracebackType
from typing import Protocol, Self, TypeVar

from spikelet.errors import LinkDead, UsageError
from spikelet.link.claims import Claims
from spikelet.link.errors import (
    DeviceRefused,
    DeviceReset,
    LearningLost,
    LinkTimeout,
    ProtocolError,
    WrongVersion,
    impossible,
)
from spikelet.link.exchange import Exchange, LinkStats, Reply, Request
from spikelet.link.expected import Expected, check_facts, check_table
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
    CAPABILITY_TRACE,
    DONE_FINISHED,
    DONE_STOPPED,
    LEARN_RUN,
    NO_LABEL,
    PROTOCOL,
    PROTOCOL_HASH,
    RUN_RESTART,
    RUN_STOP,
    RUN_TICKS,
    STATUS_TEXTS,
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
from spikelet.link.text import printable
from spikelet.link.transport import Transport

NO_OP = 0xFFFF  # SPK_NO_OP of spk_model.h
_PUT_HEAD = 6
_GET_HEAD = 7
_DEADLINE_S = 10.0
_DEADLINE_S_PER_BYTE = 1e-3
# What LEARN_STATE may be refused with.
_STATE_EXCUSES = {
    LearnAction.INFO: (),
    LearnAction.RESET: (),
    LearnAction.COMMIT: (Status.STORAGE, Status.NO_MEM, Status.RANGE, Status.BAD_STATE),
    LearnAction.RESTORE: (Status.MODEL_MISMATCH, Status.VERSION, Status.CHECKSUM),
    LearnAction.ACCEPT: (Status.CHECKSUM, Status.BAD_STATE),
}

Form = TypeVar("Form", bound="_Message")


class _Message(Protocol):
    """A class of messages.py."""

    @classmethod
    def unpack(cls: type[Form], data: bytes) -> Form:
        """Read a payload."""


class Device:
    """A session with one device.

    Args:
        transport: an open byte stream; the device closes it.
        connect_deadline_s: for the first answer; a simulator may need time to start.
        on_log: called with text that the device sends.
        expected: what the device must be, made from the package; None = any device. Facts, tensor
            table and constants are compared before anything else is asked.

    Raises:
        LinkDead: no answer; the text names the likely cause.
        ModelMismatch: the device holds another package.
        DeviceDiffers: it claims this package, and is not what the package makes.
        WrongVersion: no common protocol version.
        ProtocolError: it says what no device can say.
    """

    def __init__(
        self,
        transport: Transport,
        connect_deadline_s: float = 10.0,
        on_log: Callable[[str], None] | None = None,
        expected: Expected | None = None,
    ) -> None:
        self.transport = transport
        self._link = Exchange(transport, on_log)
        self._connect_deadline_s = connect_deadline_s
        self._expected = expected
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
        self._claims = Claims(self.transport.name, self._hello, self._expected)
        if self._expected is not None:
            self._expected.check_constants(self.transport.name, self.constants_crc)
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
        if learns:
            self._claims.written()
        sent = _bytes(tensors.values())
        replies = self._exchange(requests, _DEADLINE_S + self._wire_s(sent), learns=learns)
        self._all_ok(requests, replies, self._put_excuses(tensors))
        self.stats.bytes += sent

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
        memory = {tensor.id: bytearray() for tensor in found.values()}
        chunk = self.hello.payload - _GET_HEAD
        wanted = [
            TensorGetRequest(tensor.id, at, min(chunk, tensor.bytes - at))
            for tensor in found.values()
            for at in range(0, tensor.bytes, chunk)
        ]
        total = sum(tensor.bytes for tensor in found.values())
        requests = [Request(Type.TENSOR_GET, ask.pack()) for ask in wanted]
        replies = self._exchange(requests, _DEADLINE_S + self._wire_s(total))
        self._all_ok(requests, replies)
        for ask, reply in zip(wanted, replies, strict=True):
            got = self._read(TensorGetReply, reply)
            if got[:2] != ask[:2] or len(got.data) != ask.size or reply.more:
                raise self._said(
                    f"bytes {got.offset}+{len(got.data)} of tensor {got.tensor}, asked for "
                    f"{ask.offset}+{ask.size} of tensor {ask.tensor}"
                )
            memory[ask.tensor] += got.data
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
        excuses = self._claims.excuses(restart, steps, stop, timed) | self._put_excuses(
            inputs or {}
        )
        sent = _bytes((inputs or {}).values())
        started = time.monotonic()
        replies = self._exchange(requests, deadline_s + self._wire_s(sent), slow_last=True)
        elapsed_s = time.monotonic() - started
        self._all_ok(requests, replies, excuses)
        self.stats.bytes += sent
        reply = self._read(RunReply, replies[-1])
        self._same_boot(reply.boot_id)
        self._claims.ran(reply, restart, steps, stop is not None, elapsed_s)
        return RunResult(
            finished=reply.done == DONE_FINISHED,
            stopped=reply.done == DONE_STOPPED,
            step=reply.step,
            ticks=reply.ticks,
            stack=reply.stack,
            saturations=reply.saturations,
            outputs_crc=reply.outputs_crc,
        )

    def outputs(self, ran: RunResult, names: Iterable[str] = ()) -> dict[str, bytes]:
        """The outputs of the run that was the last, and other tensors in the same window.

        Raises:
            ProtocolError: they are not those whose CRC the run named.
        """
        outputs = [t.name for t in self.hello.tensors if t.kind is Kind.OUTPUT]
        memory = self.get_many(dict.fromkeys([*outputs, *names]))
        self._claims.outputs(ran.outputs_crc, memory)
        return memory

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
        started = time.monotonic()
        replies = self._exchange(requests, allowed_s, slow_last=True, learns=True)
        elapsed_s = time.monotonic() - started
        self._all_ok(requests, replies, self._learn_excuses(label, inputs, sent))
        self.stats.bytes += size
        result = self._read(LearnReply, replies[-1])
        self._same_boot(result.boot_id)
        self._claims.taught(result, elapsed_s)
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
        started = time.monotonic()
        replies = self._exchange(requests, deadline_s, slow_last=True, learns=changes)
        elapsed_s = time.monotonic() - started
        try:
            self._all_ok(requests, replies, _STATE_EXCUSES[action])
        except DeviceRefused:
            self._claims.refused()
            raise
        state = self._read(LearnStateReply, replies[0])
        self._same_boot(state.boot_id)
        try:
            stored = Stored(state.stored)
        except ValueError as error:
            raise self._said(f"that its storage holds {state.stored}") from error
        self._claims.state(state, action, crc, steps, elapsed_s)
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
        long = any(len(r.payload) > self.hello.payload - 1 for r in requests)
        self._all_ok(requests, replies, {Status.BAD_LEN} if long else ())
        return [self._read(EchoReply, reply).data for reply in replies]

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
        beyond = max(first, size) > self.hello.constant_bytes
        self._all_ok(requests, replies, {Status.RANGE} if beyond else ())
        return self._read(ConstantsReply, replies[0]).crc

    def fault(self) -> FaultReply:
        """The cause of the last reset, and the last fault."""
        requests = [Request(Type.FAULT, b"")]
        replies = self._exchange(requests, _DEADLINE_S)
        self._all_ok(requests, replies)
        return self._read(FaultReply, replies[0])

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
            self._claims = Claims(self.transport.name, before, self._expected)
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

    def _all_ok(
        self, requests: list[Request], replies: list[Reply], excuses: Collection[Status] = ()
    ) -> None:
        """Raise where a request was refused; `excuses`: what these may be refused with."""
        for request, reply in zip(requests, replies, strict=True):
            if reply.status == Status.OK:
                if reply.more and request.type != Type.TENSOR_GET:
                    raise self._said(f"that more follows its answer to {Type(request.type).name}")
                continue
            what = f"{self.transport.name}: {self._named(request, reply)}"
            refused = DeviceRefused(what, reply.status, reply.detail)
            if reply.status not in excuses:  # of a device that keeps the protocol: none of ours
                raise ProtocolError(
                    f"{refused.what}, which it may not here", refused.cause, refused.next
                )
            raise refused

    def _put_excuses(self, tensors: Iterable[str]) -> set[Status]:
        """What PUTs may be refused with: mostly a value that the tensor may not hold."""
        found = [self.tensor(name) for name in tensors]
        checked = (Dtype.BIT, Dtype.F16, Dtype.F32)
        learning = (Kind.LEARNED, Kind.TARGET)
        some = any(t.dtype in checked or t.kind in learning for t in found)
        excuses = {Status.RANGE} if some else set()
        if any(t.kind is Kind.TARGET for t in found):  # the label is LEARN's to write
            excuses.add(Status.BAD_STATE)
        return excuses

    def _learn_excuses(
        self, label: int | None, inputs: Mapping[str, bytes] | None, sent: Iterable[str]
    ) -> set[Status]:
        found = self._put_excuses(sent)
        classes = self._expected.classes if self._expected is not None else None
        if classes is None or (label is None) != (classes == 0) or (label or 0) >= max(1, classes):
            found.add(Status.RANGE)
        if inputs is None or self._claims.pending:
            found.add(Status.BAD_STATE)
        return found

    def _read(self, form: type[Form], reply: Reply) -> Form:
        """The fields of a reply."""
        try:
            return form.unpack(reply.data)
        except (struct.error, IndexError) as error:
            name = form.__name__
            raise self._said(f"a {name} of {len(reply.data)} bytes, which is too short") from error

    def _said(self, what: str) -> ProtocolError:
        return impossible(self.transport.name, what)

    def _named(self, request: Request, reply: Reply) -> str:
        """A request that was refused, as a person would name it."""
        what = Type(request.type).name
        tensors = self._hello.tensors if self._hello is not None else ()
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
        port = self.transport.name
        if reply.status == Status.VERSION:
            raise _other_version(port, reply.detail)
        self._all_ok([Request(Type.HELLO, b"")], [reply._replace(more=False)])
        if self._read(HelloReply, reply).part != 0:
            raise self._said("another part of HELLO than it was asked for")
        facts = self._read(Facts, reply._replace(data=reply.data[6:]))
        if facts.protocol_hash != PROTOCOL_HASH:
            raise _other_version(port, facts.protocol)
        check_facts(port, facts)
        if self._expected is not None:
            self._expected.check(port, facts)
        if reply.more != (facts.tensor_count > 0):
            raise self._said(f"HELLO of {facts.tensor_count} tensors, and more {reply.more}")
        self._link.boot_id = facts.boot_id
        known = self._hello
        same = (facts.boot_id, facts.package_sha256, facts.tensor_count)
        if known and same == (known.boot_id, known.package_sha256, len(known.tensors)):
            tensors = known.tensors
        else:
            tensors = self._table(nonce, facts.tensor_count, deadline)
            if self._expected is not None:
                trace = bool(facts.capabilities & CAPABILITY_TRACE)
                tensors = self._expected.named(port, trace, tensors)
            else:
                check_table(port, tensors, facts.arena_bytes)
        self._unsure = False
        return _info(facts, tensors)

    def _table(self, nonce: int, count: int, deadline: float) -> tuple[DeviceTensor, ...]:
        tensors: list[DeviceTensor] = []
        while len(tensors) < count:
            part = len(tensors) + 1
            request = Request(Type.HELLO, HelloRequest(nonce, PROTOCOL, PROTOCOL, part).pack())
            left = deadline - time.monotonic()
            if left <= 0:
                raise LinkTimeout(
                    f"{self.transport.name}: {len(tensors)} of {count} tensors were listed in time",
                    "a slow line, or a device that lists without end",
                    "repeat; compare the baud with the board's file",
                )
            reply = self._link.run([request], left)[0]
            self._all_ok([request], [reply._replace(more=False)])
            if self._read(HelloReply, reply) != (nonce, part):
                raise self._said(f"another part of HELLO than {part}")
            try:
                found = _entries(reply.data[6:])
            except (struct.error, IndexError, ValueError) as error:
                raise self._said(f"a malformed part {part} of HELLO ({error})") from error
            tensors += found
            numbers = [tensor.id for tensor in found]
            fits = found and numbers == list(range(part - 1, len(tensors)))
            if not fits or len(tensors) > count or reply.more != (len(tensors) < count):
                raise self._said(f"tensors {numbers} in part {part} of HELLO, of {count} in all")
        return tuple(tensors)


def _bytes(parts: Iterable[bytes]) -> int:
    return sum(len(part) for part in parts)


def _other_version(port: str, protocol: int) -> WrongVersion:
    cause, next_step = STATUS_TEXTS[Status.VERSION]
    return WrongVersion(f"{port}: the device speaks protocol {protocol}", cause, next_step)


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
                name=printable(data[at + 1 : end]),
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
