"""Plug-ins: operators, learners, boards and kernels that other packages bring.

A plug-in is a Python package that an entry point of the group `spikelet.plugins` names. It is laid
out like this house: its modules define operators and learners, its folder `firmware/` holds the
headers of their kernels, `boards/` a folder a board. Each is optional. Its modules are imported, so
a plug-in is code. Nothing here knows what an operator is: the registries ask for the modules.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.metadata
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from spikelet.errors import SpikeletError
from spikelet.paths import firmware_dir

GROUP = "spikelet.plugins"

T = TypeVar("T")

_INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


@dataclass(frozen=True)
class Plugin:
    """A plug-in that is installed.

    Attributes:
        package: what pip installs.
        version: of that.
        module: the Python package that its entry point names.
        folder: where that lies; the current one where it cannot be imported.
        fault: why nothing of it is used; "" where it is sound.
    """

    package: str
    version: str
    module: str
    folder: Path = Path()
    fault: str = ""

    @property
    def firmware(self) -> Path:
        """Headers of its kernels, if it has any."""
        return self.folder / "firmware"

    @property
    def boards(self) -> Path:
        """Folders of its boards, if it has any."""
        return self.folder / "boards"

    def defines(self, cls: type) -> bool:
        """Whether a class is of one of its modules."""
        return f"{cls.__module__}.".startswith(f"{self.module}.")


@dataclass(frozen=True)
class Registry(Generic[T]):
    """Things of one kind by name: ours, and those of plug-ins.

    Attributes:
        known: what can be used.
        faults: by plug-in, why nothing of this kind is taken from it.
    """

    known: dict[str, T]
    faults: dict[Plugin, str] = field(default_factory=dict)


@functools.cache
def plugins() -> tuple[Plugin, ...]:
    """All that are installed, sound or not, by package and module; imports them, once."""
    entries = importlib.metadata.entry_points(group=GROUP)
    named = {(e.dist.name if e.dist else "?", e.value): e for e in entries}
    loaded: list[Plugin] = []
    for (package, _), entry in sorted(named.items()):
        version = entry.dist.version if entry.dist else "?"
        sound = [p for p in loaded if not p.fault]
        loaded.append(_load(package, version, entry.value, sound))
    return tuple(loaded)


def owner(cls: type) -> Plugin | None:
    """The plug-in that defines a class; None where it is ours."""
    return next((plugin for plugin in plugins() if plugin.defines(cls)), None)


def kernel_dirs() -> list[Path]:
    """Where the headers that kernels include are looked for, ours first."""
    theirs = (plugin.firmware for plugin in plugins() if not plugin.fault)
    return [firmware_dir(), firmware_dir() / "include", *filter(Path.is_dir, theirs)]


def merge(
    kind: str,
    ours: Mapping[str, T],
    theirs: Callable[[Plugin], Iterator[tuple[str, T]]],
    refused: Mapping[Plugin, str] | None = None,
) -> Registry[T]:
    """Ours, and what each sound plug-in adds to it.

    Args:
        kind: what these things are, for errors.
        ours: by name.
        theirs: names and things of a plug-in; what it refuses is the plug-in's fault.
        refused: plug-ins of which nothing is taken, and why.
    """
    registry = Registry(dict(ours))
    owners: dict[str, str] = {}
    for plugin in plugins():
        added: dict[str, T] = {}
        try:
            if fault := plugin.fault or (refused or {}).get(plugin, ""):
                raise ValueError(fault)
            for name, thing in theirs(plugin):
                if name in added or name in registry.known:
                    by = plugin.package if name in added else owners.get(name, "Spikelet")
                    raise ValueError(f"{kind} {name!r} clashes with the one of {by}")
                added[name] = thing
        except (ValueError, SpikeletError) as e:
            registry.faults[plugin] = e.what if isinstance(e, SpikeletError) else str(e)
            continue
        registry.known.update(added)
        owners.update(dict.fromkeys(added, plugin.package))
    return registry


def _load(package: str, version: str, module: str, others: list[Plugin]) -> Plugin:
    """A plug-in whose modules are imported; whatever it raises is its fault."""
    try:
        imported = importlib.import_module(module)
        if not hasattr(imported, "__path__"):
            raise TypeError(f"{module} is a module, and a plug-in is a package")
        inside = pkgutil.walk_packages(imported.__path__, f"{module}.")
        modules = [imported, *(importlib.import_module(one.name) for one in inside)]
        plugin = Plugin(package, version, module, Path(next(iter(imported.__path__))))
        _check_headers(plugin, modules, [firmware_dir(), *(p.firmware for p in others)])
    except (Exception, SystemExit) as e:
        return Plugin(package, version, module, fault=f"{type(e).__name__}: {e}")
    return plugin


def _check_headers(plugin: Plugin, modules: list[ModuleType], others: list[Path]) -> None:
    """Refuse a header whose name another folder has, too, and one that is included and missing."""
    headers = sorted(plugin.firmware.rglob("*.h"))
    for name in (header.relative_to(plugin.firmware) for header in headers):
        if taken := next((folder for folder in others if (folder / name).is_file()), None):
            raise ValueError(f"header {name} clashes with {taken / name}")
    texts = [(header, header.read_text(encoding="utf-8")) for header in headers]
    wanted = [(header, name) for header, text in texts for name in _INCLUDE.findall(text)]
    wanted += [(Path(m.__file__ or ""), name) for m in modules for name in _included_headers(m)]
    folders = (firmware_dir(), firmware_dir() / "include", plugin.firmware)
    for source, name in wanted:
        if not any((folder / name).is_file() for folder in (*folders, source.parent)):
            raise ValueError(f"header {name}, which {source} includes, is missing")


def _included_headers(module: ModuleType) -> Iterator[str]:
    """The headers that a module's operators include by a literal: `em.include("NAME.h")`."""
    source = Path(module.__file__ or "")
    nodes = ast.walk(ast.parse(source.read_bytes())) if source.suffix == ".py" else ()
    for node in nodes:
        match node:
            case ast.Call(func=ast.Attribute(attr="include"), args=[ast.Constant(str(name))]):
                yield name
