"""Spikelet: from PyTorch to a microcontroller, checked bit for bit.

`spikelet.api` documents what is here; each name is loaded when it is first asked for.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from spikelet.version import __version__

if TYPE_CHECKING:
    from spikelet.api import (
        Device,
        Package,
        Page,
        Prediction,
        RunOptions,
        Session,
        State,
        Summary,
        Watch,
        compare,
        connect,
        export,
        import_model,
        load,
        train,
    )
    from spikelet.frontends.snntorch.spiking import Spiking
    from spikelet.run.learning.learn_options import LearnOptions

__all__ = [
    "Device",
    "LearnOptions",
    "Package",
    "Page",
    "Prediction",
    "RunOptions",
    "Session",
    "Spiking",
    "State",
    "Summary",
    "Watch",
    "__version__",
    "compare",
    "connect",
    "export",
    "import_model",
    "load",
    "train",
]

_PLACES = {
    "LearnOptions": "spikelet.run.learning.learn_options",
    "Spiking": "spikelet.frontends.snntorch.spiking",
}
_NEED_TORCH = ("export", "Spiking")


def __getattr__(name: str) -> Any:
    """What users import, loaded now."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        if name in _NEED_TORCH:
            import_module("torch")
        return getattr(import_module(_PLACES.get(name, "spikelet.api")), name)
    except ModuleNotFoundError as e:
        if e.name not in ("torch", "snntorch"):
            raise
        from spikelet.errors import UsageError

        raise UsageError(
            f"spikelet.{name} needs the package {e.name}",
            "Spikelet was installed without its extra `train`",
            "pip install 'spikelet[train]'",
        ) from e


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Spikelet(ModuleType):
    """`train` is a function here, and a room of ours too, whose import would take the name."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in __all__ or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Spikelet
