"""Numbers and requests of the link. Made from pytools/spikelet/link/messages.toml by
`python -m spikelet.link.generate`."""

# fmt: off
# ruff: noqa: E501
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

PROTOCOL = 2
PROTOCOL_HASH = 0xD7B11ECD
RUN_RESTART = 1
RUN_STOP = 2
RUN_TICKS = 4
RUN_EVENTS = 8
RUN_KEEP = 16
RUN_OUTPUTS = 32
RUN_STATES = 64
CLOSE_ANSWER = 1
CLOSE_OUTPUTS = 2
CLOSE_STATES = 4
DONE_STEPS_LEFT = 0
DONE_FINISHED = 1
DONE_STOPPED = 2
CAPABILITY_TRACE = 1
CAPABILITY_LEARN = 2
CAPABILITY_EVENTS = 4
CAPABILITY_EXIT = 8
CAPABILITY_KEYED = 16
NO_LABEL = 65535
BAUD_CONFIRM_MS = 4000
LEARN_RUN = 1
LEARN_INFO = 0
LEARN_RESET = 1
LEARN_COMMIT = 2
LEARN_RESTORE = 3
LEARN_ACCEPT = 4
LEARN_KEEP_FACTORY = 5
LEARN_TO_FACTORY = 6
LEARN_ACCEPT_SIGNED = 7
STORED_NONE = 0
STORED_EMPTY = 1
STORED_DAMAGED = 2
STORED_OTHER_VERSION = 3
STORED_OTHER_MODEL = 4
STORED_LOADED = 5
STORED_FALLBACK = 6
SOURCE_INITIAL = 0
SOURCE_FACTORY = 1
SOURCE_COMMITTED = 2
SELF_TEST_NONE = 0
SELF_TEST_PASSED = 1
SELF_TEST_SKIPPED = 2
SELF_TEST_FELL_BACK = 3
SELF_TEST_FAILED = 4
STORAGE_NONE = 0
STORAGE_WORN = 65535
TYPE_REPLY = 128
TYPE_MORE = 64


class Type(IntEnum):
    """Message types."""

    HELLO = 1
    ECHO = 2
    TENSOR_PUT = 3
    TENSOR_GET = 4
    RUN = 5
    LOG = 6
    RESET = 7
    FAULT = 8
    ACK = 9
    LEARN = 10
    LEARN_STATE = 11
    CONSTANTS = 16
    EVENTS = 12
    EVENTS_CLOSE = 17
    BAUD = 15
    LINE = 18
    WORKING = 19
    SIGNED_PUT = 20
    STREAM = 13  # reserved
    PARAM = 14  # reserved


class Status(IntEnum):
    """First byte of every reply."""

    OK = 0
    BAD_TYPE = 1
    BAD_STATE = 2
    BAD_LEN = 3
    BAD_TENSOR = 4
    RANGE = 5
    NO_MEM = 6
    NO_MODEL = 7
    MODEL_MISMATCH = 8
    VERSION = 9
    STORAGE = 10
    CHECKSUM = 11
    BUSY = 12
    FAULT = 13
    TIMEOUT = 14
    SIGNATURE = 15
    OLD = 16


READ_TYPES = frozenset({Type.HELLO, Type.ECHO, Type.TENSOR_GET, Type.FAULT, Type.CONSTANTS, Type.LINE})
KEYED_TYPES = frozenset({Type.HELLO, Type.ECHO, Type.TENSOR_PUT, Type.TENSOR_GET, Type.RUN, Type.RESET, Type.FAULT, Type.LEARN, Type.LEARN_STATE, Type.CONSTANTS, Type.EVENTS, Type.EVENTS_CLOSE, Type.BAUD, Type.LINE, Type.SIGNED_PUT})

# Status: (likely cause, next step)
STATUS_TEXTS: dict[Status, tuple[str, str]] = {
    Status.OK: (
        "",
        "",
    ),
    Status.BAD_TYPE: (
        "the firmware does not know this request (detail: its type)",
        "rebuild and flash the firmware with the Spikelet version of the host",
    ),
    Status.BAD_STATE: (
        "the request does not fit the device's state: a write to a tensor that cannot be written, RUN past the end without a restart, LEARN without a whole run of unchanged inputs before it or behind a refused write, anything but ACCEPT or RESTORE after learned tensors were written, a stop asked of a release build, EVENTS without a RUN that waits for them, or RUN_KEEP of a model that was not made for it",
        "restart the run, or build with trace for layer outputs; inputs, states, targets and learned tensors can be written, the label goes with LEARN",
    ),
    Status.BAD_LEN: (
        "the request has the wrong length (detail: the length that the device read)",
        "use matching versions of host and firmware; keep the payload within the device's limit",
    ),
    Status.BAD_TENSOR: (
        "the device has no tensor of that number (detail: the number)",
        "list the device's tensors; layer outputs are listed by a trace build only",
    ),
    Status.RANGE: (
        "a value, offset or length is outside what the device has (detail: the value, or where it stands): a label that is no class, missing (65535) or not taken, a float that is no finite number, a learned value or target out of its range, part of an element, or a rate that the line cannot have (detail: the nearest it can, 0 = none can be set)",
        "compare shape, dtype and range of the data with the device's tensor table, labels with the model's classes, and a rate with what the board's clock can give; the last committed model is in use where learning diverged",
    ),
    Status.NO_MEM: (
        "the device has no memory for it, or its storage no room for what is learned (detail: the bytes that were missing)",
        "use a smaller model or a board with more RAM",
    ),
    Status.NO_MODEL: (
        "the firmware holds no model",
        "build the package for this board and flash it",
    ),
    Status.MODEL_MISMATCH: (
        "the device, or its storage of learned tensors, holds another model than the package",
        "build this package for the board and flash it, or run the package that is on the device; a commit replaces what another model has stored",
    ),
    Status.VERSION: (
        "host and device share no protocol version (detail: the device's), or the learned tensors in the storage are of another version (detail: 3)",
        "rebuild and flash the firmware with the Spikelet version of the host; a commit replaces what is stored",
    ),
    Status.STORAGE: (
        "the board has no storage (detail 0), what was written does not read back (detail 65535), or the storage failed (detail: its own code); what was committed before is still there",
        "repeat; if it fails again the flash may be worn or write-protected",
    ),
    Status.CHECKSUM: (
        "what was written or stored does not match its checksum (detail: the device's); the last committed model is in use",
        "send it again; learn or restore it anew where the storage is damaged",
    ),
    Status.BUSY: (
        "the device is still at work on an earlier request",
        "wait and repeat",
    ),
    Status.FAULT: (
        "the device faulted while it served the request (detail: the core's fault code)",
        "read FAULT for the address, then report it together with the package",
    ),
    Status.TIMEOUT: (
        "the device gave up waiting",
        "repeat; if it fails again check cable and baud",
    ),
    Status.SIGNATURE: (
        "the device was built with a key, and takes over only what the key's holder has signed for this package (detail: of a request that it does not serve its type, of SIGNED_PUT or ACCEPT_SIGNED the bytes that came); what it had learned is unchanged",
        "sign the delta, `spikelet sign DELTA --key KEY --package PKG`, or the learned state, `spikelet sign STATE --key KEY`, and send it signed; or flash an image without --device-key",
    ),
    Status.OLD: (
        "it is older than what the device took over: its counter is lower than the device's (detail), or it is what the image or its factory began with; what the device had learned is unchanged",
        "get the newest delta; to go back on purpose have the older one signed again with `spikelet sign --counter`, higher than the device's",
    ),
}


_HELLOREQUEST = struct.Struct("<IBBH")


class HelloRequest(NamedTuple):
    """Opens a session (part 0 with a new nonce) or reads the device's facts and tensor table: the request."""

    nonce: int
    proto_min: int
    proto_max: int
    part: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _HELLOREQUEST.pack(self.nonce, self.proto_min, self.proto_max, self.part)

    @classmethod
    def unpack(cls, data: bytes) -> HelloRequest:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_HELLOREQUEST.unpack_from(data))


_ECHOREQUEST = struct.Struct("<")


class EchoRequest(NamedTuple):
    """Sends the payload back: the request."""

    data: bytes

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return self.data

    @classmethod
    def unpack(cls, data: bytes) -> EchoRequest:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make((data,))


_TENSORPUTREQUEST = struct.Struct("<HI")


class TensorPutRequest(NamedTuple):
    """Writes bytes of an input or state tensor: the request."""

    tensor: int
    offset: int
    data: bytes

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _TENSORPUTREQUEST.pack(self.tensor, self.offset) + self.data

    @classmethod
    def unpack(cls, data: bytes) -> TensorPutRequest:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make((*_TENSORPUTREQUEST.unpack_from(data), data[_TENSORPUTREQUEST.size :],))


_TENSORGETREQUEST = struct.Struct("<HIH")


class TensorGetRequest(NamedTuple):
    """Reads bytes of a tensor: the request."""

    tensor: int
    offset: int
    size: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _TENSORGETREQUEST.pack(self.tensor, self.offset, self.size)

    @classmethod
    def unpack(cls, data: bytes) -> TensorGetRequest:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_TENSORGETREQUEST.unpack_from(data))


_RUNREQUEST = struct.Struct("<BHHH")


class RunRequest(NamedTuple):
    """Runs time steps: the request."""

    flags: int
    steps: int
    stop_step: int
    stop_op: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _RUNREQUEST.pack(self.flags, self.steps, self.stop_step, self.stop_op)

    @classmethod
    def unpack(cls, data: bytes) -> RunRequest:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_RUNREQUEST.unpack_from(data))


_LEARNREQUEST = struct.Struct("<HBH")


class LearnRequest(NamedTuple):
    """Learns from the sample that was run, or with LEARN_RUN runs it whole first: the request."""

    label: int
    flags: int
    writes: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _LEARNREQUEST.pack(self.label, self.flags, self.writes)

    @classmethod
    def unpack(cls, data: bytes) -> LearnRequest:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_LEARNREQUEST.unpack_from(data))


_LEARNSTATEREQUEST = struct.Struct("<BII")


class LearnStateRequest(NamedTuple):
    """What was learned: read about it, forget it, commit it, go back to the committed, accept what was written (crc and steps are read then only), keep the committed as the factory's, return to the factory's, take over the state that SIGNED_PUT wrote if the holder of the device's key has signed it: the request."""

    action: int
    crc: int
    steps: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _LEARNSTATEREQUEST.pack(self.action, self.crc, self.steps)

    @classmethod
    def unpack(cls, data: bytes) -> LearnStateRequest:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_LEARNSTATEREQUEST.unpack_from(data))


_CONSTANTSREQUEST = struct.Struct("<III")


class ConstantsRequest(NamedTuple):
    """CRC-32, begun with `seed`, over `size` bytes of the model's constants as they lie in memory, from byte `first` of all of them on; behind the last byte comes the first: the request."""

    seed: int
    first: int
    size: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _CONSTANTSREQUEST.pack(self.seed, self.first, self.size)

    @classmethod
    def unpack(cls, data: bytes) -> ConstantsRequest:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_CONSTANTSREQUEST.unpack_from(data))


_EVENTSREQUEST = struct.Struct("<I")


class EventsRequest(NamedTuple):
    """Address events behind a RUN with RUN_EVENTS: pairs of varints (7 bits a byte, the least first, bit 7: more follow), time since the event before it and address in the input of each step: the request."""

    bin: int
    data: bytes

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _EVENTSREQUEST.pack(self.bin) + self.data

    @classmethod
    def unpack(cls, data: bytes) -> EventsRequest:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make((*_EVENTSREQUEST.unpack_from(data), data[_EVENTSREQUEST.size :],))


_EVENTSCLOSEREQUEST = struct.Struct("<HB")


class EventsCloseRequest(NamedTuple):
    """Runs steps until `steps` are done, 0 = all; the time is then the begin of the step that comes next: the request."""

    steps: int
    flags: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _EVENTSCLOSEREQUEST.pack(self.steps, self.flags)

    @classmethod
    def unpack(cls, data: bytes) -> EventsCloseRequest:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_EVENTSCLOSEREQUEST.unpack_from(data))


_BAUDREQUEST = struct.Struct("<IH")


class BaudRequest(NamedTuple):
    """Another rate of the line, bits a second: the request."""

    baud: int
    confirm_ms: int

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _BAUDREQUEST.pack(self.baud, self.confirm_ms)

    @classmethod
    def unpack(cls, data: bytes) -> BaudRequest:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make(_BAUDREQUEST.unpack_from(data))


_SIGNEDPUTREQUEST = struct.Struct("<I")


class SignedPutRequest(NamedTuple):
    """Bytes of a signed state, in order; offset 0 begins it anew: the request."""

    offset: int
    data: bytes

    def pack(self) -> bytes:
        """The bytes of the payload."""
        return _SIGNEDPUTREQUEST.pack(self.offset) + self.data

    @classmethod
    def unpack(cls, data: bytes) -> SignedPutRequest:
        """Reads a payload; bytes beyond the known fields are skipped."""
        return cls._make((*_SIGNEDPUTREQUEST.unpack_from(data), data[_SIGNEDPUTREQUEST.size :],))
