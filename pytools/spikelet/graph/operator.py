"""What an operator is. One file of `ops/`, or of a plug-in, holds one; nothing else lists them.

An operator is a dataclass: its fields are its attributes, array fields are its constants. It states
the shapes, types and intervals of what it writes, its golden meaning in numpy, its cost, and the
call of its C kernel.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cache
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np

from spikelet.graph.c import Expression, Fields, Statement
from spikelet.graph.declared import (
    Identifier,
    Int32,
    TensorName,
    check_fields,
    is_identifier,
    quote_name,
)
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array, GraphError, Tensor
from spikelet.plugins import Plugin, Registry, merge, owner, plugins
from spikelet.text import brief_repr


class Phase(IntEnum):
    """When an operator runs."""

    ONCE = 0  # before the first time step
    STEP = 1  # in every time step
    END = 2  # after the last time step
    LEARN = 3  # once a label or a target is known, after a whole run
    COMMIT = 4  # when what was learned is consolidated: a task ended


class Role(StrEnum):
    """What a tensor is to the operator that reads or writes it; statistics ask for nothing else.

    That a tensor is learned is its own kind, `learned`.
    """

    SPIKES = "spikes"  # written: of neurons, 1 where one fired in this step
    MEMBRANE = "membrane"  # written: the neurons' potential after this step
    WEIGHTED = "weighted"  # read: each element meets constant weights


@dataclass(frozen=True)
class Cost:
    """Work and constants of one operator.

    Attributes:
        synaptic_ops: dense accumulates of one execution; with spikes as input, an upper bound.
        macs: multiply-accumulates of one execution.
        updates: neuron state updates of one execution.
        weight_bits: bits of a weight that count, 0 where there is none.
    """

    synaptic_ops: int = 0
    macs: int = 0
    updates: int = 0
    weight_bits: int = 0


@dataclass(frozen=True)
class Precision:
    """Of an operator's membranes.

    Attributes:
        fraction_bits: below the step of what it adds.
        leak_bits: fraction bits of the factor that a membrane keeps; 0 where it keeps all or none.
        instructions: of a neuron in a step, about: on RV32 and on a Cortex-M4; None: not measured.
    """

    fraction_bits: int
    leak_bits: int
    instructions: tuple[int, int] | None = None


@dataclass(frozen=True)
class Overlap:
    """How an operator's output may lie over an input that nobody reads any more.

    Attributes:
        lead: bytes by which the output must begin before the input, at the least, so that no write
            reaches what is still to be read.
        exact: by these bytes and no others.
    """

    lead: int = 0
    exact: bool = False


@dataclass(frozen=True)
class Share:
    """A tensor that may lie within another one, because it holds the same bytes.

    Attributes:
        part: name of the tensor inside.
        whole: name of the tensor around it.
        at: byte of `whole` at which `part` begins.
    """

    part: str
    whole: str
    at: int = 0


@dataclass(frozen=True)
class Band:
    """What makes some rows of an operator's output: the operator with other attributes.

    Attributes:
        rows: of each input, first row and end of what it reads.
        fields: attributes that differ.
    """

    rows: tuple[tuple[int, int], ...]
    fields: Mapping[str, Any] = field(default_factory=dict)


# Lowest and highest value of each element that any input in range can cause.
Interval = tuple[Array, Array]


@dataclass(frozen=True)
class Inferred:
    """What an operator finds out of what it reads; the graph carries it.

    Attributes:
        written: the tensors that it writes, states included.
        facts: what else golden and C need to know, such as a proved range; None where nothing.
    """

    written: Sequence[Tensor]
    facts: Any = None


class Emitter(Protocol):
    """What code generation offers to `Operator.emit`; `spikelet.graph.c` makes the rest.

    Attributes:
        bounds: of every tensor.
        target: the board's instruction set; kernels may come in variants.
    """

    bounds: Mapping[str, Interval]
    target: Target

    def tensor(self, name: str) -> Expression:
        """Typed pointer to a tensor's memory."""

    def const(self, name: str, values: Array, note: str) -> Expression:
        """Place a constant array in flash; pointer to it."""

    def config(self, name: str, c_struct: str, fields: Fields) -> Expression:
        """Define a kernel's constant attributes; pointer to them."""

    def scratch(self, name: str, size: int) -> Expression:
        """Memory of `size` bytes while this operator runs; uint32_t pointer to it."""

    def is_shared(self, share: Share) -> bool:
        """Whether the memory plan put the part into the whole: there is nothing to copy."""

    def include(self, header: str) -> None:
        """Include a kernel."""

    def define(self, macro: str, value: int = 1) -> None:
        """Define a macro before all includes; raises GraphError where it has another value."""


@dataclass(kw_only=True)
class Operator:
    """Base of all operators.

    Attributes:
        name: unique in the graph; its tensors are `name` or `name.part`.
        inputs: names of the tensors that it reads.
        when: a tensor of one element and the value for which the device executes it, None for
            always. Golden always does: what it writes is read by operators with the same
            condition, or by one that reads the condition, too.
        ins: the tensors of `inputs`; it has `ins`, `outs` and `facts` in a graph only.
        outs: the tensors that it writes.
        facts: see `Inferred`; an operator with some declares their type.
        endless: its graph keeps states from inference to inference: steps have no end.
    """

    KIND: ClassVar[str] = ""
    KEPT: ClassVar[bool] = (
        False  # its states are neurons': a graph may keep them, see `keeps_state`
    )

    name: Identifier
    inputs: tuple[TensorName, ...]
    when: tuple[TensorName, Int32] | None = None

    ins: tuple[Tensor, ...] = field(init=False, repr=False, compare=False, default=())
    outs: tuple[Tensor, ...] = field(init=False, repr=False, compare=False, default=())
    facts: Any = field(init=False, repr=False, compare=False, default=None)
    endless: bool = field(init=False, repr=False, compare=False, default=False)

    __repr__ = brief_repr

    def __post_init__(self) -> None:
        """Where a field takes a form of its own."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "__repr__" not in vars(cls):  # or `dataclass` makes one that prints all weights
            cls.__repr__ = brief_repr  # type: ignore[assignment]

    @property
    def reads(self) -> tuple[str, ...]:
        """Its inputs, and what decides whether it is executed."""
        return self.inputs if self.when is None else (*self.inputs, self.when[0])

    @property
    def carried(self) -> str:
        """A tensor of a later operator whose value of the step before it reads; "" for none."""
        return ""

    def chosen(self) -> dict[str, int]:
        """Of its inputs, those that it reads only where the first one has a value, and which."""
        return {}

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        """What it writes, and into `bounds` the intervals of that; it changes nothing of itself.

        Of what a graph carries it may read `ins`. Raises GraphError on a wrong input or attribute,
        and where an accumulator may overflow.
        """
        raise NotImplementedError

    def place(
        self,
        ins: Iterable[Tensor],
        bounds: dict[str, Interval],
        steps: int,
        endless: bool = False,
    ) -> Self:
        """The operator as it stands in a graph, with `ins`, `outs` and `facts`; see `infer`."""
        node = copy.copy(self)
        node.ins, node.endless = tuple(ins), endless
        inferred = node.infer(bounds, steps)
        node.outs, node.facts = tuple(inferred.written), inferred.facts
        return node

    def phase(self, ins: list[Phase]) -> Phase:
        """When it runs, given when its inputs are written."""
        return max(ins)

    def start(self, env: dict[str, Array], samples: int) -> None:
        """Set the states in `env`, shape (samples, *shape)."""

    def golden(self, env: dict[str, Array], t: int) -> Array | None:
        """Execute step `t` for all samples: read and write `env`; saturations a sample, or None.

        Tensors have a sample axis in front, of length 1 in LEARN and COMMIT; learned tensors have
        none, and an operator of these two phases may change them in place.
        """
        raise NotImplementedError

    def cost(self) -> Cost:
        """What one execution costs."""
        return Cost()

    def tensor_roles(self) -> dict[str, Role]:
        """By name, those of its tensors that have a role."""
        return {}

    def membrane_precision(self) -> Precision | None:
        """Of its tensors with the role of a membrane; None where it does not say."""
        return None

    def exercised_weights(self, moved: Mapping[str, Array]) -> tuple[int, int]:
        """How many of its constant weights met an element that had moved, and how many there are.

        Args:
            moved: of each weighted input and state, by name, which elements ever left their rest.
        """
        return 0, 0

    def synapses(self) -> dict[str, Array]:
        """By weighted input, for each of its elements how many weights that are not 0 it meets.

        Of layers whose synaptic operations depend on data; of others nothing, they do all their
        work each time.
        """
        return {}

    def shares(self) -> list[Share]:
        """Tensors that it only moves; the memory plan may put one into the other."""
        return []

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        """For each input how its output may lie over it, None where it may not.

        It states the order in which the kernel of this instruction set reads and writes.
        """
        return (None,) * len(self.inputs)

    def follows(self) -> list[Array | None] | None:
        """For each input (output channels,), the channel of it that each one is made of, or -1.

        Channels lie along the last axis. An entry is None for an input whose channels may all go
        into every output channel: `mixes` says which do. None in all where no channel may be left
        out, neither of the inputs nor of the output.
        """
        return None

    def mixes(self) -> Array:
        """(output channels, channels of the first input) bool: which one goes into which."""
        raise NotImplementedError

    def with_channels(self, ins: list[Array], out: Array) -> Operator:
        """The same operator where some channels are left, for one with `follows`.

        Args:
            ins: the numbers of each input's channels that are left, ascending.
            out: those of the output.
        """
        return self

    def fold_constants(self, bounds: Mapping[str, Interval]) -> Operator:
        """The same function, with less to compute where an interval is a single value."""
        return self

    def general(self, target: Target) -> str:
        """Why `emit` calls a more general kernel than the fastest of a target; "" where not."""
        return ""

    def band(self, first: int, end: int) -> Band | None:
        """What makes the rows [first, end) of its output; None where rows need all of an input."""
        return None

    def emit_start(self, em: Emitter) -> list[Statement]:
        """C statements that reset its states."""
        return []

    def emit(self, em: Emitter) -> list[Statement]:
        """C statements of one execution; `c.STEP` is the step."""
        raise NotImplementedError

    def stops(self, env: dict[str, Array]) -> bool:
        """Whether the rest of the learning phase is left out for this sample."""
        return False

    def emit_stop(self, em: Emitter) -> Expression | None:
        """C expression of `stops`, None where it never does."""
        return None

    def error(self, text: str) -> GraphError:
        """An error that names this layer."""
        return GraphError(f"layer {self.name} ({self.KIND}): {text}")

    def arrays(self) -> dict[str, Array]:
        """Its constants by field name."""
        return {
            f.name: value
            for f in dataclasses.fields(self)
            if f.init and isinstance(value := getattr(self, f.name), np.ndarray)
        }

    def attributes(self) -> dict[str, Any]:
        """Its other fields, as JSON holds them; a field that starts with _ is derived."""
        skip = {"name", "inputs", "when", *self.arrays()}
        names = [f.name for f in dataclasses.fields(self) if f.init]
        return {n: getattr(self, n) for n in names if n not in skip}

    def check(self) -> None:
        """Raise GraphError where a field does not hold what it declares."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}
        check_fields(type(self), f"layer {quote_name(self.name)} ({self.KIND})", fields)

    def expect_range(
        self, tensor: Tensor, bounds: dict[str, Interval], low: int, high: int
    ) -> None:
        """Refuse integers that may lie outside of a range."""
        least, most = int(bounds[tensor.name][0].min()), int(bounds[tensor.name][1].max())
        if least < low or most > high:
            raise self.error(
                f"input {tensor.name} may be {least} to {most}, expected {low} to {high}"
            )

    def expect_learned(
        self,
        tensor: Tensor,
        bounds: dict[str, Interval],
        dtype: str,
        shape: tuple[int, ...],
        ends: tuple[int, int] | None = None,
    ) -> None:
        """Refuse what is no learned integer of a type and shape, or may lie outside of its ends.

        Kernels take such values for indices, shifts and divisors: nothing else keeps a host, or a
        package, from others.
        """
        if (tensor.kind, tensor.dtype, tensor.shape) != ("learned", dtype, shape):
            raise self.error(
                f"input {tensor.name} is {tensor.kind} {tensor.dtype} of shape {tensor.shape}, "
                f"expected learned {dtype} of shape {shape}"
            )
        self.expect_range(tensor, bounds, *(ends or tensor.limits))

    def expect_label(self, label: Tensor, bounds: dict[str, Interval], classes: int) -> None:
        """Refuse what is no class below `classes`, i32 (1,)."""
        if (label.dtype, label.shape) != ("i32", (1,)):
            raise self.error(
                f"label {label.name} is {label.dtype} of shape {label.shape}, expected i32 (1,)"
            )
        self.expect_range(label, bounds, 0, classes - 1)

    def expect(self, tensor: Tensor, dtypes: tuple[str, ...]) -> None:
        """Refuse an input of another type, or of more than one dimension."""
        if tensor.dtype not in dtypes:
            raise self.error(
                f"input {tensor.name} is {tensor.dtype}, expected {' or '.join(dtypes)}"
            )
        if len(tensor.shape) != 1:
            raise self.error(
                f"input {tensor.name} has shape {tensor.shape}, expected one dimension"
            )


Class = TypeVar("Class")


@cache
def _import_room(room: str) -> None:
    """Import every module of a package."""
    package = importlib.import_module(room)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{room}.{module.name}")


# Packages whose every module is imported for the operators in it. The learners' are behind this
# one: named, not imported, so that nothing here depends on them.
ROOMS = ("spikelet.graph.ops", "spikelet.learn.layers", "spikelet.learn.learners")


def classes(
    base: type[Class],
    name: str,
    rooms: Iterable[str],
    refused: Mapping[Plugin, str] | None = None,
) -> Registry[type[Class]]:
    """What is derived from a class in all modules of some packages and of all plug-ins.

    Args:
        base: the class.
        name: its attribute that names a class; what has an empty one is a base itself.
        rooms: packages, whose every module is imported.
        refused: plug-ins of which nothing is taken, and why.
    """
    for room in rooms:
        _import_room(room)
    plugins()  # imports theirs
    defined: list[type[Class]] = []
    pending = list(base.__subclasses__())
    while pending:
        cls = pending.pop()
        pending.extend(cls.__subclasses__())
        if getattr(cls, name):
            defined.append(cls)

    def theirs(plugin: Plugin) -> Iterator[tuple[str, type[Class]]]:
        for cls in filter(plugin.defines, defined):
            if not (isinstance(called := getattr(cls, name), str) and is_identifier(called)):
                raise ValueError(f"{cls.__qualname__}.{name} is {called!r}, expected an identifier")
            yield called, cls

    ours = {getattr(cls, name): cls for cls in defined if owner(cls) is None}
    kind = re.sub("(?<=[a-z])(?=[A-Z])", " ", base.__name__).lower()
    return merge(kind, ours, theirs, refused)


def operator_registry() -> Registry[type[Operator]]:
    """All operators by kind, found in `ROOMS` and in plug-ins."""
    return classes(Operator, "KIND", ROOMS)


def operators() -> dict[str, type[Operator]]:
    """All operators by kind."""
    return operator_registry().known
