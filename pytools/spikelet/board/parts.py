"""Real parts and their cores, as `parts.toml` has them."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from spikelet.board.spec import Board, derived_board
from spikelet.errors import UsageError
from spikelet.graph.target import CORES, Target

KIB = 1024
# Figures, then a file of a repository at a commit, or a page, then what there is to say.
_WHERE = r"([\w.-]+/[\w.-]+@[0-9a-f]{7} [\w./-]+|https://[\w./-]+)"
READ = rf"^(clock|flash|RAM)(, (flash|RAM))*: {_WHERE}(; .+)?$"


class Core(BaseModel):
    """A core, and where its instructions are counted.

    Attributes:
        cycles: cycles an instruction, at the least and at the most; None where none are counted.
        because: of what kind that range is, or why there is none.
        board: an emulated board that runs its instructions, and what differs from that.
        like: another core, whose board is this one's as well.
        timing: the core of `spikelet cycles` that it is: cycles are then estimated, from the
            instructions that are executed and the manual, in place of the range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cycles: tuple[float, float] | None = None
    because: str
    board: dict[str, Any] | None = None
    like: str | None = None
    timing: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Core:
        if self.cycles is not None and not 0 < self.cycles[0] <= self.cycles[1]:
            raise ValueError("cycles: the least comes first")
        return self


class Part(BaseModel):
    """A part that can be bought.

    Attributes:
        core: one of the cores.
        mhz: its highest clock.
        flash_kib: flash on the chip; None where it is outside.
        ram_kib: RAM in one piece.
        source: the datasheet that decides.
        read: where figures were looked up: "flash, RAM: " and a file of a repository, or a page.
        note: what a reader must know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    core: str
    mhz: float = Field(gt=0)
    flash_kib: int | None = Field(default=None, gt=0)
    ram_kib: int = Field(gt=0)
    source: str = Field(min_length=1)
    read: tuple[Annotated[str, Field(pattern=READ)], ...] = ()
    note: str = ""

    @property
    def from_memory(self) -> tuple[str, ...]:
        """The figures that were looked up nowhere."""
        read = {name for line in self.read for name in line.split(": ")[0].split(", ")}
        return tuple(name for name, value in self._figures() if value and name not in read)

    def _figures(self) -> tuple[tuple[str, float | None], ...]:
        return ("clock", self.mhz), ("flash", self.flash_kib), ("RAM", self.ram_kib)

    @property
    def flash_bytes(self) -> int | None:
        """Flash on the chip."""
        return None if self.flash_kib is None else KIB * self.flash_kib

    @property
    def ram_bytes(self) -> int:
        """RAM in one piece."""
        return KIB * self.ram_kib


@dataclass(frozen=True)
class Parts:
    """All of them, by name."""

    cores: dict[str, Core]
    parts: dict[str, Part]

    def board(self, core: str) -> Board | None:
        """The board on which a core's instructions are counted; None where there is none."""
        entry = self.cores[core]
        if entry.like is not None:
            return self.board(entry.like)
        return None if entry.board is None else derived_board(entry.board)

    def select(self, core: str | None = None, part: str | None = None) -> dict[str, Part]:
        """The parts of a core, the one of a name, or all.

        A core has the names that `Target.of_core` takes, with or without the f of its FPU; an
        instruction set is all cores that have it.

        Raises:
            UsageError: there is no such core or part.
        """
        cores = None if core is None else self._called(core)
        chosen = {n: p for n, p in self.parts.items() if cores is None or p.core in cores}
        if part is None:
            return chosen
        named = {n: p for n, p in chosen.items() if n.lower() == part.lower()}
        if not named:
            raise _unknown("part", part, list(chosen))
        return named

    def _called(self, text: str) -> set[str]:
        """The cores that a name means."""
        plain = text.lower().strip().replace("_", "-").removesuffix("f")
        called = {core for core in self.cores if core.removesuffix("f") == plain}
        try:
            target = Target.of_core(text)
        except ValueError as e:
            raise UsageError(str(e), next=f"one of {', '.join(self.cores)}") from e
        if not called and text not in CORES:
            called = {core for core in self.cores if Target.of_core(core).core == target.core}
        if not called:
            raise UsageError(
                f"no part of the list has the core {text!r}", next=f"one of {', '.join(self.cores)}"
            )
        return called


def _unknown(kind: str, name: str, known: list[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return UsageError(
        f"no {kind} of the list is called {name!r}",
        f"did you mean {near[0]!r}?" if near else "",
        f"one of {', '.join(known)}",
    )


@cache
def parts() -> Parts:
    """What the file holds."""
    text = files("spikelet.board").joinpath("parts.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    known = Parts(
        TypeAdapter(dict[str, Core]).validate_python(data["cores"]),
        TypeAdapter(dict[str, Part]).validate_python(data["parts"]),
    )
    if wrong := sorted({p.core for p in known.parts.values()} - set(known.cores)):
        raise ValueError(f"parts.toml: {wrong[0]} is no core of it")
    return known
