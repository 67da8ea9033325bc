"""A graph with places for the values of an adapter: y = base(x) + delta(x).

The base stays a constant in flash. What an adapter adds are learned tensors, which a host writes
into RAM; until then they are zeros, and the graph computes what the base does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from spikelet.graph.declared import check_fields, within
from spikelet.graph.graph import Graph
from spikelet.graph.operator import Operator
from spikelet.graph.ops.add_delta import MOST_RANK, AddDelta
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.mean import Mean
from spikelet.graph.ops.slice import Slice
from spikelet.graph.quantised import Quantised
from spikelet.graph.tensor import GraphError, Learned, Tensor

SCHEMA = 2  # of the values; another meaning of one of them is another number
BASE = "delta.base"  # i32 (1,): what values are for; a device takes no others
HEAD, DELTA = "head", "delta"


Kind = Literal["low_rank", "depthwise", "sparse", "scale_bias", "ladder", "head"]
RANKED = ("low_rank", "sparse", "ladder")
BY_LAYER = ("low_rank", "sparse")  # that may have ranks of their own for each layer


@dataclass(frozen=True)
class Adapter:
    """Which values an adapter has.

    Attributes:
        kind: what is added to layers. low_rank: two matrices on what the layer reads. sparse: some
            weights of each output, at places that a seed draws. Both add in front of the layer's
            activation. depthwise: a 3 x 3 convolution, channel by channel, of what a convolution
            writes. scale_bias: a gain and a bias of
            each output, folded into the layer's own tables. ladder: a narrow network beside
            the frozen one reads the mean of each layer, and adds to the last. head: a matrix for
            the last layer.
        rank: of low_rank; of sparse the weights of an output; of ladder its width.
        bits: of an element of the matrices.
        head: besides low_rank, depthwise, sparse or scale_bias, the last layer has a whole matrix
            of 8 bits.
        ranks: of low_rank and sparse, instead of one rank: that of each layer that may be adapted,
            but for one with a whole matrix. A layer of rank 0 stays as it is.
    """

    kind: Kind
    rank: Annotated[int, within(0, MOST_RANK)] = 0
    bits: Literal[1, 8] = 8
    head: bool = False
    ranks: tuple[Annotated[int, within(0, MOST_RANK)], ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.ranks, list):  # as JSON holds it
            object.__setattr__(self, "ranks", tuple(self.ranks))
        check_fields(Adapter, "the adapter", vars(self))
        by_layer = any(self.ranks)
        if self.ranks and not (self.kind in BY_LAYER and by_layer):
            raise GraphError(f"an adapter of kind {self.kind} and ranks {list(self.ranks)}")
        if (self.kind in RANKED) != (self.rank > 0 or by_layer) or (self.rank and by_layer):
            ranks = f" and ranks {list(self.ranks)}" if by_layer else ""
            raise GraphError(f"an adapter of kind {self.kind}, rank {self.rank}{ranks}")
        if self.kind in ("ladder", "head") and (self.bits, self.head) != (8, False):
            raise GraphError(
                f"an adapter of kind {self.kind}: bits {self.bits} and head {self.head}, "
                "expected 8 and no other head"
            )
        if self.kind == "scale_bias" and self.bits != 8:
            raise GraphError("an adapter of kind scale_bias has gains of 8 bits, not 1")

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**dataclasses.asdict(self), "ranks": list(self.ranks)}

    def rank_of(self, layer: int) -> int:
        """Of low_rank and sparse, that of a layer by its number among those that may be adapted."""
        if self.kind not in BY_LAYER:
            return 0
        return self.ranks[layer] if self.ranks else self.rank


def form(kind: Kind, rank: int | Sequence[int] | None, bits: str | None, head: bool) -> Adapter:
    """An adapter as it is asked for, with defaults for None; several ranks are those of layers.

    Raises:
        GraphError: a kind has no such option.
    """
    width: Any = {None: 1 if kind in BY_LAYER else 8, "1": 1, "8": 8}[bits]
    if rank is None:
        rank = 4 if kind in RANKED else 0
    if isinstance(rank, int):
        return Adapter(kind, rank, width, head)
    return Adapter(kind, 0, width, head, tuple(rank))


def base_sha256(base: Graph) -> str:
    """Hash of a graph and its constants, whatever samples its package holds."""
    total = hashlib.sha256(json.dumps(base.to_json(), sort_keys=True).encode())
    for name, values in sorted(base.constants().items()):
        total.update(f"\0{name} {values.dtype} {values.shape}\0".encode())
        total.update(np.ascontiguousarray(values).tobytes())
    return total.hexdigest()


def with_places(base: Graph, adapter: Adapter) -> Graph:
    """The graph with an operator behind each adapted layer, under that layer's name.

    Raises:
        GraphError: it learns already, or no layer of it can be adapted.
    """
    if base.learns:
        raise GraphError(f"graph {base.name}: it learns, and an adapter's values are learned, too")
    layers = adapted_layers(base)
    if not layers:
        raise GraphError(
            f"graph {base.name}: no layer to adapt, expected an int8 convolution or a linear layer"
        )
    _check_ranks(base, adapter, layers)
    nodes: list[Operator] = []
    learned = [_tag(base, adapter)]
    side: AddDelta | None = None  # of a ladder, its last rung
    for node in base.nodes:
        whole = node is layers[-1] and (adapter.head or adapter.kind in ("head", "ladder"))
        if not isinstance(node, Quantised) or node not in layers:
            nodes.append(node)
            continue
        rank = None if whole else adapter.rank_of(layers.index(node))
        if adapter.kind == "scale_bias" and not whole:
            gained, values = _gained(node)
            nodes.append(gained)
        elif whole or rank or adapter.kind == "depthwise":
            below = dataclasses.replace(node, name=f"{node.name}_base")
            below.ins = node.ins
            below.outs = (dataclasses.replace(node.outs[0], name=below.name),)
            added, values = _behind(node, below, adapter, rank, side)
            if added.halved:
                below = dataclasses.replace(below, inputs=(*below.inputs, added.inputs[-1]))
            nodes += [below, added]
        else:
            nodes.append(node)
            values = []
        if adapter.kind == "ladder" and not whole:
            rung, side, values = _rung(node, adapter.rank, side)
            nodes += rung
        learned += values
    return Graph(base.name, base.steps, base.inputs, nodes, base.outputs, learned)


def adapted_layers(graph: Graph) -> list[Operator]:
    """The layers that may be adapted, of a base or of one with places, without what is added."""
    return [node for node in graph.nodes if _is_adapted(node)]


def _is_adapted(node: Operator) -> bool:
    """Whether an adapter may have a place behind it."""
    if node.when is not None:
        return False
    return isinstance(node, Conv2d) or (
        isinstance(node, FullyConnected) and len(node.outs[0].shape) == 1
    )


def _tag(base: Graph, adapter: Adapter) -> Learned:
    """One value that a delta for another base, or of another form, does not hold."""
    form = json.dumps([SCHEMA, adapter.to_json(), base_sha256(base)], sort_keys=True)
    tag = int.from_bytes(hashlib.sha256(form.encode()).digest()[:4], "little", signed=True)
    return Learned.of(BASE, "i32", (1,), np.array([tag], np.int32), low=tag, high=tag)


def _check_ranks(base: Graph, adapter: Adapter, layers: list[Operator]) -> None:
    """Refuse ranks of other layers than there are."""
    ranked = layers[: len(layers) - adapter.head]
    if adapter.ranks and len(adapter.ranks) != len(ranked):
        raise GraphError(
            f"graph {base.name}: {len(adapter.ranks)} ranks, expected {len(ranked)}: of "
            f"{', '.join(node.name for node in ranked)}"
        )


def _behind(
    node: Quantised, below: Quantised, adapter: Adapter, rank: int | None, side: AddDelta | None
) -> tuple[AddDelta, list[Learned]]:
    """What adds to a layer, under its name, and its values.

    Args:
        node: the layer.
        below: it, under another name.
        adapter: its form.
        rank: of low_rank and sparse; None: with a whole matrix.
        side: of a ladder, what the last layer gets.
    """
    (y,), x = below.outs, node.ins[0] if side is None else side.outs[0]
    place: dict[str, Any] = {}
    if isinstance(node, Conv2d) and side is None:
        place = {
            "kernel": (int(node.weight.shape[1]), int(node.weight.shape[2])),
            "stride": node.stride,
            "dilation": node.dilation,
            "padding": node.padding,
        }
    whole = rank is None
    form: dict[str, Any] = {"rank": 0, "bits": 8 if whole else adapter.bits}
    if adapter.kind == "low_rank" and rank:
        form["rank"] = rank
    if adapter.kind == "sparse" and rank:
        taps = x.size if not place else math.prod(place["kernel"]) * x.shape[-1]
        form["kept"] = min(rank, taps)
    form["halved"] = bool(rank) and node.activation[0] >= node.output_zero_point and not node.even
    if adapter.kind == "depthwise" and not whole:
        if len(y.shape) != 3:  # one pixel of as many channels
            raise GraphError(f"layer {node.name}: no image, nothing to convolve; give it a head")
        x, form["own"] = y, True
        kernel = tuple(3 if size > 1 else 1 for size in y.shape[:2])
        around = tuple(size // 2 for size in kernel)
        place = {"kernel": kernel, "padding": (*around, *around)}
    code = (node.output_scale, node.output_zero_point, node.activation)
    return _added(f"{node.name}_{HEAD if whole else DELTA}", node.name, (y, x), code, form | place)


def _gained(node: Quantised) -> tuple[Quantised, list[Learned]]:
    """A layer that reads gains and biases, and these."""
    channels = node.outs[0].shape[-1]
    values = [
        Learned.of(f"{node.name}_{DELTA}.{part}", "i8", (channels,)) for part in ("gain", "bias")
    ]
    inputs = (*node.inputs, *(learned.tensor.name for learned in values))
    return dataclasses.replace(node, inputs=inputs), values


def _rung(
    node: Quantised, width: int, side: AddDelta | None
) -> tuple[list[Operator], AddDelta, list[Learned]]:
    """The next rung of a ladder: `relu(side + delta(mean of the layer))`.

    The first one begins with the first channels of that mean.
    """
    name, (y,) = f"{node.name}_side", node.outs
    nodes: list[Operator] = []
    code: dict[str, Any] = {"output_scale": y.scale, "output_zero_point": y.zero_point}
    mean = y
    if len(y.shape) == 3:
        made = Mean(name=f"{name}_mean", inputs=(y.name,), axes=(0, 1), **code)
        nodes.append(made)
        mean = dataclasses.replace(y, name=made.name, shape=(y.shape[-1],))
    if side is None:
        size = min(width, mean.size)
        first = Slice(
            name=f"{name}_first", inputs=(mean.name,), begin=(0,), size=(size,), stride=(1,), **code
        )
        nodes.append(first)
        before = dataclasses.replace(mean, name=first.name, shape=(size,))
    else:
        before = side.outs[0]
    held = (before.scale, before.zero_point, (before.zero_point, 127))
    added, values = _added(f"{name}_{DELTA}", name, (before, mean), held, {"rank": 0, "bits": 8})
    added.outs = (dataclasses.replace(before, name=name),)
    return [*nodes, added], added, values


def _added(
    part: str,
    name: str,
    ins: tuple[Tensor, Tensor],
    code: tuple[float, int, tuple[int, int]],
    form: dict[str, Any],
) -> tuple[AddDelta, list[Learned]]:
    """An operator on y and x, and its values, called `part`; code: scale, zero point, ends."""
    scale, zero, ends = code
    added = AddDelta(
        name=name, inputs=(ins[0].name, ins[1].name), output_scale=scale, output_zero_point=zero,
        activation=ends, **form,
    )  # fmt: skip
    added.ins = ins
    values = [Learned.of(f"{part}.{n}", *of) for n, of in added.values().items()]
    inputs = (*added.inputs, *(learned.tensor.name for learned in values))
    added = dataclasses.replace(added, inputs=inputs)
    added.ins = ins
    return added, values


def values_of(graph: Graph, node: Operator) -> dict[str, Tensor]:
    """The tensors of an adapted layer's values by what they are: down, up, gain, shift, bias."""
    names, given = ["gain", "bias"], node.inputs[1:]
    if isinstance(node, AddDelta):
        names, given = list(node.values()), node.inputs[2:]
    return {n: graph.tensors[t] for n, t in zip(names, given, strict=True)}
