"""The bars of learning on the device: each file of tools/bars/ measures one.

`python tools/bars.py [NAME...] [--seeds 0 1 2] [--json FILE]` runs the named ones, or all, on the
device and its golden twin, prints a table and ends with 1 where one is not met. Data sets are read
from the folder that SPIKELET_DATA names.
"""

from __future__ import annotations

import argparse
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
    """A bar's module: `TITLE`, `BAR` and `measure(seeds)`."""
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
    """One bar: what it asks, what was found, and in how many seconds."""
    module = load(name)
    begin = time.perf_counter()
    try:
        found: dict[str, Any] = {**module.measure(seeds), "error": None}
    except Exception as e:  # the table tells of all bars, whatever one of them does
        traceback.print_exc()
        found = {"figure": f"{type(e).__name__}: {e}", "met": False, "error": str(e)}
    return {
        "name": name,
        "title": module.TITLE,
        "bar": module.BAR,
        **found,
        "seconds": round(time.perf_counter() - begin, 1),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What each bar asks and what was measured, in Markdown."""
    head = ["| what | bar | measured | met |", "| --- | --- | --- | --- |"]
    return "\n".join(
        head
        + [
            f"| {row['title']} | {row['bar']} | {row['figure']} | {'yes' if row['met'] else 'no'} |"
            for row in rows
        ]
    )


def main() -> int:
    """Measure what is named, or all; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--json", type=Path, help="write all that was measured there, too")
    options = parser.parse_args()
    rows = []
    try:
        for name in options.names or names():
            print(f"{name} ...", file=sys.stderr, flush=True)
            row = measured(name, options.seeds)
            rows.append(row)
            said = "met" if row["met"] else "NOT MET"
            print(f"{name}: {said}, {row['figure']} ({row['seconds']} s)", file=sys.stderr)
            if options.json is not None:  # after each: a run of an hour may be cut
                text = json.dumps({"seeds": options.seeds, "bars": rows}, indent=1, default=float)
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(text + "\n", encoding="utf-8")
    except UsageError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(table(rows))
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
