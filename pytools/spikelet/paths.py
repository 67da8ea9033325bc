"""Where the house stands: the repository in a checkout, the packaged copy in a wheel."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def house_dir() -> Path:
    """The folder that holds firmware/, boards/, models/ and sim/."""
    packaged = _PACKAGE / "_house"
    return packaged if packaged.is_dir() else _PACKAGE.parent.parent


def firmware_dir() -> Path:
    """The C that runs on a device."""
    return house_dir() / "firmware"


def boards_dir() -> Path:
    """One folder a board."""
    return house_dir() / "boards"


def models_dir() -> Path:
    """One folder a model."""
    return house_dir() / "models"


def sim_dir() -> Path:
    """What stands in for hardware."""
    return house_dir() / "sim"


def cache_dir() -> Path:
    """Where data sets and builds may be kept between runs (`SPIKELET_CACHE` overrides)."""
    override = os.environ.get("SPIKELET_CACHE")
    return Path(override) if override else Path.home() / ".cache" / "spikelet"


def user_id() -> int:
    """Number of this user; on Windows 0, which is what it calls the owner of a file."""
    return os.getuid() if sys.platform != "win32" else 0
