"""Replies of the link. Made from pytools/spikelet/link/messages.toml by
`python -m spikelet.link.generate`."""

# fmt: off
# ruff: noqa: E501
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
from typing import NamedTuple

from spikelet.link.text import printable


def _string(text: str) -> bytes:
    raw = text.encode()[:255]
    return bytes((len(raw),)) + raw


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    if end > len(data):
        raise IndexError(f"a text of {data[at]} bytes runs over the end")
    return printable(data[at + 1 : end]), end


_HELLOREPLY = struct.Struct("<IH")


class HelloReply(NamedTuple):
    """Opens a session (part 0 with a new nonce) or reads the device's facts and tensor table: the reply."""

    nonce: int
    part: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _HELLOREPLY.pack(self.nonce, self.part)

    @classmethod
    def unpack(cls, data: bytes) -> HelloReply:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_HELLOREPLY.unpack_from(data))


_ECHOREPLY = struct.Struct("<")


class EchoReply(NamedTuple):
    """Sends the payload back: the reply."""

    data: bytes

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return self.data

    @classmethod
    def unpack(cls, data: bytes) -> EchoReply:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make((data,))


_TENSORGETREPLY = struct.Struct("<HI")


class TensorGetReply(NamedTuple):
    """Reads bytes of a tensor: the reply."""

    tensor: int
    offset: int
    data: bytes

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _TENSORGETREPLY.pack(self.tensor, self.offset) + self.data

    @classmethod
    def unpack(cls, data: bytes) -> TensorGetReply:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make((*_TENSORGETREPLY.unpack_from(data), data[_TENSORGETREPLY.size :],))


_RUNREPLY = struct.Struct("<BHIIIIII")


class RunReply(NamedTuple):
    """Runs time steps: the reply."""

    done: int
    step: int
    ticks: int
    stack: int
    saturations: int
    outputs_crc: int
    boot_id: int
    states_crc: int
    outputs: bytes

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _RUNREPLY.pack(self.done, self.step, self.ticks, self.stack, self.saturations, self.outputs_crc, self.boot_id, self.states_crc) + self.outputs

    @classmethod
    def unpack(cls, data: bytes) -> RunReply:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make((*_RUNREPLY.unpack_from(data), data[_RUNREPLY.size :],))


_LOGREPLY = struct.Struct("<I")


class LogReply(NamedTuple):
    """Text from the device, unasked: the reply."""

    boot_id: int
    text: bytes

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _LOGREPLY.pack(self.boot_id) + self.text

    @classmethod
    def unpack(cls, data: bytes) -> LogReply:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make((*_LOGREPLY.unpack_from(data), data[_LOGREPLY.size :],))


_FAULTREPLY = struct.Struct("<BIII")


class FaultReply(NamedTuple):
    """The cause of the last reset and the last fault: the reply."""

    reset_cause: int
    cause: int
    pc: int
    address: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _FAULTREPLY.pack(self.reset_cause, self.cause, self.pc, self.address)

    @classmethod
    def unpack(cls, data: bytes) -> FaultReply:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_FAULTREPLY.unpack_from(data))


_LEARNREPLY = struct.Struct("<IIIIIII")


class LearnReply(NamedTuple):
    """Learns from the sample that was run, or with LEARN_RUN runs it whole first: the reply."""

    ticks: int
    stack: int
    saturations: int
    boot_id: int
    run_ticks: int
    run_saturations: int
    outputs_crc: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _LEARNREPLY.pack(self.ticks, self.stack, self.saturations, self.boot_id, self.run_ticks, self.run_saturations, self.outputs_crc)

    @classmethod
    def unpack(cls, data: bytes) -> LearnReply:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_LEARNREPLY.unpack_from(data))


_LEARNSTATEREPLY = struct.Struct("<IIIIIIIIIIBBIIBBB")


class LearnStateReply(NamedTuple):
    """What was learned: read about it, forget it, commit it, go back to the committed, accept what was written (crc and steps are read then only), keep the committed as the factory's, return to the factory's, take over the state that SIGNED_PUT wrote if the holder of the device's key has signed it: the reply."""

    steps: int
    crc: int
    generation: int
    committed_crc: int
    ticks: int
    written: int
    erased: int
    slot_bytes: int
    page_bytes: int
    boot_id: int
    stored: int
    pending: int
    worn: int
    digest: int
    source: int
    factory: int
    self_test: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _LEARNSTATEREPLY.pack(self.steps, self.crc, self.generation, self.committed_crc, self.ticks, self.written, self.erased, self.slot_bytes, self.page_bytes, self.boot_id, self.stored, self.pending, self.worn, self.digest, self.source, self.factory, self.self_test)

    @classmethod
    def unpack(cls, data: bytes) -> LearnStateReply:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_LEARNSTATEREPLY.unpack_from(data))


_CONSTANTSREPLY = struct.Struct("<I")


class ConstantsReply(NamedTuple):
    """CRC-32, begun with `seed`, over `size` bytes of the model's constants as they lie in memory, from byte `first` of all of them on; behind the last byte comes the first: the reply."""

    crc: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _CONSTANTSREPLY.pack(self.crc)

    @classmethod
    def unpack(cls, data: bytes) -> ConstantsReply:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_CONSTANTSREPLY.unpack_from(data))


_EVENTSCLOSEREPLY = struct.Struct("<BHIIIIIIIIII")


class EventsCloseReply(NamedTuple):
    """Runs steps until `steps` are done, 0 = all; the time is then the begin of the step that comes next: the reply."""

    done: int
    step: int
    ticks: int
    stack: int
    saturations: int
    outputs_crc: int
    boot_id: int
    most: int
    events: int
    late: int
    clipped: int
    states_crc: int
    outputs: bytes

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _EVENTSCLOSEREPLY.pack(self.done, self.step, self.ticks, self.stack, self.saturations, self.outputs_crc, self.boot_id, self.most, self.events, self.late, self.clipped, self.states_crc) + self.outputs

    @classmethod
    def unpack(cls, data: bytes) -> EventsCloseReply:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make((*_EVENTSCLOSEREPLY.unpack_from(data), data[_EVENTSCLOSEREPLY.size :],))


_BAUDREPLY = struct.Struct("<I")


class BaudReply(NamedTuple):
    """Another rate of the line, bits a second: the reply."""

    baud: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _BAUDREPLY.pack(self.baud)

    @classmethod
    def unpack(cls, data: bytes) -> BaudReply:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_BAUDREPLY.unpack_from(data))


_LINEREPLY = struct.Struct("<IIIIII")


class LineReply(NamedTuple):
    """What went wrong on the line since boot, as the device counted it: bytes that its receiver had no room for (overruns), bytes without a stop bit or with wrong parity (garbled), bytes that its ring had no room for (dropped), times that its transmitter was given up (stuck); good and bad frames: the reply."""

    overruns: int
    garbled: int
    dropped: int
    stuck: int
    frames_good: int
    frames_bad: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _LINEREPLY.pack(self.overruns, self.garbled, self.dropped, self.stuck, self.frames_good, self.frames_bad)

    @classmethod
    def unpack(cls, data: bytes) -> LineReply:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_LINEREPLY.unpack_from(data))


_FACTS = struct.Struct("<IBIHHIBIIHHII8sBIIIBII32sBB")


class Facts(NamedTuple):
    """FACTS in HELLO's reply."""

    boot_id: int
    protocol: int
    protocol_hash: int
    payload: int
    ring: int
    capabilities: int
    tick_unit: int
    tick_hz: int
    firmware: int
    steps: int
    tensor_count: int
    arena_bytes: int
    constant_bytes: int
    unique_id: bytes
    reset_cause: int
    fault_cause: int
    fault_pc: int
    fault_address: int
    self_test: int
    frames_good: int
    frames_bad: int
    package_sha256: bytes
    window: int
    kept: int
    isa: str
    model: str

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _FACTS.pack(self.boot_id, self.protocol, self.protocol_hash, self.payload, self.ring, self.capabilities, self.tick_unit, self.tick_hz, self.firmware, self.steps, self.tensor_count, self.arena_bytes, self.constant_bytes, self.unique_id, self.reset_cause, self.fault_cause, self.fault_pc, self.fault_address, self.self_test, self.frames_good, self.frames_bad, self.package_sha256, self.window, self.kept) + _string(self.isa) + _string(self.model)

    @classmethod
    def unpack(cls, data: bytes) -> Facts:
        """Reads a payload; bytes beyond the known fields are skipped."""
        at = _FACTS.size
        isa, at = _text(data, at)
        model, at = _text(data, at)
        return cls._make((*_FACTS.unpack_from(data), isa, model))


_ENTRY = struct.Struct("<HBBHBIfi")


class Entry(NamedTuple):
    """ENTRY in HELLO's reply."""

    tensor: int
    kind: int
    dtype: int
    op: int
    rank: int
    size: int
    scale: float
    zero_point: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _ENTRY.pack(self.tensor, self.kind, self.dtype, self.op, self.rank, self.size, self.scale, self.zero_point)

    @classmethod
    def unpack(cls, data: bytes) -> Entry:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_ENTRY.unpack_from(data))
