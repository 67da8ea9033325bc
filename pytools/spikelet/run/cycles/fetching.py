"""Waiting for the one port of flash: a prefetch buffer beside the loads of the code that it feeds.

A load from flash takes the port for a cycle in which no word of instructions is fetched. A core
that has words in its buffer does not notice; one whose instructions take a word each does.
"""

from __future__ import annotations

from collections.abc import Sequence

from spikelet.run.cycles.decode import Instruction, Kind
from spikelet.run.cycles.timing import Core

WORD = 4  # bytes of a fetch


class _Prefetch:
    """Words of a block as they are asked for: in order, one a cycle, where there is room and the
    port is free. Times are cycles since the block's first instruction, whose word is there then.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._next = -1  # the cycle in which the next word may be asked for
        self._there: list[int] = []  # by word, when it is there
        self._used: dict[int, int] = {}  # by word, when its last byte was executed
        self._taken: set[int] = set()  # cycles in which a load has the port

    def _asked(self) -> int | None:
        """When the next word is asked for; None while that is not known."""
        word, when = len(self._there), self._next
        if word >= self._room:
            if word - self._room not in self._used:
                return None
            when = max(when, self._used[word - self._room])
        while when in self._taken:
            when += 1
        return when

    def _ask(self, when: int) -> None:
        self._there.append(when + 1)
        self._next = when + 1

    def ready(self, word: int, time: int) -> int:
        """When the instruction that ends in a word can be executed, `time` at the earliest."""
        while len(self._there) <= word and (when := self._asked()) is not None:
            self._ask(when)
        return max(time, self._there[word])

    def use(self, words: range, time: int) -> None:
        """The last bytes of these words were executed."""
        self._used |= dict.fromkeys(words, time)

    def load(self, time: int) -> None:
        """A load has the port in a cycle; what was to be asked for before has been."""
        while (when := self._asked()) is not None and when < time:
            self._ask(when)
        self._taken.add(time)


def waits(core: Core, block: Sequence[Instruction], address: int) -> int:
    """Cycles more that a block takes if each of its loads is from the flash that it lies in."""
    return _cycles(core, block, address, True) - _cycles(core, block, address, False)


def _cycles(core: Core, block: Sequence[Instruction], address: int, loads: bool) -> int:
    fetch, at, time = _Prefetch(core.prefetch), address % WORD, 0
    before: Instruction | None = None
    for one in block:
        if before is not None and before.target > 0 and before.target in one.sources:
            time += int(core.load_use)
        end = at + one.size
        time = fetch.ready((end - 1) // WORD, time)
        fetch.use(range(at // WORD, end // WORD), time)
        if loads and one.kind is Kind.LOAD:
            fetch.load(time + 1)  # the stage behind the one that executes
        time += int(core.kind(one.kind))
        at, before = end, one
    return time
