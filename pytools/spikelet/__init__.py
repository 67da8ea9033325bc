"""Spikelet: from PyTorch to a microcontroller, checked bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelet.version import __version__

if TYPE_CHECKING:
    from spikelet.frontends.torch import export

__all__ = ["__version__", "export"]


def __getattr__(name: str) -> Any:
    """`export` needs PyTorch and is imported when it is first asked for."""
    if name != "export":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from spikelet.frontends.torch import export
    except ModuleNotFoundError as e:
        if e.name != "torch":
            raise
        from spikelet.errors import UsageError

        raise UsageError(
            "spikelet.export needs the package torch",
            "Spikelet was installed without its extra `train`",
            "pip install 'spikelet[train]'",
        ) from e
    return export
