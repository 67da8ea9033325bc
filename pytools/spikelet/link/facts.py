"""What a device says: its tensors, its facts in HELLO, the outcomes of RUN, LEARN, LEARN_STATE."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from spikelet.link.messages import (
    CAPABILITY_EVENTS,
    CAPABILITY_EXIT,
    CAPABILITY_KEYED,
    CAPABILITY_LEARN,
    CAPABILITY_TRACE,
    LEARN_ACCEPT,
    LEARN_ACCEPT_SIGNED,
    LEARN_COMMIT,
    LEARN_INFO,
    LEARN_KEEP_FACTORY,
    LEARN_RESET,
    LEARN_RESTORE,
    LEARN_TO_FACTORY,
    SELF_TEST_FAILED,
    SELF_TEST_FELL_BACK,
    SELF_TEST_NONE,
    SELF_TEST_PASSED,
    SELF_TEST_SKIPPED,
    SOURCE_COMMITTED,
    SOURCE_FACTORY,
    SOURCE_INITIAL,
    STORED_DAMAGED,
    STORED_EMPTY,
    STORED_FALLBACK,
    STORED_LOADED,
    STORED_NONE,
    STORED_OTHER_MODEL,
    STORED_OTHER_VERSION,
)
from spikelet.link.replies import LearnReply, LearnStateReply


class Kind(IntEnum):
    """What a tensor is for; the codes of spk_model.h."""

    INPUT = 0
    OUTPUT = 1
    STATE = 2
    ACTIVATION = 3
    DIGESTS = 4
    LEARNED = 5
    TARGET = 6
    COUNTS = 7


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
        op: the operator that writes it; None for inputs and what a trace build finds out.
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


class SelfTest(IntEnum):
    """What a device found that runs golden samples when it boots.

    SKIPPED: a fault had reset it, or what it has learned was committed by an image that ran other
    samples, or none. FELL_BACK: what was committed last computes something else than when it was
    committed; an older model, the factory's or the initial one is in use. FAILED: not even the
    initial model computes what golden does.
    """

    NONE = SELF_TEST_NONE  # not built in
    PASSED = SELF_TEST_PASSED
    SKIPPED = SELF_TEST_SKIPPED
    FELL_BACK = SELF_TEST_FELL_BACK
    FAILED = SELF_TEST_FAILED

    @property
    def warning(self) -> str | None:
        """In words, where it is not good."""
        return _SELF_TEST_WARNINGS.get(self)


_SELF_TEST_WARNINGS = {
    SelfTest.SKIPPED: "the device did not test itself when it booted: a fault had reset it, or "
    "what it has learned was committed by an image with another test",
    SelfTest.FELL_BACK: "what the device had learned last no longer computes what it did when it "
    "was committed; an older model, the factory's or the initial one is in use: its flash, RAM or "
    "image has changed",
    SelfTest.FAILED: "the device computes other outputs of its golden samples than golden: its "
    "flash, its RAM or its core is at fault; flash it again, then try another board",
}


class Source(IntEnum):
    """Where the model comes from that a reset brings back."""

    INITIAL = SOURCE_INITIAL  # of the image
    FACTORY = SOURCE_FACTORY
    COMMITTED = SOURCE_COMMITTED


@dataclass(frozen=True)
class DeviceInfo:
    """What the device says of itself in HELLO; sizes in bytes.

    Attributes:
        steps: time steps of one inference.
        tick_unit: 0 none, 1 instruction, 2 cycle, 3 microsecond.
        tick_hz: ticks a second; 0 where a tick is not a time.
        window: requests whose outcome the device remembers.
        kept: replies to requests that are done once which it keeps.
        arena_bytes: planned to the byte at build time: used and limit are the same figure.
        constant_bytes: of all tables that the model's kernels read.
        reset_cause: 0 power, 1 request, 2 fault, 3 watchdog.
        self_test: what the device's golden samples showed when it booted.
        frames_good: that the device received before this HELLO.
        trace: a trace build: lists every tensor and can stop inside a step.
    """

    boot_id: int
    protocol: int
    protocol_hash: int
    payload: int
    ring: int
    window: int
    kept: int
    capabilities: int
    tick_unit: int
    tick_hz: int
    firmware: str
    steps: int
    arena_bytes: int
    constant_bytes: int
    unique_id: bytes
    reset_cause: int
    fault_cause: int
    fault_pc: int
    fault_address: int
    self_test: SelfTest
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

    @property
    def exits(self) -> bool:
        """Whether a run may end before all steps."""
        return bool(self.capabilities & CAPABILITY_EXIT)

    @property
    def keyed(self) -> bool:
        """Whether it takes over from outside only what the holder of its key has signed."""
        return bool(self.capabilities & CAPABILITY_KEYED)

    @property
    def takes_events(self) -> bool:
        """Whether an input of the model is fed with address events."""
        return bool(self.capabilities & CAPABILITY_EVENTS)


class LearnAction(IntEnum):
    """What LEARN_STATE does: read about what was learned, forget all of it, keep it without
    power, go back to what was kept last, take what was written into use, make what is committed
    the factory's (once), go on from the factory's, take a signed state into use."""

    INFO = LEARN_INFO
    RESET = LEARN_RESET
    COMMIT = LEARN_COMMIT
    RESTORE = LEARN_RESTORE
    ACCEPT = LEARN_ACCEPT
    KEEP_FACTORY = LEARN_KEEP_FACTORY
    TO_FACTORY = LEARN_TO_FACTORY
    ACCEPT_SIGNED = LEARN_ACCEPT_SIGNED


class Stored(IntEnum):
    """What the device's storage held when it was last read.

    FALLBACK: the model is loaded, and the other slot is damaged: it may have been newer.
    """

    NONE = STORED_NONE  # the board has no storage
    EMPTY = STORED_EMPTY
    DAMAGED = STORED_DAMAGED
    OTHER_VERSION = STORED_OTHER_VERSION
    OTHER_MODEL = STORED_OTHER_MODEL
    LOADED = STORED_LOADED
    FALLBACK = STORED_FALLBACK


@dataclass(frozen=True)
class LearnState:
    """What the device has learned and kept.

    Attributes:
        steps: learning steps behind the learned tensors.
        crc: CRC-32 of the learned tensors, in table order.
        generation: commits of this package; 0 = nothing is committed.
        committed_crc: of the learned tensors that a reset brings back.
        ticks: of the commit's operators alone, in the device's tick; 0 after other actions.
        written_bytes: written to the storage since the device's boot.
        erased_pages: erased in the storage since the device's boot.
        slot_bytes: room for one committed model, 64 of them for its header; 0 without storage.
        page_bytes: erased at once.
        stored: what the storage held.
        pending: learned tensors were written and not accepted: neither RUN nor LEARN are served.
        worn: erases of the page of flash that was erased most, over all images; a commit that
            power cut is not counted.
        digest: what the golden samples gave when the model was committed that a reset brings
            back; 0 where they were not run. `Twin.answers` makes the same.
        source: where that model comes from.
        factory: what the factory slot held; NONE where there is no room for one.
        self_test: as in `DeviceInfo`.
    """

    steps: int
    crc: int
    generation: int
    committed_crc: int
    ticks: int
    written_bytes: int
    erased_pages: int
    slot_bytes: int
    page_bytes: int
    stored: Stored
    pending: bool
    worn: int
    digest: int
    source: Source
    factory: Stored
    self_test: SelfTest

    @classmethod
    def of(cls, reply: LearnStateReply) -> LearnState:
        """What a reply says; its codes are known ones."""
        return cls(
            steps=reply.steps,
            crc=reply.crc,
            generation=reply.generation,
            committed_crc=reply.committed_crc,
            ticks=reply.ticks,
            written_bytes=reply.written,
            erased_pages=reply.erased,
            slot_bytes=reply.slot_bytes,
            page_bytes=reply.page_bytes,
            stored=Stored(reply.stored),
            pending=bool(reply.pending),
            worn=reply.worn,
            digest=reply.digest,
            source=Source(reply.source),
            factory=Stored(reply.factory),
            self_test=SelfTest(reply.self_test),
        )

    @property
    def is_committed(self) -> bool:
        """Whether the learned tensors are the committed ones."""
        return self.crc == self.committed_crc and not self.pending


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
        states_crc: CRC-32 over all neuron states in table order, of a trace build over its digests;
            0 where nobody asked.
        outputs: all of them by name; None where they were not asked for, or did not fit the reply.
    """

    finished: bool
    stopped: bool
    step: int
    ticks: int
    stack: int
    saturations: int
    outputs_crc: int
    states_crc: int = field(default=0, kw_only=True)
    outputs: dict[str, bytes] | None = field(default=None, kw_only=True)

    @classmethod
    def before(cls, reply: LearnReply, steps: int) -> RunResult:
        """The whole run that came before learning, in the same request."""
        return RunResult(
            finished=True,
            stopped=False,
            step=steps,
            ticks=reply.run_ticks,
            stack=reply.stack,
            saturations=reply.run_saturations,
            outputs_crc=reply.outputs_crc,
        )


@dataclass(frozen=True)
class EventResult(RunResult):
    """The outcome of a run that was fed with events.

    Attributes:
        most_ticks: of one step.
        events: that the device took.
        late: of them, those behind the last step.
        clipped: of them, those whose bit was set already, or whose count was full.
    """

    most_ticks: int
    events: int
    late: int
    clipped: int
