"""A device that does not tell the truth: a real one, with one lie between it and the host.

    python sim/lying_device.py --list
    python sim/lying_device.py MODE [--stored CRC] -- ./device

starts the device, passes on every frame in both directions, and changes the answers that the mode
names. `honest` changes nothing. Each other mode is one that a host must end with a named error.
"""

# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pytools"))

from lies import MODES, Liar

from spikelet.link.framing import Deframer, encode


def relay(liar: Liar, host: tuple[int, int], device: tuple[int, int]) -> None:
    """Moves frames until one end closes; descriptors to read from and to write to."""
    requests, replies = Deframer(), Deframer()
    poll = select.poll()
    poll.register(host[0], select.POLLIN)
    poll.register(device[0], select.POLLIN)
    while True:
        ready = {source for source, _ in poll.poll(0 if liar.flood else None)}
        if host[0] in ready:
            data = os.read(host[0], 65536)
            if not data:
                return
            for frame in requests.feed(data):
                liar.asked[frame.seq] = frame
            send(device[1], data)
        if device[0] in ready:
            data = os.read(device[0], 65536)
            if not data:
                return
            for frame in replies.feed(data):
                for changed in liar.answer(frame):
                    send(host[1], encode(changed))
        if liar.flood is not None:
            send(host[1], 100 * encode(liar.flood))
            time.sleep(0.001)


def send(sink: int, data: bytes) -> None:
    """All of it."""
    while data:
        data = data[os.write(sink, data) :]


def main() -> int:
    """The command line; answers 0."""
    parser = argparse.ArgumentParser(description="a device that does not tell the truth")
    parser.add_argument("--list", action="store_true", help="list the modes")
    parser.add_argument("mode", nargs="?", choices=sorted(MODES), metavar="MODE")
    parser.add_argument("--stored", type=int, default=0, help="of the modes constants-*: a CRC")
    parser.add_argument("command", nargs="*", help="the device, after --")
    args = parser.parse_args()
    if args.list:
        for mode, (doc, _) in MODES.items():
            print(f"{mode:20} {doc}")
        return 0
    if args.mode is None or not args.command:
        parser.error("a mode and a device are needed")
    machine = subprocess.Popen(args.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if machine.stdin is None or machine.stdout is None:
        raise RuntimeError("no pipes to the device")
    ends = machine.stdout.fileno(), machine.stdin.fileno()
    try:
        relay(Liar(args.mode, args.stored), (0, 1), ends)
    except (BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        pass
    finally:
        machine.kill()
        machine.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
