"""The bars of learning on the device: each file of tools/bars/ measures one.

`python tools/bars.py [NAME...] [--seeds 0 1 2] [--json FILE]` measures the named bars, or all,
prints a table, and exits with 1 if one is missed. A bar is met if all of its gates are met.

FILE accumulates: a bar has one run for each set of seeds, with its date and where it ran; measuring
again replaces the run of that bar and those seeds, and leaves the others.

The margin of a gate is the distance from the bar to the figure that is closest to it. If figures
of different sets of seeds differ by more than the margin, the row says so: other seeds could change
the verdict. Data sets are read from the folder that SPIKELET_DATA names.
"""

from __future__ import annotations

import argparse
import datetime
import functools
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


@functools.cache
def load(name: str) -> ModuleType:
    """A bar's module: `TITLE`, `WHERE`, `TUNED_ON`, `GATES` and `measure(seeds)`.

    What `measure` returns goes through JSON; `figure` is its text, the gates read the rest. Where
    there is `tuning(seeds)`, it tries the options on a held-out fifth of the training part.
    """
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


def measure(name: str, seeds: Sequence[int]) -> dict[str, Any]:
    """One bar over some seeds: what was found, when, and in how many seconds."""
    module = load(name)
    begin = time.perf_counter()
    try:
        results: dict[str, Any] = {**module.measure(seeds), "error": None}
    except Exception as e:  # the table tells of all bars, whatever one of them does
        traceback.print_exc()
        first = str(e).partition("\n")[0]
        results = {"figure": f"{type(e).__name__}: {first}", "error": str(e)}
    own = {
        "seeds": list(seeds),
        "date": datetime.date.today().isoformat(),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    if clash := own.keys() & results.keys():
        raise ValueError(f"bar {name} measures {', '.join(sorted(clash))}, which a run has itself")
    results = {**own, **results}
    return dict(json.loads(json.dumps(results, default=float)))


def merge(rows: Sequence[Mapping[str, Any]], name: str, run: Mapping[str, Any]) -> list[Any]:
    """The rows with one more run, in place of an older one of the same bar and seeds."""
    before: list[Any] = next((row["runs"] for row in rows if row["name"] == name), [])
    runs = [*(old for old in before if old["seeds"] != run["seeds"]), run]
    row = {"name": name, "runs": sorted(runs, key=lambda run: tuple(run["seeds"]))}
    return sorted([*(r for r in rows if r["name"] != name), row], key=lambda row: row["name"])


def complete(rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """With a row of no runs for each bar that was never measured."""
    never = set(names()) - {row["name"] for row in rows}
    return sorted([*rows, *({"name": n, "runs": []} for n in never)], key=lambda row: row["name"])


def missed_gates(name: str, run: Mapping[str, Any]) -> list[str]:
    """The gates that a run of a bar does not meet, with its figures."""
    values = [(gate, gate.value(run)) for gate in load(name).GATES]
    return [
        f"{gate}: not measured"
        if value is None
        else f"{gate.what} {value:.4g}, not {gate.sense} {gate.bar:g}"
        for gate, value in values
        if not gate.is_met(value)
    ]


def verdict_of(row: Mapping[str, Any]) -> str:
    """The verdict of a row: yes, or no; with mixed runs, which seeds miss which gate."""
    runs = {_seeds(run): missed_gates(row["name"], run) for run in row["runs"]}
    if not runs:
        return "no: not measured"
    if not any(runs.values()):
        return "yes"
    if all(runs.values()):
        reasons = ["no"]
    else:
        reasons = ["; ".join(f"{seeds}: {'no' if fail else 'yes'}" for seeds, fail in runs.items())]
    reasons += [f"{seeds}: {'; '.join(fail)}" for seeds, fail in runs.items() if fail]
    return "<br>".join(reasons)


def unsteady(row: Mapping[str, Any]) -> list[str]:
    """Gates whose figures differ between sets of seeds by more than the margin; see above."""
    differing = []
    for gate in load(row["name"]).GATES:
        values = [value for run in row["runs"] if (value := gate.value(run)) is not None]
        margin = min((abs(value - gate.bar) for value in values), default=0)
        if values and max(values) - min(values) > margin:
            differing.append(f"{gate.what}: {' and '.join(f'{value:.4g}' for value in values)}")
    return differing


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """In Markdown: of each bar what it asks, where it runs, how options were chosen, figures."""
    head = [
        "| what | bar | where | options chosen on | measured | met |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    body = []
    for row in rows:
        module = load(row["name"])
        runs = "<br>".join(f"{_seeds(run)} ({run['date']}): {run['figure']}" for run in row["runs"])
        verdict = verdict_of(row)
        if differ := unsteady(row):
            verdict += f"<br>seeds differ by more than the margin: {'; '.join(differ)}"
        bar = "; ".join(map(str, module.GATES))
        cells = (module.TITLE, bar, module.WHERE, module.TUNED_ON, runs, verdict)
        body.append(f"| {' | '.join(cells)} |")
    return "\n".join(head + body)


def _seeds(run: Mapping[str, Any]) -> str:
    return f"seeds {', '.join(map(str, run['seeds']))}"


def tune(chosen: Sequence[str], seeds: Sequence[int]) -> None:
    """Print the figures of each option tried on held-out data, for bars that try options."""
    for name in chosen:
        tuning = getattr(load(name), "tuning", None)
        if tuning is None:
            print(f"{name} tries no options")
            continue
        for tried, figure in tuning(seeds).items():
            print(f"{name}: {tried}: {figure:.4f}")


def main() -> int:
    """Measure what is named, or all; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--json", type=Path, help="write all that was measured there, too")
    parser.add_argument(
        "--tune", action="store_true", help="measure nothing; try the options on held-out data"
    )
    options = parser.parse_args()
    rows: list[Any] = []
    if options.json is not None and options.json.is_file():
        rows = json.loads(options.json.read_text(encoding="utf-8"))["bars"]
    chosen = options.names or names()
    try:
        if options.tune:
            tune(chosen, options.seeds)
            return 0
        for name in chosen:
            print(f"{name} ...", file=sys.stderr, flush=True)
            run = measure(name, options.seeds)
            rows = merge(rows, name, run)
            fail = missed_gates(name, run)
            said = f"NOT MET ({'; '.join(fail)})" if fail else "met"
            print(f"{name}: {said}, {run['figure']} ({run['seconds']} s)", file=sys.stderr)
            if options.json is not None:  # after each: a run of an hour may be cut
                text = json.dumps({"bars": rows}, indent=1)
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(text + "\n", encoding="utf-8")
    except UsageError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(table(rows))
    return 1 if any(verdict_of(row) != "yes" for row in rows if row["name"] in chosen) else 0


if __name__ == "__main__":
    sys.exit(main())
