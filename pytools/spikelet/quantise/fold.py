"""A simpler network with the same function: what disappears before quantisation.

Every tensor that is left keeps its name and its values. Nothing is folded across a tensor whose
code is given, and no weights that have one are rescaled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.meaning import UNARY, evaluate, shapes
from spikelet.quantise.network import Network, Node, constant

_MOST_NODES = 32  # of a function of one tensor that is written as several nodes
_NO_DIFFERENCE = 1e-6  # relative, of constants that are written in single precision
_BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max")


def fold(network: Network) -> Network:
    """A network with the same outputs and fewer nodes; idempotent, the argument is not changed."""
    folding = _Folding(network)
    # Functions of channels stand alone only when nothing else can take them in.
    while folding.sweep(_RULES) or folding.sweep((channelwise,)):
        pass
    return folding.network


class _Folding:
    """A network on its way."""

    def __init__(self, network: Network) -> None:
        self.network = network.copy()
        self.shapes = shapes(network)

    def sweep(self, rules: tuple[Rule, ...]) -> bool:
        """Try every rule on every node; whether anything changed."""
        changed = False
        for node in list(self.network.nodes):
            if self.network.writer(node.name) is not node:
                continue  # a rule has replaced it since
            changed |= any(rule(self, node) for rule in rules)
        return self.remove_dead() or changed

    # What rules ask

    def values(self, name: str) -> Array | None:
        """Of a constant."""
        return self.network.constants.get(name)

    def open(self, name: str) -> bool:
        """Whether a tensor may disappear: no output, no code of its own."""
        return name not in self.network.outputs and name not in self.network.codes

    def inner(self, name: str) -> Node | None:
        """Who writes a tensor that one node reads, and that may disappear."""
        writer = self.network.writer(name)
        reads = sum(node.inputs.count(name) for node in self.network.nodes)
        return writer if writer is not None and reads == 1 and self.open(name) else None

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
        if self.open(node.name):
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


Rule = Callable[[_Folding, Node], bool]


# Affine functions of channels


def _per_channel(values: Array, rank: int, axis: int, channels: int) -> Array | None:
    """(channels,) of a constant that differs between channels only, else None."""
    if values.ndim > rank:
        return None
    full = values.reshape((1,) * (rank - values.ndim) + values.shape)
    if any(d != 1 for i, d in enumerate(full.shape) if i != axis):
        return None
    if full.shape[axis] not in (1, channels):
        return None
    return np.broadcast_to(full.reshape(-1), (channels,)).astype(np.float64)


def _affine(folding: _Folding, node: Node, axis: int) -> tuple[Array, Array] | None:
    """(scale, shift), float64 (C,), of a node that computes `scale * x + shift` along `axis`."""
    if node.op not in ("BatchNormalization", "Add", "Mul") or node.inputs[0] == "":
        return None
    shape = folding.shapes[node.inputs[0]]
    if axis >= len(shape):
        return None
    channels = shape[axis]
    given = [folding.values(name) for name in node.inputs[1:]]
    if any(v is None for v in given) or folding.values(node.inputs[0]) is not None:
        return None
    found = [np.asarray(v, np.float64) for v in given]
    if node.op == "BatchNormalization":
        if axis != 1:
            return None
        scale, bias, mean, variance = found
        scale = scale / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))
        return scale, bias - mean * scale
    values = _per_channel(found[0], len(shape), axis, channels)
    if values is None or folding.shapes[node.name] != shape:
        return None
    ones, zeros = np.ones(channels), np.zeros(channels)
    return (ones, values) if node.op == "Add" else (values, zeros)


def _channel_axis(folding: _Folding, linear: Node) -> int:
    return len(folding.shapes[linear.name]) - 1 if linear.op == "Gemm" else 1


def _with_bias(folding: _Folding, linear: Node, weight: Array, bias: Array) -> tuple[str, ...]:
    """Inputs of a Conv or Gemm with other constants."""
    found = linear.inputs[1]
    if weight is not folding.values(found):
        found = folding.constant(found, weight.astype(np.float32))
    named, dtype = f"{linear.name}.bias", np.dtype(np.float32)
    if len(linear.inputs) > 2 and linear.inputs[2]:
        named = linear.inputs[2]
        dtype = folding.network.constants[named].dtype
    return linear.inputs[0], found, folding.constant(named, bias.astype(dtype))


def _constants(folding: _Folding, linear: Node) -> tuple[Array, Array] | None:
    """Weight, and bias (O,) float64, of a Conv or Gemm; None where they are no constants."""
    weight = folding.values(linear.inputs[1])
    if weight is None:
        return None
    if len(linear.inputs) < 3 or not linear.inputs[2]:
        return weight, np.zeros(len(weight))
    bias = folding.values(linear.inputs[2])
    return None if bias is None else (weight, bias.astype(np.float64))


def affine_behind(folding: _Folding, node: Node) -> bool:
    """Conv, ConvTranspose or Gemm, then an affine function of channels: one of it."""
    if node.op not in ("BatchNormalization", "Add", "Mul"):
        return False
    linear = folding.inner(node.inputs[0])
    if linear is None or linear.op not in ("Conv", "ConvTranspose", "Gemm"):
        return False
    found = _affine(folding, node, _channel_axis(folding, linear))
    constants = _constants(folding, linear)
    if found is None or constants is None:
        return False
    (scale, shift), (weight, bias) = found, constants
    if np.any(scale != 1):
        if linear.inputs[1] in folding.network.codes:
            return False
        weight = weight * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    inputs = _with_bias(folding, linear, weight, bias * scale + shift)
    return folding.merge(linear, node, inputs=inputs)


def affine_before(folding: _Folding, node: Node) -> bool:
    """An affine function of channels, then a Conv without padding or a Gemm: the latter alone."""
    if node.op not in ("Conv", "Gemm") or node.inputs[1] in folding.network.codes:
        return False
    before = folding.inner(node.inputs[0])
    constants = _constants(folding, node)
    if before is None or constants is None:
        return False
    writer = folding.inner(before.inputs[0])
    if writer is not None and writer.op in ("Conv", "ConvTranspose", "Gemm"):
        return False  # it may go into that one
    axis = 1 if node.op == "Conv" else len(folding.shapes[node.inputs[0]]) - 1
    found = _affine(folding, before, axis)
    if found is None:
        return False
    (scale, shift), (weight, bias) = found, constants
    if any(node.attributes.get("pads") or ()) and np.any(shift):
        return False
    taps = weight.astype(np.float64).reshape(len(weight), weight.shape[1], -1)  # (O, I / g, taps)
    group = int(node.attributes.get("group", 1)) if node.op == "Conv" else 1
    each = np.arange(len(weight)) // (len(weight) // group)  # the group of each output
    scales, shifts = (v.reshape(group, -1)[each][:, :, None] for v in (scale, shift))
    bias = bias + (taps * shifts).sum(axis=(1, 2))
    inputs = _with_bias(folding, node, (taps * scales).reshape(weight.shape), bias)
    folding.network.nodes.remove(before)
    return folding.replace(node, node.replace(inputs=(before.inputs[0], *inputs[1:])))


def channelwise(folding: _Folding, node: Node) -> bool:
    """An affine function of channels that nothing takes in: a depthwise Conv, or Mul and Add."""
    rank = len(folding.shapes[node.name])
    if node.op != "BatchNormalization":  # of one value, or of each element, Mul and Add stay
        constant = folding.values(node.inputs[1]) if len(node.inputs) == 2 else None
        if rank not in (3, 4) or constant is None or constant.size == 1:
            return False
    found = _affine(folding, node, 1)
    if found is None:
        return False
    scale, shift = (v.astype(np.float32) for v in found)
    if rank in (3, 4):
        weight = folding.constant(f"{node.name}.weight", scale.reshape(-1, 1, *(1,) * (rank - 2)))
        bias = folding.constant(f"{node.name}.bias", shift)
        attributes = {"group": len(scale)}
        inputs = (node.inputs[0], weight, bias)
        return folding.replace(node, node.replace(op="Conv", inputs=inputs, attributes=attributes))
    product = folding.fresh(node.name)
    shape = (-1, *(1,) * (rank - 2))
    factor = folding.constant(f"{node.name}.scale", scale.reshape(shape))
    offset = folding.constant(f"{node.name}.shift", shift.reshape(shape))
    return folding.replace(
        node,
        Node("Mul", product, (node.inputs[0], factor), {}, node.source),
        Node("Add", node.name, (product, offset), {}, node.source),
    )


# One way to write each thing


def constants(folding: _Folding, node: Node) -> bool:
    """A node that only reads constants."""
    inputs = [folding.values(name) if name else None for name in node.inputs]
    known = all(v is not None or not name for v, name in zip(inputs, node.inputs, strict=True))
    if not known or not node.inputs or not folding.open(node.name):
        return False
    folding.network.constants[node.name] = evaluate(node, inputs)
    folding.network.nodes.remove(node)
    return True


def identities(folding: _Folding, node: Node) -> bool:
    """Identity, Dropout, a Reshape or Transpose or Slice that changes nothing."""
    idle = node.op in ("Identity", "Dropout")
    if node.op in ("Reshape", "Slice"):
        idle = folding.shapes[node.name] == folding.shapes[node.inputs[0]]
    if node.op == "Slice":
        idle = idle and all(step == 1 for step in node.attributes.get("steps") or ())
    if node.op == "Pad":
        idle = not any(node.attributes["pads"])
    if node.op == "Transpose":
        perm = node.attributes["perm"]
        idle = list(perm) == sorted(perm)
    if node.op == "Concat":
        idle = len(node.inputs) == 1
    return idle and folding.bypass(node)


def moves(folding: _Folding, node: Node) -> bool:
    """Two Reshapes, or two Transposes, in a row."""
    first = folding.network.writer(node.inputs[0]) if node.inputs else None
    if node.op not in ("Reshape", "Transpose") or first is None or first.op != node.op:
        return False
    if first.name in folding.network.codes:
        return False
    attributes = node.attributes
    if node.op == "Transpose":
        attributes = {"perm": [first.attributes["perm"][i] for i in node.attributes["perm"]]}
    return folding.replace(node, node.replace(inputs=first.inputs, attributes=attributes))


def arithmetic(folding: _Folding, node: Node) -> bool:
    """Constants come second; Sub and Div of one are Add and Mul; Min and Max are Clip."""
    if node.op not in _BINARY or len(node.inputs) != 2:
        return False
    a, b = (folding.values(name) for name in node.inputs)
    if (a is None) == (b is None):
        return False
    x, name = (node.inputs[0], node.inputs[1]) if a is None else (node.inputs[1], node.inputs[0])
    values = b if a is None else a
    if values is None:
        return False
    coded = name in folding.network.codes
    if node.op in ("Add", "Mul", "Min", "Max") and a is not None:
        return folding.replace(node, node.replace(inputs=(x, name)))
    if node.op in ("Min", "Max") and values.size == 1 and np.all(np.isfinite(values)):
        limit = "max" if node.op == "Min" else "min"
        attributes = {limit: float(values.reshape(()))}
        return folding.replace(node, node.replace(op="Clip", inputs=(x,), attributes=attributes))
    if node.op == "Pow" and a is None and values.size == 1:
        attributes = {"exponent": float(values.reshape(()))}
        return folding.replace(node, node.replace(inputs=(x,), attributes=attributes))
    if coded or node.op not in ("Sub", "Div"):
        return False
    if a is None:
        other = -values if node.op == "Sub" else 1 / np.asarray(values, np.float64)
        made = folding.constant(name, other.astype(np.float32))
        op = "Add" if node.op == "Sub" else "Mul"
        return folding.replace(node, node.replace(op=op, inputs=(x, made)))
    inner = folding.fresh(node.name)
    if node.op == "Div":
        first = Node("Reciprocal", inner, (x,), {}, node.source)
        return folding.replace(node, first, node.replace(op="Mul", inputs=(inner, name)))
    minus = folding.constant(f"{node.name}.minus", np.full((), -1, np.float32))
    first = Node("Mul", inner, (x, minus), {}, node.source)
    return folding.replace(node, first, node.replace(op="Add", inputs=(inner, name)))


def clamps(folding: _Folding, node: Node) -> bool:
    """Clip from 0 on is Relu; MaxPool then a clamp is the clamp first, where it can be fused."""
    if node.op == "Clip" and node.attributes.get("min") == 0 and node.attributes.get("max") is None:
        return folding.replace(node, node.replace(op="Relu", attributes={}))
    if node.op not in ("Relu", "Clip"):
        return False
    pool = folding.inner(node.inputs[0])
    if pool is None or pool.op not in ("MaxPool", "GlobalMaxPool"):
        return False
    writer = folding.inner(pool.inputs[0])
    if writer is None or writer.op not in ("Conv", "Gemm", "Add", "Sub", "Mul"):
        return False
    name = folding.fresh(pool.name)
    folding.shapes[name] = folding.shapes[pool.inputs[0]]
    before = node.replace(name=name, inputs=pool.inputs)
    folding.network.nodes[folding.network.nodes.index(pool)] = before
    folding.network.nodes[folding.network.nodes.index(node)] = pool.replace(
        name=node.name, inputs=(name,)
    )
    return True


def slopes(folding: _Folding, node: Node) -> bool:
    """PRelu with one slope is LeakyRelu."""
    slope = folding.values(node.inputs[1]) if node.op == "PRelu" else None
    if slope is None or slope.size == 0:
        return False
    if np.any(slope != slope.reshape(-1)[0]):
        return False
    attributes = {"alpha": float(slope.reshape(-1)[0])}
    leaky = node.replace(op="LeakyRelu", inputs=node.inputs[:1], attributes=attributes)
    return folding.replace(node, leaky)


def means(folding: _Folding, node: Node) -> bool:
    """A mean over all spatial axes is GlobalAveragePool, and a Reshape where axes go."""
    if node.op == "AveragePool":
        whole = list(folding.shapes[node.inputs[0]][2:]) == list(node.attributes["kernel_shape"])
        plain = not any(node.attributes.get("pads") or ())
        if not whole or not plain:
            return False
        return folding.replace(node, node.replace(op="GlobalAveragePool", attributes={}))
    if node.op != "ReduceMean":
        return False
    rank = len(folding.shapes[node.inputs[0]])
    axes = node.attributes.get("axes")
    if rank < 3 or axes is None or sorted(axes) != list(range(2, rank)):
        return False
    pool = node.replace(op="GlobalAveragePool", attributes={})
    if node.attributes.get("keepdims", 1):
        return folding.replace(node, pool)
    inner = folding.fresh(node.name)
    shape = folding.shapes[node.name]
    at = folding.network.nodes.index(node)
    folding.network.nodes[at : at + 1] = [
        pool.replace(name=inner),
        node.replace(op="Reshape", inputs=(inner,), attributes={"shape": list(shape)}),
    ]
    folding.shapes[inner] = (*shape, *(1,) * (rank - 2))
    return True


def padding(folding: _Folding, node: Node) -> bool:
    """A margin of zeros before a Conv, or an AveragePool that has none, becomes its own."""
    if node.op not in ("Conv", "AveragePool"):
        return False
    pad = folding.network.writer(node.inputs[0])
    if pad is None or pad.op != "Pad" or not folding.open(pad.name):
        return False
    margins = [int(p) for p in pad.attributes["pads"]]
    rank = len(margins) // 2
    begin, end = margins[:rank], margins[rank:]
    zero = pad.attributes.get("value", 0.0) == 0
    plain = pad.attributes.get("mode", "constant") == "constant" and zero and min(margins) >= 0
    if not plain or any(begin[:2]) or any(end[:2]):
        return False
    own = [int(p) for p in node.attributes.get("pads") or [0] * (2 * rank - 4)]
    both = [a + b for a, b in zip(own, [*begin[2:], *end[2:]], strict=True)]
    attributes = {**node.attributes, "pads": both}
    if node.op == "AveragePool":
        if any(own) or node.attributes.get("ceil_mode", 0):
            return False
        attributes["count_include_pad"] = 1
    return folding.replace(node, node.replace(inputs=(pad.inputs[0], *node.inputs[1:]),
                                              attributes=attributes))  # fmt: skip


# Functions of one tensor that are written as several nodes


def _is_function(folding: _Folding, node: Node) -> bool:
    """Whether a node computes each element from one of each tensor that it reads."""
    if node.op in UNARY or (node.op == "Pow" and len(node.inputs) == 1):
        return node.op != "Requantize"
    sizes = [v.size for v in map(folding.values, node.inputs) if v is not None]
    return node.op in _BINARY and all(size == 1 for size in sizes)


def _ancestors(folding: _Folding, name: str, known: dict[str, list[str]]) -> list[str]:
    """The tensor, and those before it of which it is a function, element by element."""
    if name not in known:
        known[name] = [name]
        node = folding.network.writer(name)
        if node is not None and len(known) < _MOST_NODES and _is_function(folding, node):
            reads = [i for i in node.inputs if folding.values(i) is None]
            lists = [_ancestors(folding, i, known) for i in reads]
            if lists:
                known[name] += [i for i in lists[0] if all(i in other for other in lists[1:])]
    return known[name]


# A formula: the argument, a number, or an operator, its attributes and formulas. Factors and
# summands stand in one row, numbers among them made one and put first, so that a function has one
# formula however it is written. Equal formulas are equal functions on the whole real line.
Formula = str | float | tuple[object, ...]
_ARGUMENT = "x"


def _row(op: str, parts: list[Formula]) -> Formula:
    """A sum or a product of formulas."""
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


def _applied(op: str, attributes: Mapping[str, Any], parts: list[Formula]) -> Formula:
    """An operator on formulas."""
    if op in ("Add", "Mul"):
        return _row(op, parts)
    if op == "Sub":
        return _row("Add", [parts[0], _row("Mul", [-1.0, parts[1]])])
    if op == "Neg":
        return _row("Mul", [-1.0, parts[0]])
    if op == "Div" and isinstance(parts[1], float) and parts[1] != 0:
        return _row("Mul", [parts[0], 1 / parts[1]])
    if op == "Pow" and len(parts) == 2 and isinstance(parts[1], float):
        attributes, parts = {"exponent": parts[1]}, parts[:1]
    if op == "Pow" and attributes.get("exponent") in (2, 3):
        return _row("Mul", parts * int(attributes["exponent"]))
    if op == "Relu":
        op, attributes = "Clip", {"min": 0.0}
    given = sorted((k, float(v)) for k, v in attributes.items() if v is not None)
    return (op, *given, *parts)


def _formula(folding: _Folding, name: str, source: str, seen: dict[str, Formula]) -> Formula:
    """The tensor as a formula of the source; `seen` gets all tensors on the way."""
    if name == source:
        return _ARGUMENT
    values = folding.values(name)
    if values is not None:
        return float(values.reshape(()))
    if name not in seen:
        node = folding.network.writer(name)
        if node is None:
            raise ValueError(f"{name} is no function of {source}")
        parts = [_formula(folding, i, source, seen) for i in node.inputs]
        seen[name] = _applied(node.op, node.attributes, parts)
    return seen[name]


def _is_same(a: object, b: object) -> bool:
    """Whether two formulas are equal, but for the last digits of their numbers."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or abs(a - b) <= _NO_DIFFERENCE * abs(b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_is_same, a, b))
    return a == b


def _known() -> list[tuple[str, dict[str, Any], Formula]]:
    """Functions with an operator of their own, as formulas."""

    def op(name: str, *parts: Formula, **attributes: float) -> Formula:
        return _applied(name, attributes, list(parts))

    x = _ARGUMENT
    shifted = op("Clip", op("Add", x, 3.0), min=0.0, max=6.0)
    cubic = op("Add", x, op("Mul", 0.044715, x, x, x))
    tanh = op("Tanh", op("Mul", math.sqrt(2 / math.pi), cubic))
    erf = op("Erf", op("Mul", x, 1 / math.sqrt(2)))
    return [
        ("Silu", {}, op("Mul", x, op("Sigmoid", x))),
        ("HardSwish", {}, op("Mul", x, op("HardSigmoid", x, alpha=1 / 6, beta=0.5))),
        ("HardSwish", {}, op("Mul", x, shifted, 1 / 6)),
        ("Gelu", {}, op("Mul", 0.5, x, op("Add", erf, 1.0))),
        ("Gelu", {"approximate": "tanh"}, op("Mul", 0.5, x, op("Add", tanh, 1.0))),
        ("Mish", {}, op("Mul", x, op("Tanh", op("Softplus", x)))),
    ]


_KNOWN = _known()


def functions(folding: _Folding, node: Node) -> bool:
    """x * sigmoid(x) and the like, in whatever order they are written: Silu, HardSwish, Gelu."""
    if node.op not in _BINARY or not _is_function(folding, node):
        return False
    # The factor of a Gelu may come last; whoever reads this node then sees more of it.
    shape = folding.shapes[node.name]
    sources = _ancestors(folding, node.name, {})[1:]
    for source in reversed([name for name in sources if folding.shapes[name] == shape]):
        seen: dict[str, Formula] = {}
        formula = _formula(folding, node.name, source, seen)
        if not all(folding.open(name) for name in seen if name != node.name):
            continue
        for op, attributes, known in _KNOWN:
            if _is_same(formula, known):
                made = node.replace(op=op, inputs=(source,), attributes=attributes)
                return folding.replace(node, made)
    return False


_RULES: tuple[Rule, ...] = (
    constants,
    identities,
    arithmetic,
    moves,
    means,
    slopes,
    clamps,
    padding,
    functions,
    affine_behind,
    affine_before,
)
