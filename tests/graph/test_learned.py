"""Graphs that learn: phases, learned tensors, targets; the smallest learner there is."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from spikelet.codegen import plan
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, GraphError, Learned, Operator, Phase, Tensor
from spikelet.graph.c import Statement
from spikelet.graph.operator import Emitter, Inferred, Interval
from spikelet.learn import Twin, identity, needs, until
from spikelet.learn.learner import extend

CLASSES, N = 3, 4


@dataclass(kw_only=True)
class Scores(Operator):
    """`scores = sums @ x`."""

    KIND: ClassVar[str] = "test_scores"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        shape = self.ins[1].shape[:1]
        bounds[self.name] = Tensor(self.name, "i32", shape).interval()
        return Inferred([Tensor(self.name, "i32", shape)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        x, sums = (env[name].astype(np.int32) for name in self.inputs)
        env[self.name] = x @ sums.T

    def emit(self, em: Emitter) -> list[Statement]:
        return []  # golden only


@dataclass(kw_only=True)
class Add(Operator):
    """`sums[label] += x`; as a gate, ends the step of a sample whose first element is 0."""

    KIND: ClassVar[str] = "test_add"

    gate: bool = False

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        x, label, sums = (env[name] for name in self.inputs)
        if not self.gate:
            sums[int(label[0, 0])] += x[0]

    def stops(self, env: dict[str, Array]) -> bool:
        return self.gate and int(env[self.inputs[0]][0, 0]) == 0

    def emit(self, em: Emitter) -> list[Statement]:
        return []  # golden only


@dataclass(kw_only=True)
class Double(Operator):
    """`sums *= 2` at a commit."""

    KIND: ClassVar[str] = "test_double"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.COMMIT

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.inputs[0]][...] *= 2

    def emit(self, em: Emitter) -> list[Statement]:
        return []  # golden only


SUMS = Learned.of("m.sums", "i32", (CLASSES, N), low=-(10**6), high=10**6)
SIXES = np.full((CLASSES, N), 6, np.int32)
READS = ("features", "label", "m.sums")


def learner(*nodes: Operator, learned: Learned = SUMS) -> Graph:
    every = [
        Scores(name="scores", inputs=("features", "m.sums")),
        *nodes,
        Add(name="add", inputs=READS),
        Double(name="double", inputs=("m.sums",)),
    ]
    return extend(identity((N,)), every, [learned], ["scores"], classes=CLASSES)


def samples(count: int = 20) -> tuple[dict[str, Array], Array]:
    rng = np.random.default_rng(7)
    x = rng.integers(-128, 128, (count, N)).astype(np.int8)
    return {"x": x}, rng.integers(0, CLASSES, count)


def test_the_twin_learns_one_sample_after_the_other() -> None:
    graph, (inputs, labels) = learner(), samples()
    twin = Twin(graph)
    outputs = twin.observe(inputs, labels)["scores"]
    sums = np.zeros((CLASSES, N), np.int32)
    for x, label, found in zip(inputs["x"].astype(np.int32), labels, outputs, strict=True):
        assert (found == sums @ x).all()  # as it was before the sample was learned
        sums[label] += x
    assert (twin.learned["m.sums"] == sums).all()
    assert twin.steps == len(labels)
    assert (twin.predict(inputs).outputs["scores"] == inputs["x"].astype(np.int32) @ sums.T).all()
    twin.commit()
    assert (twin.learned["m.sums"] == 2 * sums).all()


def test_a_prediction_learns_nothing_and_needs_no_label() -> None:
    twin = Twin(learner())
    before = twin.crc()
    twin.predict(samples()[0])
    assert twin.crc() == before


def test_a_saved_state_goes_on_where_it_was() -> None:
    inputs, labels = samples()
    half = {name: values[:10] for name, values in inputs.items()}
    rest = {name: values[10:] for name, values in inputs.items()}
    one, other = Twin(learner()), Twin(learner())
    one.observe(half, labels[:10])
    other.restore(one.state())
    one.observe(rest, labels[10:])
    assert one.crc() != other.crc()
    other.observe(rest, labels[10:])
    assert one.crc() == other.crc()
    one.reset()
    assert one.crc() == Twin(learner()).crc()


def test_a_state_of_another_learner_is_refused() -> None:
    twin = Twin(learner())
    with pytest.raises(UsageError, match=r"learned state with tensors other.sums"):
        twin.restore({"other.sums": np.zeros((CLASSES, N), np.int32)})
    with pytest.raises(UsageError, match=r"learned tensor m.sums: int32 of shape \(2, 4\)"):
        twin.restore({"m.sums": np.zeros((2, N), np.int32)})


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([0, 3], r"label 3 of sample 1 is not within 0\.\.2"),
        ([-1, 0], r"label -1 of sample 0"),
        (None, r"learns from label, given are none"),
        ([0], r"target label: int32 of shape \(1, 1\), expected int32 of shape \(2, 1\)"),
    ],
)
def test_wrong_labels_are_named(labels: list[int] | None, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Twin(learner()).observe(samples(2)[0], labels)


def test_a_gate_ends_the_step_of_a_sample() -> None:
    inputs, labels = samples()
    inputs["x"][::2, 0] = 0
    inputs["x"][1::2, 0] = 1
    twin = Twin(learner(Add(name="gate", inputs=READS, gate=True)))
    twin.observe(inputs, labels)
    assert twin.learned["m.sums"][:, 0].sum() == len(labels) // 2


def test_it_survives_json() -> None:
    initial = np.arange(CLASSES * N, dtype=np.int32).reshape(CLASSES, N)
    graph = learner(learned=replace(SUMS, initial=initial))
    again = Graph.from_json(json.loads(json.dumps(graph.to_json())), graph.constants())
    assert json.dumps(again.to_json()) == json.dumps(graph.to_json())
    assert (again.initial()["m.sums"] == initial).all()
    assert again.classes == CLASSES
    low, high = again.bounds["m.sums"]
    assert (low.min(), high.max()) == (-(10**6), 10**6)


def test_a_graph_without_learning_is_described_as_ever() -> None:
    assert not {"learned", "classes", "targets"} & set(identity((N,)).to_json())


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (
            lambda: learner(learned=replace(SUMS, high=5, initial=SIXES)),
            r"its initial value is outside \[-1000000, 5\]",
        ),
        (
            lambda: learner(learned=replace(SUMS, initial=np.zeros((N,), np.int32))),
            r"its initial value is int32 of shape \(4,\), expected int32 of shape \(3, 4\)",
        ),
        (
            lambda: learner(Double(name="late", inputs=("features",))),
            r"layer late .* reads features of a sample, and a commit has none",
        ),
        (
            lambda: learner(Scores(name="early", inputs=("label", "m.sums")), learned=SUMS),
            None,  # what reads a label runs when there is one
        ),
        (
            lambda: extend(identity((N,)), [], [SUMS, SUMS], ["features"]),
            r"learned tensor 'm.sums' is there already",
        ),
        (
            lambda: extend(identity((N,)), [], [], ["features"], classes=-1),
            r"classes is -1, expected",
        ),
        (
            lambda: extend(identity((N,)), [Scores(name="s", inputs=("features", "label"))], [],
                             ["s"], classes=2),
            r"output s is known after learning only",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(graph: object, says: str | None) -> None:
    assert callable(graph)
    if says is None:
        assert graph().phase(graph().nodes[2]) is Phase.LEARN
        return
    with pytest.raises(GraphError, match=says):
        graph()


def test_floats_are_finite() -> None:
    graph = identity((N,), "f32")
    values = np.ones((2, N), np.float32)
    graph.run({"x": values})
    values[1, 2] = np.nan
    with pytest.raises(GraphError, match="input x: holds a value that is not a finite number"):
        graph.run({"x": values})


def test_learned_tensors_share_their_memory_with_nothing() -> None:
    graph = learner()
    slots = plan(graph).slots
    mine = slots["m.sums"]
    for name, slot in slots.items():
        if name != "m.sums":
            assert slot.offset >= mine.offset + mine.size or mine.offset >= slot.offset + slot.size


def test_needs_are_known_before_anything_is_built() -> None:
    found = needs(learner())
    assert found.learned_bytes == 4 * CLASSES * N
    assert found.commit_bytes == 64 + 64  # a header, and whole pieces
    assert found.initial_bytes == 0
    assert found.arena_bytes == found.learned_bytes + found.backbone_bytes + found.work_bytes
    with pytest.raises(UsageError, match=rf"needs an arena of {found.arena_bytes} bytes"):
        found.check(found.arena_bytes - 1)
    found.check(found.arena_bytes)


def test_a_backbone_ends_behind_its_features() -> None:
    graph = learner()
    assert [node.name for node in until(identity((N,)), "features").nodes] == ["features"]
    with pytest.raises(UsageError, match=r"computes no tensor 'feature'[\s\S]*use one of features"):
        until(graph, "feature")
