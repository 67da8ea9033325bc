"""A connected device: who it is, its tensor table, and requests that it answers in order."""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import time
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Protocol, Self, TypeVar

from spikelet.errors import LinkDead, SpikeletError, UsageError
from spikelet.link.claims import Claims
from spikelet.link.diagnosis import WAIT_S, LineTest, line_finding, reset_finding
from spikelet.link.errors import (
    DeviceRefused,
    DeviceReset,
    LearningLost,
    LinkTimeout,
    ProtocolError,
    Unexplained,
    WrongVersion,
    impossible,
)
from spikelet.link.exchange import Exchange, LinkStats, Open, Reply, Request
from spikelet.link.expected import Expected, check_facts, check_table
from spikelet.link.facts import DeviceInfo, DeviceTensor, Dtype, Kind, LearnAction, SelfTest
from spikelet.link.messages import (
    CAPABILITY_TRACE,
    NO_LABEL,
    PROTOCOL,
    PROTOCOL_HASH,
    READ_TYPES,
    STATUS_TEXTS,
    BaudRequest,
    ConstantsRequest,
    HelloRequest,
    LearnRequest,
    LearnStateRequest,
    Status,
    Type,
)
from spikelet.link.rates import Rates, failed_rate, no_rate, refused_rate
from spikelet.link.replies import ConstantsReply, Entry, Facts, HelloReply, LineReply
from spikelet.link.text import printable
from spikelet.link.transport import Transport

NO_OP = 0xFFFF  # SPK_NO_OP of spk_model.h
DEADLINE_S = 10.0  # of a request, without the bytes that go over the wire
DEADLINE_S_PER_BYTE = 1e-3
CLOSE_S = 2.0  # for a device to go back to its first rate
WHY_S = 2.0  # for a device to say why it was reset

Form = TypeVar("Form", bound="_Message")


class _Message(Protocol):
    """A class of messages.py."""

    @classmethod
    def unpack(cls: type[Form], data: bytes) -> Form:
        """Read a payload."""


class Connection:
    """A link that is open to one device: its handshake, its tensor table, and requests to it.

    Args:
        transport: an open byte stream; it is closed with the connection.
        connect_deadline_s: for the first answer; a simulator may need time to start.
        on_log: called with text that the device sends.
        expected: what the device must be, made from the package; None = any device. Facts, tensor
            table and constants are compared before anything else is asked.
        clock: seconds; that of a simulated line where it has one.
        baud: the rate that the line is to have, bits a second; None for that of the transport,
            at which the device is asked for it.

    Raises:
        LinkDead: no answer; the text names the likely cause.
        ModelMismatch: the device holds another package.
        DeviceDiffers: it claims this package, and is not what the package makes.
        WrongVersion: no common protocol version.
        ProtocolError: it says what no device can say.
        UsageError, RateFailed: see `set_baud`.
    """

    def __init__(
        self,
        transport: Transport,
        connect_deadline_s: float = 10.0,
        on_log: Callable[[str], None] | None = None,
        expected: Expected | None = None,
        clock: Callable[[], float] = time.monotonic,
        baud: int | None = None,
    ) -> None:
        self.transport = transport
        self._rates = Rates(transport, baud)
        self._clock = clock
        self._link = Exchange(transport, on_log, clock)
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
        """Gives the port back, and the device its first rate."""
        if self._rates.changed and not (self._unsure or self._lost or self._link.busy):
            self._connect_deadline_s = min(self._connect_deadline_s, CLOSE_S)
            with contextlib.suppress(SpikeletError):
                self._change_rate(self._rates.first)
        self.transport.close()

    def reconnect(self) -> DeviceInfo:
        """Opens a new session: after a reset of the device, or to begin anew."""
        self._lost = None
        self._unsure = True
        self._uncommitted = False
        self._hello = self._handshake(self._connect_deadline_s, self._rates.to_try)
        if self._rates.wanted != self._rates.now:
            self._hello = self._change_rate(self._rates.wanted)
        self._by_name = {tensor.name: tensor for tensor in self._hello.tensors}
        self._claims = Claims(self.transport.name, self._hello, self._expected)
        if self._expected is not None:
            self._expected.check_constants(self.transport.name, self.constants_crc)
        return self._hello

    def set_baud(self, baud: int) -> None:
        """Has the line at another rate, once frames have passed at it both ways.

        A new session begins, so what was learned must be committed before.

        Args:
            baud: bits a second.

        Raises:
            UsageError: the transport has no rate, or the device cannot have this one.
            RateFailed: no frame passed at it; device and transport are at the old rate again.
            LinkDead: the device answers at neither.
        """
        if self._uncommitted:
            raise UsageError(
                "a new rate with uncommitted learning",
                "a new rate begins a new session, which undoes it",
                "commit, or restore, and then set the rate",
            )
        self._make_sure()
        self._hello = self._change_rate(baud)
        self._rates.wanted = baud

    def _change_rate(self, baud: int | None) -> DeviceInfo:
        """Ask for a rate, and open a session at it. The device goes back to the old one where it
        hears nothing in a while."""
        before, old = self._hello, self._rates.now
        if baud is None or old is None or not self._rates.can_change:
            raise no_rate(self.transport.name, baud)
        self._link.drain()
        confirm_s = self._rates.confirm_s(self._link.answer_s)
        payload = BaudRequest(baud, round(confirm_s * 1000)).pack()
        order = (old, baud)
        with contextlib.suppress(LinkTimeout):
            reply = self._link.run([Request(Type.BAUD, payload)], confirm_s + DEADLINE_S)[0]
            if reply.status == Status.RANGE:
                raise refused_rate(self.transport.name, baud, reply.detail)
            self._all_ok([Request(Type.BAUD, payload)], [reply])
            order = (baud, old)
        self._unsure = True
        info = self._handshake(self._connect_deadline_s, order, confirm_s)
        if before is not None and info.boot_id != before.boot_id:
            self._lost = self._link.reset_error(info.boot_id)
            raise self._lost
        if self._rates.now != baud:
            raise failed_rate(self.transport.name, baud, old)
        self._rates.asked = True
        return info

    def tensor(self, name: str) -> DeviceTensor:
        """The table's row of that name.

        Raises:
            UsageError: there is none; the text lists what there is.
        """
        entry = self._by_name.get(name)
        if entry is None:
            build = "" if self.hello.trace else "; layer outputs are listed by a trace build only"
            raise UsageError(
                f"the device has no tensor {name!r}",
                f"a mistyped name{build}",
                f"use one of: {', '.join(self._by_name)}",
            )
        return entry

    def constants_crc(self, seed: int, first: int, size: int) -> int:
        """CRC-32, begun with `seed`, of the model's constants as they lie in the device's memory.

        Args:
            seed: what zlib.crc32 would begin with.
            first: byte to begin at, counted over all constants.
            size: bytes; behind the last one comes the first.
        """
        payload = ConstantsRequest(seed, first, size).pack()
        requests = [Request(Type.CONSTANTS, payload)]
        deadline_s = DEADLINE_S + size * DEADLINE_S_PER_BYTE
        replies = self._exchange(requests, deadline_s, slow_last=True)
        beyond = max(first, size) > self.hello.constant_bytes
        self._all_ok(requests, replies, {Status.RANGE} if beyond else ())
        return self._read(ConstantsReply, replies[0]).crc

    def _wire_s(self, size: int) -> float:
        """Seconds that tensors of so many bytes may take on the wire, repeats included."""
        return size * DEADLINE_S_PER_BYTE + 4 * self._link.wire_s(size)

    def _allowed_s(self, size: int = 0) -> float:
        """Seconds for requests that compute nothing, and whose tensors have so many bytes."""
        return DEADLINE_S + self._wire_s(size)

    def _work(
        self, requests: list[Request], deadline_s: float, learns: bool = False
    ) -> tuple[list[Reply], float]:
        """Have requests answered whose last may take long; the replies, and the seconds it took."""
        started = self._clock()
        replies = self._exchange(requests, deadline_s, slow_last=True, learns=learns)
        return replies, self._clock() - started

    def _exchange(
        self,
        requests: list[Request],
        deadline_s: float,
        slow_last: bool = False,
        learns: bool = False,
        slow: bool = False,
    ) -> list[Reply]:
        """Requests and their replies, with nothing else under way before or behind them."""
        return self._finish(self._begin(requests, deadline_s, slow_last, learns, slow), deadline_s)

    def _begin(
        self,
        requests: list[Request],
        deadline_s: float,
        slow_last: bool = False,
        learns: bool = False,
        slow: bool = False,
    ) -> Open:
        """Requests that go while earlier ones wait for their replies: writes, and RUN."""
        self._make_sure()
        self._uncommitted |= learns
        try:
            if any(request.type in READ_TYPES for request in requests):
                self._link.drain()
            return self._link.begin(requests, slow_last, slow, deadline_s)
        except BaseException as error:
            self._give_up(error)
            raise

    def _finish(self, batch: Open, deadline_s: float) -> list[Reply]:
        """The replies to what `_begin` sent."""
        if self._lost is not None:
            raise self._lost
        try:
            return self._link.finish(batch, deadline_s)
        except BaseException as error:
            self._give_up(error)
            raise

    def _give_up(self, error: BaseException) -> None:
        """An exception (Ctrl-C too) leaves replies under way: the next call opens a new session
        first, which they cannot be taken for part of."""
        self._unsure = True
        self._link.abandon()
        if isinstance(error, DeviceReset):
            self._lost = error
            self._ask_why(error)
        if type(error) is LinkTimeout and self._blame_line(error, scan=False):
            self._ask_why(error)

    def _ask_why(self, error: Unexplained) -> None:
        """Name what a device says that answers again: why it was reset, what it did not hear."""
        with contextlib.suppress(SpikeletError):
            before = self.hello
            now = self._shake_hands(self._clock() + WHY_S, WHY_S)
            if now.boot_id == before.boot_id and not isinstance(error, DeviceReset):
                found = line_finding(self._line_counts())
            else:
                found = reset_finding(
                    now.reset_cause, now.fault_cause, now.fault_pc, now.fault_address
                )
            if found is not None:
                error.explain(*found)
        self._unsure = True

    def line_counts(self) -> LineReply:
        """What went wrong on the line since the device's boot, as the device counted it.

        Raises:
            LinkDead.
        """
        self._make_sure()
        return self._line_counts()

    def _line_counts(self) -> LineReply:
        request = Request(Type.LINE, b"")
        reply = self._link.run([request], DEADLINE_S)[0]
        self._all_ok([request], [reply])
        return self._read(LineReply, reply)

    def _blame_line(self, error: LinkTimeout, scan: bool) -> bool:
        """Name the setting of the line, where one is why there was no answer; whether none is,
        and the device answers."""
        with contextlib.suppress(LinkDead):
            wait_s = self._link.answer_s or WAIT_S
            test = LineTest(self.transport, self._link.bad_pieces, wait_s, self._clock)
            found = test.finding(scan)
            if found is None and self._rates.changed:
                found = test.reset(self._rates.first)
            if found is not None:
                error.explain(*found)
            return found is None and test.answered
        return False

    def _make_sure(self) -> None:
        """Opens a session again where the last one was left in the middle of something."""
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

    def _all_ok(
        self, requests: list[Request], replies: list[Reply], allowed: Collection[Status] = ()
    ) -> None:
        """Raise where a request was refused; `allowed`: what these may be refused with."""
        for request, reply in zip(requests, replies, strict=True):
            if reply.status == Status.OK:
                if reply.more and request.type != Type.TENSOR_GET:
                    raise self._impossible(
                        f"that more follows its answer to {Type(request.type).name}"
                    )
                continue
            what = f"{self.transport.name}: {self._request_text(request, reply)}"
            refused = DeviceRefused(what, reply.status, reply.detail)
            if reply.status not in allowed:  # of a device that keeps the protocol: none of ours
                raise ProtocolError(
                    f"{refused.what}, which it may not here", refused.cause, refused.next
                )
            raise refused

    def _same_boot(self, boot_id: int) -> None:
        if boot_id != self._link.boot_id:
            self._lost = self._link.reset_error(boot_id)
            self._ask_why(self._lost)
            raise self._lost

    def _read(self, form: type[Form], reply: Reply) -> Form:
        """The fields of a reply."""
        try:
            return form.unpack(reply.data)
        except (struct.error, IndexError) as error:
            name = form.__name__
            raise self._impossible(
                f"a {name} of {len(reply.data)} bytes, which is too short"
            ) from error

    def _outputs_in(self, data: bytes, asked: bool, head: int) -> dict[str, bytes] | None:
        """The outputs that a reply carries behind `head` bytes; None where they do not fit it."""
        outputs = [t for t in self.hello.tensors if t.kind is Kind.OUTPUT]
        size = sum(t.bytes for t in outputs)
        if not asked or size > self.hello.payload - head:
            size, outputs = 0, []
        if len(data) != size:
            raise self._impossible(f"{len(data)} bytes of outputs with a run, not {size}")
        memory, at = {}, 0
        for tensor in outputs:
            memory[tensor.name] = data[at : at + tensor.bytes]
            at += tensor.bytes
        return memory or None

    def _impossible(self, what: str) -> ProtocolError:
        return impossible(self.transport.name, what)

    def _request_text(self, request: Request, reply: Reply) -> str:
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

    def _handshake(
        self, deadline_s: float, rates: Sequence[int] = (), first_s: float = 1.0
    ) -> DeviceInfo:
        """Open a session; with several rates, at the one of them that the device answers at."""
        deadline = self._clock() + deadline_s
        answer_s = first_s
        for turn in itertools.count():
            left_s = deadline - self._clock()
            if rates:
                self._rates.set(rates[turn % len(rates)])
            last = len(rates) < 2 or left_s <= answer_s
            try:
                return self._shake_hands(deadline, left_s if last else answer_s)
            except LinkTimeout as error:
                if last or self._link.boot_id is not None:
                    self._blame_line(error, scan=self._link.boot_id is None)
                    raise
            answer_s = 1.0
        raise AssertionError("unreachable")

    def _shake_hands(self, deadline: float, answer_s: float) -> DeviceInfo:
        """Open a session with a device that answers within `answer_s`, before the deadline."""
        self._link.abandon()
        nonce = int.from_bytes(os.urandom(4), "little") or 1
        raw = nonce.to_bytes(4, "little")
        payload = HelloRequest(nonce, PROTOCOL, PROTOCOL, 0).pack()
        reply = self._link.hello(payload, raw, answer_s)
        port = self.transport.name
        if reply.status == Status.VERSION:
            raise _other_version(port, reply.detail)
        self._all_ok([Request(Type.HELLO, b"")], [reply._replace(more=False)])
        if self._read(HelloReply, reply).part != 0:
            raise self._impossible("another part of HELLO than it was asked for")
        facts = self._read(Facts, reply._replace(data=reply.data[6:]))
        if facts.protocol_hash != PROTOCOL_HASH:
            raise _other_version(port, facts.protocol)
        check_facts(port, facts)
        if self._expected is not None:
            self._expected.check(port, facts)
        if reply.more != (facts.tensor_count > 0):
            raise self._impossible(f"HELLO of {facts.tensor_count} tensors, and more {reply.more}")
        self._link.boot_id = facts.boot_id
        self._link.window, self._link.kept = facts.window, facts.kept
        known = self._hello
        same = (facts.boot_id, facts.package_sha256, facts.tensor_count)
        if known and same == (known.boot_id, known.package_sha256, len(known.tensors)):
            tensors = known.tensors
        else:
            tensors = self._table(nonce, facts.tensor_count, deadline)
            if self._expected is not None:
                trace = bool(facts.capabilities & CAPABILITY_TRACE)
                tensors = self._expected.check_names(port, trace, tensors)
            else:
                check_table(port, tensors, facts.arena_bytes)
        self._unsure = False
        return _info(facts, tensors)

    def _table(self, nonce: int, count: int, deadline: float) -> tuple[DeviceTensor, ...]:
        tensors: list[DeviceTensor] = []
        while len(tensors) < count:
            part = len(tensors) + 1
            request = Request(Type.HELLO, HelloRequest(nonce, PROTOCOL, PROTOCOL, part).pack())
            left = deadline - self._clock()
            if left <= 0:
                raise LinkTimeout(
                    f"{self.transport.name}: {len(tensors)} of {count} tensors were listed in time",
                    "a slow line, or a device that lists without end",
                    "repeat; compare the baud with the board's file",
                )
            reply = self._link.run([request], left)[0]
            self._all_ok([request], [reply._replace(more=False)])
            if self._read(HelloReply, reply) != (nonce, part):
                raise self._impossible(f"another part of HELLO than {part}")
            try:
                entries = _entries(reply.data[6:])
            except (struct.error, IndexError, ValueError) as error:
                raise self._impossible(f"a malformed part {part} of HELLO ({error})") from error
            tensors += entries
            numbers = [tensor.id for tensor in entries]
            fits = entries and numbers == list(range(part - 1, len(tensors)))
            if not fits or len(tensors) > count or reply.more != (len(tensors) < count):
                raise self._impossible(
                    f"tensors {numbers} in part {part} of HELLO, of {count} in all"
                )
        return tuple(tensors)


def _other_version(port: str, protocol: int) -> WrongVersion:
    cause, next_step = STATUS_TEXTS[Status.VERSION]
    return WrongVersion(f"{port}: the device speaks protocol {protocol}", cause, next_step)


def _info(facts: Facts, tensors: tuple[DeviceTensor, ...]) -> DeviceInfo:
    values = facts._asdict()
    del values["tensor_count"]
    version = facts.firmware.to_bytes(4, "big")
    values["self_test"] = SelfTest(facts.self_test)
    values["firmware"] = ".".join(str(number) for number in version[1:])
    return DeviceInfo(tensors=tensors, **values)


def _entries(data: bytes) -> list[DeviceTensor]:
    """The table rows in one part of HELLO."""
    head = struct.calcsize("<HBBHBIfi")
    entries = []
    while data:
        entry = Entry.unpack(data)
        shape = struct.unpack_from(f"<{entry.rank}H", data, head)
        at = head + 2 * entry.rank
        end = at + 1 + data[at]
        if end > len(data):
            raise ValueError(f"a name of {data[at]} bytes runs over the end")
        entries.append(
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
    return entries
