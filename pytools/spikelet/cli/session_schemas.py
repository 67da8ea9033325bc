"""What sessions hold, and what commands that make or compare them print; see `schemas`.

What is written as a dataclass of its own is that dataclass here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from spikelet.board.image import Section, Symbol
from spikelet.codegen import Layer
from spikelet.run import Difference

Tick = Literal["none", "instruction", "cycle", "us"]
SHA256 = Field(pattern="^[0-9a-f]{64}$")


class Object(BaseModel):
    """A JSON object, to which keys may be added."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)


class Error(Object):
    """An error: what happened, the likely cause, the next thing to try."""

    kind: str
    """Name of the error's class."""
    what: str
    cause: str
    """Empty where none is known."""
    next: str
    """Empty where nothing is known."""
    exit_code: int
    notes: list[str] = []
    """For instance what is recorded of a session that broke off."""


class ErrorOutput(Object):
    """In place of any command's object, where it fails."""

    error: Error


class Part(Object):
    """A part of a session: it is one run, or one after it was resumed."""

    first: int
    """Its first sample."""
    samples: int
    stack_bytes: int
    frames: int
    bad_frames: int
    retries: int


class LineCounts(Object):
    """What went wrong on the line since the device's boot, as the device counted it."""

    overruns: int
    """Times that its receiver was full before its interrupt was taken."""
    garbled: int
    """Bytes without a stop bit or with wrong parity."""
    dropped: int
    """Bytes that its ring had no room for."""
    stuck: int
    """Times that its transmitter was given up."""
    frames_good: int
    frames_bad: int


class Link(Object):
    """Health of the link."""

    frames: int
    bad_frames: int
    retries: int
    goodput_bytes_per_s: float
    parts: list[Part] = []
    line: LineCounts | None = None
    """What the device counted; null where it did not answer at the end."""


@dataclass(frozen=True)
class NamedDifference(Difference):
    """A difference, and the same in words."""

    text: str


class DeviceSays(Object):
    """What the device says of itself."""

    isa: str
    firmware: str
    boot_id: int
    unique_id: str
    tick: Tick
    self_test: str
    """What it found when it booted: none, passed, skipped, fell_back, failed."""


@dataclass(frozen=True)
class BenchLayer(Layer):
    """A row of the layer table, and what was measured.

    Attributes:
        ticks: of a whole inference, in `tick` of the bench; null where it was not measured.
    """

    ticks: float | None
    effective_ops: float | None
    ticks_per_effective_op: float | None
    ticks_per_mac: float | None


class Memory(Object):
    """Memory of the board."""

    flash_bytes: int
    ram_bytes: int
    stack_reserved_bytes: int


class Slot(Object):
    """A tensor's place in the arena, and the operators between which it lives."""

    tensor: str
    offset: int
    bytes: int
    first: int
    last: int


class Image(Object):
    """An image that was built here."""

    board: str
    toolchain: str
    trace: bool
    elf: str
    image_sha256: str = SHA256
    flash_bytes: int
    ram_bytes: int
    weight_bytes: int
    code_bytes: int
    arena_bytes: int
    arena_bound_bytes: int
    """No memory plan takes less."""
    stack_bound_bytes: int | None = None
    """The stack cannot take more, whatever the input."""
    stack_chain: list[tuple[str, int]] = []
    """Functions from the entry on, and an interrupt's, each with its bytes."""
    self_test_bytes: int
    """Flash of the golden samples that it runs when it boots."""
    memory: Memory | None
    sections: list[Section]
    symbols: list[Symbol]
    """The largest."""
    layers: list[Layer]
    totals: dict[str, dict[str, int]]
    arena: list[Slot]


class Build(Image):
    """`spikelet build --json`."""

    model: str
    package_sha256: str = SHA256
    stack_reserved_bytes: int | None
    signed: str | None
    """With --mcuboot: the signed image, .bin; .hex is beside it."""
    device_key: str | None = None
    """With --device-key: the public key that states from outside must be signed by."""


class Place(Object):
    """When and where a session was recorded."""

    path: str
    """The session's folder."""
    host: str
    date: str
    """When it began, ISO 8601 in UTC."""
    duration_s: float
    """Of all its parts."""
    port: str | None
    """Of hardware; null of a machine."""
    machine: str
    """The machine, or the port."""
    unique_id: str | None
    """Of hardware."""


class RegressionError(Object):
    """Of a regression, in the unit of its first output."""

    mae: float
    rmse: float


class Session(Place):
    """What every session says."""

    board: str
    model: str
    package_sha256: str = SHA256
    steps: int
    data: str
    """Where the samples come from."""
    data_sha256: str = SHA256
    toolchain: str | None
    image_sha256: str | None
    delta_sha256: str | None = None
    """Of the values of an adapter that the device was sent first."""
    build: Image | dict[str, Any]
    """The image; empty where the device was flashed before."""
    manifest: dict[str, Any]
    """The package's."""
    versions: dict[str, str]
    samples: int
    correct: int | None
    accuracy: float | None
    """Of the labelled samples, 0 to 1; null without labels."""
    golden_accuracy: float | None
    mismatches: int
    """Elements that differ from golden; 0, or the run failed."""
    differences: list[NamedDifference]
    saturations: int
    instructions_per_inference: float | None
    cycles_per_inference: float | None
    microseconds_per_inference: float | None
    instructions_per_tick: float | None
    flash_bytes: int | None
    ram_bytes: int | None
    stack_bytes: int | None
    link: Link
    device: DeviceSays
    complete: bool


class SessionTensor(Object):
    """A tensor of the graph."""

    name: str
    dtype: str
    shape: list[int]
    kind: str
    layer: str | None
    """What writes it; null of an input."""
    op: str | None
    role: str | None


class Events(Object):
    """What became of address events; nothing else is left out of the frames."""

    events: int
    """All that the device took."""
    late: int
    """Of them, those after the last step."""
    clipped: int
    """Of them, those whose bit was set already, or whose count was 255."""
    most_a_step: float | None
    """Instructions, cycles or microseconds of the longest step, as of an inference."""
    of_real_time: float | None
    """What the slowest recording took, by what it lasted; null of frames."""


class Compared(Session):
    """A session whose samples were compared one by one."""

    total: int
    """Samples; fewer are recorded of a session that broke off."""
    weights: int
    weights_exercised: float | None
    """Share of the weights that the samples reach."""
    tensors: list[SessionTensor]
    names_classes: bool
    """False of a regression."""
    events: Events | None
    """Of a network that takes events."""
    mean_steps: float | None
    """Of a network that stops where its answer is sure."""
    error: RegressionError | None
    """Of a regression whose targets are known."""


class Run(Compared):
    """`spikelet run --json`, and session.json of a run that is complete."""

    layers: bool
    """Whether every layer of every step was compared."""


class Demo(Run):
    """`spikelet demo --json`: the run of the release image, and what both runs found."""

    mismatches_layers: int
    """Of the trace image, every layer compared."""
    mismatches_release: int
    float_accuracy: float | None
    integer_accuracy: float | None
    drift: float | None
    seed: int | None
    package: str
    report: str
    session: str
    seconds: float


class SessionFile(Object):
    """session.json: while a run is under way or broke off, what is known by then."""

    path: str
    host: str
    date: str
    duration_s: float
    board: str
    model: str
    package_sha256: str = SHA256
    data_sha256: str = SHA256
    layers: bool
    complete: bool


class Ticks(Object):
    """Of an inference, over the samples."""

    mean: float | None
    min: float | None
    max: float | None


class LayerMeasurement(Object):
    """How the layers were measured."""

    samples: int
    rest: float
    """After the last operator."""
    probe: float
    """What a probe took; it is taken off."""
    total: float


class Bench(Compared):
    """`spikelet bench --json`, and bench.json of its session."""

    tick: Tick
    ticks: Ticks
    weight_bytes: int | None
    code_bytes: int | None
    neurobench: dict[str, Any]
    ram_in_all_bytes: int | None
    macs: int
    totals: dict[str, dict[str, int]]
    instructions_per_mac: float | None
    instructions_per_effective_synaptic_operation: float | None
    layers: list[BenchLayer]
    layers_compared: bool
    layer_measurement: LayerMeasurement | None


class Learn(Session):
    """`spikelet learn --json`, and session.json of a session that learns."""

    layers: bool
    stream: str
    tasks: list[str]
    to_learn: int
    learning: dict[str, Any]
    """Curves, metrics and baselines."""
    instructions_per_learning_step: float | None
    cycles_per_learning_step: float | None
    microseconds_per_learning_step: float | None
    flash_written_bytes: int
    flash_erased_pages: int
    flash_worn: int
    """Erases, ever, of the page that was erased most."""
    stored: bool


class RosterDevice(Object):
    """How it ended on one device."""

    name: str
    board: str
    where: str
    """Port, USB serial number or machine."""
    status: Literal["good", "mismatches", "dead", "refused"]
    session: str
    samples: int
    correct: int | None
    accuracy: float | None
    mismatches: int | None
    """Null where the session did not end."""
    differences: list[NamedDifference] | None
    instructions_per_inference: float | None
    cycles_per_inference: float | None
    microseconds_per_inference: float | None
    flash_bytes: int | None
    ram_bytes: int | None
    stack_bytes: int | None
    duration_s: float | None
    link: Link | None
    unique_id: str | None
    error: Error | None


class RosterRun(Object):
    """`spikelet run --roster --json`."""

    roster: str
    model: str
    package_sha256: str = SHA256
    data: str
    total: int
    layers: bool
    mismatches: int
    """Of the sessions that ended."""
    exit_code: Literal[0, 1, 2, 3]
    devices: list[RosterDevice]


class Pair(Object):
    """A figure of both sides; null where it is not known."""

    a: float | None
    b: float | None
    change: float | None
    """b less a."""


class ComparedSide(Object):
    """One of the two."""

    name: str
    model: str | None
    board: str | None
    package_sha256: str | None


class ComparedLayer(Object):
    """A layer of either side."""

    name: str
    sides: list[Literal["a", "b"]] = Field(alias="in")
    """Which have it."""
    flash: Pair
    ram: Pair
    bits: Pair
    macs: Pair
    instructions: Pair
    cycles: Pair
    microseconds: Pair
    named: Pair
    """Differences from golden that were named."""


class Bar(Object):
    """A bar of --fail-if."""

    bar: str
    figure: str
    a: float | None
    b: float
    limit: float
    missed: bool


class Comparison(Object):
    """`spikelet compare --json`."""

    kind: Literal["session", "package"]
    a: ComparedSide
    b: ComparedSide
    differs: list[str]
    """What the two are not of alike: board, package, data, ..."""
    figures: dict[str, Pair]
    layers: list[ComparedLayer]
    bars: list[Bar]
    missed: int
