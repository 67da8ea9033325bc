"""The bars of learning on the device: each file of tools/bars/ measures one.

`python tools/bars.py [NAME...] [--seeds 0 1 2] [--json FILE]` measures the named ones, or all,
prints a table and ends with 1 where one is not met. FILE keeps what was measured before, of other
bars and of other seeds: a row has a run for each set of seeds, with its date, and says where it
ran. Data sets are read from the folder that SPIKELET_DATA names.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from spikelet.errors import UsageError

FOLDER = Path(__file__).with_name("bars")


def names() -> list[str]:
    """Of all bars."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def load(name: str) -> ModuleType:
    """A bar's module: `TITLE`, `BAR`, `WHERE`, `TUNED_ON` and `measure(seeds)`."""
    path = FOLDER / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"bars_{name}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(
            f"bar {name!r} is not known", "a misspelt name", f"choose of {', '.join(names())}"
        )
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))  # bars may share a module of their folder
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def measured(name: str, seeds: Sequence[int]) -> dict[str, Any]:
    """One bar over some seeds: what was found, when, and in how many seconds."""
    module = load(name)
    begin = time.perf_counter()
    try:
        found: dict[str, Any] = {**module.measure(seeds), "error": None}
    except Exception as e:  # the table tells of all bars, whatever one of them does
        traceback.print_exc()
        found = {"figure": f"{type(e).__name__}: {e}", "met": False, "error": str(e)}
    return {
        "seeds": list(seeds),
        "date": datetime.date.today().isoformat(),
        **found,
        "seconds": round(time.perf_counter() - begin, 1),
    }


def merged(rows: Sequence[Mapping[str, Any]], name: str, run: Mapping[str, Any]) -> list[Any]:
    """The rows with one more run, in place of an older one of the same bar and seeds."""
    module = load(name)
    before: list[Any] = next((row["runs"] for row in rows if row["name"] == name), [])
    runs = [*(old for old in before if old["seeds"] != run["seeds"]), run]
    row = {
        "name": name,
        "title": module.TITLE,
        "bar": module.BAR,
        "where": module.WHERE,
        "tuned_on": module.TUNED_ON,
        "runs": sorted(runs, key=lambda run: tuple(run["seeds"])),
    }
    return sorted([*(r for r in rows if r["name"] != name), row], key=lambda row: row["name"])


def met(row: Mapping[str, Any]) -> str:
    """Whether all of a row's runs meet its bar, or which of them do."""
    runs = {", ".join(map(str, run["seeds"])): bool(run["met"]) for run in row["runs"]}
    if len(set(runs.values())) == 1:
        return "yes" if all(runs.values()) else "no"
    return "; ".join(f"seeds {seeds}: {'yes' if good else 'no'}" for seeds, good in runs.items())


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What each bar asks, where it runs, what its options were chosen on, what was measured."""
    head = [
        "| what | bar | where | options chosen on | measured | met |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    body = []
    for row in rows:
        runs = "<br>".join(
            f"seeds {', '.join(map(str, run['seeds']))} ({run['date']}): {run['figure']}"
            for run in row["runs"]
        )
        cells = (row["title"], row["bar"], row["where"], row["tuned_on"], runs, met(row))
        body.append(f"| {' | '.join(cells)} |")
    return "\n".join(head + body)


def main() -> int:
    """Measure what is named, or all; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--json", type=Path, help="write all that was measured there, too")
    options = parser.parse_args()
    rows: list[Any] = []
    if options.json is not None and options.json.is_file():
        rows = json.loads(options.json.read_text(encoding="utf-8"))["bars"]
    chosen = options.names or names()
    try:
        for name in chosen:
            print(f"{name} ...", file=sys.stderr, flush=True)
            run = measured(name, options.seeds)
            rows = merged(rows, name, run)
            said = "met" if run["met"] else "NOT MET"
            print(f"{name}: {said}, {run['figure']} ({run['seconds']} s)", file=sys.stderr)
            if options.json is not None:  # after each: a run of an hour may be cut
                text = json.dumps({"bars": rows}, indent=1, default=float)
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(text + "\n", encoding="utf-8")
    except UsageError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(table(rows))
    done = [row for row in rows if row["name"] in chosen]
    return 0 if all(run["met"] for row in done for run in row["runs"]) else 1


if __name__ == "__main__":
    sys.exit(main())
