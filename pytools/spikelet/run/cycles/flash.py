"""Flash that answers late, behind a cache of what was fetched and one of what was loaded."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from spikelet.run.cycles.decode import literal, thumb

Block = tuple[int, int]  # address and bytes


@dataclass(frozen=True)
class Flash:
    """Flash that answers late, behind caches that keep what was used last.

    Attributes:
        wait: cycles that a line takes beyond the first.
        line: bytes that are read at once.
        lines: how many of instructions are kept.
        data_lines: how many of what is loaded are kept; with none every load waits.
    """

    wait: int = 0
    line: int = 16
    lines: int = 64
    data_lines: int = 8


class _Cache:
    def __init__(self, lines: int) -> None:
        self.lines, self._held = lines, OrderedDict[int, None]()

    def miss(self, line: int) -> bool:
        """Whether a line has to be read; it is kept from then on."""
        if line in self._held:
            self._held.move_to_end(line)
            return False
        self._held[line] = None
        if len(self._held) > self.lines:
            self._held.popitem(last=False)
        return True


class FlashPort:
    """What a core of Thumb reads from flash, and what of it waits."""

    def __init__(self, flash: Flash, code: bytes, base: int) -> None:
        """
        Args:
            flash: behind its caches, which are empty.
            code: what it holds from `base` on.
            base: its first address.
        """
        self._flash, self._code, self._base = flash, code, base
        self._fetched, self._loaded = _Cache(flash.lines), _Cache(flash.data_lines)
        self._known: dict[Block, tuple[range, list[int]]] = {}

    def enter(self, block: Block) -> int:
        """Lines that have to be read for a block of instructions, and for literals among them."""
        if block not in self._known:
            self._known[block] = self._lines(block)
        lines, literals = self._known[block]
        return sum(map(self._fetched.miss, lines)) + sum(map(self._loaded.miss, literals))

    def load(self, address: int, size: int) -> int:
        """Lines that have to be read for a load."""
        return sum(map(self._loaded.miss, self._span(address, size)))

    def _span(self, address: int, size: int) -> range:
        """The lines that bytes lie in."""
        line = self._flash.line
        return range(address // line, (address + size - 1) // line + 1)

    def _lines(self, block: Block) -> tuple[range, list[int]]:
        """Of the instructions, and of the literals that they load."""
        address, size = block
        at, end, literals = address - self._base, address - self._base + size, []
        while at < end:
            offset = literal(self._code, at, self._base + at)
            if offset is not None:
                literals.append((self._base + at + offset) // self._flash.line)
            at += thumb(self._code, at).size
        return self._span(address, size), literals
