"""Which nodes become one operator of the integer graph, and which tensors share a code."""

from __future__ import annotations

from dataclasses import dataclass

from spikelet.quantise.network import Code, Network, Node
from spikelet.quantise.operator import operator_of


@dataclass(frozen=True)
class Group:
    """Nodes in a row that become one operator: a head, and what is fused behind it.

    Attributes:
        nodes: the head first. Behind an operator that is `clamped` come clamps (Relu, Clip);
            functions of one value (Sigmoid, Gelu, Add of a scalar, ...) form a chain that becomes
            one table. A layer whose halves go to even takes in affine functions of channels, too.
    """

    nodes: tuple[Node, ...]

    @property
    def head(self) -> Node:
        """The first node."""
        return self.nodes[0]

    @property
    def name(self) -> str:
        """Of the tensor that the group writes; the code belongs to it."""
        return self.nodes[-1].name


def is_function(network: Network, node: Node) -> bool:
    """Whether a node is a function of one value: of one tensor and scalar constants."""
    return operator_of(node).is_function(node, network.constants)


def groups(network: Network) -> list[Group]:
    """The nodes of a folded network in order of execution, grouped."""
    reads: dict[str, int] = {}
    for node in network.nodes:
        for name in node.inputs:
            reads[name] = reads.get(name, 0) + 1
    joined: list[list[Node]] = []
    by_name: dict[str, list[Node]] = {}
    for node in network.nodes:
        joining = is_function(network, node) or is_affine(network, node)
        group = by_name.get(node.inputs[0]) if joining else None
        if group is None and is_function(network, node):
            group = by_name.get(next(i for i in node.inputs if i not in network.constants))
        if group is not None and _joins(network, group, node, reads):
            group.append(node)
        else:
            group = [node]
            joined.append(group)
        by_name[node.name] = group
    return [Group(tuple(nodes)) for nodes in _in_order(network, joined)]


def _in_order(network: Network, groups_: list[list[Node]]) -> list[list[Node]]:
    """Groups by their last nodes: what a fused node's group reads is written by then."""
    at = {node.name: i for i, node in enumerate(network.nodes)}
    return sorted(groups_, key=lambda nodes: at[nodes[-1].name])


def _joins(network: Network, group: list[Node], node: Node, reads: dict[str, int]) -> bool:
    last = group[-1].name
    if reads[last] != 1 or last in network.outputs or "Requantize" in (node.op, group[-1].op):
        return False
    if last in network.codes:
        own, to = network.codes[last], network.codes.get(node.name)
        same = to is not None and (float(own.scale), own.zero_point) == (
            float(to.scale), to.zero_point
        )  # fmt: skip
        return same and _clamps(group[0], node)
    if rounds_to_even(network, group[0]):
        taken = is_affine(network, node) or operator_of(node).slope(node.attributes) is not None
        return taken or _clamps(group[0], node)
    function = is_function(network, node)
    return function and (is_function(network, group[0]) or _clamps(group[0], node))


def rounds_to_even(network: Network, head: Node) -> bool:
    """Whether a head has weights of a file that rounds halves to even.

    It takes in what follows: see `spikelet.quantise.even`.
    """
    code = network.codes.get(head.inputs[1]) if operator_of(head).weighted else None
    return code is not None and code.even


def is_affine(network: Network, node: Node) -> bool:
    """Whether a node is an affine function of channels."""
    given = [network.constants[n].shape for n in node.inputs[1:] if n in network.constants]
    known = len(given) == len(node.inputs) - 1 > 0
    by_channel = all(sum(size != 1 for size in shape) <= 1 for shape in given)
    return operator_of(node).scales_channels and known and by_channel


def _clamps(head: Node, node: Node) -> bool:
    """Whether a node becomes the ends of the codes that a head writes."""
    return operator_of(head).clamped and operator_of(node).limits(node.attributes) is not None


def sites(network: Network) -> dict[str, str]:
    """The tensors of a folded network that have an int8 code in the graph.

    Returns:
        By tensor (inputs, and what each group writes but ArgMax), the tensor whose code it has:
        itself, or one of those that must have one code (a pool's, a reshape's or a transpose's
        input and output, what is concatenated): the first whose code the network gives, or else the
        first. A tensor whose code the network gives stands for itself.
    """
    return {
        name: name if name in network.codes else _first(network, members)
        for members in shared_codes(network)
        for name in members
    }


def _first(network: Network, members: list[str]) -> str:
    return next((name for name in members if name in network.codes), members[0])


def shared_codes(network: Network) -> list[list[str]]:
    """The tensors with a code, those that must have the same one together, in order."""
    parts = groups(network)
    where: dict[str, list[str]] = {name: [name] for name in network.inputs}
    readers: dict[str, list[Group]] = {}
    for group in parts:
        for name in {i for node in group.nodes for i in node.inputs}:
            readers.setdefault(name, []).append(group)
        operator = operator_of(group.head)
        if operator.writes_index:
            continue
        where[group.name] = [group.name]
        source = group.head.inputs[0]
        if operator.keeps_code and not operator.joins_codes and source in where:
            _merge(where, source, group.name)
    fixed = {group.name for group in parts if fixed_code(group.head) is not None}
    for group in parts:
        if not operator_of(group.head).joins_codes or group.name not in where:
            continue
        for name in group.head.inputs:
            # A tensor that something else reads too keeps a code of its own.
            members = where.get(name, [])
            inside = all(
                reader is group or (operator_of(reader.head).keeps_code and reader.name in members)
                for member in members
                for reader in readers.get(member, [])
            )
            if members and inside and not fixed.intersection(members):
                _merge(where, group.name, name)
    unique = {id(members): members for members in where.values()}
    order = {name: i for i, name in enumerate(where)}
    return [sorted(members, key=order.__getitem__) for members in unique.values()]


def _merge(where: dict[str, list[str]], a: str, b: str) -> None:
    if where[a] is not where[b]:
        where[a].extend(where[b])
        for name in where[b][:]:
            where[name] = where[a]


def fixed_code(node: Node, measured: bool = True) -> Code | None:
    """The code of a tensor that needs no range: of Softmax, whose kernel has no other; else None.

    Args:
        node: what writes the tensor.
        measured: there is data to find ranges on. Without it, as in integer files, Sigmoid,
            HardSigmoid and Tanh have the code that TensorFlow Lite gives them: coarse for small
            signals, but never exceeded.
    """
    return operator_of(node).fixed_code(measured)
