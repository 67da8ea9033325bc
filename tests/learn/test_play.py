"""A stream played to a device: what it learns, says and records, and what disagrees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from learning_package import CLASSES, clouds, pool
from spikelet.board import find_board
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned, Tensor, c
from spikelet.graph.c import Statement
from spikelet.graph.operator import Emitter, Inferred, Interval, Operator, Phase
from spikelet.learn.continual.metrics import Training, continual
from spikelet.learn.continual.protocol import TuningData, experts, rehearse, tune
from spikelet.learn.continual.streams import stream
from spikelet.learn.learner import Learner, Setting, extend
from spikelet.learn.needs import needs
from spikelet.learn.networks.training_plan import training_plan
from spikelet.learn.state import LearnedState
from spikelet.package import Package
from spikelet.run import SampleProgress, SessionFolder, SessionTarget, Watch, make
from spikelet.run.learning.data import LearningData
from spikelet.run.learning.learn_options import LearnOptions
from spikelet.run.learning.learning_record import BlockEnd, Evaluated, LearningRecord, Step, log_of
from spikelet.run.learning.lesson import Lesson, lesson
from spikelet.run.learning.play import play
from spikelet.run.session_page import write_report
from support import need

STREAM = "class-incremental,tasks=4,blocks=2"
DATA = LearningData("clouds", pool(96, 0), pool(32, 1), CLASSES, (0, 1))


def taught(text: str = "nearest_mean", data: LearningData = DATA) -> Lesson:
    return lesson(clouds(), text, data)


TARGETS: dict[tuple[str, str], SessionTarget] = {}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("images")
    TARGETS.clear()


def play_lesson(
    found: Lesson, board: str, folder: Path, images: Path, **options: Any
) -> dict[str, Any]:
    key = (found.package.sha256, board)
    if key not in TARGETS:
        built = make(found.package, find_board(board), images / "-".join(key))
        TARGETS[key] = SessionTarget(find_board(board), built)
    given = {name: options.pop(name) for name in ("tuned", "state", "watch") if name in options}
    asked = LearnOptions(
        board=board, learner="nearest_mean",
        **{"stream": STREAM, **options},
    )  # fmt: skip
    return play(found, asked, TARGETS[key], SessionFolder(folder), **given)


# What may differ from board to board; all else of a record is the same.
def lines_told(record: LearningRecord) -> list[object]:
    plain = []
    for line in record.lines():
        if isinstance(line, Step):
            plain.append(replace(line, ticks=0, learn_ticks=0))
        else:
            plain.append(
                replace(line, stack_bytes=0, written_bytes=0, erased_pages=0, worn=0)
                if isinstance(line, BlockEnd)
                else line
            )
    return plain


def test_every_board_gives_the_same_numbers(tmp_path: Path, images: Path) -> None:
    need("zig")
    found = taught()
    here = play_lesson(found, "native", tmp_path / "native", images)
    there = play_lesson(found, "virt-rv32", tmp_path / "virt-rv32", images)
    assert here["mismatches"] == there["mismatches"] == 0
    assert here["instructions_per_learning_step"] is None
    assert there["instructions_per_learning_step"] > 100
    assert here["learning"] == there["learning"]
    records = [LearningRecord(SessionFolder(tmp_path / b)) for b in ("native", "virt-rv32")]
    assert lines_told(records[0]) == lines_told(records[1])
    steps = [line for line in records[1].lines() if isinstance(line, Step)]
    assert len(steps) == 96 and all(s.ticks > 0 and s.learn_ticks > 0 for s in steps)


def test_the_record_is_the_twins_log(tmp_path: Path, images: Path) -> None:
    found = taught()
    result = play_lesson(found, "native", tmp_path, images)
    course = stream(STREAM).play(DATA.train, DATA.test)
    expected = rehearse(found.graph, course)
    lines = LearningRecord(SessionFolder(tmp_path)).lines()
    for mine, golden in zip(log_of(lines), expected, strict=True):
        if isinstance(golden, Training):
            assert isinstance(mine, Training) and mine.correct.tolist() == golden.correct.tolist()
        else:
            assert not isinstance(mine, Training)
            assert mine.accuracy.tolist() == golden.accuracy.tolist()
    learning = result["learning"]
    assert learning["acc"] == continual(expected)["acc"] > 0.8
    assert (learning["tasks"][0], len(learning["curves"])) == ("class 0", 9)
    curves = experts(found.graph, course)
    assert learning["relative_performance"] < 1 and len(curves) == 4
    assert [row["name"] for row in learning["baselines"]] == ["naive", "nearest_mean", "joint"]
    assert learning["baselines"][1]["acc"] == learning["acc"]
    assert result["samples"] == 96 and result["correct"] == sum(
        line.prediction == line.label for line in lines if isinstance(line, Step)
    )
    ends = [line for line in lines if isinstance(line, BlockEnd)]
    assert [line.committed for line in ends] == [False, True] * 4
    assert learning["written_to_flash_bytes"] == 4 * found.needs.commit_bytes
    assert result["flash_written_bytes"] == 4 * found.needs.commit_bytes
    assert learning["needs"] == needs(found.graph).as_dict()


class _Cut(Exception):
    pass


class _Cuts(Watch):
    """Breaks off when so many samples are learned."""

    def __init__(self, done: int) -> None:
        self.done = done

    def progress(self, now: SampleProgress) -> None:
        if now.doing.startswith("learn") and now.done == self.done:
            raise _Cut


def test_a_session_that_broke_off_goes_on(tmp_path: Path, images: Path) -> None:
    found = taught()
    whole = play_lesson(found, "native", tmp_path / "whole", images)
    with pytest.raises(_Cut):
        play_lesson(found, "native", tmp_path / "cut", images, watch=_Cuts(55))
    folder = SessionFolder(tmp_path / "cut")
    assert not folder.head()["complete"]
    lines = LearningRecord(folder).lines()
    assert sum(isinstance(line, BlockEnd) for line in lines) == 4
    view = write_report(folder, tmp_path / "report.html")
    assert (view["complete"], view["samples"], view["total"]) == (False, 48, 96)
    assert len(view["learning"]["rows"]) == 3 and view["learning"]["tasks"][0] == "class 0"
    assert "goes on after the last whole block" in (tmp_path / "report.html").read_text()
    again = play_lesson(found, "native", tmp_path / "cut", images, resume=True)
    assert again["learning"] == whole["learning"] and again["mismatches"] == 0
    assert lines_told(LearningRecord(folder)) == lines_told(
        LearningRecord(SessionFolder(tmp_path / "whole"))
    )
    assert folder.head()["complete"]
    with pytest.raises(UsageError, match="has stream"):
        play_lesson(found, "native", tmp_path / "cut", images, resume=True, stream="iid")


def test_a_session_that_did_not_end_is_moved_aside(tmp_path: Path, images: Path) -> None:
    found = taught()
    with pytest.raises(_Cut):
        play_lesson(found, "native", tmp_path / "s", images, watch=_Cuts(1))
    play_lesson(found, "native", tmp_path / "s", images, stream="iid,blocks=1", baselines=False)
    moved = LearningRecord(SessionFolder(tmp_path / "s.1")).lines()
    assert [type(line) for line in moved] == [Evaluated]


def test_learning_goes_on_from_a_state(tmp_path: Path, images: Path) -> None:
    found, file = taught(), tmp_path / "learned.npz"
    play_lesson(found, "native", tmp_path / "first", images, save_state=file)
    kept = LearnedState.load(file, found.package)
    second = play_lesson(found, "native", tmp_path / "second", images, state=kept, baselines=False)
    assert second["mismatches"] == 0
    before, after = second["learning"]["curves"][0], kept.tensors
    assert np.mean(before) > 0.8  # what it knew when it began
    assert after["nearest_mean.count"].sum() == kept.steps == 96


def test_no_headline_figure_on_tuned_data(tmp_path: Path, images: Path) -> None:
    found, _text = taught(), STREAM
    data = TuningData(DATA.train, DATA.test, "clouds")
    grid = {"metric": ["euclid"]}
    tuned = tune(found.backbone, "nearest_mean", {}, grid, STREAM, found.where, data)
    with pytest.raises(UsageError, match="no figure is reported: 32 of the 32"):
        play_lesson(found, "native", tmp_path / "refused", images, tuned=tuned)
    assert not (tmp_path / "refused" / "learning.jsonl").exists()
    other = LearningData("other clouds", pool(96, 8), pool(32, 9), CLASSES, (0, 1))
    result = play_lesson(
        taught(data=other), "native", tmp_path / "good", images, tuned=tuned, baselines=False
    )
    learning = result["learning"]["tuned"]
    assert learning["acc_transferred"] == result["learning"]["acc"]
    assert learning["acc_tuned"] == tuned.acc and learning["sha256"] == tuned.sha256


def test_a_learner_must_fit_the_board() -> None:
    small = find_board("microbit")
    wide = LearningData("clouds", pool(96, 0), pool(32, 1), 1000)
    with pytest.raises(UsageError, match="the learner needs an arena of"):
        lesson(clouds(), "nearest_mean", wide, small)
    less = LearningData("clouds", pool(96, 0), pool(32, 1), 110)
    with pytest.raises(UsageError, match="a slot of the board's storage holds 8192"):
        lesson(clouds(), "nearest_mean", less, small)


@dataclass(kw_only=True)
class WrongLearn(Operator):
    """Adds 1 on the device, 2 in golden, to the sum of class 3 only."""

    KIND: ClassVar[str] = "test_wrong_learn"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        label, sums = (env[name] for name in self.inputs)
        y = int(label.flat[0])
        sums[y] += 2 if y == 3 else 1

    def emit(self, em: Emitter) -> list[Statement]:
        label, sums = map(em.tensor, self.inputs)
        return [c.assign(sums.at(label.dereference()), 1, "+=")]


@dataclass(kw_only=True)
class Scores(Operator):
    """The sums."""

    KIND: ClassVar[str] = "test_scores"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        bounds[self.name] = bounds[self.inputs[1]]
        return Inferred([Tensor(self.name, "i32", self.ins[1].shape)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        features, sums = (env[name] for name in self.inputs)
        env[self.name] = np.repeat(sums[np.newaxis], len(features), axis=0)

    def emit(self, em: Emitter) -> list[Statement]:
        out, sums = em.tensor(self.name), em.tensor(self.inputs[1])
        i = c.name("i")
        return [c.repeat("i", CLASSES, c.assign(out.at(i), sums.at(i)))]


class Wrong(Learner):
    def attach(self, backbone: Graph, setting: Setting) -> Graph:
        sums = Learned.of("wrong.sums", "i32", (CLASSES,), low=0, high=10**6)
        nodes = [
            Scores(name="scores", inputs=(setting.features, "wrong.sums")),
            WrongLearn(name="wrong", inputs=("label", "wrong.sums")),
        ]
        return extend(backbone, nodes, [sums], ["scores"], CLASSES)


def test_a_device_that_learns_otherwise_is_named(tmp_path: Path, images: Path) -> None:
    found = taught()
    graph = Wrong().attach(replace(found.backbone, outputs=["head"]), found.where)
    wrong = replace(found, package=Package(graph), learner=Wrong(), plan=training_plan(graph))
    result = play_lesson(wrong, "native", tmp_path, images, baselines=False)
    texts = [difference["text"] for difference in result["differences"]]
    assert texts[0] == "sample 73: the outputs' digests differ"
    assert "block 6: after 84 samples, wrong.sums[3]: golden 24, device 12" in texts
    lines = LearningRecord(SessionFolder(tmp_path)).lines()
    unknown = [line.index for line in lines if isinstance(line, Step) and line.prediction < 0]
    assert unknown == list(range(73, 96))
    # Evaluations are the device's own: all sums alike, or 24 at most, so class 0 or ties.
    last = [line for line in lines if isinstance(line, Evaluated)][-1]
    assert last.mismatches == 32 and last.correct == [8, 0, 0, 0]
    assert result["golden_accuracy"] is None and result["mismatches"] > 23
