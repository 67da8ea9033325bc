"""Run a command that must not outlive its owner.

    python leash.py FD COMMAND [ARGUMENT...]

Owner and leash share a pipe: when its other end closes, because the owner let go or died, the
command is ended. The leash ends with the exit code of the command.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading


def main() -> int:
    """Run the command of the command line; answers its exit code."""
    owner = int(sys.argv[1])
    os.set_inheritable(owner, False)
    command = subprocess.Popen(sys.argv[2:])

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
