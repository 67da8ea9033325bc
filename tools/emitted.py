"""Writes the C that the tree generates, to show that a refactoring leaves it alone.

`python tools/emitted.py OUT` writes model.c for the instruction set of every board, of

- each package in models/ and tests/fixtures,
- each reference model in the folder that SPIKELET_MODELS names,
- each kind of operator, and each learner at the ends of its options,
- networks that are read from .tflite, .onnx, PyTorch and snnTorch.

`--against BEFORE` compares with the folder that another version wrote, and exits with 1 if a file
differs. `--renames FILE` lists names that have changed: a line each, `before after`, where before
is a whole word, or `struct.field` of a kernel's configuration. `tools/renames.txt` has those since
version 0.1.0.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "acceptance"), str(TESTS / "frontends")]

import onnx_networks  # noqa: E402
import test_option_ends  # noqa: E402
import test_snntorch  # noqa: E402
import tflite_cases  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

import edge_graphs  # noqa: E402
import every_kind  # noqa: E402
import spikelet  # noqa: E402
import torch_modules  # noqa: E402
from spikelet.board import boards  # noqa: E402
from spikelet.codegen import generate  # noqa: E402
from spikelet.errors import SpikeletError  # noqa: E402
from spikelet.frontends import onnx, snntorch, tflite  # noqa: E402
from spikelet.frontends.spiking.package import State  # noqa: E402
from spikelet.graph import Graph  # noqa: E402
from spikelet.learn.learner import learners  # noqa: E402
from spikelet.package import Package  # noqa: E402
from spikelet.quantise import quantise  # noqa: E402

Source = tuple[str, Callable[[], Graph | None]]


def of_package(path: Path) -> Graph:
    """The graph of a package."""
    return Package.load(path).graph


def of_file(path: Path) -> Graph | None:
    """The graph of a .tflite file, None where it is a float one."""
    try:
        return tflite.load(path).graph
    except SpikeletError:
        return None


def of_case(case: str) -> Graph:
    """Operators of one kind, from a .tflite file."""
    writer, x, rng = tflite_cases.start(0)
    data = writer.finish([x], tflite_cases.CASES[case](writer, x, rng))
    return tflite.parse(data, case).graph


def of_onnx(name: str) -> Graph:
    """A QDQ file that onnxruntime has quantised."""
    data = onnx_networks.quantise_model(name, "QDQ", "QInt8", True)
    return quantise(onnx.parse(data, name).network, None).graph


def of_torch(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> Graph:
    """A PyTorch module after its quantisation."""
    torch.manual_seed(0)
    module = torch_modules.with_random_statistics(make())
    x = torch.randn(64, *shape, generator=torch.Generator().manual_seed(1))
    return spikelet.export(module, x[:1], x, name=make.__name__).graph


def of_snntorch(reset: str, delay: bool, state: State) -> Graph:
    """An snnTorch network with a Poisson encoder."""
    net = test_snntorch.network(reset, delay, 0.9)
    return snntorch.export(net, steps=8, encoder=snntorch.Poisson(), state=state)


def sources() -> Iterator[Source]:
    """A name, and what makes its graph."""
    for path in sorted([*(ROOT / "models").rglob("*.spk"), *(TESTS / "fixtures").rglob("*.spk")]):
        yield f"package-{path.parent.name}-{path.stem}", partial(of_package, path)
    for path in sorted(Path(os.environ.get("SPIKELET_MODELS", "nowhere")).glob("*.tflite")):
        yield f"reference-{path.stem}", partial(of_file, path)
    for path in sorted((TESTS / "fixtures" / "tflite").glob("*.tflite")):
        yield f"fixture-{path.stem}", partial(of_file, path)
    for case in sorted(tflite_cases.CASES):
        yield f"tflite-{case}", partial(of_case, case)
    for name in sorted(onnx_networks.NETWORKS):
        yield f"onnx-{name}", partial(of_onnx, name)
    yield "torch-ds_cnn", partial(of_torch, torch_modules.ds_cnn, torch_modules.IMAGE)
    yield "torch-signal_net", partial(of_torch, torch_modules.signal_net, torch_modules.SIGNAL)
    for reset, delay in test_snntorch.RESETS:
        for state in get_args(State):
            made = partial(of_snntorch, reset, delay, state)
            yield f"snntorch-{reset}-{int(delay)}-{state}", made
    for group in edge_graphs.GROUPS:
        for i, graph in enumerate(edge_graphs.edges(group).graphs(group)):
            yield f"edges-{group}-{i}", partial(replace, graph)
    for i, make in enumerate(every_kind.MAKERS):
        yield f"kinds-{i:02}", make
    for name in sorted(learners()):
        for i, given in enumerate(test_option_ends.variations(learners()[name])):
            yield f"learner-{name}-{i:02}", partial(test_option_ends.affordable, name, given)


def write(out: Path, number: int) -> None:
    """A source's model.c for each instruction set; the error's text where it makes no graph."""
    name, make = SOURCES[number]
    try:
        graph = make()
    except Exception as e:  # to be compared, too
        (out / f"{name}.error").write_text(f"{e}\n", encoding="utf-8")
        return
    if graph is not None:
        for target in sorted({board.target for board in boards().values()}, key=str):
            generate(graph, "0" * 64, out / name / str(target), target=target)


def texts(folder: Path) -> dict[str, str]:
    """What a version wrote, by path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in files}


def rename(text: str, renames: Sequence[tuple[str, str]]) -> str:
    """The text with whole words, and fields of structures, in place of others."""
    fields: dict[str, dict[str, str]] = {}
    for before, after in renames:
        struct, dot, name = before.partition(".")
        if dot:
            fields.setdefault(struct, {})[name] = after
        else:
            text = re.sub(rf"(?<![\w/.]){re.escape(before)}(?![\w/])", after, text)
    for struct, names in fields.items():
        text = _rename_fields(text, struct, names)
    return text


def _rename_fields(text: str, struct: str, names: Mapping[str, str]) -> str:
    """The text with other names for fields of a structure: where it is filled, and read."""
    config = rf"^static const struct {struct} (\w+) = {{\n(.*?)^}};"
    for match in list(re.finditer(config, text, re.MULTILINE | re.DOTALL)):
        filled = match[2]
        for name, after in names.items():
            filled = filled.replace(f"    .{name} = ", f"    .{after} = ")
            text = re.sub(rf"&{match[1]}\.{name}\b", f"&{match[1]}.{after}", text)
        text = text.replace(match[2], filled)
    return text


def differing(before: Path, after: Path, renames: Sequence[tuple[str, str]]) -> list[str]:
    """The files that are not the same in both folders."""
    old = {path: rename(text, renames) for path, text in texts(before).items()}
    new = texts(after)
    return [path for path in sorted({*old, *new}) if old.get(path) != new.get(path)]


def main() -> int:
    """Write, compare; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder to write, which is not there yet")
    parser.add_argument("--against", type=Path, metavar="BEFORE", help="such a folder")
    parser.add_argument("--renames", type=Path, metavar="FILE", help="a line each: before after")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    context = multiprocessing.get_context("fork")  # a source is a closure
    with ProcessPoolExecutor(os.cpu_count(), context) as pool:
        for _ in pool.map(partial(write, options.out), range(len(SOURCES))):
            pass
    print(f"{len(texts(options.out))} files")
    if options.against is None:
        return 0
    lines = options.renames.read_text(encoding="utf-8").split("\n") if options.renames else []
    renames = [(a, b) for a, b in (line.split() for line in lines if line.strip())]
    wrong = differing(options.against, options.out, renames)
    print("\n".join([*wrong, f"{len(wrong)} differ"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    SOURCES = list(sources())
    sys.exit(main())
