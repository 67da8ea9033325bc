"""Writes docs/schemas from pytools/spikelet/cli/schemas.py.

python tools/schemas.py            writes them
python tools/schemas.py --check    says which differ, with exit code 1
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "pytools"))

from spikelet.cli.schemas import SCHEMAS, json_schema  # noqa: E402

FOLDER = ROOT / "docs" / "schemas"


def files() -> dict[Path, str]:
    """What each file is to hold."""
    return {
        FOLDER / f"{name}.json": json.dumps(json_schema(name), indent=1) + "\n" for name in SCHEMAS
    }


def stale() -> list[str]:
    """Names of files that hold something else, or that no schema writes."""
    wanted = files()
    there = set(FOLDER.glob("*.json"))
    differ = [p for p, text in wanted.items() if p not in there or p.read_text() != text]
    return sorted(p.name for p in {*differ, *(there - set(wanted))})


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        sys.stdout.writelines(f"{name}: run `python tools/schemas.py`\n" for name in stale())
        return 1 if stale() else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
