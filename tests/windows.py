"""As much of Windows as another system can be made to look like; for a process of its own.

What Windows has not is taken away, and texts are in its code page with its line ends unless the
code says otherwise. What is not shown: paths with drives and backslashes, files that cannot be
replaced while they are open, processes, ports. Other people's packages have code of their own for
Windows, so they are imported before.
"""

from __future__ import annotations

import builtins
import importlib
import io
import os
import pkgutil
import select
import signal
import sys
from typing import Any

import spikelet

MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty")
CALLS = (
    "fork", "forkpty", "getegid", "geteuid", "getgid", "getgroups", "getloadavg", "getpgid",
    "getuid", "killpg", "mkfifo", "nice", "openpty", "pread", "pwrite", "sched_getaffinity",
    "set_blocking", "setsid", "statvfs", "sysconf", "ttyname", "uname",
)  # fmt: skip
SIGNALS = (
    "SIGABRT", "SIGBREAK", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN",
)  # fmt: skip


def modules() -> list[str]:
    """Every module of the package, but for the one that is the command."""
    found = pkgutil.walk_packages(spikelet.__path__, "spikelet.")
    return sorted({"spikelet", *(m.name for m in found)} - {"spikelet.__main__"})


def pretend() -> None:
    """Make the rest of this process's life one on Windows, and import the package anew."""
    for name in modules():
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "spikelet"]:
        del sys.modules[name]
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    _take(os, CALLS)
    _take(select, [name for name in dir(select) if name != "select"])
    _take(signal, [n for n in dir(signal) if n.startswith("SIG") and n not in SIGNALS])
    builtins.open = io.open = _open  # type: ignore[assignment]
    sys.platform = "win32"
    for name in modules():
        importlib.import_module(name)


def _take(module: Any, names: Any) -> None:
    for name in names:
        if hasattr(module, name) and not name.startswith("__"):
            delattr(module, name)


_real_open = io.open


def _open(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    *more: Any,
    **named: Any,
) -> Any:
    if "b" not in mode:
        encoding = "cp1252" if encoding in (None, "locale") else encoding
        newline = "\r\n" if newline is None and "r" not in mode else newline
    return _real_open(file, mode, buffering, encoding, errors, newline, *more, **named)
