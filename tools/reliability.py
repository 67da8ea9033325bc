"""What devices are put through, and what came of it: the tables of docs/reliability.md.

    python tools/reliability.py [PART ...] [--write] [--fuzz FOLDER]

Without PART all of them, which takes a quarter of an hour:

    wires     seeded faults of the line: a thousand in simulated time, fifty in QEMU
    bits      bit errors: tensors to and from the agent on this host
    cuts      power cuts at every operation of a commit
    suites    tests of what devices and files of others do, the long ones included
    fuzzing   what `make fuzz` has run, of FOLDER (default out/fuzz)

Ends with 1 if anything was wrong; --write puts the tables between the page's marks.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

HOUSE = Path(__file__).resolve().parents[1]
TESTS = HOUSE / "tests"
PAGE = HOUSE / "docs" / "reliability.md"
sys.path[:0] = [str(TESTS), str(TESTS / "fuzz"), str(HOUSE / "tools")]

import campaign  # noqa: E402
from marks import place, table  # noqa: E402

import scenarios  # noqa: E402
import soak_link  # noqa: E402
from link_agent import build_device, compile_c  # noqa: E402
from spikelet.board import start  # noqa: E402
from spikelet.link.faults import KINDS  # noqa: E402
from store import test_self_test, test_storage  # noqa: E402

SOAK_FRAMES = 2000
# What is shown, and the tests that show it.
SUITES = {
    "a device that lies: every lie has a named end, in bounded memory and time": [
        "link/test_lying.py", "cli/test_cli_lying.py",
    ],
    "a UART of silicon, 16 bytes of FIFO, no back-pressure, 921,600 baud, flash that stalls the"
    " core for 100 ms: the requests of the link's suite, no byte lost": ["link/test_paced.py"],
    "bytes that a UART garbled or had no room for are counted and told": [
        "board/test_uart_errors.py", "link/test_line_counts.py",
    ],
    "images run against models of the registers of STM32 L4 and H7 and ESP32-C3": [
        "board/test_board_registers.py",
    ],
    "a hang is ended by the watchdog, and named; nothing else is": [
        "board/test_watchdog.py", "board/test_watchdog_registers.py",
    ],
    "processes that are killed, flash that fails, storage of others, self-test at boot": [
        "store",
    ],
    "the stack that the compiler's call graph bounds is never exceeded": ["board/test_stack.py"],
    "a device with a key takes over nothing that its holder has not signed": [
        "learn/test_keyed_device.py",
    ],
    "packages with one member edited, ten thousand times: refused by a named error, or read": [
        "test_package_members.py",
    ],
}  # fmt: skip


class Wrong(Exception):
    """Something that must not be; its text says what."""


def wires(_: argparse.Namespace) -> str:
    """By kind of fault, how sessions ended."""
    with tempfile.TemporaryDirectory() as folder:
        library = scenarios.native_library(Path(folder))
        native, wrong = scenarios.play_all(
            range(scenarios.SCENARIOS), lambda: scenarios.slow_line(library)
        )
        with start(scenarios.qemu_image(Path(folder)), "qemu") as machine:
            line = (machine.transport, time.monotonic)
            qemu, also_wrong = scenarios.play_all(range(scenarios.QEMU_SCENARIOS), lambda: line)
    if wrong or also_wrong:
        raise Wrong("\n".join([*wrong, *also_wrong]))
    rows = [[kind, *_ended(native, kind), *_ended(qemu, kind)] for kind in KINDS]
    rows.append(
        ["in total", *(str(sum(int(row[column]) for row in rows)) for column in range(1, 5))]
    )
    head = ["kind", "native: right", "named error", "QEMU: right", "named error"]
    return table(head, rows)


def _ended(ends: Counter[tuple[str, str]], kind: str) -> list[str]:
    right = ends[kind, "right"]
    return [str(right), str(sum(n for (of, _), n in ends.items() if of == kind) - right)]


def bits(_: argparse.Namespace) -> str:
    """By bit error rate, what the link made of it."""
    with tempfile.TemporaryDirectory() as folder:
        device = build_device(Path(folder) / "device")
        found = [soak_link.soak(device, SOAK_FRAMES, rate, seed=1) for rate in soak_link.CURVE]
    if any(row["wrong"] for row in found):
        raise Wrong(f"tensors with wrong bytes: {found}")
    keys = ("flipped_bits", "retries", "link_deaths", "wrong")
    rows = [
        [
            f"{row['ber']:.0e}" if row["ber"] else "0", f"{row['frames']:,}",
            *(f"{row[key]:,}" for key in keys), f"{100 * row['efficiency']:.0f} %",
        ]
        for row in found
    ]  # fmt: skip
    head = [
        "bit error rate", "good frames", "flipped bits", "sent again", "exchanges given up",
        "wrong tensors", "tensor bytes of all",
    ]  # fmt: skip
    return table(head, rows)


def cuts(_: argparse.Namespace) -> str:
    """Power cuts by what they cut."""
    with tempfile.TemporaryDirectory() as folder:
        storage = _run_c(test_storage.checker(Path(folder), "gcc"))
        program = Path(folder) / "test_self_test"
        self_test = _run_c(compile_c(program, test_self_test.CHECKED, test_self_test.FLAGS, "gcc"))
    commits, kept, taken = (_number(storage, name) for name in ("cuts", "kept", "taken"))
    times = {
        "a commit, at each of its operations": commits,
        "of these: the state of before was there": kept,
        "of these: the new one was (cut in or behind its last write)": taken,
        "of these: neither of the two": commits - kept - taken,
        "the factory slot, at each operation": _number(storage, "factory cuts"),
        "two in a row, sampled": _number(storage, "pairs"),
        "a commit with a self-test at boot": _number(self_test, "cuts"),
    }
    return table(["what was cut", "times"], [[cut, f"{n:,}"] for cut, n in times.items()])


def _run_c(program: Path) -> str:
    done = test_storage.run_c(program)
    if done.returncode:
        raise Wrong(done.stderr)
    return done.stdout


def _number(text: str, name: str) -> int:
    found = re.search(rf"(?:^| ){name} (\d+)", text, re.MULTILINE)
    if found is None:
        raise Wrong(f"no {name} in {text}")
    return int(found[1])


def suites(_: argparse.Namespace) -> str:
    """By what is shown, how many tests passed."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (shown, files) in enumerate(SUITES.items()):
            report = Path(folder) / f"{number}.xml"
            words = ["-q", "-n", "2", "-m", "long or not long", f"--junitxml={report}"]
            paths = [str(TESTS / file) for file in files]
            done = subprocess.run([sys.executable, "-m", "pytest", *words, *paths], cwd=HOUSE)
            if done.returncode:
                raise Wrong(f"{shown}: see above")
            suite = next(ElementTree.parse(report).iter("testsuite"))
            skipped = int(suite.get("skipped", 0))
            ran = int(suite.get("tests", 0)) - skipped
            where = ", ".join(f"`tests/{file}`" for file in files)
            rows.append([shown, str(ran), str(skipped), where])
    return table(["what", "tests passed", "not run here", "where"], rows)


def fuzzing(given: argparse.Namespace) -> str:
    """Executions of each target."""
    counts = campaign.read_counts(given.fuzz)
    if missing := set(campaign.TARGETS) - set(counts):
        raise Wrong(f"{given.fuzz}: nothing of {', '.join(sorted(missing))}; run `make fuzz`")
    rows = [
        [
            f"`{name}`", target.reads, f"{counts[name].executions:,}",
            f"{counts[name].executions / counts[name].seconds:,.0f}", f"{counts[name].findings}",
        ]
        for name, target in campaign.TARGETS.items()
    ]  # fmt: skip
    return table(["target", "what it reads", "executions", "a second", "findings"], rows)


PARTS: dict[str, Callable[[argparse.Namespace], str]] = {
    part.__name__: part for part in (wires, bits, cuts, suites, fuzzing)
}


def main() -> int:
    """Print the tables that are named."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    parser.add_argument("--fuzz", type=Path, default=HOUSE / "out" / "fuzz", help="a campaign's")
    given = parser.parse_args()
    code = 0
    for name in given.parts:
        try:
            text = PARTS[name](given)
        except Wrong as wrong:
            print(f"{name}: {wrong}", file=sys.stderr)
            code = 1
            continue
        made = f"Made on {datetime.date.today()} by `python tools/reliability.py {name} --write`."
        print(f"{text}\n", flush=True)
        if given.write:
            place(PAGE, name, f"{text}\n\n{made}")
    return code


if __name__ == "__main__":
    sys.exit(main())
