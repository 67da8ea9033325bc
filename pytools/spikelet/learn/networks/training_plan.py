"""What training takes of a device, told before anything is flashed.

A row is a layer that learns, or that gradients pass through; the sums are those of the whole graph.
Bytes are exact: the arena is that of the image, and a commit writes what is told. Instructions are
an estimate from multiply-accumulates, good for networks of convolutions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from spikelet.codegen import plan
from spikelet.graph import Graph, Operator, Phase
from spikelet.graph.target import ANY, Target
from spikelet.learn.layers.codes import AsCodes
from spikelet.learn.layers.spiking_dense import SpikingDense
from spikelet.learn.needs import Needs, needs
from spikelet.learn.networks.builder import part_name
from spikelet.learn.numbers.scalar import is_float

ENDURANCE = 10_000  # times a page of NOR flash may be erased, as data sheets give it

# Instructions a multiply-accumulate of a learning step, by instruction set and whether numbers are
# floats: har_cnn in QEMU, GCC, of plans from a few layers to all within 15 %.
_PER_MAC = {
    ("rv32imafc", True): 3.5,
    ("rv32imac", False): 6.7,
    ("armv7e-m", True): 3.8,
    ("armv7e-m", False): 7.4,
}
# The same of spiking layers: digits_snn, trained whole on digits. Inputs without a spike cost less.
_PER_SPIKING_MAC = {"rv32imac": 3.9, "armv7e-m": 3.4}


@dataclass(frozen=True)
class TrainedLayer:
    """One layer.

    Attributes:
        layer: its name.
        learns: in words.
        learned_bytes: RAM of what of it changes: weights, biases, velocities and the like.
        frozen_bytes: flash of weights and biases that do not.
        output_bytes: of its activation.
        output: whether that is "kept" for the backward pass, "computed again", or "freed".
        macs: of its prediction.
        learn_macs: of all its operators in a learning step.
    """

    layer: str
    learns: str
    learned_bytes: int
    frozen_bytes: int
    output_bytes: int
    output: str
    macs: int
    learn_macs: int


@dataclass(frozen=True)
class TrainingPlan:
    """What training takes.

    Attributes:
        layers: in the order of the network.
        needs: sums of the whole graph.
        kept_bytes: activations that are kept for the backward pass.
        commit_pages: pages that it erases; None where the board has no storage.
        commits: that two slots of flash last for; None where the board has no storage.
        instructions: of a learning step, estimated; None where nothing was measured.
    """

    layers: tuple[TrainedLayer, ...]
    needs: Needs
    kept_bytes: int
    commit_pages: int | None
    commits: int | None
    instructions: int | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def rows(self) -> dict[str, str]:
        """The sums, by what they are."""
        erased = "" if self.commit_pages is None else f", erases {count(self.commit_pages, 'page')}"
        worn = (
            ""
            if self.commits is None
            else f"; flash lasts for {_group_digits(self.commits)} commits"
        )
        macs = self.needs.learn_macs
        work = count(macs, "multiply-accumulate") if macs else "no multiply-accumulates"
        about = (
            f", about {_group_digits(self.instructions)} instructions" if self.instructions else ""
        )
        return {
            "peak RAM, arena": f"{_group_digits(self.needs.arena_bytes)} B",
            "learned": f"{_group_digits(self.needs.learned_bytes)} B of it",
            "activations kept": f"{_group_digits(self.kept_bytes)} B of it",
            "initial values": f"{_group_digits(self.needs.initial_bytes)} B of flash",
            "a commit": f"writes {_group_digits(self.needs.commit_bytes)} B{erased}{worn}",
            "a learning step": work + about,
        }

    def __str__(self) -> str:
        """The table and the sums, as text."""
        head = ("layer", "learns", "learned B", "flash B", "output B", "output", "MACs", "to learn")
        body = [tuple(str(value) for value in asdict(row).values()) for row in self.layers]
        widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
        left = (0, 1, 5)
        lines = [
            "  ".join(
                cell.ljust(width) if i in left else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in [head, *body]
        ]
        sums = self.rows()
        wide = max(map(len, sums))
        return "\n".join([*lines, "", *(f"{name.ljust(wide)}  {v}" for name, v in sums.items())])


def count(n: int, noun: str) -> str:
    """A number of things: 1 page, 2 pages."""
    return f"{_group_digits(n)} {noun}{'s' * (n != 1)}"


def _group_digits(n: int) -> str:
    return f"{n:,}".replace(",", " ")


def training_plan(graph: Graph, target: Target = ANY, page_bytes: int = 0) -> TrainingPlan:
    """The plan of a graph that learns.

    Args:
        graph: with a learner.
        target: the board's instruction set.
        page_bytes: of the board's storage of learned tensors; 0 for none.
    """
    required = needs(graph, target)
    learning = [n for n in graph.order if graph.phase(n) is Phase.LEARN]
    read = {name for node in learning for name in node.inputs}
    slots = plan(graph, target).slots
    rows = []
    kept: dict[int, int] = {}  # by place: a reshape shares that of its input
    for node in graph.order:
        if graph.phase(node) >= Phase.LEARN:
            continue
        written = [t for t in node.outs if t.kind in ("activation", "output")]
        for tensor in written:
            if tensor.name in read:
                slot = slots[tensor.name]
                kept[slot.offset] = max(kept.get(slot.offset, 0), slot.size)
        if any(t.dtype in ("f32", "i16") for t in written) and graph.learns:
            row = _row(graph, node, learning, read)
            if row is not None:
                rows.append(row)
    pages = -(-required.commit_bytes // page_bytes) if page_bytes else None
    return TrainingPlan(
        layers=tuple(rows),
        needs=required,
        kept_bytes=sum(kept.values()),
        commit_pages=pages,
        commits=None if pages is None else 2 * ENDURANCE,
        instructions=_instructions(graph, target, required.learn_macs),
    )


def _row(
    graph: Graph, node: Operator, learning: list[Operator], read: set[str]
) -> TrainedLayer | None:
    """A layer's row; None for one without weights."""
    if isinstance(node, AsCodes):
        return None  # it belongs to the layer before it
    codes = [n for n in graph.nodes if isinstance(n, AsCodes) and n.inputs == (node.name,)]
    last = codes[0] if codes else node  # what writes the layer's output, and has its name
    layer = last.name
    update = part_name(layer, "update")
    own = {part_name(name, "again") for name in (node.name, layer)}
    own |= {part_name(layer, part) for part in ("update", "back", "held")}
    work = [n for n in learning if n.name in own]
    state = [k.tensor for k in graph.learned if k.tensor.name.rpartition(".")[0] in (layer, update)]
    held = [getattr(node, field, None) for field in ("frozen", "frozen_bias")]
    frozen = sum(values.nbytes for values in held if values is not None)
    if not state and not frozen:
        return None
    output = last.outs[0]
    again = any(n.name == part_name(layer, "again") for n in work)
    by_name = {t.name.rpartition(".")[2]: t for t in state}
    parts = []
    if "weight" in by_name:
        whole = getattr(node, "outputs", output.shape[-1])
        rows = len(by_name["weight"].shape) == 2 and not isinstance(node, SpikingDense)
        axis = 0 if rows else -1
        parts.append(f"{by_name['weight'].shape[axis]} of {whole} channels")
    if "bias" in by_name:
        parts.append("bias")
    return TrainedLayer(
        layer=layer,
        learns=", ".join(parts) or "-",
        learned_bytes=sum(t.nbytes for t in state),
        frozen_bytes=frozen,
        output_bytes=output.nbytes,
        output="computed again" if again else "kept" if output.name in read else "freed",
        macs=_macs(graph, node),
        learn_macs=sum(_macs(graph, n) for n in work),
    )


def _macs(graph: Graph, node: Operator) -> int:
    return node.cost().macs


def _instructions(graph: Graph, target: Target, macs: int) -> int | None:
    """Of a learning step, from its multiply-accumulates; None where nothing was measured."""
    used = {p for node in graph.order if (p := getattr(node, "precision", None)) is not None}
    if any(isinstance(node, SpikingDense) for node in graph.order):
        spiking = _PER_SPIKING_MAC.get(target.name)
        return None if spiking is None else round(spiking * macs)
    per_mac = _PER_MAC.get((target.name, any(map(is_float, used))))
    return None if per_mac is None or not used else round(per_mac * macs)
