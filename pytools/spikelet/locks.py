"""Locks between processes of one computer: the system frees one when its holder ends, however."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

POLL_S = 0.05


class Locked(Exception):
    """Another process holds the lock; says which in a clause, as far as it is known."""


@contextmanager
def hold(
    path: Path, timeout_s: float = 0.0, on_wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold a lock. Beside its file `NAME.holder` says which process holds it.

    They are two files because nobody else can read the one that is locked on Windows.

    Args:
        path: of the lock's file; its folder is there.
        timeout_s: how long to wait for another holder.
        on_wait: told with the holder in words, again and again while it waits; may raise.

    Raises:
        Locked: it is still held after that time.
    """
    holder = path.with_name(f"{path.name}.holder")
    lock = FileLock(path, timeout=0, thread_local=False)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            lock.acquire()
            break
        except Timeout:
            other = _named(holder)
            if time.monotonic() >= deadline:
                raise Locked(other) from None
            if on_wait is not None:
                on_wait(other)
            time.sleep(POLL_S)
    try:
        holder.write_text(f"{os.getpid()}\n", encoding="utf-8")
        yield
    finally:
        with suppress(OSError):  # on Windows another process may be reading it
            holder.unlink()
        lock.release()


def _named(holder: Path) -> str:
    try:
        process = holder.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        process = ""
    return f"process {process}" if process.isdigit() else "another process"
