"""What a device may say that is not true: one lie a mode, made of the answers of a real one."""

# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from spikelet.link import messages as m
from spikelet.link import replies as r
from spikelet.link.facts import Kind
from spikelet.link.framing import Frame

HELLO = 6  # bytes of HELLO's own fields behind the status
TENSOR_HEAD = struct.calcsize(r._ENTRY.format)

Frames = Iterable[Frame]
Lie = Callable[["Liar", Frame], Frames | None]
MODES: dict[str, tuple[str, Lie]] = {}


class Liar:
    """One session's state.

    Args:
        mode: the lie.
        stored: CRC-32 of the constants, as it was when the image was made.
    """

    def __init__(self, mode: str, stored: int = 0) -> None:
        self.lie = MODES[mode][1]
        self.stored = stored
        self.asked: dict[int, Frame] = {}
        self.count = 0  # of lies that count
        self.numbers: dict[int, int] = {}  # of tensors, by their kind: the last one's
        self.flood: Frame | None = None  # sent again and again until the host is gone

    def answer(self, frame: Frame) -> list[Frame]:
        """What the host gets in place of a device's frame."""
        changed = self.lie(self, frame) if frame.type & m.TYPE_REPLY else None
        return [frame] if changed is None else list(changed)

    def request(self, frame: Frame) -> Frame:
        """The request that a reply answers."""
        return self.asked.get(frame.seq, frame)


def is_tensor(liar: Liar, frame: Frame, tensor_kind: Kind) -> bool:
    """Whether the reply holds elements of a trace build's tensor of that kind."""
    asked = kind(frame)
    if asked == m.Type.HELLO and frame.payload[5:7] != b"\0\0":
        liar.numbers |= {
            entry.kind: entry.tensor for entry, _, _ in rows(frame.payload[1 + HELLO :])
        }
    number = liar.numbers.get(tensor_kind, 0xFFFF)
    return asked == m.Type.TENSOR_GET and frame.payload[1:3] == number.to_bytes(2, "little")


def kind(frame: Frame) -> int:
    """The message type of a reply that is OK, else -1."""
    good = frame.payload[:1] == b"\0"
    return frame.type & ~(m.TYPE_REPLY | m.TYPE_MORE) if good else -1


def lie(doc: str, name: str = "") -> Callable[[Lie], Lie]:
    """Make a function a mode; its name is the mode's."""

    def enter(function: Lie) -> Lie:
        MODES[(name or function.__name__).replace("_", "-")] = doc, function
        return function

    return enter


def as_refusal(frame: Frame, status: int, detail: int = 0) -> Frame:
    """The same reply, as a refusal."""
    type_ = frame.type & ~m.TYPE_MORE
    return frame._replace(type=type_, payload=bytes((status,)) + detail.to_bytes(4, "little"))


@lie("every answer is the device's own")
def honest(_liar: Liar, _frame: Frame) -> None:
    """See --list."""
    return


# HELLO's facts: one field each.


def facts(name: str, doc: str, **changes: Any) -> None:
    """A mode that changes fields of HELLO's facts."""

    def change(_liar: Liar, frame: Frame) -> Frames | None:
        if kind(frame) != m.Type.HELLO or frame.payload[5:7] != b"\0\0":
            return None
        told = r.Facts.unpack(frame.payload[1 + HELLO :])
        new = {k: v(getattr(told, k)) if callable(v) else v for k, v in changes.items()}
        return [frame._replace(payload=frame.payload[: 1 + HELLO] + told._replace(**new).pack())]

    lie(doc, name)(change)


facts("payload-zero", "a payload of 0 bytes", payload=0)
facts("payload-small", "a payload of 7 bytes, in which no data fits", payload=7)
facts("payload-less", "a payload of 4 bytes less than the device has", payload=lambda p: p - 4)
facts("payload-large", "a payload of 1024 bytes", payload=1024)
facts("payload-most", "a payload of 65535 bytes", payload=0xFFFF)
facts("ring-zero", "no receive ring", ring=0)
facts("ring-odd", "a ring whose size is no power of two", ring=500)
facts("ring-large", "a larger ring than it has", ring=2048)
facts("window-zero", "no request that it remembers", window=0)
facts("window-more", "twice as many requests that it remembers", window=lambda w: 2 * w)
facts("kept-zero", "no reply that it keeps", kept=0)
facts("kept-more", "a reply more that it keeps", kept=lambda k: k + 1)
facts("steps-zero", "no time steps", steps=0)
facts("steps-more", "a time step more", steps=lambda s: s + 1)
facts("arena-less", "an arena of 16 bytes less", arena_bytes=lambda a: a - 16)
facts("arena-most", "an arena of 4 GB", arena_bytes=0xFFFFFFFF)
facts("constants-none", "no constants", constant_bytes=0)
facts("constants-most", "4 GB of constants", constant_bytes=0xFFFFFFFF)
facts("tensors-less", "a tensor less", tensor_count=lambda n: n - 1)
facts("tensors-none", "no tensors", tensor_count=0)
facts("tensors-most", "65535 tensors", tensor_count=0xFFFF)
facts("trace-or-not", "the other kind of build", capabilities=lambda c: c ^ m.CAPABILITY_TRACE)
facts("learns-or-not", "a learner, or none", capabilities=lambda c: c ^ m.CAPABILITY_LEARN)
facts("capability-unknown", "a capability that is none", capabilities=lambda c: c | 1 << 31)
facts("tick-unit", "a unit of ticks that is none", tick_unit=200)
facts("tick-unit-other", "another unit of ticks", tick_unit=lambda u: (u + 1) % 4)
facts("protocol", "another protocol", protocol=lambda p: p + 1)
facts("protocol-hash", "another definition of the messages", protocol_hash=lambda h: h ^ 1)
facts("reset-cause", "a cause of reset that is none", reset_cause=99)
facts("self-test", "a self-test with no known outcome", self_test=99)
facts("model-name", "another name of the model", model="another")
facts("model-escape", "a name of the model that clears the terminal", model="\x1b[2J\x1b]0;x\x07")


@lie("HELLO's facts are cut off")
def facts_short(_liar: Liar, frame: Frame) -> Frames | None:
    """See --list."""
    first = kind(frame) == m.Type.HELLO and frame.payload[5:7] == b"\0\0"
    return [frame._replace(payload=frame.payload[:40])] if first else None


@lie("HELLO is answered for another nonce")
def hello_nonce(_liar: Liar, frame: Frame) -> Frames | None:
    """See --list."""
    wrong = b"\0" + bytes(4) + frame.payload[5:]
    return [frame._replace(payload=wrong)] if kind(frame) == m.Type.HELLO else None


@lie("HELLO is answered with another part")
def hello_part(_liar: Liar, frame: Frame) -> Frames | None:
    """See --list."""
    wrong = frame.payload[:5] + b"\x07\0" + frame.payload[7:]
    return [frame._replace(payload=wrong)] if kind(frame) == m.Type.HELLO else None


@lie("HELLO says that nothing follows")
def hello_ends(_liar: Liar, frame: Frame) -> Frames | None:
    """See --list."""
    plain = frame.type & ~m.TYPE_MORE
    return [frame._replace(type=plain)] if kind(frame) == m.Type.HELLO else None


@lie("the tensor table never ends: every part says that more follows")
def hello_endless(_liar: Liar, frame: Frame) -> Frames | None:
    """See --list."""
    more = frame.type | m.TYPE_MORE
    return [frame._replace(type=more)] if kind(frame) == m.Type.HELLO else None


@lie("a part of the tensor table is empty")
def table_empty(_liar: Liar, frame: Frame) -> Frames | None:
    """See --list."""
    part = kind(frame) == m.Type.HELLO and frame.payload[5:7] != b"\0\0"
    return [frame._replace(payload=frame.payload[:7])] if part else None


@lie("a part of the tensor table is cut off inside a row")
def table_short(_liar: Liar, frame: Frame) -> Frames | None:
    """See --list."""
    part = kind(frame) == m.Type.HELLO and frame.payload[5:7] != b"\0\0"
    return [frame._replace(payload=frame.payload[:-3])] if part else None


# The tensor table: one field of the last output each.


def rows(data: bytes) -> list[tuple[r.Entry, tuple[int, ...], bytes]]:
    """The rows of a part of HELLO: fields, dimensions, name."""
    entries = []
    while data:
        entry = r.Entry.unpack(data)
        at = TENSOR_HEAD + 2 * entry.rank
        dims = struct.unpack_from(f"<{entry.rank}H", data, TENSOR_HEAD)
        end = at + 1 + data[at]
        entries.append((entry, dims, data[at + 1 : end]))
        data = data[end:]
    return entries


def pack(entry: r.Entry, dims: tuple[int, ...], name: bytes) -> bytes:
    """A row as HELLO carries it."""
    return entry.pack() + struct.pack(f"<{len(dims)}H", *dims) + bytes((len(name),)) + name


def table(
    mode: str,
    doc: str,
    dims: Callable[[tuple[int, ...]], tuple[int, ...]] = lambda d: d,
    name: Callable[[bytes], bytes] = lambda n: n,
    of: int = 1,
    **changes: Any,
) -> None:
    """A mode that changes the last row of kind `of` (1: outputs)."""

    def change(_liar: Liar, frame: Frame) -> Frames | None:
        if kind(frame) != m.Type.HELLO or frame.payload[5:7] == b"\0\0":
            return None
        entries = rows(frame.payload[1 + HELLO :])
        for number, (entry, shape, text) in reversed(list(enumerate(entries))):
            if entry.kind == of:
                new = {k: v(getattr(entry, k)) if callable(v) else v for k, v in changes.items()}
                entries[number] = entry._replace(**new), dims(shape), name(text)
                break
        return [frame._replace(payload=frame.payload[:7] + b"".join(pack(*row) for row in entries))]

    lie(doc, mode)(change)


def first_name(_name: bytes) -> bytes:
    """That of the input of the tests' package."""
    return b"x"


NAN, INF = float("nan"), float("inf")
table("output-4gb", "an output of 4 GB", size=0xFFFFFFF0)
table("output-4gb-shape", "an output of 4 GB, with a shape that says so", size=0xFFFE0001,
      rank=2, dims=lambda _: (0xFFFF, 0xFFFF))  # fmt: skip
table("output-empty", "an output of no bytes", size=0)
table("output-short", "an output of a byte less", size=lambda s: s - 1)
table("output-shape", "an output of another shape", dims=lambda d: (*d[:-1], d[-1] + 1))
table("output-rank", "an output of 255 dimensions, which are not there", rank=255)
table("output-kind", "an output that is a state", kind=2)
table("kind-unknown", "a tensor of no known kind", kind=77)
table("output-dtype", "an output of another type", dtype=lambda d: (d + 1) % 8)
table("dtype-unknown", "a tensor of no known type", dtype=99)
table("scale-nan", "a scale that is no number", scale=NAN)
table("scale-inf", "a scale without end", scale=INF)
table("scale-other", "another scale", scale=lambda s: 2 * s)
table("zero-point", "another zero point", zero_point=lambda z: z + 1)
table("operator", "an output of another operator", op=lambda o: o ^ 1)
table("name-other", "another name of a tensor", name=lambda n: n[:-1] + b"_")
table("name-twice", "two tensors of one name", name=first_name)
table("name-escape", "a name that clears the terminal", name=lambda _: b"\x1b[2J\x1b]0;x\x07")
table("name-not-text", "a name that is no UTF-8", name=lambda _: b"\xff\xfe\x80")
table("number", "a tensor out of its order", tensor=lambda t: t + 1)
table("input-size", "an input of 4 bytes more", of=0, size=lambda s: s + 4)
table("input-as-state", "an input that is a state", of=0, kind=2)


# RUN, LEARN, LEARN_STATE: one field each.


def field(mode: str, doc: str, type_: int, form: Any, name: str, change: Any) -> None:
    """A mode that changes a field of every reply of a type."""

    def altered(_liar: Liar, frame: Frame) -> Frames | None:
        if kind(frame) != type_:
            return None
        values = form.unpack(frame.payload[1:])
        value = change(getattr(values, name)) if callable(change) else change
        return [frame._replace(payload=b"\0" + values._replace(**{name: value}).pack())]

    lie(doc, mode)(altered)


def run(mode: str, doc: str, name: str, change: Any) -> None:
    """A mode that changes a field of RUN's answers."""
    field(mode, doc, m.Type.RUN, r.RunReply, name, change)


run("run-steps-left", "RUN has steps left", "done", m.DONE_STEPS_LEFT)
run("run-stopped", "RUN stopped where nobody asked it to, or did not", "done",
    lambda d: m.DONE_FINISHED if d == m.DONE_STOPPED else m.DONE_STOPPED)  # fmt: skip
run("run-done", "RUN ends in a way that is none", "done", 9)
run("run-step-less", "RUN ends a step early", "step", lambda s: s - 1 if s else 1)
run("run-step-most", "RUN ends at step 65535", "step", 0xFFFF)
run("run-ticks", "RUN takes 4 billion ticks", "ticks", 0xFFFFFFFF)
run("run-outputs-crc", "RUN names another CRC of the outputs", "outputs_crc", lambda c: c ^ 1)
run("run-saturations", "RUN has 4 billion saturations", "saturations", 0xFFFFFFFF)
run("run-boot", "RUN is of another boot", "boot_id", lambda b: b + 1)
run("run-states-crc", "RUN names another CRC of what it does not send", "states_crc",
    lambda c: c ^ 1)  # fmt: skip
run("run-outputs-other", "an output with RUN is not that of the run", "outputs",
    lambda d: bytes((d[0] ^ 1,)) + d[1:] if d else d)  # fmt: skip
run("run-outputs-less", "RUN comes with a byte less of outputs", "outputs", lambda d: d[:-1])
run("run-outputs-more", "RUN comes with a byte more of outputs", "outputs", lambda d: d + b"\0")
run("run-outputs-none", "RUN comes without the outputs that fit it", "outputs", b"")


def shape(mode: str, doc: str, type_: int, change: Callable[[Frame], Frames]) -> None:
    """A mode that changes every reply of a type as a whole."""

    def altered(_liar: Liar, frame: Frame) -> Frames | None:
        return change(frame) if kind(frame) == type_ else None

    lie(doc, mode)(altered)


def close(mode: str, doc: str, name: str, change: Any) -> None:
    """A mode that changes a field of EVENTS_CLOSE's answers."""
    field(f"close-{mode}", doc, m.Type.EVENTS_CLOSE, r.EventsCloseReply, name, change)


close("done", "EVENTS_CLOSE ends in a way that is none", "done", 9)
close("steps-left", "EVENTS_CLOSE has steps left", "done", m.DONE_STEPS_LEFT)
close("step", "EVENTS_CLOSE ends a step early", "step", lambda s: s - 1)
close("ticks", "EVENTS_CLOSE takes 4 billion ticks", "ticks", 0xFFFFFFFF)
close("most", "EVENTS_CLOSE has a step of 4 billion ticks", "most", 0xFFFFFFFF)
close("saturations", "EVENTS_CLOSE has 4 billion saturations", "saturations", 0xFFFFFFFF)
close("outputs-crc", "EVENTS_CLOSE names another CRC of the outputs", "outputs_crc",
      lambda c: c ^ 1)  # fmt: skip
close("states-crc", "EVENTS_CLOSE names another CRC of what it does not send", "states_crc",
      lambda c: c ^ 1)  # fmt: skip
close("outputs", "an output with EVENTS_CLOSE is not that of the run", "outputs",
      lambda d: bytes((d[0] ^ 1,)) + d[1:] if d else d)  # fmt: skip
close("outputs-none", "EVENTS_CLOSE comes without the outputs that fit it", "outputs", b"")
close("boot", "EVENTS_CLOSE is of another boot", "boot_id", lambda b: b + 1)
close("events", "an event more than was sent", "events", lambda n: n + 1)
close("late", "more late events than were sent", "late", 0xFFFFFFFF)
close("clipped", "more clipped events than were sent", "clipped", 0xFFFFFFFF)


def cut(frame: Frame) -> Frames:
    """The reply without its end."""
    return [frame._replace(payload=frame.payload[:3])]


shape("run-short", "RUN's answer is cut off", m.Type.RUN, cut)
shape("close-short", "EVENTS_CLOSE's answer is cut off", m.Type.EVENTS_CLOSE, cut)
shape("close-refused", "EVENTS_CLOSE is refused with RANGE", m.Type.EVENTS_CLOSE,
      lambda f: [as_refusal(f, m.Status.RANGE, 7)])  # fmt: skip
shape("events-refused", "events are refused with RANGE", m.Type.EVENTS,
      lambda f: [as_refusal(f, m.Status.RANGE, 7)])  # fmt: skip
shape("run-more", "more follows RUN's answer", m.Type.RUN,
      lambda f: [f._replace(type=f.type | m.TYPE_MORE)])  # fmt: skip
shape("run-silent", "RUN is never answered", m.Type.RUN, lambda _: [])


def refusing(status: m.Status) -> Callable[[Frame], Frames]:
    """Refuses with a status."""
    return lambda frame: [as_refusal(frame, status, 7)]


for _status in ("RANGE", "BAD_STATE", "BAD_TYPE", "BUSY", "FAULT"):
    shape(
        f"run-{_status.lower().replace('_', '-')}",
        f"RUN is refused with {_status}",
        m.Type.RUN,
        refusing(m.Status[_status]),
    )
shape("run-status", "RUN is refused with a status that is none", m.Type.RUN,
      lambda f: [as_refusal(f, 200, 7)])  # fmt: skip
shape("run-status-short", "RUN is refused without a detail", m.Type.RUN,
      lambda f: [f._replace(payload=bytes((m.Status.RANGE, 0)))])  # fmt: skip
shape("put-range", "an input is refused with RANGE", m.Type.TENSOR_PUT,
      lambda f: [as_refusal(f, m.Status.RANGE)])  # fmt: skip
shape("put-silent", "an input is never answered", m.Type.TENSOR_PUT, lambda _: [])


# TENSOR_GET.


def got(frame: Frame, data: Callable[[bytes], bytes]) -> Frame:
    """A reply to TENSOR_GET with other bytes."""
    head, rest = frame.payload[:7], frame.payload[7:]
    return frame._replace(payload=head + data(rest))


shape("get-short", "tensors are sent without their last byte", m.Type.TENSOR_GET,
      lambda f: [got(f, lambda d: d[:-1])])  # fmt: skip
shape("get-long", "tensors are sent with a byte more", m.Type.TENSOR_GET,
      lambda f: [got(f, lambda d: d + b"\0")])  # fmt: skip
shape("get-empty", "tensors are sent without bytes", m.Type.TENSOR_GET,
      lambda f: [got(f, lambda _: b"")])  # fmt: skip
shape("get-cut", "TENSOR_GET's answer is cut off", m.Type.TENSOR_GET, cut)
shape("get-other", "another tensor is sent", m.Type.TENSOR_GET,
      lambda f: [f._replace(payload=b"\0" + bytes((f.payload[1] ^ 1,)) + f.payload[2:])]
)  # fmt: skip
shape("get-offset", "another place of the tensor is sent", m.Type.TENSOR_GET,
      lambda f: [f._replace(payload=f.payload[:3] + b"\xff" + f.payload[4:])])  # fmt: skip
shape("get-value", "a byte of the outputs is not that of the run", m.Type.TENSOR_GET,
      lambda f: [got(f, lambda d: bytes((d[0] ^ 1,)) + d[1:])])  # fmt: skip
shape("get-refused", "tensors are refused with BAD_TENSOR", m.Type.TENSOR_GET,
      lambda f: [as_refusal(f, m.Status.BAD_TENSOR)])  # fmt: skip
shape("get-endless", "tensors are sent a byte at a time, and more follows", m.Type.TENSOR_GET,
      lambda f: [got(f, lambda d: d[:1])._replace(type=f.type | m.TYPE_MORE)])  # fmt: skip


@lie("what a trace build keeps of its layers is other than what they wrote")
def trace_other(liar: Liar, frame: Frame) -> Frames | None:
    """The digests are the last tensor of a trace build; RUN's CRC of them is another, too."""
    if kind(frame) == m.Type.RUN:
        said = r.RunReply.unpack(frame.payload[1:])
        changed = said._replace(states_crc=said.states_crc ^ 1)
        return [frame._replace(payload=b"\0" + changed.pack())]
    if not is_tensor(liar, frame, Kind.DIGESTS):
        return None
    return [got(frame, lambda d: d[:-1] + bytes((d[-1] ^ 0x80,)))]


def work(mode: str, doc: str, change: Callable[[bytes], bytes]) -> None:
    """A mode that changes the counts of work, (counters,) uint64, that a trace build keeps."""

    def altered(liar: Liar, frame: Frame) -> Frames | None:
        return [got(frame, change)] if is_tensor(liar, frame, Kind.COUNTS) else None

    lie(doc, f"counts-{mode}")(altered)


work("first", "the first count of work is another", lambda d: bytes((d[0] ^ 1,)) + d[1:])
work("last", "the last count of work is 2^56 more or less", lambda d: d[:-1] + bytes((d[-1] ^ 1,)))
work("none", "no work is counted", lambda d: bytes(len(d)))
work("most", "work beyond every count", lambda d: b"\xff" * len(d))


# What never ends.


def flood(mode: str, doc: str, frame: Callable[[Frame], Frame]) -> None:
    """A mode that answers RUN with a frame that is sent for ever."""

    def pour(liar: Liar, reply: Frame) -> Frames | None:
        if kind(reply) == m.Type.RUN:
            liar.flood = frame(reply)
            return []
        return None

    lie(doc, mode)(pour)


def boot_text(frame: Frame) -> bytes:
    """The boot id, as RUN's answer holds it, and 40 characters."""
    return b"\0" + r.RunReply.unpack(frame.payload[1:]).boot_id.to_bytes(4, "little") + b"x" * 40


flood("log-endless", "text without end in place of RUN's answer",
      lambda f: f._replace(type=m.Type.LOG | m.TYPE_REPLY, payload=boot_text(f)))  # fmt: skip
flood("ack-endless", "ACK without end in place of RUN's answer",
      lambda f: f._replace(type=m.Type.ACK | m.TYPE_REPLY, payload=b"\0"))  # fmt: skip
flood("echo-endless", "answers to ECHO without end in place of RUN's answer",
      lambda f: f._replace(type=m.Type.ECHO | m.TYPE_REPLY))  # fmt: skip


# The constants.


@lie("CONSTANTS is answered with a CRC that was computed when the image was made")
def constants_stored(liar: Liar, frame: Frame) -> Frames | None:
    """See --list."""
    if kind(frame) != m.Type.CONSTANTS:
        return None
    return [frame._replace(payload=b"\0" + liar.stored.to_bytes(4, "little"))]


@lie("CONSTANTS is answered with the right CRC, begun with another seed")
def constants_unseeded(liar: Liar, frame: Frame) -> Frames | None:
    """See --list."""
    if kind(frame) != m.Type.CONSTANTS:
        return None
    asked = m.ConstantsRequest.unpack(liar.request(frame).payload)
    crc = int.from_bytes(frame.payload[1:5], "little")
    zeros = bytes(asked.size)
    crc ^= zlib.crc32(zeros, asked.seed) ^ zlib.crc32(zeros)
    return [frame._replace(payload=b"\0" + crc.to_bytes(4, "little"))]


@lie("CONSTANTS is answered with a stored CRC that is fitted to the seed, not to the first byte")
def constants_fitted(liar: Liar, frame: Frame) -> Frames | None:
    """See --list."""
    if kind(frame) != m.Type.CONSTANTS:
        return None
    asked = m.ConstantsRequest.unpack(liar.request(frame).payload)
    zeros = bytes(asked.size)
    # A CRC is linear: the seed's part of it is that of as many zeros, seeded and not.
    crc = liar.stored ^ zlib.crc32(zeros, asked.seed) ^ zlib.crc32(zeros)
    return [frame._replace(payload=b"\0" + crc.to_bytes(4, "little"))]


shape("constants-unknown", "firmware that does not know CONSTANTS", m.Type.CONSTANTS,
      lambda f: [as_refusal(f, m.Status.BAD_TYPE, m.Type.CONSTANTS)])  # fmt: skip
shape("constants-short", "CONSTANTS' answer is cut off", m.Type.CONSTANTS, cut)
shape("constants-silent", "CONSTANTS is never answered", m.Type.CONSTANTS, lambda _: [])


# Learning.


def state(mode: str, doc: str, name: str, change: Any) -> None:
    """A mode that changes a field of LEARN_STATE's answers."""
    field(f"state-{mode}", doc, m.Type.LEARN_STATE, r.LearnStateReply, name, change)


def learn(mode: str, doc: str, name: str, change: Any) -> None:
    """A mode that changes a field of LEARN's answers."""
    field(f"learn-{mode}", doc, m.Type.LEARN, r.LearnReply, name, change)


learn("ticks", "LEARN takes 4 billion ticks", "ticks", 0xFFFFFFFF)
learn("boot", "LEARN is of another boot", "boot_id", lambda b: b + 1)
shape("learn-short", "LEARN's answer is cut off", m.Type.LEARN, cut)
shape("learn-refused", "LEARN is refused with RANGE", m.Type.LEARN,
      lambda f: [as_refusal(f, m.Status.RANGE, 3)])  # fmt: skip
state("steps", "a learning step more", "steps", lambda s: s + 1)
state("crc", "another CRC of what was learned", "crc", lambda c: c ^ 1)
state("committed", "another CRC of what is committed", "committed_crc", lambda c: c ^ 1)
state("pending", "an upload that nobody made", "pending", 1)
state("pending-odd", "an upload that is neither there nor not", "pending", 7)
state("stored", "a storage in no known state", "stored", 77)
state("source", "a model from nowhere", "source", 77)
state("factory", "a factory slot in no known state", "factory", 77)
state("self-test", "LEARN_STATE tells a self-test with no known outcome", "self_test", 77)
state("slot", "a committed model in a slot of 1 byte", "slot_bytes", 1)


def counting(mode: str, doc: str, name: str, first: int, by: int) -> None:
    """A mode in which a field of LEARN_STATE changes with every answer."""

    def altered(liar: Liar, frame: Frame) -> Frames | None:
        if kind(frame) != m.Type.LEARN_STATE:
            return None
        liar.count += 1
        counts = r.LearnStateReply.unpack(frame.payload[1:])
        new = counts._replace(**{name: first + by * liar.count})
        return [frame._replace(payload=b"\0" + new.pack())]

    lie(doc, f"state-{mode}")(altered)


counting("generation", "a commit more with every answer", "generation", 5, 1)
counting("written", "less written with every answer", "written", 10**9, -1)
counting("worn", "less wear with every answer", "worn", 10**9, -1)
counting("erased", "less erased with every answer", "erased", 10**9, -1)
state("boot", "LEARN_STATE is of another boot", "boot_id", lambda b: b + 1)
shape("state-short", "LEARN_STATE's answer is cut off", m.Type.LEARN_STATE, cut)
shape("state-refused", "LEARN_STATE is refused with BAD_TENSOR", m.Type.LEARN_STATE,
      lambda f: [as_refusal(f, m.Status.BAD_TENSOR)])  # fmt: skip
