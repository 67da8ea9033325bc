"""Locks between processes of one computer: the kernel frees one when its holder ends, however."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # a host without it does not lock
    fcntl = None  # type: ignore[assignment]

POLL_S = 0.05


class Locked(Exception):
    """Another process holds the lock; says which in a clause, as far as it is known."""


@contextmanager
def hold(
    path: Path, timeout_s: float = 0.0, on_wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold a lock. Its file stays, and holds the process that has, or had, the lock.

    Args:
        path: of the lock's file; its folder is there.
        timeout_s: how long to wait for another holder.
        on_wait: told with the holder in words, again and again while it waits; may raise.

    Raises:
        Locked: it is still held after that time.
    """
    if fcntl is None:
        yield
        return
    with path.open("a+", encoding="utf-8") as file:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                file.seek(0)
                process = file.read(32).strip()
                holder = f"process {process}" if process.isdigit() else "another process"
                if time.monotonic() >= deadline:
                    raise Locked(holder) from None
                if on_wait is not None:
                    on_wait(holder)
                time.sleep(POLL_S)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
