"""Objects of the agent and the boards, kept from build to build: only the model differs.

An object is found again by all that it was made from: the compiler, its flags, the source, and each
header that the source could include. Macros of ours that none of these texts names make no other
object: a build with traces, or of another board with the same core, takes what is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from spikelet.board.stack import USAGE
from spikelet.files import write_whole

MOST = 4000  # objects; then the older half goes
_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>|(.))', re.MULTILINE)
_OURS = "-DSPK_"  # begins the definition of a macro that no header of a compiler knows
# A compiler that is told more than its command line says is not asked again.
_TOLD = ("CPATH", "C_INCLUDE_PATH", "GCC_EXEC_PREFIX", "COMPILER_PATH", "CCC_OVERRIDE_OPTIONS")


class ObjectCache:
    """A folder of objects."""

    def __init__(self, folder: Path | None, headers: Iterable[Path]) -> None:
        """`folder`: None where nothing is kept; `headers`: folders of what sources include."""
        told = any(os.environ.get(name) for name in _TOLD)
        self.folder = None if told else folder
        self._headers: dict[str, list[Path]] = {}
        if self.folder is not None:
            for path in sorted({path for place in headers for path in place.rglob("*.h")}):
                self._headers.setdefault(path.name, []).append(path)
        self._texts: dict[Path, bytes] = {}

    def place(self, command: Sequence[str], source: Path) -> Path | None:
        """Where the object of a source is, or will be; None where none is kept."""
        if self.folder is None:
            return None
        program = Path(command[0]).resolve()
        status = program.stat()
        identity = f"{program} {status.st_size} {status.st_mtime_ns}"
        flags, read = list(command[1:]), self._reached(source)
        if read is None:
            read = {path for paths in self._headers.values() for path in paths}
        else:
            values = "\n".join(flag.partition("=")[2] for flag in flags)  # may name macros, too
            texts = [values.encode(), *(self._text(path) for path in (source, *read))]
            flags = [flag for flag in flags if _matters(flag, texts)]
        known = (part for path in sorted(read) for part in (_name(path), self._text(path)))
        parts = (identity.encode(), "\0".join(flags).encode(), self._text(source), *known)
        return self.folder / f"{_digest(parts).hex()}.o"

    def _reached(self, source: Path) -> set[Path] | None:
        """The headers that a source could include, each of a name; None where it cannot be told."""
        reached: set[Path] = set()
        pending = [source]
        while pending:
            path = pending.pop()
            for quoted, angled, other in _INCLUDE.findall(self._text(path)):
                name = (quoted or angled).decode(errors="replace")
                found = self._headers.get(Path(name).name, [])
                if other or (quoted and not found):
                    return None  # a macro names it, or it lies elsewhere
                pending += set(found) - reached
                reached.update(found)
        return reached

    def _text(self, path: Path) -> bytes:
        if path not in self._texts:
            self._texts[path] = path.read_bytes()
        return self._texts[path]

    def take(self, place: Path | None, to: Path) -> bool:
        """Put an object that is kept, and what its compiler said of it, where it is wanted."""
        if place is None or not place.is_file():
            return False
        with contextlib.suppress(FileNotFoundError):
            to.with_suffix(USAGE).write_bytes(place.with_suffix(USAGE).read_bytes())
        to.write_bytes(place.read_bytes())
        return True

    def keep(self, place: Path, made: Path) -> None:
        """Keep an object, and GCC's file beside it; a cache that cannot be written is none."""
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            if made.with_suffix(USAGE).is_file():
                write_whole(place.with_suffix(USAGE), made.with_suffix(USAGE).read_bytes())
            write_whole(place, made.read_bytes())
            self._shrink(place.parent)

    def _shrink(self, folder: Path) -> None:
        kept = list(folder.glob("*.o"))
        if len(kept) <= MOST:
            return
        kept.sort(key=lambda path: path.stat().st_mtime_ns)
        for path in kept[: len(kept) // 2]:
            path.unlink(missing_ok=True)
            path.with_suffix(USAGE).unlink(missing_ok=True)


def _digest(parts: Iterable[bytes]) -> bytes:
    """Of parts that do not run into one another."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "little"))
        whole.update(part)
    return whole.digest()


def _name(path: Path) -> bytes:
    return str(path).encode()


def _matters(flag: str, texts: Iterable[bytes]) -> bool:
    """Whether an object may depend on a flag: on all but macros of ours that no text names."""
    if not flag.startswith(_OURS):
        return True
    macro = flag.removeprefix("-D").partition("=")[0].encode()
    return any(macro in text for text in texts)
