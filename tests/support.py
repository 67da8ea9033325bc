"""What tests of several rooms share."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

MISSING: set[str] = set()  # tools that a test asked for in vain


def on_path() -> dict[str, str]:
    """The environment with this Python's own programs first on the PATH: `spikelet`, `pytest`."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def available(tool: str) -> bool:
    """Whether a program is on the PATH, or a Python module of that name is installed.

    On Windows no program is: what tests do with one needs a POSIX system.
    """
    if tool == "zig":
        return importlib.util.find_spec("ziglang") is not None
    program = shutil.which(tool) if sys.platform != "win32" else None
    return program is not None or importlib.util.find_spec(tool) is not None


def need(tool: str) -> None:
    """Skip the test, loudly, where `tool` is missing; fail where CI is set.

    Args:
        tool: a program, or a Python module with a plain name.
    """
    if available(tool):
        return
    MISSING.add(tool)
    message = f"{tool} is missing: run `make tools`; `spikelet doctor` tells more"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def reference_model(name: str) -> Path:
    """A .tflite file of the folder SPIKELET_MODELS; skips, loudly, where there is none."""
    folder = Path(os.environ.get("SPIKELET_MODELS", "models-missing"))
    path = folder / f"{name}.tflite"
    if not path.is_file():
        MISSING.add("SPIKELET_MODELS")
        pytest.skip(f"{path} is missing: SPIKELET_MODELS names the folder of reference models")
    return path
