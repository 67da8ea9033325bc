"""What a learner takes of a device, known before anything is flashed."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from spikelet.codegen import plan
from spikelet.errors import UsageError
from spikelet.graph import Graph, Phase
from spikelet.graph.target import ANY, Target

STORED = 64  # bytes of a slot's header, and what storage is written by


@dataclass(frozen=True)
class Needs:
    """Bytes and work of a graph that learns; work in multiply-accumulates.

    Attributes:
        arena_bytes: all tensors of the graph, learned ones among them.
        learned_bytes: learned tensors.
        backbone_bytes: the arena of the same graph without learning.
        work_bytes: what learning takes beside the learned tensors and that.
        initial_bytes: flash of the learned tensors' initial values.
        commit_bytes: written to storage by a commit.
        learn_macs: of one learning step.
        commit_macs: of one commit.
    """

    arena_bytes: int
    learned_bytes: int
    backbone_bytes: int
    work_bytes: int
    initial_bytes: int
    commit_bytes: int
    learn_macs: int
    commit_macs: int

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)

    def check(self, ram_bytes: int, board: str = "the device") -> None:
        """Raise UsageError where the arena does not fit `ram_bytes` of a board."""
        if self.arena_bytes > ram_bytes:
            raise UsageError(
                f"the learner needs an arena of {self.arena_bytes} bytes ({self.learned_bytes} "
                f"learned, {self.work_bytes} to work in), {board} has {ram_bytes} but for the "
                "stack",
                "more is learned than its RAM can hold",
                "learn fewer layers or channels, shrink the learner's tables, or take a board "
                "with more RAM",
            )


def needs(graph: Graph, target: Target = ANY) -> Needs:
    """What a graph takes on an instruction set."""
    tensors = [learned.tensor for learned in graph.learned]
    places = plan(graph, target)
    arena = places.size
    kept = sum(places.slots[tensor.name].size for tensor in tensors)
    still = min(plan(_still(graph), target).size, arena) - kept
    macs = dict.fromkeys(Phase, 0)
    for node in graph.order:
        cost = node.cost()
        macs[graph.phase(node)] += cost.macs + cost.synaptic_ops
    return Needs(
        arena_bytes=arena,
        learned_bytes=sum(tensor.nbytes for tensor in tensors),
        backbone_bytes=still,
        work_bytes=arena - still - kept,
        initial_bytes=sum(
            k.tensor.nbytes for k in graph.learned if k.initial is not None and k.initial.any()
        ),
        commit_bytes=STORED * (1 - -sum(tensor.nbytes for tensor in tensors) // STORED),
        learn_macs=macs[Phase.LEARN],
        commit_macs=macs[Phase.COMMIT],
    )


def _still(graph: Graph) -> Graph:
    """The same graph, that only predicts."""
    nodes = [node for node in graph.nodes if graph.phase(node) <= Phase.END]
    return Graph(graph.name, graph.steps, graph.inputs, nodes, graph.outputs, graph.learned)
