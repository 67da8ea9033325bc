"""One network at several widths, chosen by an input."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import graphs
from link_agent import start
from spikelet.board import find_board
from spikelet.codegen import generate
from spikelet.graph import GraphError, Tensor
from spikelet.graph.widths import EFFORT, at_widths, draft_first
from spikelet.link import Device, DeviceRefused
from spikelet.package import Package
from spikelet.run import make
from targets import check_package
from width_graphs import WIDTHS, inputs_of, nested, plain


def test_each_width_computes_what_its_own_network_does() -> None:
    graph = nested()
    given = inputs_of(graph, 12)
    outputs = graph.run(given).outputs["scores"]
    for sample, width in enumerate(given[EFFORT][:, 0]):
        alone = nested((int(width),))
        one = {name: values[sample : sample + 1] for name, values in given.items()}
        assert np.array_equal(alone.run(one).outputs["scores"][0], outputs[sample])
    every = {
        w: graph.run({**given, EFFORT: 0 * given[EFFORT] + w}).outputs["scores"] for w in WIDTHS
    }
    assert all(not np.array_equal(every[8], every[w]) for w in (4, 2, 1))


@pytest.mark.parametrize("target", ["native-gcc-sanitized", "rv32-gcc-qemu"])
def test_devices_switch_from_sample_to_sample(target: str, tmp_path: Path) -> None:
    graph = nested()
    check_package(target, Package(graph, inputs_of(graph, 9), {}).with_golden(), tmp_path)


def test_the_weights_lie_in_flash_once(tmp_path: Path) -> None:
    one, four = (
        generate(graph, "0" * 64, tmp_path).const_bytes for graph in (nested((8,)), nested())
    )
    tables = 2 * 8 * (4 + 4 + 1)  # bias, multiplier, shift of both layers, padded to fours
    assert one < four <= one + 3 * tables


def test_a_device_refuses_a_width_that_is_not_there(tmp_path: Path) -> None:
    graph = nested((8, 1))
    package = Package(graph, inputs_of(graph, 2), {}).with_golden()
    board = find_board("native")
    built = make(package, board, tmp_path / "build")
    with start(built.firmware.elf) as machine:
        device = Device(machine.transport)
        for width in (0, 2, 4, 9, 32, 255):
            with pytest.raises(DeviceRefused, match="RANGE"):
                device.put(EFFORT, bytes([width]))
        device.put(EFFORT, bytes([1]))


def test_a_width_that_is_not_there_is_refused() -> None:
    graph = nested((8, 1))
    given = inputs_of(graph, 4)
    with pytest.raises(GraphError, match="none of 1, 8"):
        graph.run({**given, EFFORT: 0 * given[EFFORT] + 4})
    other = dataclasses.replace(
        nested((8,)), inputs=[Tensor("x", "i8", (6, 5, 3), kind="input"), *nested((8,)).inputs[1:]]
    )
    with pytest.raises(GraphError, match="expected"):
        at_widths({8: nested((8,)), 1: other}, "two")


def test_the_whole_network_answers_where_the_draft_is_not_sure(tmp_path: Path) -> None:
    draft, whole = (plain(width) for width in (1, 8))
    x = graphs.random_inputs(whole, 40, np.random.default_rng(2))
    first, second = (graph.run(x).outputs["scores"] for graph in (draft, whole))
    top = np.sort(first.astype(int), axis=1)
    leads = top[:, -1] - top[:, -2]
    lead = int(np.median(leads))
    graph = draft_first(draft, whole, lead, "speculative")
    outputs = graph.run(x).outputs
    unsure = leads < lead
    assert 0 < unsure.sum() < 40 and np.array_equal(outputs["unsure"][:, 0], unsure)
    expected = np.where(unsure[:, None], second, first)
    assert np.array_equal(outputs["scores"], expected)
    check_package("rv32-gcc-qemu", Package(graph, x, {}).with_golden(), tmp_path)
