"""Two sessions, or two packages, figure by figure and layer by layer, and bars on the difference.

A bar is FIGURE, one of > >= < <=, and a number that the second side must not reach: `ram>16000` is
bytes of it, `ram>+500` bytes more than the first side has, `ram>+5%` five hundredths more.
Accuracy is in percent, and its differences in points: `accuracy<95`, `accuracy<-0.5`. A difference
of instructions below the step in which an emulator counts them is none.
"""

from __future__ import annotations

import operator
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spikelet.board import Board
from spikelet.codegen import generate, totals
from spikelet.errors import UsageError
from spikelet.graph.target import ANY
from spikelet.package import Package
from spikelet.run.asked import as_board
from spikelet.run.session_folder import SessionFolder

Figure = float | None
# What is compared as a whole: unit, and what a person reads.
FIGURES = {
    "mismatches": "",
    "accuracy": "%",
    "mae": "",
    "rmse": "",
    "instructions": "",
    "cycles": "",
    "microseconds": "us",
    "flash": "B",
    "ram": "B",
    "stack": "B",
    "weights": "B",
    "arena": "B",
    "macs": "",
    "bits": "",
}
LAYER_FIGURES = ("flash", "ram", "bits", "macs", "instructions", "cycles", "microseconds", "named")
TITLES = {
    "named": "differences named", "mae": "MAE", "rmse": "RMSE", "ram": "RAM", "macs": "MACs",
    "microseconds": "us",
}  # fmt: skip
DIGITS = {"accuracy": 2, "mae": 4, "rmse": 4}
OF_SAMPLES = ("accuracy", "mae", "rmse")  # have a difference where both ran the same samples
BETTER = ("accuracy",)  # more of it is better
_TICKS = {"instruction": "instructions", "cycle": "cycles", "us": "microseconds"}
# What two sides may have in common; a figure may differ because one of these does.
_KNOWN = (
    "model", "package_sha256", "board", "machine", "port", "toolchain", "data_sha256", "samples",
    "layers_compared", "host",
)  # fmt: skip
_BAR = re.compile(
    r"\s*(?P<figure>[a-z]+)\s*(?P<sense>>=|<=|>|<)\s*(?P<sign>[+-]?)"
    r"(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<percent>%?)\s*"
)
_SENSES = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        name: as it was given.
        kind: session or package.
        known: what it is of: model, board, date, ...
        figures: of the whole, by name of `FIGURES`.
        layers: by layer, those of `LAYER_FIGURES` that are known.
    """

    name: str
    kind: str
    known: dict[str, Any]
    figures: dict[str, Figure]
    layers: dict[str, dict[str, Figure]] = field(default_factory=dict)

    def step(self, figure: str) -> float:
        """What is the least that a figure changes by: an emulator may count in ticks."""
        return (
            float(self.known.get("instructions_per_tick") or 0) if figure == "instructions" else 0
        )


@dataclass(frozen=True)
class Bar:
    """A bar on the second side; see this module.

    Attributes:
        text: as it was given.
        figure: one of `FIGURES`.
        sense: > >= < <=.
        number: with its sign.
        relative: what the number is added to: none, the first side's value, or that many percent.
    """

    text: str
    figure: str
    sense: str
    number: float
    relative: str

    @classmethod
    def parse(cls, text: str) -> Bar:
        """Read a bar.

        Raises:
            UsageError: it is none.
        """
        read = _BAR.fullmatch(text)
        if read is None or read["figure"] not in FIGURES:
            raise UsageError(
                f"--fail-if {text!r}: "
                + (
                    "not FIGURE>NUMBER" if read is None else f"no figure is called {read['figure']}"
                ),
                "a bar is a figure, one of > >= < <=, a sign for a difference, a number, perhaps %",
                f"for instance 'ram>+5%' or 'mismatches>0'; figures: {', '.join(FIGURES)}",
            )
        points = read["figure"] == "accuracy"  # is a percentage already
        if read["percent"] and not read["sign"] and not points:
            raise UsageError(
                f"--fail-if {text!r}: {read['number']} % of what?",
                "a percentage is a difference from the first side",
                f"write a sign, for instance '{read['figure']}{read['sense']}+{read['number']}%'",
            )
        sign = -1.0 if read["sign"] == "-" else 1.0
        relative = "none" if not read["sign"] else (
            "percent" if read["percent"] and not points else "value"
        )  # fmt: skip
        return cls(text, read["figure"], read["sense"], sign * float(read["number"]), relative)

    def judge(self, a: Side, b: Side) -> dict[str, Any]:
        """Whether the second side misses it, as JSON.

        Raises:
            UsageError: the figure is not known of a side that it needs, or is of other samples.
        """
        if self.relative != "none" and self.figure in OF_SAMPLES and not same_samples(a, b):
            raise UsageError(
                f"--fail-if {self.text!r}: {a.name} and {b.name} ran other samples",
                "other data, or another --limit",
                f"run the same samples, or give a bar without a sign: {self.figure}<95",
            )
        before, after = a.figures[self.figure], b.figures[self.figure]
        for side, needed in ((a, before if self.relative != "none" else 0.0), (b, after)):
            if needed is None:
                raise UsageError(
                    f"--fail-if {self.text!r}: {self.figure} is not known of {side.name}",
                    "not every board counts everything, a package has not run, and a device behind "
                    "a port does not say its sizes",
                    "known of both: " + ", ".join(
                        n for n in FIGURES if None not in (a.figures[n], b.figures[n])
                    ),
                )  # fmt: skip
        base, value = before or 0.0, after or 0.0  # those that are needed are known
        limit = {
            "none": self.number,
            "value": base + self.number,
            "percent": base * (1 + self.number / 100),
        }[self.relative]
        # Decimal figures of a bar are not exact in binary: 95.3 - 0.5 must not miss 94.8.
        if self.relative != "none" and abs(value - base) < max(
            a.step(self.figure), b.step(self.figure)
        ):
            value = base  # less than what is counted
        close = abs(value - limit) <= 1e-9 * max(1.0, abs(limit))
        missed = self.sense.endswith("=") if close else _SENSES[self.sense](value, limit)
        return {
            "bar": self.text, "figure": self.figure, "a": before, "b": after, "limit": limit,
            "missed": missed,
        }  # fmt: skip


def read_side(
    side: Path | Package, board: Board | None = None, trusted: Path | None = None
) -> Side:
    """A session's folder or a package.

    Args:
        side: the path of either, or a package.
        board: of a package, whose kernels are counted; None for portable C.
        trusted: as of `Package.load`.

    Raises:
        UsageError: it is neither, is damaged, or is a session that broke off.
    """
    if isinstance(side, Package):
        return _package(side, repr(side), board)
    if not side.is_dir():
        return _package(Package.load(side, trusted), str(side), board)
    if board is not None:
        raise UsageError(
            f"--board {board.name}: {side} is a session, which ran on a board of its own",
            "--board says for which board packages are compared",
            "leave out --board",
        )
    return _session(side)


def _session(path: Path) -> Side:
    folder = SessionFolder(path)
    head = folder.head()
    if not head["complete"] or "mismatches" not in head:
        raise UsageError(
            f"session {path} is not complete",
            "it broke off, or is still under way",
            "go on with it (--resume), then compare",
        )
    build = head.get("build") or {}
    accuracy = head.get("accuracy")
    bench = folder.bench()
    rows = bench.get("layers") or build.get("layers") or []
    figures = {
        "mismatches": head["mismatches"],
        "accuracy": None if accuracy is None else 100 * accuracy,
        **_error(head.get("error")),
        "instructions": head.get("instructions_per_inference"),
        "cycles": head.get("cycles_per_inference"),
        "microseconds": head.get("microseconds_per_inference"),
        "flash": head.get("flash_bytes"),
        "ram": head.get("ram_bytes"),
        "stack": head.get("stack_bytes"),
        "weights": build.get("weight_bytes"),
        "arena": build.get("arena_bytes"),
        **_sums(rows),
    }
    known = {key: head.get(key) for key in (*_KNOWN, "date")}
    known["layers_compared"] = head.get("layers") is True
    known["instructions_per_tick"] = head.get("instructions_per_tick")
    layers = _layers(rows, _TICKS.get(str(bench.get("tick"))))
    for layer, count in Counter(d["layer"] for d in head.get("differences") or []).items():
        layers.setdefault(layer, {})["named"] = count
    return Side(str(path), "session", known, figures, layers)


def _error(error: Mapping[str, float] | None) -> dict[str, Figure]:
    return {key: (error or {}).get(key) for key in ("mae", "rmse")}


def _package(package: Package, name: str, board: Board | None) -> Side:
    target = ANY if board is None else board.target
    with tempfile.TemporaryDirectory(prefix="spikelet-compare-") as folder:
        made = generate(package.graph, package.sha256, Path(folder), target=target)
    rows = [layer.as_dict() for layer in made.layers]
    accuracy = package.manifest.get("integer_accuracy")
    figures = {
        **dict.fromkeys(FIGURES),
        "accuracy": None if accuracy is None else 100 * accuracy,
        **_error(package.manifest.get("integer_error")),
        "flash": made.const_bytes,
        "ram": made.plan.size,
        "weights": made.const_bytes,
        "arena": made.plan.size,
        **_sums(rows),
    }
    known: dict[str, Any] = dict.fromkeys(_KNOWN)
    known |= {"model": package.graph.name, "package_sha256": package.sha256}
    known["board"] = None if board is None else board.name
    return Side(name, "package", known, figures, _layers(rows, None))


def _sums(rows: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Of all layers: work, and the widest weights."""
    if not rows:
        return {"macs": None, "bits": None}
    return {
        "macs": sum(sums["macs"] for sums in totals(rows).values()),
        "bits": max(row["weight_bits"] for row in rows),
    }


def _layers(rows: Sequence[Mapping[str, Any]], tick: str | None) -> dict[str, dict[str, Figure]]:
    return {
        row["name"]: {
            "flash": row["flash_bytes"],
            "ram": row["ram_bytes"],
            "bits": row["weight_bits"] or None,
            "macs": row["macs"] or None,
            **({tick: row["ticks"]} if tick and row.get("ticks") is not None else {}),
        }
        for row in rows
    }


def compare_given(
    a: Path | str | Package,
    b: Path | str | Package,
    bars: Sequence[str],
    board: str | Board | None,
    trusted: Path | None = None,
) -> dict[str, Any]:
    """Two packages or sessions, each by itself or by its path; see `spikelet.compare`, and for
    `trusted` `Package.load`."""
    read = [Bar.parse(text) for text in bars]
    sides = (Path(s) if isinstance(s, str) else s for s in (a, b))
    on = None if board is None else as_board(board)
    first, second = (read_side(side, on, trusted) for side in sides)
    return compare_sides(first, second, read)


def same_samples(a: Side, b: Side) -> bool:
    """Whether both ran as many; of one package, whose codes have one hash, the same."""
    keys = ["samples"]
    if a.known.get("package_sha256") == b.known.get("package_sha256"):
        keys.append("data_sha256")
    return all(a.known.get(key) == b.known.get(key) for key in keys)


def compare_sides(a: Side, b: Side, bars: Sequence[Bar]) -> dict[str, Any]:
    """The object that `spikelet compare --json` prints.

    Raises:
        UsageError: one is a session and the other a package, or a bar cannot be judged.
    """
    if a.kind != b.kind:
        raise UsageError(
            f"{a.name} is a {a.kind}, {b.name} is a {b.kind}",
            "sizes of a package are those of its model, of a session those of the whole image",
            "give two sessions or two packages",
        )
    judged, same = [bar.judge(a, b) for bar in bars], same_samples(a, b)
    names = [*a.layers, *(name for name in b.layers if name not in a.layers)]
    return {
        "kind": a.kind,
        "a": {"name": a.name, **a.known},
        "b": {"name": b.name, **b.known},
        "differs": [key for key in _KNOWN if a.known[key] != b.known[key]],
        "figures": {
            name: _pair(
                a.figures.get(name),
                b.figures.get(name),
                comparable=same or name not in OF_SAMPLES,
            )
            for name in FIGURES
        },
        "layers": [
            {
                "name": name,
                "in": [s for s, side in (("a", a), ("b", b)) if name in side.layers],
                **{
                    figure: _pair(*(side.layers.get(name, {}).get(figure) for side in (a, b)))
                    for figure in LAYER_FIGURES
                },
            }
            for name in names
        ],
        "bars": judged,
        "missed": sum(bar["missed"] for bar in judged),
    }


def _pair(a: Figure, b: Figure, *, comparable: bool = True) -> dict[str, Figure]:
    """Two values, and their difference where both are known and of the same samples."""
    change = None if a is None or b is None or not comparable else b - a
    return {"a": a, "b": b, "change": change}


@dataclass(frozen=True)
class Change:
    """A figure of both sides, for people to read.

    Attributes:
        layer: that it is of; empty of the whole.
        figure: its title.
        a, b: its values, None where one is not known.
        unit: of both.
        digits: behind the point.
        share: the difference, as a share of the first; None without either.
        worse: whether the second side is; None where they are equal or cannot be compared.
    """

    layer: str
    figure: str
    a: Figure
    b: Figure
    unit: str = ""
    digits: int = 0
    share: float | None = None
    worse: bool | None = None

    @property
    def change(self) -> Figure:
        """Second less first; None where one is not known, or they are equal."""
        return None if self.a is None or self.b is None else (self.b - self.a) or None


def changes(result: Mapping[str, Any]) -> tuple[list[Change], list[Change]]:
    """What a comparison is shown as: the figures that one side has, and those by layer that differ.

    Args:
        result: of `compare_sides`.
    """
    whole = [
        _change("", name, pair)
        for name, pair in result["figures"].items()
        if (pair["a"], pair["b"]) != (None, None)
    ]
    by_layer = []
    for layer in result["layers"]:
        if len(layer["in"]) == 1:
            only = f"only in {layer['in'][0].upper()}"
            by_layer.append(Change(layer["name"], only, None, None))
            continue
        differ = [name for name in LAYER_FIGURES if layer[name]["a"] != layer[name]["b"]]
        by_layer += [_change(layer["name"], name, layer[name]) for name in differ]
    return whole, by_layer


def _change(layer: str, figure: str, pair: Mapping[str, Figure]) -> Change:
    a, change = pair["a"], pair["change"]
    share = change / a if change and a and figure not in BETTER else None
    worse = (change < 0) == (figure in BETTER) if change else None
    unit = FIGURES.get(figure, "") if not layer else ""
    digits = DIGITS.get(figure, 0)
    return Change(layer, TITLES.get(figure, figure), a, pair["b"], unit, digits, share, worse)
