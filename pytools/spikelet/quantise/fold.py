"""A simpler network with the same function: what disappears before quantisation.

Every tensor that is left keeps its name and its values. Nothing is folded across a tensor whose
code is given, and no weights that have one are rescaled. What becomes of a node is its operator's
to say: `NetworkOperator.idle`, `fold` and `stand_alone`.
"""

from __future__ import annotations

from collections.abc import Callable

from spikelet.graph import Array
from spikelet.quantise.meaning import evaluate, shapes
from spikelet.quantise.network import Network, Node, constant
from spikelet.quantise.operator import operator_of


def fold(network: Network) -> Network:
    """A network with the same outputs and fewer nodes; idempotent, the argument is not changed."""
    folding = Folding(network)
    while folding.sweep(_simpler) or folding.sweep(_stand_alone):
        pass
    return folding.network


class Folding:
    """A network on its way; what an operator's rules ask and do."""

    def __init__(self, network: Network) -> None:
        self.network = network.copy()
        self.shapes = shapes(network)

    def sweep(self, rule: Rule) -> bool:
        """Try a rule on every node; whether anything changed."""
        changed = False
        for node in list(self.network.nodes):
            if self.network.writer(node.name) is not node:
                continue  # a rule has replaced it since
            changed |= rule(self, node)
        return self.remove_dead() or changed

    # What rules ask

    def values(self, name: str) -> Array | None:
        """Of a constant."""
        return self.network.constants.get(name)

    def may_remove(self, name: str) -> bool:
        """Whether a tensor may disappear: no output, no code of its own."""
        return name not in self.network.outputs and name not in self.network.codes

    def inner(self, name: str) -> Node | None:
        """Who writes a tensor that one node reads, and that may disappear."""
        writer = self.network.writer(name)
        reads = sum(node.inputs.count(name) for node in self.network.nodes)
        return writer if writer is not None and reads == 1 and self.may_remove(name) else None

    # What rules do

    def replace(self, node: Node, *instead: Node) -> bool:
        """Put other nodes in a node's place; the last one writes the same tensor."""
        at = self.network.nodes.index(node)
        self.network.nodes[at : at + 1] = instead
        for new in instead[:-1]:
            self.shapes[new.name] = self.shapes[node.name]
        return True

    def merge(self, head: Node, tail: Node, **changes: object) -> bool:
        """The head does what both do, in the tail's place and under the tail's name."""
        self.network.nodes.remove(head)
        return self.replace(tail, head.replace(name=tail.name, **changes))

    def constant(self, name: str, values: Array) -> str:
        """Add a constant; its name."""
        made = constant(self.network, name, values)
        self.shapes[made] = values.shape
        return made

    def fresh(self, name: str) -> str:
        """A name of no tensor."""
        number = 2
        while f"{name}_{number}" in self.shapes:
            number += 1
        self.shapes[f"{name}_{number}"] = ()
        return f"{name}_{number}"

    def bypass(self, node: Node) -> bool:
        """Remove a node that changes nothing."""
        source = node.inputs[0]
        if self.may_remove(node.name):
            self.network.nodes.remove(node)
            self.network.nodes = [
                n.replace(inputs=tuple(source if i == node.name else i for i in n.inputs))
                for n in self.network.nodes
            ]
            return True
        writer = self.inner(source)
        if writer is not None:
            return self.merge(writer, node)
        if node.op == "Requantize":
            return False
        return self.replace(node, node.replace(op="Requantize", inputs=(source,), attributes={}))

    def remove_dead(self) -> bool:
        """Remove what no output needs."""
        needed = set(self.network.outputs)
        for node in reversed(self.network.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        before = len(self.network.nodes)
        self.network.nodes = [n for n in self.network.nodes if n.name in needed]
        for table in (self.network.constants, self.network.codes):
            for name in [n for n in table if n not in needed and n not in self.network.inputs]:
                del table[name]
        return len(self.network.nodes) < before

    def same_before(self, node: Node) -> Node | None:
        """The node before, if it is one of the same operator and what it writes has no code."""
        first = self.network.writer(node.inputs[0])
        if first is None or first.op != node.op or first.name in self.network.codes:
            return None
        return first


Rule = Callable[[Folding, Node], bool]


def _simpler(folding: Folding, node: Node) -> bool:
    operator = operator_of(node)
    if _constant(folding, node) or (operator.idle(folding, node) and folding.bypass(node)):
        return True
    return operator.fold(folding, node)


def _stand_alone(folding: Folding, node: Node) -> bool:
    return operator_of(node).stand_alone(folding, node)


def _constant(folding: Folding, node: Node) -> bool:
    """A node that only reads constants becomes one."""
    inputs = [folding.values(name) if name else None for name in node.inputs]
    known = all(v is not None or not name for v, name in zip(inputs, node.inputs, strict=True))
    if not known or not node.inputs or not folding.may_remove(node.name):
        return False
    folding.network.constants[node.name] = evaluate(node, inputs)
    folding.network.nodes.remove(node)
    return True
