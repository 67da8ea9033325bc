"""A folded network with codes to the integer graph."""

from __future__ import annotations

from spikelet.graph import Graph, GraphError, Tensor
from spikelet.graph.declared import NAME_LENGTH
from spikelet.graph.names import identifier
from spikelet.quantise.function import lower_function
from spikelet.quantise.fuse import Group, is_function
from spikelet.quantise.layers import (
    MOST_DIMENSIONS,
    Layer,
    Lowering,
    Value,
    channels_last,
    graph_shape,
)
from spikelet.quantise.network import Network
from spikelet.quantise.operator import operator_of
from spikelet.quantise.signs import signs_as_bits
from spikelet.refusal import ImportRefused


def lower(network: Network) -> tuple[Graph, dict[str, Value]]:
    """The integer graph of a folded network with all codes, and the values that it holds.

    Raises:
        ImportRefused: a node that the graph cannot carry.
    """
    lowering = Lowering(network)
    inputs = [_input(lowering, name, i) for i, name in enumerate(network.inputs)]
    for number, group in enumerate(lowering.groups):
        _lower(lowering, group, number)
    outputs = [lowering.values[name].tensor.name for name in network.outputs]
    if not set(outputs) <= {node.name for node in lowering.nodes}:
        raise ImportRefused(
            f"network {network.name}: an output is an input, or one with its axes in another order",
            next="a network that computes all of its outputs is supported",
        )
    name = identifier(network.name, "network", NAME_LENGTH)
    nodes = signs_as_bits(lowering.nodes, lowering.known, outputs, lowering.derive_name)
    try:
        graph = Graph(name, 1, inputs, nodes, list(dict.fromkeys(outputs)))
    except GraphError as error:
        raise ImportRefused(f"network {network.name}: {error}") from error
    codes = {name for name, tensor in graph.tensors.items() if tensor.dtype != "bit"}
    held = {k: v for k, v in lowering.values.items() if v.order is None and v.tensor.name in codes}
    return graph, held


def _input(lowering: Lowering, name: str, number: int) -> Tensor:
    """A tensor that the host writes, in the order in which it is read."""
    network = lowering.network
    shape = network.inputs[name]
    layout = _order_read(lowering, name)
    if not shape or shape[0] != 1 or not 2 <= len(shape) <= MOST_DIMENSIONS + 1:
        raise ImportRefused(
            f"network {network.name}: input {name} has shape {tuple(shape)}",
            next="a batch axis of 1 and one to four axes behind it are supported",
        )
    wanted = "x" if len(network.inputs) == 1 else identifier(name, f"input_{number}")
    code = network.codes[name]
    tensor = Tensor(
        lowering.fresh(wanted),
        "i8",
        graph_shape(shape, layout),
        kind="input",
        scale=float(code.scale),
        zero_point=code.zero_point,
    )
    lowering.known[tensor.name] = tensor
    lowering.values[name] = Value(tensor, layout)
    return tensor


def _order_read(lowering: Lowering, name: str) -> tuple[int, ...]:
    """The layout of an input: what its readers need where it is not an image with channels first.

    A network with channels last starts with a Transpose, or with a Gemm of rows.
    """
    rank = len(lowering.network.inputs[name])
    heads = [group.head for group in lowering.readers.get(name, [])]
    first = (0, rank - 1, *range(1, rank - 1))
    if heads and all(
        h.op == "Transpose"
        and tuple(h.attributes["perm"]) == first
        and not all(r.head.op in ("Gemm", "Reshape") for r in lowering.readers.get(h.name, []))
        for h in heads
    ):
        return tuple(range(1, rank))
    rows = heads and all(h.op == "Gemm" for h in heads)
    return tuple(range(1, rank)) if rows else channels_last(rank)


def _lower(lowering: Lowering, group: Group, number: int) -> None:
    """Add what a group becomes."""
    head = group.head
    for node in group.nodes:
        for name in node.inputs:
            value = lowering.values.get(name)
            if value is not None and value.tensor.dtype != "i8":
                raise lowering.refuse(node, "it reads an index", "ArgMax as an output")
    shape = lowering.shapes[group.name]
    if len(shape) > 1 and shape[0] != 1:
        raise lowering.refuse(head, f"its output of shape {shape} has no batch axis of 1")
    is_table = is_function(lowering.network, head)
    convert = lower_function if is_table else operator_of(head).lower
    try:
        lowering.values[group.name] = convert(
            Layer(lowering, group, _name(lowering, group, number))
        )
    except GraphError as error:
        raise lowering.refuse(head, str(error)) from error


def _name(lowering: Lowering, group: Group, number: int) -> str:
    """The longest end of its path that is short enough for a name."""
    instead = f"{identifier(group.head.op, 'layer')}_{number}"
    parts = [p for p in (group.head.source or group.name).split("/") if p]
    tails = ["_".join(parts[i:]) for i in range(len(parts))]
    short = (name_ for tail in tails if (name_ := identifier(tail, instead)) != instead)
    return lowering.fresh(next(short, instead))
