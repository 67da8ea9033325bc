"""Run a command that must not outlive its owner.

    python leash.py FD COMMAND [ARGUMENT...]

Owner and leash share a pipe: when its other end closes, because the owner let go or died, the
command is ended. The leash ends with the exit code of the command. On Linux the command also ends
when the leash itself is killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # prctl(2)


def _die_with(leash: int) -> Callable[[], None] | None:
    """What the command's process does before it becomes the command; None where not possible."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != leash:  # it died in between
            os._exit(1)

    return tie


def main() -> int:
    """Run the command of the command line; answers its exit code."""
    owner = int(sys.argv[1])
    os.set_inheritable(owner, False)
    command = subprocess.Popen(sys.argv[2:], preexec_fn=_die_with(os.getpid()))

    def hold() -> None:
        while os.read(owner, 64):
            pass
        command.kill()

    threading.Thread(target=hold, daemon=True).start()
    # The link is the command's alone: its owner must see the end of it when the command ends.
    for descriptor in (0, 1):
        os.close(descriptor)
    code = command.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
