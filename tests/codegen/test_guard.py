"""Sanitised builds: what touches memory that is not its own, or reads what nobody wrote, shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from spikelet.graph import Array, Graph, Learned, Operator, Tensor, c
from spikelet.graph.c import Expression, Statement
from spikelet.graph.operator import Emitter, Inferred, Interval
from spikelet.learn import identity
from spikelet.learn.learner import extend
from spikelet.run.learner import device_learner
from support import need

N = 16


@dataclass(kw_only=True)
class Sloppy(Operator):
    """`y = x`, in C with one more statement of `MORE`."""

    KIND: ClassVar[str] = "test_sloppy"

    more: str

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        bounds[self.name] = bounds[self.inputs[0]]
        return Inferred([Tensor(self.name, "i8", self.ins[0].shape)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        env[self.name] = env[self.inputs[0]].copy()

    def emit(self, em: Emitter) -> list[Statement]:
        x, y, i = em.tensor(self.inputs[0]), em.tensor(self.name), c.name("i")
        return [c.repeat("i", N, c.assign(y.at(i), x.at(i))), *MORE[self.more](y)]


OTHER = c.name("t_other__memory")
MORE: dict[str, Callable[[Expression], list[Statement]]] = {
    "nothing": lambda y: [],
    "name another's": lambda y: c.unused(OTHER),
    "read another's": lambda y: [c.assign(y.at(0), c.cast("int8_t", y.at(0) + OTHER.at(3)))],
    "write another's": lambda y: [c.assign(OTHER.at(0), 1)],
    "write behind its own": lambda y: [c.assign(y.at(N), 0)],
    "read its own": lambda y: [c.assign(y.at(5), y.at(5))],
}


def graph(more: str) -> Graph:
    other = Learned.of("other.memory", "i8", (N,))
    node = Sloppy(name="y", inputs=("features",), more=more)
    return extend(identity((N,)), [node], [other], ["y"])


def outcome(more: str, folder: Path) -> Array:
    need("gcc")
    inputs = {"x": np.arange(N, dtype=np.int8)[None]}
    with device_learner(graph(more), toolchain="gcc", sanitize=True, folder=folder) as device:
        return device.predict(inputs)["y"][0]


def test_an_operator_that_keeps_to_its_own_passes(tmp_path: Path) -> None:
    assert (outcome("name another's", tmp_path) == np.arange(N)).all()


@pytest.mark.parametrize("more", ["read another's", "write another's", "write behind its own"])
def test_what_is_not_its_own_is_out_of_bounds(more: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"AddressSanitizer|closed by the other end"):
        outcome(more, tmp_path)


def test_what_nobody_wrote_is_not_what_golden_has(tmp_path: Path) -> None:
    found = outcome("read its own", tmp_path / "written")
    assert (found == np.arange(N)).all()
    skipped = graph("nothing")
    node = skipped.nodes[1]
    assert isinstance(node, Sloppy)
    node.emit = lambda em: [c.assign(em.tensor("y").at(0), em.tensor("features").at(0))]  # type: ignore[method-assign]
    inputs = {"x": np.arange(N, dtype=np.int8)[None]}
    with device_learner(skipped, toolchain="gcc", sanitize=True, folder=tmp_path / "not") as device:
        found = device.predict(inputs)["y"][0]
    assert found[0] == 0
    assert (found[1:] == np.int8(0xA5 - 256)).all()
