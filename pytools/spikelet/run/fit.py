"""Whether real parts hold a package, and in how many milliseconds they would compute it.

Sizes and instructions are measured on an emulated board that has the part's instruction set; only
the cycles an instruction are an assumption, a range (`board/parts.toml`), but for cores that
`spikelet.run.cycles` times: there they are estimated from what the network executes. The image is
that of the agent: kernels, weights and arena, and the link with its 1 to 2 KB of RAM.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spikelet.board import Board, ImageTooLarge, ToolMissing, machines
from spikelet.board.parts import Core, Part, Parts
from spikelet.codegen import generate
from spikelet.errors import UsageError
from spikelet.graph.target import ANY
from spikelet.package import Package
from spikelet.run.cycles import CORES, predict
from spikelet.run.session_folder import SessionFolder
from spikelet.run.workflow import BuiltImage, SessionTarget, make, run
from spikelet.streams import package_stream

SAMPLES = 2  # of the package's own, whose instructions are counted
IMAGE, LAYERS = "image", "layers"


@dataclass(frozen=True)
class Needs:
    """What a package takes on a core.

    Attributes:
        flash_bytes: of the image; of the constants alone where nothing was built.
        ram_bytes: static; the arena alone where nothing was built.
        stack_bytes: measured, or what the board reserves; 0 where nothing was built.
        instructions: of an inference; None where they were not counted.
        by: "image", or "layers" where no image was built: then these are lower bounds.
        where: the board and machine that counted.
        why: why no image was built, or nothing counted.
        cycles: of an inference, least and most, by the core's manual; None where `spikelet cycles`
            does not know this core or could not execute the network.
    """

    flash_bytes: int
    ram_bytes: int
    stack_bytes: int
    instructions: float | None
    by: str
    where: str = ""
    why: str = ""
    cycles: tuple[float, float] | None = None

    @property
    def all_ram_bytes(self) -> int:
        """RAM in all."""
        return self.ram_bytes + self.stack_bytes


@dataclass(frozen=True)
class Fit:
    """One part.

    Attributes:
        name: of the part.
        part: its figures.
        core: of the part.
        needs: what the package takes there.
        fits: None where lower bounds fit and nothing more is known.
        flash_free: bytes that remain; negative where they lack; None where flash is outside.
        ram_free: the same of RAM.
        milliseconds: of an inference, from and to; None where no instructions were counted.
    """

    name: str
    part: Part
    core: Core
    needs: Needs
    fits: bool | None
    flash_free: int | None
    ram_free: int
    milliseconds: tuple[float, float] | None

    @property
    def estimated(self) -> bool:
        """Whether cycles are those of the instructions that this network executes."""
        return self.core.timing is not None and self.needs.cycles is not None

    @property
    def cycles_each(self) -> tuple[float, float] | None:
        """Cycles an instruction, at the least and at the most."""
        return _cycles(self.core, self.needs)

    @property
    def cycles_source(self) -> str:
        """Where cycles an instruction come from."""
        if not self.estimated or self.core.timing is None:
            return self.core.because
        source = CORES[self.core.timing].source
        return f"estimate of what this network executes, without wait states, from {source}"

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "part": self.name,
            "core": self.part.core,
            "mhz": self.part.mhz,
            "flash_bytes": self.part.flash_bytes,
            "ram_bytes": self.part.ram_bytes,
            "source": self.part.source,
            "read": self.part.read,
            "from_memory": self.part.from_memory,
            "note": self.part.note,
            "fits": self.fits,
            "flash_free_bytes": self.flash_free,
            "ram_free_bytes": self.ram_free,
            "needs": {
                "flash_bytes": self.needs.flash_bytes,
                "ram_bytes": self.needs.ram_bytes,
                "stack_bytes": self.needs.stack_bytes,
                "by": self.needs.by,
                "where": self.needs.where or None,
                "why": self.needs.why or None,
            },
            "instructions": self.needs.instructions,
            "cycles_per_instruction": self.cycles_each,
            "cycles_source": self.cycles_source,
            "milliseconds": self.milliseconds,
        }


def fits(
    package: Package,
    known: Parts,
    chosen: dict[str, Part],
    toolchain: str = "auto",
    doing: Callable[[str], None] | None = None,
) -> list[Fit]:
    """Each of the chosen parts: those that hold the package first, the fastest of them on top.

    Args:
        package: the model.
        known: all parts, for their cores.
        chosen: the parts that are asked for.
        toolchain: one that all boards have, or auto.
        doing: told what is measured now.
    """
    measured: dict[str, Needs] = {}
    rows = []
    for name, part in chosen.items():
        root = _root(known, part.core)
        if root not in measured:
            if doing is not None:
                doing(f"measuring on {root}")
            measured[root] = _estimated(
                package, needs(package, known.board(root), known.cores[root], toolchain),
                known.cores[root], toolchain,
            )  # fmt: skip
        rows.append(_fit(name, part, known.cores[part.core], measured[root]))
    return sorted(rows, key=_order)


def _root(known: Parts, core: str) -> str:
    like = known.cores[core].like
    return core if like is None else _root(known, like)


def _fit(name: str, part: Part, core: Core, needs: Needs) -> Fit:
    flash = None if part.flash_bytes is None else part.flash_bytes - needs.flash_bytes
    ram = part.ram_bytes - needs.all_ram_bytes
    enough: bool | None = ram >= 0 and (flash is None or flash >= 0)
    if enough and needs.by == LAYERS:
        enough = None
    span, each = None, _cycles(core, needs)
    if needs.instructions is not None and each is not None:
        low, high = (c * needs.instructions / (1000 * part.mhz) for c in each)
        span = (low, high)
    return Fit(name, part, core, needs, enough, flash, ram, span)


def _cycles(core: Core, needs: Needs) -> tuple[float, float] | None:
    """Cycles an instruction, at the least and at the most; of this network where estimated."""
    if core.timing is None or needs.cycles is None or not needs.instructions:
        return core.cycles
    return needs.cycles[0] / needs.instructions, needs.cycles[1] / needs.instructions


def _order(row: Fit) -> tuple[int, float, str]:
    if row.fits is False:
        return 2, float(max(-row.ram_free, -(row.flash_free or 0))), row.name
    slowest = row.milliseconds[1] if row.milliseconds else float("inf")
    return (0 if row.fits else 1), slowest, row.name


def needs(package: Package, board: Board | None, core: Core, toolchain: str = "auto") -> Needs:
    """Build for a board and count there, as far as that can be done on this computer."""
    if board is None:
        return _by_layers(package, core.because)
    with tempfile.TemporaryDirectory(prefix="spikelet-fit-") as folder:
        try:
            built = make(package, board, Path(folder) / "build", toolchain=toolchain)
        except (ToolMissing, ImageTooLarge) as error:
            return _by_layers(package, error.what, board)
        return _counted(package, built, Path(folder))


def _estimated(package: Package, found: Needs, core: Core, toolchain: str) -> Needs:
    """With cycles, where the core's timings are known and the network can be executed."""
    if core.timing is None or found.instructions is None:
        return found
    try:
        return replace(found, cycles=predict(package, core.timing, toolchain=toolchain).span)
    except UsageError:  # it learns, or takes events
        return found


def _by_layers(package: Package, why: str, board: Board | None = None) -> Needs:
    """Lower bounds: constants and arena of the layer table."""
    target = ANY if board is None else board.target
    with tempfile.TemporaryDirectory(prefix="spikelet-fit-") as folder:
        made = generate(package.graph, package.sha256, Path(folder), target=target)
    return Needs(made.const_bytes, made.plan.size, 0, None, LAYERS, why=why)


def _counted(package: Package, built: BuiltImage, folder: Path) -> Needs:
    firmware = built.firmware
    memory, board = firmware.board.memory, firmware.board
    stack = memory.stack_bytes if memory else 0
    needed = Needs(firmware.flash_bytes, firmware.ram_bytes, stack, None, IMAGE)
    samples = package_stream(package)
    if not machines(board) or not len(samples):
        return replace(needed, why="no machine counts here" if len(samples) else "no samples")
    target = SessionTarget(board, built)
    result, _ = run(package, target, samples.head(SAMPLES), SessionFolder(folder / "session"))
    return replace(
        needed,
        stack_bytes=result["stack_bytes"] or stack,
        instructions=result["instructions_per_inference"],
        where=f"{board.name} ({board.isa}, {result['machine']}, {firmware.toolchain})"
        + (f", in steps of {step:g}" if (step := result["instructions_per_tick"] or 1) > 1 else ""),
    )
