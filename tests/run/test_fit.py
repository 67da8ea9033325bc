"""Real parts: their list, what a package takes on a core, and when it fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError
from rich.console import Console

from cli_support import small_package
from once import Once
from spikelet.board import find_board
from spikelet.board.parts import Core, Part, Parts, parts
from spikelet.cli.render_fit import render_fit
from spikelet.errors import UsageError
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from spikelet.run.fit import IMAGE, LAYERS, SAMPLES, Fit, Needs, fits, needs
from support import need

KIB = 1024
CORE = Core(cycles=(1.0, 2.0), because="assumption")
NONE = Core(because="none")


def test_the_list_has_a_source_for_each_part_and_a_board_for_most_cores() -> None:
    known = parts()
    assert len(known.parts) >= 25
    for name, core in known.cores.items():
        board = known.board(name)
        assert core.because and (board is None) == (core.cycles is None), name
        # What counts must be an emulator that this repository has, with room for any part's image.
        assert board is None or (board.machines and board.memory is not None)
    for name, part in known.parts.items():
        assert part.core in known.cores, name
        assert known.select(part=name.lower()) == {name: part}
    assert set(known.cores) == {part.core for part in known.parts.values()}
    # Counted on a board with more memory, by the flags of a board that has the core.
    for core, isa, own in (
        ("cortex-m0+", "armv6-m", "microbit"), ("cortex-m3", "armv7-m", "lm3s6965evb"),
    ):  # fmt: skip
        counting = known.board(core)
        assert counting is not None and (counting.name, counting.isa) == ("mps2-an386", isa)
        for name, spec in counting.toolchains.items():
            assert spec.flags == find_board(own).toolchains[name].flags


def test_each_figure_of_a_part_names_where_it_was_looked_up_or_is_from_memory() -> None:
    # A new part that is found nowhere says so here.
    assert {
        name: part.from_memory for name, part in parts().parts.items() if part.from_memory
    } == {}
    for name, part in parts().parts.items():
        named = {f for line in part.read for f in line.split(": ")[0].split(", ")}
        assert part.source and ("flash" in named) == (part.flash_kib is not None), name
    figures = {"core": "c", "mhz": 1, "flash_kib": 4, "ram_kib": 2, "source": "s"}
    board = "a/b@0123abc boards/c.json"
    assert Part(**figures).from_memory == ("clock", "flash", "RAM")
    assert Part(**figures, read=[f"flash, RAM: {board}; half of it"]).from_memory == ("clock",)
    assert Part(**{**figures, "flash_kib": None}).from_memory == ("clock", "RAM")
    for line in (
        board,
        f"speed: {board}",
        "RAM: a/b boards/c.json",
        "RAM: some page",
        f"RAM: {board};",
    ):
        with pytest.raises(ValidationError):
            Part(**figures, read=[line])


def test_one_part_shows_where_its_figures_are_from(rows: list[Fit]) -> None:
    row = rows[0]
    part = row.part.model_copy(update={"read": ("flash: https://a.b/c",)})
    assert row.to_json()["read"] == row.part.read and row.to_json()["from_memory"] == ()
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(*render_fit(small_package(), [row]))
        console.print(*render_fit(small_package(), [replace(row, part=part)]))
    looked_up, partly = captured.get().split("looked up")[1:]
    assert row.part.read[0] in looked_up and "from memory" not in looked_up
    assert "https://a.b/c" in partly and "from memory" in partly and "clock, RAM" in partly


def test_an_unknown_part_or_core_names_the_nearest() -> None:
    for asked, words in (
        ({"part": "nRF52841"}, "did you mean 'nRF52840'?"),
        ({"core": "cortex-m44"}, "did you mean 'cortex-m4'?"),
        ({"core": "cortex-m0", "part": "nRF52840"}, ""),
    ):
        with pytest.raises(UsageError) as caught:
            parts().select(**asked)
        assert words in f"{caught.value.what} {caught.value.cause}"
        assert "one of " in caught.value.next


def _fits(part: Part, core: Core, takes: Needs, monkeypatch: pytest.MonkeyPatch) -> Fit:
    monkeypatch.setattr("spikelet.run.fit.needs", lambda *_: takes)
    (row,) = fits(small_package(), Parts({part.core: core}, {"p": part}), {"p": part})
    return row


def test_it_fits_to_the_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part(core="c", mhz=100, flash_kib=4, ram_kib=2, source="s")
    for flash, ram, stack, fit in (
        (4 * KIB, 1 * KIB, 1 * KIB, True),
        (4 * KIB + 1, 1 * KIB, 1 * KIB, False),
        (4 * KIB, 1 * KIB, 1 * KIB + 1, False),
    ):
        row = _fits(part, CORE, Needs(flash, ram, stack, 5e5, IMAGE), monkeypatch)
        free = (row.flash_free, row.ram_free)
        assert (row.fits, free) == (fit, (4 * KIB - flash, 2 * KIB - ram - stack))
        assert row.milliseconds == (5.0, 10.0)  # 500,000 instructions, 1 to 2 cycles, 100 MHz
    # Of lower bounds a part is too small, or nothing is known.
    assert _fits(part, NONE, Needs(9, 9, 0, None, LAYERS), monkeypatch).fits is None
    assert _fits(part, NONE, Needs(9, 2049, 0, None, LAYERS), monkeypatch).fits is False
    outside = Part(core="c", mhz=100, ram_kib=2, source="s")
    row = _fits(outside, CORE, Needs(1 << 30, 9, 0, None, IMAGE), monkeypatch)
    assert (row.fits, row.flash_free, row.milliseconds) == (True, None, None)


@pytest.fixture(scope="session")
def rows(once: Once) -> list[Fit]:
    """The small package on all parts of three cores, one of which has no board."""
    need("zig")
    known = parts()
    chosen = {**known.select("rv32imac"), **known.select("rv32ec"), **known.select("xtensa-lx6")}
    return once("fit-rows", lambda _: fits(small_package(), known, chosen))


def test_what_it_takes_is_what_run_measures(rows: list[Fit], tmp_path: Path) -> None:
    need("unicorn")
    package, board = small_package(), find_board("virt-rv32")
    built = make(package, board, tmp_path / "build")
    samples = package_stream(package).head(SAMPLES)
    result, _ = run(package, SessionTarget(board, built), samples, SessionFolder(tmp_path / "s"))
    takes = next(row.needs for row in rows if row.name == "GD32VF103CB")
    assert (takes.flash_bytes, takes.ram_bytes) == (result["flash_bytes"], result["ram_bytes"])
    assert takes.stack_bytes == result["stack_bytes"] < board.memory.stack_bytes  # type: ignore[union-attr]
    assert takes.instructions == result["instructions_per_inference"]
    assert takes.where.startswith("virt-rv32 (rv32imac, ")


def test_parts_are_sorted_and_what_is_not_known_is_said(rows: list[Fit]) -> None:
    assert (rows[0].name, rows[-1].name) == ("FE310-G002", "ESP32")
    speeds = [row.milliseconds[1] for row in rows if row.milliseconds]
    assert speeds == sorted(speeds) and len(speeds) == len(rows) - 1
    last = rows[-1]
    assert (last.fits, last.needs.by) == (None, LAYERS) and "no board of Spikelet" in last.needs.why


def test_without_a_compiler_bounds_come_from_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikelet.board.toolchain.find_command", lambda command: None)
    package, known = small_package(), parts()
    takes = needs(package, known.board("cortex-m7"), known.cores["cortex-m7"])
    assert takes.by == LAYERS and "no compiler" in takes.why
    weights = sum(a.nbytes for node in package.graph.order for a in node.arrays().values())
    assert 0.9 * weights < takes.flash_bytes < 2 * weights + 200 and takes.ram_bytes > 0


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        ((948.0, 1581.0), "948-1 581"),
        ((29.37, 49.93), "29.4-49.9"),
        ((0.007, 0.0119), "0.0070-0.0119"),
    ],
)
def test_milliseconds_have_three_digits(
    milliseconds: tuple[float, float], shown: str, rows: list[Fit]
) -> None:
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(*render_fit(small_package(), [replace(rows[0], milliseconds=milliseconds)]))
    assert f" {shown} ms at 320 MHz" in captured.get()


@pytest.mark.parametrize("width", [60, 120])
def test_its_tables_are_as_wide_as_the_terminal(width: int, rows: list[Fit]) -> None:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        for part in [*render_fit(small_package(), rows), *render_fit(small_package(), rows[:1])]:
            console.print(part)
    lines = captured.get().splitlines()
    assert all(len(line) <= width for line in lines)
    for row in rows:
        (line,) = [line for line in lines if line.startswith(f"{row.name} ")]
        assert ("fits" in line) == (row.fits is True)
