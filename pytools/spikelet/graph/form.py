"""A graph as JSON holds it: what graph.json may say, and what is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field

from spikelet.graph.declared import (
    GraphError,
    Identifier,
    Int32,
    Size,
    TensorName,
    TensorScale,
    check_fields,
    quote_name,
    within,
)
from spikelet.graph.operator import Operator, operators
from spikelet.graph.tensor import FLOATS, Array, Learned, Tensor

FORMAT = 1
INITIAL = "learned/"  # before a learned tensor's name, among the constants

_Entries = tuple[dict[str, Any], ...]
_End = Annotated[int, within(-(1 << 31), (1 << 32) - 1)] | Annotated[float, within(-3.5e38, 3.5e38)]
_Form = TypeVar("_Form")


@dataclass(kw_only=True)
class Head:
    """What a graph says of itself; see `Graph`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
    steps: Annotated[int, within(1, 32767)]
    outputs: tuple[TensorName, ...]
    classes: Annotated[int, within(0, 32767)] = 0


@dataclass(kw_only=True)
class GraphForm(Head):
    """All of graph.json."""

    format: int
    inputs: _Entries
    nodes: _Entries
    learned: _Entries = ()
    targets: _Entries = ()
    exit: str = ""
    keeps_state: bool = False


@dataclass(kw_only=True)
class TensorForm:
    """A tensor; see `Tensor`."""

    name: TensorName
    dtype: str
    shape: tuple[Size, ...]
    scale: TensorScale
    zero_point: Int32
    choices: tuple[Int32, ...] = ()
    per_step: bool = False


@dataclass(kw_only=True)
class LearnedForm(TensorForm):
    """A learned tensor; see `Learned`."""

    low: _End | None
    high: _End | None


@dataclass(kw_only=True)
class NodeForm:
    """An operator: its attributes are fields of its class, its constants names of such fields."""

    op: str
    name: Identifier
    inputs: tuple[TensorName, ...]
    attributes: dict[str, Any]
    constants: tuple[str, ...]
    when: tuple[TensorName, Int32] | None = None


def form(cls: type[_Form], owner: str, data: Any) -> _Form:
    """JSON as one of the forms above; raises GraphError."""
    if not isinstance(data, Mapping):
        raise GraphError(f"{owner}: {data!a:.60} is no JSON object")
    return cls(**check_fields(cls, owner, data))


def tensors(kind: str, entries: Iterable[Any]) -> list[Tensor]:
    """The tensors of graph.json's entries."""
    forms = [form(TensorForm, f"{kind} {_name(entry)}", entry) for entry in entries]
    return [_tensor(entry, kind) for entry in forms]


def read_learned(entries: Iterable[Any], constants: Mapping[str, Array]) -> list[Learned]:
    """The learned tensors, with their initial values."""
    forms = [form(LearnedForm, f"learned {_name(entry)}", entry) for entry in entries]
    return [
        Learned(
            _tensor(f, "learned"), constants.get(INITIAL + f.name), _end(f, f.low), _end(f, f.high)
        )
        for f in forms
    ]


def nodes(entries: Iterable[Any], constants: Mapping[str, Array]) -> list[Operator]:
    """The operators, every field as its class declares it."""
    known = operators()  # looks through all modules
    return [_node(entry, constants, known) for entry in entries]


def _node(
    data: Any, constants: Mapping[str, Array], known: Mapping[str, type[Operator]]
) -> Operator:
    given = form(NodeForm, f"layer {_name(data)}", data)
    if given.op not in known:
        raise GraphError(
            f"layer {given.name}: unknown operator {given.op!a:.60}; "
            f"known are {', '.join(sorted(known))}"
        )
    owner = f"layer {given.name} ({given.op})"
    fields: dict[str, Any] = {"name": given.name, "inputs": given.inputs, "when": given.when}
    for key in given.attributes:
        if key in fields:
            raise GraphError(f"{owner}: attribute {key!a:.60} is given twice")
    fields.update(given.attributes)
    for key in given.constants:
        if key in fields or f"{given.name}.{key}" not in constants:
            raise GraphError(f"{owner}: constant {key!a:.60} is missing or given twice")
        fields[key] = constants[f"{given.name}.{key}"]
    return known[given.op](**check_fields(known[given.op], owner, fields))


def _tensor(entry: TensorForm, kind: str) -> Tensor:
    return Tensor(
        name=entry.name,
        dtype=entry.dtype,
        shape=entry.shape,
        kind=kind,
        scale=entry.scale,
        zero_point=entry.zero_point,
        persistent=kind == "learned",
        choices=entry.choices,
        per_step=entry.per_step,
    )


def _end(entry: LearnedForm, value: float | None) -> float | None:
    """A limit, of the type of the tensor's elements."""
    if value is None:
        return None
    if entry.dtype in FLOATS:
        return float(value)
    if not isinstance(value, int):
        raise GraphError(f"learned {entry.name}: a limit is {value}, expected an integer")
    return value


def _name(entry: Any) -> str:
    """What an entry is called, for errors."""
    return quote_name(entry.get("name")) if isinstance(entry, Mapping) else "?"
