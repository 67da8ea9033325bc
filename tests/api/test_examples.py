"""The examples of what users import as `spikelet`, run as one session: with real boards."""

from __future__ import annotations

import doctest
import importlib
import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import spikelet
from spikelet import api
from spikelet.paths import models_dir
from support import need

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# What needs no example of its own.
PLAIN = {
    "Device.commit", "Device.info", "Device.put", "Device.reset", "Device.ticks",
    "Device.to_factory", "Package.of",
    "LearnOptions.grid", "LearnOptions.place", "LearnOptions.to_resume", "Package.with_arena",
    "RunOptions.builds", "Session.accuracy", "Session.complete", "Session.error", "Session.label",
    "Session.mismatches", "Watch.log", "Watch.note", "Watch.planned", "Watch.progress",
    "Watch.step",
    "Spiking.encoding", "State.read", "State.update",
    "Summary.layers", "Summary.svg", "Summary.with_bench",
}  # fmt: skip


def examples() -> Iterator[doctest.DocTest]:
    """Those of the module first: it begins the session; then those of packages."""
    finder = doctest.DocTestFinder()
    yield from doctest.DocTestFinder(recurse=False).find(api, "spikelet.api")
    for name in sorted(spikelet.__all__, key=lambda name: name != "Package"):
        thing = getattr(spikelet, name)
        if inspect.isroutine(thing) or inspect.isclass(thing):
            room = importlib.import_module(thing.__module__)
            yield from finder.find(thing, f"spikelet.{name}", module=room)


def short_recipe(folder: Path) -> None:
    """A recipe of one epoch, under the name that the example of `train` has."""
    shutil.copytree(models_dir() / "digits_snn", folder)
    recipe = folder / "recipe.toml"
    text = recipe.read_text()
    lines = ["epochs = 1" if line.startswith("epochs") else line for line in text.splitlines()]
    recipe.write_text("\n".join(lines) + "\n")


def test_every_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("snntorch")
    need("zig")
    monkeypatch.chdir(tmp_path)
    short_recipe(tmp_path / "my_model")
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)  # small matrices, busy cores
    shared: dict[str, Any] = {}
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    said: list[str] = []
    for test in examples():
        test.globs = shared
        runner.run(test, out=said.append, clear_globs=False)
        if test.name == "spikelet.api":
            _write_onnx(shared)
    assert runner.failures == 0, "".join(said)
    assert runner.tries > 40


def _write_onnx(shared: dict[str, Any]) -> None:
    import onnx
    from onnx import helper, numpy_helper

    names = {"w0": "0.weight", "b0": "0.bias", "w1": "2.weight", "b1": "2.bias"}
    held = {name: shared["net"].state_dict()[key].numpy() for name, key in names.items()}
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w0", "b0"], ["h"], transB=1),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Gemm", ["r", "w1", "b1"], ["scores"], transB=1),
        ],
        "tiny",
        [value("x", onnx.TensorProto.FLOAT, [1, 4])],
        [value("scores", onnx.TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(values, name) for name, values in held.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), "tiny.onnx")


def test_every_call_has_an_example() -> None:
    missing = []
    for name in spikelet.__all__:
        thing = getattr(spikelet, name)
        if inspect.isfunction(thing):
            missing += [name] * (">>>" not in (thing.__doc__ or ""))
        elif inspect.isclass(thing) and thing.__module__.startswith("spikelet"):
            for key, member in vars(thing).items():
                function = member.fget if isinstance(member, property) else member
                function = getattr(function, "__func__", function)
                if key.startswith("_") or not inspect.isfunction(function):
                    continue
                called = f"{name}.{key}"
                if ">>>" not in (function.__doc__ or "") and called not in PLAIN:
                    missing.append(called)
    assert missing == []
