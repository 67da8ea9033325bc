"""A bad wire: a seeded proxy between a host and a machine that speaks on stdin and stdout.

    python sim/faulty_link.py --seed 7 --drop 0.02 --ber 1e-5 -- ./device

What goes wrong is in `spikelet.link.faults`; options have its names. `spikelet run --faults SEED`
has the same wire before any board.
"""

# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pytools"))

from spikelet.link.faults import IDLE_S, Faults, Lane, Wire


class _Way:
    """One direction between two descriptors."""

    def __init__(self, wire: Wire, source: int, sink: int) -> None:
        self.lane, self.wire = Lane(wire), wire
        self.source, self.sink = source, sink

    def turn(self, now: float) -> float:
        """Sends what is due; answers the seconds until there is more to do."""
        data = self.lane.due(now)
        while data:
            data = data[os.write(self.sink, data) :]
        return self.lane.next_at() - now


def relay(ways: list[_Way]) -> None:
    """Moves bytes until one end closes, or the wire is cut."""
    by_source = {way.source: way for way in ways}
    wait = IDLE_S
    while not any(way.wire.cut for way in ways):
        ready, _, _ = select.select(list(by_source), [], [], max(0.0, min(wait, 3600.0)))
        now = time.monotonic()
        for source in ready:
            data = os.read(source, 65536)
            if not data:
                return
            by_source[source].lane.push(data, now)
        wait = min(way.turn(now) for way in ways)


def main() -> int:
    """The command line; answers the machine's exit code."""
    parser = argparse.ArgumentParser(description="a bad wire before a machine on stdin and stdout")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="write the counts of faults here, as JSON")
    parser.add_argument("--only", choices=("to-device", "to-host"), help="one direction alone")
    for field in fields(Faults):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(field.default), default=field.default)
    parser.add_argument("command", nargs="+", help="the machine, after --")
    args = parser.parse_args()
    faults = Faults(**{field.name: getattr(args, field.name) for field in fields(Faults)})
    clean = Faults()
    to_device = Wire(clean if args.only == "to-host" else faults, args.seed)
    to_host = Wire(clean if args.only == "to-device" else faults, args.seed + 1)
    machine = subprocess.Popen(args.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if machine.stdin is None or machine.stdout is None:
        raise RuntimeError("no pipes to the machine")
    ways = [_Way(to_device, 0, machine.stdin.fileno()), _Way(to_host, machine.stdout.fileno(), 1)]
    try:
        relay(ways)
    except (BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        pass
    finally:
        if args.report is not None:
            both = {"to_device": to_device.counts, "to_host": to_host.counts}
            args.report.write_text(json.dumps(both), encoding="utf-8")
        machine.kill()
        machine.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
