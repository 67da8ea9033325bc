"""What an operator of a float network is. One file of `operators/` holds one; nothing lists them.

It says what the operator computes, in numpy and in PyTorch, what is folded into it and fused with
it, and which operators of the integer graph it becomes. It has no state: attributes are the node's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from spikelet.graph import Array
from spikelet.graph.operator import classes, operator_registry
from spikelet.plugins import Registry
from spikelet.quantise.network import Code, Node

if TYPE_CHECKING:
    from torch import Tensor

    from spikelet.quantise.fold import Folding
    from spikelet.quantise.formula import Formula
    from spikelet.quantise.layers import Layer, Value

ROOMS = ("spikelet.quantise.operators",)  # packages whose every module is imported

UNIT = Code.of(1 / 256, -128)  # the code of 0 to 1, as TensorFlow Lite has it

Attributes = Mapping[str, Any]  # by their ONNX names


class NetworkOperator:
    """Base of all operators of a `Network`.

    Attributes:
        OP: its name in ONNX, such as `Conv`.
        trainable: `in_torch` is there.
        weighted: it has constant weights (O, ...) as its second input and a bias (O,) as its third.
        clamped: a Relu or Clip behind it becomes the ends of the codes that it writes.
        keeps_code: it moves or chooses codes, so its output has its input's code.
        adds_values: it keeps the code and writes values that its input need not hold.
        averages: it keeps the code and writes means, which often lie halfway between two codes.
        joins_codes: its inputs have the output's code, unless something else reads them too.
        homogeneous: a positive factor of a channel passes through it.
        scales_channels: with constants beside its first input it is an affine function of channels,
            which a layer whose halves go to even takes in.
        ranks: its input's largest element stays the largest, or it says where that lies.
        writes_index: what it writes is an index, which has no code.
    """

    OP: ClassVar[str] = ""

    trainable: ClassVar[bool] = True
    weighted: ClassVar[bool] = False
    clamped: ClassVar[bool] = False
    keeps_code: ClassVar[bool] = False
    adds_values: ClassVar[bool] = False
    averages: ClassVar[bool] = False
    joins_codes: ClassVar[bool] = False
    homogeneous: ClassVar[bool] = False
    scales_channels: ClassVar[bool] = False
    ranks: ClassVar[bool] = False
    writes_index: ClassVar[bool] = False

    # What it computes

    def meaning(self, inputs: list[Any], attributes: Attributes) -> Array:
        """Its output in float32; inputs are arrays, None where an optional one is missing.

        Raises ValueError, IndexError, KeyError or TypeError where it cannot be computed.
        """
        raise NotImplementedError

    def in_torch(self, inputs: list[Any], attributes: Attributes) -> Tensor:
        """The same in PyTorch, so that gradients flow; quantise runs without it."""
        raise NotImplementedError

    # What becomes of it before quantisation

    def idle(self, folding: Folding, node: Node) -> bool:
        """Whether a node changes nothing."""
        return False

    def fold(self, folding: Folding, node: Node) -> bool:
        """Make the network simpler at a node, if possible; whether anything changed."""
        return False

    def stand_alone(self, folding: Folding, node: Node) -> bool:
        """The same, when no other node can be made simpler."""
        return False

    def affine(
        self, attributes: Attributes, constants: list[Array], shape: tuple[int, ...], axis: int
    ) -> tuple[Array, Array] | None:
        """(scale, shift), float64 (C,), of one that computes `scale * x + shift` along an axis.

        Args:
            attributes: of the node.
            constants: its inputs but the first, float64.
            shape: of the first input, and of the output.
            axis: of the channels.
        """
        return None

    def channel_axis(self, rank: int) -> int:
        """The axis of the channels O of what a weighted one writes, of `rank` axes."""
        return 1

    def is_pointwise(self, sizes: list[int]) -> bool:
        """Whether each element is made of one of each tensor that is read.

        Args:
            sizes: how many elements each constant has that is read.
        """
        return False

    def formula(self, attributes: Attributes, parts: list[Formula]) -> Formula:
        """What it computes from formulas: see `spikelet.quantise.formula`."""
        given = [
            (key, float(value) if isinstance(value, int | float) else str(value))
            for key, value in sorted(attributes.items())
            if value is not None
        ]
        return (self.OP, *given, *parts)

    def formulas(self) -> list[tuple[dict[str, Any], Formula]]:
        """Other ways to write it, as formulas, each with the attributes that it stands for."""
        return []

    # Which code and which integer operators it has

    def is_function(self, node: Node, constants: Mapping[str, Array]) -> bool:
        """Whether a node is a function of one value: of one tensor and constant numbers."""
        return False

    def limits(self, attributes: Attributes) -> tuple[float | None, float | None] | None:
        """The lowest and highest value that a clamp leaves, None for none; None for no clamp."""
        return None

    def slope(self, attributes: Attributes) -> float | None:
        """About how much a function that never falls rises; None where it is to stand alone.

        A layer whose halves go to even takes it in, see `spikelet.quantise.even`.
        """
        return None

    def fixed_code(self, measured: bool) -> Code | None:
        """The code of its output if that needs no range; see `spikelet.quantise.fixed_code`."""
        return None

    def lower(self, layer: Layer) -> Value:
        """Add what a group with this head becomes in the integer graph; what it writes.

        Raises ImportRefused where the graph cannot carry it.
        """
        raise NotImplementedError


def network_registry() -> Registry[type[NetworkOperator]]:
    """All of them by name, found in `ROOMS` and in plug-ins whose integer operators are sound."""
    return classes(NetworkOperator, "OP", ROOMS, operator_registry().faults)


@cache
def network_operators() -> dict[str, NetworkOperator]:
    """One of each, by name."""
    return {name: operator() for name, operator in network_registry().known.items()}


def operator_of(node: Node) -> NetworkOperator:
    """What a node of a network that was executed before is."""
    return network_operators()[node.op]
