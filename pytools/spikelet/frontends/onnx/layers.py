"""What each ONNX operator becomes, one function an operator.

A function reads one `Layer` and adds nodes to a `Network`. Integer tensors of quantised files have
no node of their own: they are network tensors whose int8 code is known. Anything that cannot be
carried is refused with `Layer.refuse`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from spikelet.frontends.onnx.file import MAX_ELEMENTS, QONNX, FileModel, FileNode
from spikelet.graph import Array
from spikelet.quantise import Code, Network, Node, constant
from spikelet.refusal import ImportRefused, shorten

# Of the whole network; the float one is executed while it is quantised, one sample at least.
MAX_WORK = {
    "multiply-accumulates": 1 << 32,
    "elements of all tensors": 1 << 26,
    "elements of computed constants": 1 << 24,
}
MAX_WINDOWS = 1 << 26  # elements of the windows that one convolution or pool sees
LARGEST_SCALE = 2.0**60  # beyond it, or below its inverse, single precision runs out


@dataclass(frozen=True)
class Coded:
    """The integers behind a constant that a DequantizeLinear wrote; all of the constant's shape.

    Attributes:
        integers: as in the file, int64.
        scales: float32.
        zero_points: int64.
        bits: of an integer in the file.
    """

    integers: Array
    scales: Array
    zero_points: Array
    bits: int = 8


@dataclass(frozen=True)
class Value:
    """A tensor of the file.

    Attributes:
        shape: the batch axis included.
        dtype: of its elements in the file.
        array: the values of a constant, else None.
        coded: the integers of a constant that was quantised.
        tensor: of the network, "" for constants.
        bits: of an element of a constant that lies packed in the file.
        plus: of integers that are a quantised tensor's int8 codes plus a number: that number.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    array: Array | None = None
    coded: Coded | None = None
    tensor: str = ""
    bits: int = 8
    plus: int | None = None

    @property
    def quantised(self) -> bool:
        """Whether its elements are int8 or uint8 codes."""
        return self.dtype in (np.dtype(np.int8), np.dtype(np.uint8))

    @property
    def offset(self) -> int:
        """What makes int8 codes of its codes."""
        return -128 if self.dtype == np.uint8 else 0


@dataclass
class Building:
    """The network so far.

    Attributes:
        model: the file.
        network: gets nodes, constants and codes.
        values: by name in the file.
        placed: constants of the network, by name in the file and what they are for.
        work: what the network needs so far, by the names of `MAX_WORK`.
    """

    model: FileModel
    network: Network
    values: dict[str, Value] = field(default_factory=dict)
    placed: dict[tuple[str, str], str] = field(default_factory=dict)
    work: dict[str, int] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    @cached_property
    def even(self) -> bool:
        """Whether its sums are rounded halves to even, bit for bit: what few bits ask for.

        Either it has constants of few bits, or quantisers that clamp to few.
        """
        if self.model.bits or any(node.domain == QONNX for node in self.model.nodes):
            return True
        codes = {
            n for node in self.model.nodes if node.kind == "QuantizeLinear" for n in node.outputs
        }
        codes |= {name for name, array in self.model.constants.items() if array.dtype.kind in "iu"}
        return any(node.kind == "Clip" and node.inputs[0] in codes for node in self.model.nodes)

    def fresh(self, name: str) -> str:
        """A name of the network that is not taken: this one, or with a number behind it."""
        free, number = name, 1
        while free in self._taken or free in self.network.constants:
            number += 1
            free = f"{name}_{number}"
        self._taken.add(free)
        return free


@dataclass(frozen=True)
class Layer:
    """One node of the file on its way into the network."""

    building: Building
    node: FileNode

    @property
    def opset(self) -> int:
        """The file's."""
        return self.building.model.opset

    @property
    def refuse(self) -> Callable[..., ImportRefused]:
        """An error that names the node."""
        return self.node.refuse

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, the schema's default or this one."""
        return self.node.attributes.get(name, default)

    def has(self, i: int) -> bool:
        """Whether input i is there."""
        return i < len(self.node.inputs) and bool(self.node.inputs[i])

    def value(self, i: int) -> Value:
        """Input i."""
        if not self.has(i):
            raise self.refuse(f"input {i} is missing")
        return self.building.values[self.node.inputs[i]]

    def activation(self, i: int = 0) -> Value:
        """Input i, which must be computed and real."""
        value = self.value(i)
        if value.array is not None:
            raise self.refuse(f"input {i} is a constant", "a computed tensor")
        if value.dtype.kind != "f":
            raise self.refuse(
                f"input {i} ({shorten(self.node.inputs[i])!r}) is {value.dtype}", "float tensors"
            )
        return value

    def movable_input(self, i: int = 0) -> Value:
        """Input i, which must be computed; real, or codes that are only moved."""
        value = self.value(i)
        return value if value.array is None and value.quantised else self.activation(i)

    def constant(self, i: int, what: str = "a constant") -> Array:
        """The values of input i, which must be a constant."""
        value = self.value(i)
        if value.array is None:
            raise self.refuse(f"input {i} ({shorten(self.node.inputs[i])!r}) is computed", what)
        return value.array

    def integers(self, name: str, i: int = -1) -> list[int] | None:
        """Short integers that are an attribute in older opsets, and input i in newer ones."""
        if name in self.node.attributes:
            return [int(v) for v in self.attribute(name)]
        if i < 0 or not self.has(i):
            return None
        values = self.constant(i, f"constant {name}")
        if values.dtype.kind not in "iu" or values.size > 64:
            raise self.refuse(f"{name} is {values.dtype} of shape {values.shape}")
        return [int(v) for v in values.reshape(-1)]

    def scalar(self, i: int, what: str) -> float | None:
        """Input i as a number; None where it is not there."""
        if not self.has(i):
            return None
        values = self.constant(i, f"a constant {what}")
        if values.size != 1:
            raise self.refuse(f"{what} has shape {values.shape}", "one number")
        return float(values.reshape(-1)[0])

    def axis(self, axis: int, rank: int) -> int:
        """An axis, counted from the front."""
        if not -rank <= axis < rank:
            raise self.refuse(f"axis {axis} of {rank} dimensions")
        return axis % rank

    def axes(self, axes: Sequence[int] | None, rank: int) -> list[int]:
        """Axes in ascending order; all where none are given."""
        chosen = sorted(self.axis(a, rank) for a in (range(rank) if axes is None else axes))
        if len(set(chosen)) != len(chosen):
            raise self.refuse(f"axes {list(axes or ())} name one twice")
        return chosen

    def place(
        self, i: int, values: Array | None = None, use: str = "", code: Code | None = None
    ) -> str:
        """A constant of the network made of input i: its name there."""
        key = (self.node.inputs[i], use)
        if key not in self.building.placed:
            numbers = self.constant(i) if values is None else values
            if not np.all(np.isfinite(numbers)):
                raise self.refuse(f"constant {shorten(key[0])!r} holds what is no finite number")
            dtype = np.float64 if numbers.dtype == np.float64 and use == "bias" else np.float32
            name = constant(
                self.building.network, f"{key[0]}{use and '.'}{use}", numbers.astype(dtype)
            )
            self.building.placed[key] = name
            if code is not None:
                self.building.network.codes[name] = code
        return self.building.placed[key]

    def operand(self, i: int) -> str:
        """Input i, computed or constant, as a tensor of the network; a constant keeps its code."""
        value = self.value(i)
        if value.array is None:
            return self.activation(i).tensor
        if value.dtype.kind not in "fiu":
            raise self.refuse(f"constant {shorten(self.node.inputs[i])!r} is {value.dtype}")
        return self.place(i, code=operand_code(value.coded))

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        shape: Sequence[int],
        attributes: Mapping[str, Any] | None = None,
        *,
        like: Value | None = None,
        output: int | None = 0,
    ) -> Value:
        """Add a node to the network.

        Args:
            op: the canonical operator.
            inputs: tensors of the network.
            shape: of what it writes.
            attributes: of the operator.
            like: codes that are moved: the output has its type and code.
            output: of the file's node that is written; None for a step on the way there.
        """
        sizes = tuple(int(d) for d in shape)
        if any(d < 1 for d in sizes) or math.prod(sizes) > MAX_ELEMENTS:
            raise self.refuse(
                f"it writes shape {sizes}", f"at least 1 and at most {MAX_ELEMENTS} elements"
            )
        self.spend("elements of all tensors", math.prod(sizes))
        network = self.building.network
        wanted = self.node.outputs[output or 0] or self.node.name
        name = self.building.fresh(wanted if output is not None else f"{wanted}.{op}")
        network.nodes.append(Node(op, name, tuple(inputs), dict(attributes or {}), self.node.name))
        dtype = np.dtype(np.float32) if like is None else like.dtype
        value = Value(sizes, dtype, tensor=name)
        if like is not None and like.tensor in network.codes and like.quantised:
            network.codes[name] = network.codes[like.tensor]
        if output is not None:
            self.write(value, output)
        return value

    def write(self, value: Value, output: int = 0) -> None:
        """An output of the file's node is this value."""
        self.building.values[self.node.outputs[output]] = value

    def spend(self, what: str, amount: int) -> None:
        """Count work; refuse what no microcontroller does, before it is done here."""
        work = self.building.work
        work[what] = work.get(what, 0) + amount
        if work[what] > MAX_WORK[what]:
            raise self.refuse(
                f"the network has more than {MAX_WORK[what]} {what}",
                "a network that is for a microcontroller",
            )

    def alone(self) -> None:
        """Refuse a second output."""
        if any(self.node.outputs[1:]):
            raise self.refuse(
                f"its output {shorten(self.node.outputs[1])!r} is used", "the first output alone"
            )

    def broadcast(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of operands together."""
        try:
            return np.broadcast_shapes(*shapes)
        except ValueError as error:
            raise self.refuse(f"shapes {' and '.join(map(str, shapes))} do not fit") from error


def operand_code(coded: Coded | None) -> Code | None:
    """The int8 code of a constant that was quantised with one scale."""
    if coded is None or not coded.scales.size:
        return None
    scale, zero = coded.scales.flat[0], int(coded.zero_points.flat[0])
    shift = 128 if coded.integers.max() > 127 or zero > 127 else 0
    low = int(coded.integers.min()) - shift
    if low < -128 or int(coded.integers.max()) - shift > 127 or not -128 <= zero - shift <= 127:
        return None
    if np.any(coded.scales != scale) or np.any(coded.zero_points != zero):
        return None
    return Code(np.asarray(scale, np.float32), zero - shift)


Convert = Callable[[Layer], None]
CONVERTERS: dict[tuple[str, str], Convert] = {}


def converts(*kinds: str, domain: str = "") -> Callable[[Convert], Convert]:
    """Register what becomes of the operators `kinds`."""

    def register(convert: Convert) -> Convert:
        for kind in kinds:
            CONVERTERS[domain, kind] = convert
        return convert

    return register
