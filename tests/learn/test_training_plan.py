"""What the training plan prints is what the device does."""

from __future__ import annotations

from pathlib import Path

import pytest

from int8_classifier import WEIGHTED, classifier, samples, setting
from learning import LEARN_TARGETS
from spikelet.board import find_board
from spikelet.graph import Graph
from spikelet.learn.learners.finetune import FineTune
from spikelet.learn.networks.training_plan import training_plan
from spikelet.link import LearnAction
from spikelet.package import Package
from spikelet.run.learner import device_learner
from support import need


def fine_tune(**options: object) -> Graph:
    graph = classifier(True)
    return FineTune(**options).attach(graph, setting(graph))  # type: ignore[arg-type]


def test_the_table_tells_what_learns_and_what_is_kept() -> None:
    graph = fine_tune(update="deep:3+point:bias+head", recompute="wide")
    told = {row.layer: row for row in training_plan(graph).layers}
    assert list(told) == list(WEIGHTED[1:])  # the first layer stays int8
    assert [told[n].learns for n in told] == [
        "3 of 5 channels, bias",
        "-",
        "bias",
        "4 of 4 channels, bias",
    ]
    assert [told[n].output for n in told] == ["kept", "computed again", "kept", "kept"]
    assert told["deep"].learned_bytes == 4 * (9 * 3 + 5)
    assert told["wide"].frozen_bytes == 4 * (5 * 6 + 6)
    assert told["point"].learn_macs == told["point"].macs  # its input gradient, and no weights
    assert told["wide"].learn_macs == 2 * told["wide"].macs  # the same, and once more forward
    assert told["head"].learn_macs == 2 * told["head"].macs
    text = str(training_plan(graph, page_bytes=256))
    assert "3 of 5 channels, bias" in text
    arena = f"{training_plan(graph).needs.arena_bytes:,}".replace(",", " ")
    assert f"peak RAM, arena   {arena} B" in text


def test_a_commit_is_told_with_its_pages() -> None:
    plan = training_plan(fine_tune(update="head"), page_bytes=64)
    learned = 4 * (4 * 6 + 4) + 4  # weights, biases, the count of skipped samples
    assert plan.needs.learned_bytes == learned
    assert (plan.needs.commit_bytes, plan.commit_pages) == (64 + 128, 3)  # a header, padding


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("rv32-gcc-qemu", {"precision": "i16"}),
        ("rv32f-gcc-qemu", {"precision": "f32", "recompute": "depthwise"}),
        ("m4-gcc-qemu", {"precision": "i8", "update": "point"}),
    ],
)
def test_the_device_does_what_the_plan_says(
    target: str, options: dict[str, object], tmp_path: Path
) -> None:
    board, toolchain, machine, _, tools = LEARN_TARGETS[target]
    for tool in tools:
        need(tool)
    graph = fine_tune(**{"update": "all", **options})
    inputs, labels = samples(3)
    found = find_board(board)
    assert found.memory is not None
    with device_learner(
        Package(graph), board, folder=tmp_path, toolchain=toolchain, machine=machine
    ) as device:
        device.observe(inputs, labels)
        before = device.device.learn_state(LearnAction.INFO)
        device.commit()
        stored = device.device.learn_state(LearnAction.INFO)
        told = training_plan(graph, found.target, stored.page_bytes)
        assert device.facts["arena_bytes"] == told.needs.arena_bytes
        assert device.learned is not None
        assert 0 < device.learned.stack <= found.memory.stack_bytes
        held = sum(values.nbytes for values in device.state().values())
        assert held == told.needs.learned_bytes
        assert stored.written_bytes - before.written_bytes == told.needs.commit_bytes
        assert stored.erased_pages - before.erased_pages == told.commit_pages
