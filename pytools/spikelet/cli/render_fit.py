"""What a person is shown of the parts that hold a package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from spikelet.cli.terminal import Fitted, facts, number, table
from spikelet.package import Package
from spikelet.run.fit import IMAGE, Fit, Needs

LESS_IMPORTANT = ("note", "flash B", "RAM B", "MHz", "flash free")
FITS = {True: Text("fits", "green"), None: Text("perhaps", "yellow"), False: Text("no", "bold red")}


def fit_summary(package: Package, rows: Sequence[Fit]) -> dict[str, Any]:
    """The object that `spikelet fit --json` prints."""
    return {
        "model": package.graph.name,
        "package_sha256": package.sha256,
        "parts": [row.to_json() for row in rows],
    }


def render_fit(package: Package, rows: Sequence[Fit]) -> list[RenderableType]:
    """A table, what it was measured by, and the assumption; all of it for one part alone."""
    if len(rows) == 1:
        return _one(package, rows[0])
    made = table(
        f"{package.graph.name} on real parts", "part", "", "core", ">MHz", ">ms", ">flash B",
        ">flash free", ">RAM B", ">RAM free", "note",
    )  # fmt: skip
    for row in rows:
        part = row.part
        made.add_row(
            row.name, FITS[row.fits], part.core, number(part.mhz), _span(row.milliseconds),
            number(part.flash_bytes) or "outside", _free(row.flash_free), number(part.ram_bytes),
            _free(row.ram_free), part.note,
        )  # fmt: skip
    shown: list[RenderableType] = [Fitted(made, LESS_IMPORTANT), ""]
    takes = table(
        "what it takes", ">flash B", ">RAM B", ">stack B", ">instructions", "counted on"
    )  # fmt: skip
    for needs in dict.fromkeys(row.needs for row in rows):
        takes.add_row(*_takes(needs))
    return [*shown, Fitted(takes, ("stack B",), ("counted on",)), "", ASSUMED]


ASSUMED = Text(
    "ms: instructions, times a range of cycles an instruction that is an assumption for each core "
    "(--json has its source), on a Cortex-M4 what `spikelet cycles` says of this network; at the "
    "highest clock and without waiting for flash. "
    "perhaps: constants and arena alone fit, no image was built. Nothing is said of energy.",
    "dim",
)


def _takes(needs: Needs) -> list[str | None]:
    exact = needs.by == IMAGE
    least = "" if exact else "> "
    return [
        f"{least}{number(needs.flash_bytes)}",
        f"{least}{number(needs.ram_bytes)}",
        number(needs.stack_bytes) if exact else "",
        number(needs.instructions) or "",
        needs.where or f"nothing: {needs.why}",
    ]


def _one(package: Package, row: Fit) -> list[RenderableType]:
    part, needs = row.part, row.needs
    cycles = row.cycles_each
    return [
        facts(
            f"{package.graph.name} on {row.name}",
            {
                "fits": FITS[row.fits],
                "flash": f"{_needed(needs, needs.flash_bytes)}; "
                f"{_there(part.flash_bytes, row.flash_free)}",
                "RAM": f"{_needed(needs, needs.all_ram_bytes)}, stack {number(needs.stack_bytes)}; "
                f"{_there(part.ram_bytes, row.ram_free)}",
                "an inference": None
                if row.milliseconds is None
                else f"{_span(row.milliseconds)} ms at {number(part.mhz)} MHz",
                "instructions": number(needs.instructions),
                "counted on": needs.where or f"nothing: {needs.why}",
                "cycles each": cycles
                and f"{number(cycles[0], digits=2)} to {number(cycles[1], digits=2)}: "
                f"{row.cycles_source}",
                "figures of": part.source,
                "looked up": "\n".join(part.read) or None,
                "from memory": ", ".join(part.from_memory) or None,
                "note": part.note or None,
            },
        )
    ]


def _needed(needs: Needs, value: int) -> str:
    return f"{'' if needs.by == IMAGE else 'at least '}{number(value, 'B')}"


def _there(value: int | None, free: int | None) -> str:
    if value is None or free is None:
        return "flash is outside of the chip"
    missing = f"{number(-free)} too many" if free < 0 else f"{number(free)} left"
    return f"{number(value)} there, {missing}"


def _free(value: int | None) -> Text:
    if value is None:
        return Text("")
    return Text(number(value) or "", "bold red" if value < 0 else "")


def _span(milliseconds: tuple[float, float] | None) -> str:
    if milliseconds is None:
        return ""
    low, high = milliseconds
    digits = max(0, 2 - math.floor(math.log10(high)))  # three that count
    return f"{number(low, digits=digits)}-{number(high, digits=digits)}"
