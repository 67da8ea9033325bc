"""One ATen call of a traced module, what carries it over, and how it is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from spikelet.graph import Array
from spikelet.quantise.network import Network, Node, constant
from spikelet.refusal import ImportRefused, refuse, shorten


@dataclass(frozen=True)
class Activation:
    """A tensor that depends on the input."""

    name: str
    shape: tuple[int, ...]


# What a node of the traced program stands for: an activation, constant values, or several of them.
Value = Any


@dataclass
class Call:
    """One ATen call.

    Attributes:
        network: takes the nodes and constants.
        target: the call's name, `aten.conv2d.default`.
        arguments: by the names of ATen's schema, defaults included.
        shape: of its result; () where it has several.
        name: for the tensor that it writes, free in the network.
        layer: path of the module's layer.
        line: of the user's Python.
    """

    network: Network
    target: str
    arguments: dict[str, Value]
    shape: tuple[int, ...]
    name: str
    layer: str
    line: str

    def __getitem__(self, argument: str) -> Value:
        return self.arguments[argument]

    def refuse(self, reason: str, supported: str) -> ImportRefused:
        """An error that names the layer, the call with its arguments, and the line of Python."""
        shown = {k: _describe(v) for k, v in self.arguments.items()}
        where = f" ({self.line})" if self.line else ""
        return refuse(self.layer or self.name, self.target, f"{reason}{where}", supported, shown)

    def activation(self, argument: str = "input") -> Activation:
        """An argument that depends on the input; constants are not expected there."""
        arguments = self.arguments
        value = arguments[argument] if argument in arguments else arguments["self"]
        if not isinstance(value, Activation):
            raise self.refuse(f"its {argument} is a constant", "give the other operand first")
        return value

    def array(self, argument: str) -> Array | None:
        """A constant argument as float32; None where it is missing."""
        value = self.arguments[argument]
        if value is None:
            return None
        if isinstance(value, Activation):
            raise self.refuse(
                f"its {argument} is computed from the input", f"a constant {argument} is supported"
            )
        values: Array = torch.as_tensor(value).detach().cpu().to(torch.float32).numpy()
        if not np.isfinite(values).all():
            raise self.refuse(f"its {argument} holds NaN or infinity", "finite numbers")
        return np.array(values, order="C")  # the module's memory stays its own

    def keep(self, suffix: str, values: Array | None) -> str:
        """Values as a constant of the network; its name, "" for None."""
        if values is None:
            return ""
        return constant(self.network, f"{self.name}.{suffix}", values)

    def operand(self, argument: str) -> str:
        """The name of a tensor or of a number, which becomes a constant."""
        value = self.arguments[argument]
        if isinstance(value, Activation):
            return value.name
        return self.keep(argument, self.array(argument))

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        attributes: dict[str, Any] | None = None,
        shape: Sequence[int] | None = None,
        name: str = "",
    ) -> Activation:
        """Append a node.

        Args:
            op: its operator.
            inputs: names of tensors and constants.
            attributes: of the operator.
            shape: of what it writes, by default of the call's result.
            name: of what it writes, by default the call's.
        """
        name = name or self.name
        plain = self.layer.replace(".", "_") == self.name
        source = self.layer if plain else self.name
        self.network.nodes.append(Node(op, name, tuple(inputs), attributes or {}, source))
        return Activation(name, self.shape if shape is None else tuple(shape))

    def axis(self, argument: str, rank: int) -> int:
        """An axis, not negative."""
        return int(self.arguments[argument]) % rank


def _describe(value: Value) -> str:
    if isinstance(value, Activation):
        return f"{value.name} {value.shape}"
    if isinstance(value, torch.Tensor):
        return f"constant {tuple(value.shape)}"
    if isinstance(value, list | tuple):
        return shorten(f"[{', '.join(map(_describe, value))}]")
    return shorten(str(value))


SUPPORTED = (
    "supported are convolutions in 1 and 2 dimensions, linear layers, batch norm, average and max "
    "pools, functions of one value, add, sub, mul, div, mean, softmax, argmax, reshapes, "
    "transposes, cat, slices, constant padding and upsampling by nearest neighbours"
)
_WITHOUT_STATE = "convolutions over time are supported; an LSTM is read from a .tflite file"
_NORM = "batch norm is supported"
_ATTENTION = "convolutions and linear layers are supported"
_TRANSPOSED = "upsampling by nearest neighbours, then a convolution, is supported"
_NEAREST = "mode='nearest' is supported"
# What would be supported in place of a call that is not; kept from being taken apart.
ADVICE = {
    "conv3d": "convolutions in 1 and 2 dimensions are supported",
    "conv_transpose1d": _TRANSPOSED,
    "conv_transpose2d": _TRANSPOSED,
    "embedding": "inputs that are real numbers are supported",
    "group_norm": _NORM,
    "gru": _WITHOUT_STATE,
    "instance_norm": _NORM,
    "layer_norm": _NORM,
    "log_softmax": "leave it out: the largest score stays the largest; softmax is supported",
    "lstm": _WITHOUT_STATE,
    "rms_norm": _NORM,
    "rnn_relu": _WITHOUT_STATE,
    "rnn_tanh": _WITHOUT_STATE,
    "scaled_dot_product_attention": _ATTENTION,
    "upsample_bicubic2d": _NEAREST,
    "upsample_bilinear2d": _NEAREST,
    "upsample_linear1d": _NEAREST,
}

Handler = Callable[[Call], Value]
HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Register a function for ATen calls of these names."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def each(value: Any, n: int) -> list[int]:
    """A number, or one for each of n axes, as a list of n."""
    values = [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
    return values * n if len(values) == 1 else values
