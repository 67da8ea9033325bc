"""What `--json` prints and what session.json holds: declared once, for docs/schemas and its tests.

Keys may be added between versions; the declared ones stay. `tools/schemas.py` writes the schemas.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from spikelet.board import Check
from spikelet.cli.session_schemas import (
    SHA256,
    Bench,
    Build,
    Comparison,
    Demo,
    ErrorOutput,
    Learn,
    Object,
    RosterRun,
    Run,
    SessionFile,
    Tick,
)
from spikelet.codegen import Layer


class GraphTensor(Object):
    """An input or output."""

    name: str
    dtype: str
    shape: list[int]
    bytes: int
    scale: float
    zero_point: int
    real_values: list[float] | None
    """What the lowest and the highest code stand for."""
    choices: list[int]
    """The only values that it may hold, if it is so."""


class Width(Object):
    """What one width of a network at several widths takes."""

    bits: int
    macs: int
    reads_bytes: int
    """Constants that it reads."""
    flash_bytes: int
    """Those of them that no wider one has."""
    ticks: float | None
    """Of an inference, in `tick`, where `--bench` gave them."""


class Imported(Object):
    """`spikelet import --json`: the package that was written."""

    package: str
    bytes: int
    package_sha256: str = SHA256
    model: str
    steps: int
    inputs: list[GraphTensor]
    outputs: list[GraphTensor]
    samples: int
    layers: list[Layer]
    totals: dict[str, dict[str, int]]
    widths: list[Width]
    states: list[dict[str, Any]]
    weight_bytes: int
    arena_bytes: int
    arena_bound_bytes: int
    manifest: dict[str, Any]


@dataclass(frozen=True)
class InspectedLayer(Layer):
    """A row of the layer table; with `--bench` its ticks.

    Attributes:
        ticks: of an inference in which it runs, in `tick`.
    """

    ticks: float | None = None


class Inspect(Imported):
    """`spikelet inspect --json`."""

    layers: list[InspectedLayer]  # type: ignore[assignment]
    target: str
    tick: Tick | None = None
    """Unit of the layers' `ticks`, which `--bench` adds."""


class Trained(Object):
    """`spikelet train --json`."""

    package: str
    bytes: int
    package_sha256: str = SHA256
    model: str
    float_accuracy: float | None
    integer_accuracy: float | None
    drift: float | None
    seed: int | None
    manifest: dict[str, Any]


class Adapted(Object):
    """`spikelet adapt --json`."""

    package: str
    base_sha256: str = SHA256
    delta: str
    delta_sha256: str = SHA256
    kind: str
    rank: int
    bits: int
    head: bool
    delta_bytes: int
    head_bytes: int
    """Of a whole matrix of the last layer, which comes beside the delta."""
    samples: int
    held_out: int
    accuracy_before: float
    """Of golden, on the samples held out; they choose the epoch."""
    accuracy: float


class Shortened(Object):
    """`spikelet shorten --json`."""

    package: str
    out: str
    package_sha256: str = SHA256
    samples: int
    loss: float
    growth: float
    """Leads grow with the steps to this power."""
    leads: list[int]
    """Behind each step, of the best score over the second one."""
    mean_steps: float
    accuracy: float
    accuracy_all_steps: float


class Keys(Object):
    """`spikelet keygen --json`."""

    private: str
    public: str


class Signed(Object):
    """`spikelet sign --json`."""

    file: str
    signature: str
    kind: Literal["package", "delta"]
    name: str
    """What the counter counts."""
    counter: int
    key: str
    """The first digits of the public key's SHA-256."""
    sha256: str = SHA256
    state: str | None
    """With --package: the file that a device takes over."""


class Library(Object):
    """`spikelet export --c --json`."""

    package: str
    package_sha256: str = SHA256
    folder: str
    name: str
    target: str
    arena_bytes: int
    learned_bytes: int
    constant_bytes: int
    files: list[str]


class OnnxFile(Object):
    """`spikelet export -o FILE.onnx --json`."""

    package: str
    package_sha256: str = SHA256
    file: str
    bytes: int
    opset: int
    layers: int


class Needs(Object):
    """What the package takes of a part, and how that is known."""

    flash_bytes: int
    ram_bytes: int
    stack_bytes: int | None
    by: str
    where: str
    why: str | None


class PartFit(Object):
    """A real part."""

    part: str
    core: str
    mhz: float
    flash_bytes: int | None
    """Null where flash is outside of the chip."""
    ram_bytes: int
    source: str
    """The datasheet that decides."""
    read: list[str]
    """Which of clock, flash and RAM were looked up, and where."""
    from_memory: list[str]
    """Which of them were not."""
    note: str
    fits: bool | None
    """Null where only the least that it takes is known, and that fits."""
    flash_free_bytes: int | None
    ram_free_bytes: int
    needs: Needs
    instructions: float | None
    cycles_per_instruction: tuple[float, float] | None
    """An assumption."""
    cycles_source: str | None
    milliseconds: tuple[float, float] | None


class Fit(Object):
    """`spikelet fit --json`."""

    model: str
    package_sha256: str = SHA256
    parts: list[PartFit]


class AllocatedLayer(Object):
    """A layer whose weights can have fewer bits."""

    name: str
    weights: int
    bits: int
    """That it was given."""
    cost: dict[str, int]
    """By bits, in units of the budget."""
    error: dict[str, dict[str, float]]
    """By criterion and bits."""


class AllocationWay(Object):
    """Widths of all such layers."""

    criterion: str
    bits: dict[str, int]
    weight_bits: int
    """Of all weights of the model."""
    cost: int
    noise: float
    """Squared, of the outputs, over their variance."""
    agreement: float
    """Share of samples that are labelled as with int8 weights."""
    accuracy: float | None
    """On these samples."""


class Allocate(Object):
    """`spikelet allocate --json`."""

    package: str
    package_sha256: str = SHA256
    model: str
    budget: Literal["flash", "ram", "instructions"]
    limit: int
    measured: int
    """What the package takes."""
    layers: list[AllocatedLayer]
    ways: list[AllocationWay]
    chosen: str
    accuracy: tuple[float, float] | None
    """On the test part, before and after."""
    skipped: dict[str, str]
    """Criteria that could not be computed, and why."""


class ModelRow(Object):
    """A recipe."""

    name: str
    description: str
    kind: Literal["int8", "spiking"]
    data: str | None
    steps: int | None
    encoder: str | None
    readout: str | None
    seed: int
    folder: str


class Models(Object):
    """`spikelet models --json`."""

    models: list[ModelRow]


class Choice(Object):
    """A learner or a stream."""

    name: str
    description: str
    options: dict[str, Any]


class Learners(Object):
    """`spikelet learners --json`."""

    learners: list[Choice]
    streams: list[Choice]


class BoardRow(Object):
    """A board."""

    name: str
    description: str
    isa: str
    core: str
    mhz: float | None
    flash_bytes: int | None
    ram_bytes: int | None
    tick: Tick
    transport: Literal["machine", "serial"]
    silicon: Literal["", "not yet run on silicon", "run on silicon"]
    """Of hardware: whether anybody has run it on the part itself."""
    proof: str
    """What was tried without the part."""
    needs_port: bool
    machines: dict[str, bool]
    """Whether each can start here."""
    toolchains: dict[str, bool]
    flash_tools: dict[str, bool]
    """That write its flash; none of a board that is only emulated."""
    folder: str


class CyclesLayer(Object):
    """An operator; "" is what lies behind the last."""

    name: str
    kernel: str
    instructions: float
    cycles: float
    factor: float | None
    """Cycles on the core's RTL for one of the manual's; null where this kernel was not measured."""


class Cycles(Object):
    """`spikelet cycles --json`."""

    model: str
    package_sha256: str = SHA256
    core: str
    where: str
    mismatches: int
    instructions: int
    cycles: float
    cycles_least_and_most: list[float]
    cycles_per_instruction: float
    flash_wait: int
    flash_wait_cycles: float
    assumptions: list[str]
    instructions_by_kind: dict[str, int]
    layers: list[CyclesLayer]


class Boards(Object):
    """`spikelet boards --json`."""

    boards: list[BoardRow]


class Doctor(Object):
    """`spikelet doctor --json`."""

    ok: bool
    uses: dict[str, bool]
    checks: list[Check]


class Flash(Object):
    """`spikelet flash --json`."""

    board: str
    image: str
    tool: str
    commands: list[list[str]]
    files: dict[str, str]
    missing: str | None
    flashed: bool


class Report(Object):
    """`spikelet report --json`."""

    report: str
    bytes: int
    session: str
    samples: int
    mismatches: int
    complete: bool


# By the name of the file in docs/schemas.
SCHEMAS: dict[str, type[BaseModel]] = {
    "adapt": Adapted,
    "shorten": Shortened,
    "bench": Bench,
    "boards": Boards,
    "build": Build,
    "compare": Comparison,
    "cycles": Cycles,
    "demo": Demo,
    "doctor": Doctor,
    "error": ErrorOutput,
    "export-c": Library,
    "export-onnx": OnnxFile,
    "fit": Fit,
    "allocate": Allocate,
    "flash": Flash,
    "import": Imported,
    "inspect": Inspect,
    "keygen": Keys,
    "learn": Learn,
    "learners": Learners,
    "models": Models,
    "report": Report,
    "run": Run,
    "run-roster": RosterRun,
    "session": SessionFile,
    "sign": Signed,
    "train": Trained,
}


class _Untitled(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        """No: a title would be the field's name once more."""
        return False


def json_schema(name: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of one of `SCHEMAS`."""
    made = SCHEMAS[name].model_json_schema(mode="serialization", schema_generator=_Untitled)
    for schema in made.get("$defs", {}).values():
        _describe(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def _describe(schema: dict[str, Any]) -> None:
    """Move what a dataclass's docstring says of each attribute to that property."""
    text, _, attributes = inspect.cleandoc(schema.get("description", "")).partition("Attributes:")
    if not attributes:
        return
    schema["description"] = text.strip()
    for entry in re.split(r"\n {4}(?=\w)", attributes):
        name, _, meaning = entry.strip().partition(": ")
        if name in schema["properties"]:
            schema["properties"][name]["description"] = " ".join(meaning.split())
