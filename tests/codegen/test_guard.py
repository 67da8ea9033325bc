"""Sanitised builds: what touches memory that is not its own, or reads what nobody wrote, shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from spikelet.graph import Array, Graph, Learned, Operator, Tensor
from spikelet.graph.operator import Emitter, Interval
from spikelet.learn import identity
from spikelet.learn.learner import extended
from spikelet.run.learner import device_learner
from support import need

N = 16


@dataclass(kw_only=True)
class Sloppy(Operator):
    """`y = x`, in C by the statement that it is given."""

    KIND: ClassVar[str] = "test_sloppy"

    statement: str

    def infer(self, ins: list[Tensor], bounds: dict[str, Interval], steps: int) -> list[Tensor]:
        bounds[self.name] = bounds[self.inputs[0]]
        return [Tensor(self.name, "i8", ins[0].shape)]

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.name] = env[self.inputs[0]].copy()

    def emit(self, em: Emitter) -> list[str]:
        x, y = em.tensor(self.inputs[0]), em.tensor(self.name)
        copied = f"for (uint32_t i = 0; i < {N}; i++) {{ {y}[i] = {x}[i]; }}"
        return [copied, self.statement.format(x=x, y=y)]


def graph(statement: str) -> Graph:
    other = Learned.of("other.memory", "i8", (N,))
    node = Sloppy(name="y", inputs=("features",), statement=statement)
    return extended(identity((N,)), [node], [other], ["y"])


def outcome(statement: str, folder: Path) -> Array:
    need("gcc")
    inputs = {"x": np.arange(N, dtype=np.int8)[None]}
    with device_learner(graph(statement), toolchain="gcc", sanitize=True, folder=folder) as device:
        return device.predict(inputs)["y"][0]


def test_an_operator_that_keeps_to_its_own_passes(tmp_path: Path) -> None:
    assert (outcome("(void)t_other__memory;", tmp_path) == np.arange(N)).all()


@pytest.mark.parametrize(
    "statement",
    ["{y}[0] = (int8_t)({y}[0] + t_other__memory[3]);", "t_other__memory[0] = 1;", "{y}[-1] = 0;"],
)
def test_what_is_not_its_own_is_out_of_bounds(statement: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"AddressSanitizer|closed by the other end"):
        outcome(statement, tmp_path)


def test_what_nobody_wrote_is_not_what_golden_has(tmp_path: Path) -> None:
    found = outcome("{y}[5] = {y}[5];", tmp_path / "written")
    assert (found == np.arange(N)).all()
    skipped = graph("")
    node = skipped.nodes[1]
    assert isinstance(node, Sloppy)
    node.emit = lambda em: [f"{em.tensor('y')}[0] = {em.tensor('features')}[0];"]  # type: ignore[method-assign]
    inputs = {"x": np.arange(N, dtype=np.int8)[None]}
    with device_learner(skipped, toolchain="gcc", sanitize=True, folder=tmp_path / "not") as device:
        found = device.predict(inputs)["y"][0]
    assert found[0] == 0
    assert (found[1:] == np.int8(0xA5 - 256)).all()
