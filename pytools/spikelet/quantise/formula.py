"""Functions written as several nodes, such as `x * sigmoid(x)`: recognised as one operator.

A formula is the argument, a number, or an operator with its attributes and formulas. Factors and
summands stand in one row, numbers among them made one and put first, so that a function has one
formula however it is written. Equal formulas are equal functions on the whole real line.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from spikelet.quantise.fold import Folding
from spikelet.quantise.network import Node
from spikelet.quantise.operator import network_operators, operator_of

Formula = str | float | tuple[object, ...]
ARGUMENT = "x"
_MOST_NODES = 32  # of a function of one tensor that is written as several nodes
_NO_DIFFERENCE = 1e-6  # relative, of constants that are written in single precision


def apply(op: str, *parts: Formula, **attributes: float) -> Formula:
    """An operator on formulas."""
    return network_operators()[op].formula(attributes, list(parts))


def row(op: str, parts: list[Formula]) -> Formula:
    """A sum (`Add`) or a product (`Mul`) of formulas."""
    flat: list[Formula] = []
    for part in parts:
        flat += part[1:] if isinstance(part, tuple) and part[0] == op else [part]  # type: ignore[arg-type]
    numbers = [part for part in flat if isinstance(part, float)]
    rest = sorted([part for part in flat if not isinstance(part, float)], key=str)
    total = math.prod(numbers, start=1.0) if op == "Mul" else sum(numbers, start=0.0)
    plain = not numbers or total == (1 if op == "Mul" else 0)
    if plain and len(rest) == 1:
        return rest[0]
    return (op, *rest) if plain else (op, total, *rest)


@cache
def _known_formulas() -> list[tuple[str, dict[str, Any], Formula]]:
    """Operators that may be written as several nodes, their attributes, and the formulas."""
    return [
        (name, attributes, formula)
        for name, operator in network_operators().items()
        for attributes, formula in operator.formulas()
    ]


def recognise(folding: Folding, node: Node) -> bool:
    """Replace the last node of a function that is written in nodes by the operator of it."""
    if not _is_pointwise(folding, node):
        return False
    # The factor of a Gelu may come last; whoever reads this node then sees more of it.
    shape = folding.shapes[node.name]
    sources = _ancestors(folding, node.name, {})[1:]
    for source in reversed([name for name in sources if folding.shapes[name] == shape]):
        seen: dict[str, Formula] = {}
        formula = _formula(folding, node.name, source, seen)
        if not all(folding.may_remove(name) for name in seen if name != node.name):
            continue
        for op, attributes, known in _known_formulas():
            if _is_same(formula, known):
                made = node.replace(op=op, inputs=(source,), attributes=attributes)
                return folding.replace(node, made)
    return False


def _is_pointwise(folding: Folding, node: Node) -> bool:
    sizes = [values.size for values in map(folding.values, node.inputs) if values is not None]
    return operator_of(node).is_pointwise(sizes)


def _ancestors(folding: Folding, name: str, known: dict[str, list[str]]) -> list[str]:
    """The tensor, and those before it of which it is a function, element by element."""
    if name not in known:
        known[name] = [name]
        node = folding.network.writer(name)
        if node is not None and len(known) < _MOST_NODES and _is_pointwise(folding, node):
            reads = [i for i in node.inputs if folding.values(i) is None]
            lists = [_ancestors(folding, i, known) for i in reads]
            if lists:
                known[name] += [i for i in lists[0] if all(i in other for other in lists[1:])]
    return known[name]


def _formula(folding: Folding, name: str, source: str, seen: dict[str, Formula]) -> Formula:
    """The tensor as a formula of the source; `seen` gets all tensors on the way."""
    if name == source:
        return ARGUMENT
    values = folding.values(name)
    if values is not None:
        return float(values.reshape(()))
    if name not in seen:
        node = folding.network.writer(name)
        if node is None:
            raise ValueError(f"{name} is no function of {source}")
        parts = [_formula(folding, i, source, seen) for i in node.inputs]
        seen[name] = operator_of(node).formula(node.attributes, parts)
    return seen[name]


def _is_same(a: object, b: object) -> bool:
    """Whether two formulas are equal, but for the last digits of their numbers."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or abs(a - b) <= _NO_DIFFERENCE * abs(b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_is_same, a, b))
    return a == b
