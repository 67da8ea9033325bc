"""int8 models of others on every emulated board: exact in every layer, or refused with figures."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import numpy as np
import pytest

import graphs
from spikelet.board import ImageTooLarge, find_board
from spikelet.frontends import tflite
from spikelet.package import Package
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from support import need, reference_model

MODELS = {  # name: samples
    "hello_world_int8": 2,
    "micro_speech_quantized": 2,
    "kws_ref_model": 1,
    "pretrainedResnet_quant": 1,
}
BOARDS = (
    "virt-rv32",
    "virt-rv32e",
    "sifive-e",
    "microbit",
    "lm3s6965evb",
    "mps2-an505",
    "netduinoplus2",
    "mps2-an386",
    "mps2-an500",
    "mps3-an547",
)
REFUSED = {("pretrainedResnet_quant", "sifive-e"), ("pretrainedResnet_quant", "microbit")}
ZIG = [
    ("kws_ref_model", "microbit"),
    ("micro_speech_quantized", "sifive-e"),
    ("pretrainedResnet_quant", "mps2-an386"),
    ("kws_ref_model", "mps3-an547"),
]
# For every change: each board with the smallest, each model on a RISC-V and on an Arm that hold it,
# one that is refused, one built by zig.
SOME = {
    *(("hello_world_int8", board, "gcc") for board in BOARDS),
    *((model, board, "gcc") for model in MODELS for board in ("virt-rv32", "mps2-an386")),
    ("kws_ref_model", "mps3-an547", "gcc"),
    ("kws_ref_model", "microbit", "gcc"),
    ("pretrainedResnet_quant", "microbit", "gcc"),
    ("micro_speech_quantized", "sifive-e", "zig"),
}
COMBINATIONS = [
    pytest.param(*combination, marks=[pytest.mark.long] * (combination not in SOME))
    for combination in (
        *((model, board, "gcc") for model in MODELS for board in BOARDS),
        *((model, board, "zig") for model, board in ZIG),
    )
]


@functools.cache
def package(model: str) -> Package:
    graph = tflite.load(reference_model(model)).graph
    rng = np.random.default_rng(1)
    inputs = {name: v[-2:] for name, v in graphs.random_inputs(graph, 4, rng).items()}
    return Package(graph, inputs).with_golden()


@pytest.mark.parametrize(("model", "board_name", "toolchain"), COMBINATIONS)
def test_it_is_exact_in_every_layer_or_refused_with_figures(
    model: str, board_name: str, toolchain: str, tmp_path: Path
) -> None:
    board = find_board(board_name)
    for tool in (board.toolchains[toolchain].command[0], board.machines["qemu"].argv[0]):
        need(tool)
    loaded = package(model)
    if (model, board_name) in REFUSED:
        with pytest.raises(ImageTooLarge) as caught:
            make(loaded, board, tmp_path / "build", toolchain=toolchain, trace=True)
        assert re.search(
            r"ram: \d+ bytes needed, 16384 there, \d+ too many .*; arena \d+, link and the rest "
            r"\d+, stack \d+ bytes of RAM",
            caught.value.what,
        )
        assert caught.value.exit_code == 2
        return
    built = make(loaded, board, tmp_path / "build", toolchain=toolchain, trace=True)
    samples = package_stream(loaded).head(MODELS[model])
    target, folder = SessionTarget(board, built, "qemu"), SessionFolder(tmp_path / "session")
    summary, outcome = run(loaded, target, samples, folder, layers=True)
    assert [str(d) for d in outcome.differences] == []
    assert (summary["samples"], summary["mismatches"]) == (len(samples), 0)
    plan = built.generated.plan
    assert plan.size <= 1.05 * plan.bound


# Bytes of arena, link, agent and stack that the two larger ones may take.
@pytest.mark.parametrize(
    ("model", "board_name", "most"),
    [
        ("kws_ref_model", "microbit", 11000),
        ("kws_ref_model", "mps2-an386", 12000),
        ("pretrainedResnet_quant", "virt-rv32", 37000),
        ("pretrainedResnet_quant", "mps2-an386", 36500),
    ],
)
def test_all_of_the_ram_is_little(model: str, board_name: str, most: int, tmp_path: Path) -> None:
    board = find_board(board_name)
    for tool in (board.toolchains["gcc"].command[0], board.machines["qemu"].argv[0]):
        need(tool)
    loaded = package(model)
    built = make(loaded, board, tmp_path / "build", toolchain="gcc")
    samples, folder = package_stream(loaded).head(1), SessionFolder(tmp_path / "session")
    summary, _ = run(loaded, SessionTarget(board, built, "qemu"), samples, folder)
    assert summary["mismatches"] == 0
    assert 0 < summary["ram_bytes"] + summary["stack_bytes"] <= most
