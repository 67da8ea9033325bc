"""What a device has answered in this session, against what was asked and what it said before."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from spikelet.link.errors import ProtocolError, impossible
from spikelet.link.expected import TICKS_PER_S, Expected
from spikelet.link.facts import DeviceInfo, Kind, LearnAction, Stored
from spikelet.link.messages import DONE_FINISHED, DONE_STEPS_LEFT, DONE_STOPPED, Status
from spikelet.link.replies import EventsCloseReply, LearnReply, LearnStateReply, RunReply

STORED_HEADER = 64  # bytes of a slot before the tensors
NO_TICKS = 0  # tick unit


class Claims:
    """The checks of answers; what a failed one raises names the answer.

    Args:
        port: for errors.
        info: of the session's handshake.
        expected: what the device must be; None where nothing is known of it.

    Attributes:
        step: steps done since the last start, None where that is not known.
        pending: learned tensors were written and not accepted.
    """

    def __init__(self, port: str, info: DeviceInfo, expected: Expected | None) -> None:
        self.port, self.info, self.expected = port, info, expected
        self.step: int | None = None
        self.pending = False
        self.learned: int | None = None  # learning steps behind the learned tensors
        self.before: LearnStateReply | None = None

    def run_refusals(
        self, restart: bool, steps: int, stop: tuple[int, int] | None, more: bool = False
    ) -> set[Status]:
        """What a device may answer to such a RUN but OK."""
        statuses = set()
        # `more`: ticks by operator, or states that are kept: not every device has that.
        if not restart or self.pending or more or (stop is not None and not self.info.trace):
            statuses.add(Status.BAD_STATE)
        late = stop is not None and stop[0] >= self.info.steps
        if not restart or more or steps > self.info.steps or late:
            statuses.add(Status.RANGE)
        return statuses

    def check_run(
        self, reply: RunReply, restart: bool, steps: int, stop: bool, elapsed_s: float
    ) -> None:
        """Check the answer to a RUN that was asked for `steps`, 0 for all that were left."""
        whole = self.info.steps
        start = 0 if restart else self.step
        end = None if start is None else start + steps if steps else whole
        if reply.done == DONE_STOPPED:
            good = stop and reply.step <= (whole if end is None else end)
        elif reply.done == DONE_FINISHED:
            good = reply.step == whole and end in (None, whole)
            # Where the answer was sure earlier, no later step was run.
            early = self.info.exits and (start or 0) < reply.step <= (whole if end is None else end)
            good = good or early
        else:
            good = (
                reply.done == DONE_STEPS_LEFT and reply.step < whole and end in (None, reply.step)
            )
        if not good:
            raise self._impossible(
                f"that it ran to step {reply.step} of {whole} (done {reply.done}), asked for "
                f"{steps or 'all'} steps{', and to stop' if stop else ''}"
            )
        self.step = reply.step
        self._work("RUN", reply.ticks, reply.stack, elapsed_s)

    def check_begun(self, reply: RunReply, elapsed_s: float) -> None:
        """Check the answer to a RUN that waits for events."""
        if (reply.done, reply.step) != (DONE_STEPS_LEFT, 0):
            raise self._impossible(
                f"that it ran to step {reply.step} (done {reply.done}), asked to wait for events"
            )
        self.step = 0
        self._work("RUN", reply.ticks, reply.stack, elapsed_s)

    def check_closed(
        self, reply: EventsCloseReply, steps: int, sent: int, elapsed_s: float
    ) -> None:
        """Check the answer to EVENTS_CLOSE behind so many events, so long after their RUN."""
        whole = self.info.steps
        good = {
            DONE_FINISHED: reply.step == whole or (self.info.exits and 0 < reply.step < whole),
            DONE_STEPS_LEFT: (steps or whole) <= reply.step < whole,
            DONE_STOPPED: self.info.trace and reply.step <= whole,
        }
        if not good.get(reply.done, False):
            raise self._impossible(
                f"that it closed to step {reply.step} of {whole} (done {reply.done}), asked for "
                f"{steps or 'all'} steps"
            )
        if reply.events != sent or reply.late + reply.clipped > sent or reply.most > reply.ticks:
            raise self._impossible(
                f"that it took {reply.events} events, {reply.late} late and {reply.clipped} "
                f"clipped, and {reply.most} ticks of {reply.ticks} in one step; {sent} were sent"
            )
        self.step = reply.step
        self._work("EVENTS", reply.ticks, reply.stack, elapsed_s)

    def check_learning(self, reply: LearnReply, elapsed_s: float) -> None:
        """Check the answer to LEARN."""
        self.step = None
        if self.learned is not None:
            self.learned += 1
        self._work("LEARN", reply.ticks + reply.run_ticks, reply.stack, elapsed_s)

    def check_outputs(self, crc: int, memory: Mapping[str, bytes]) -> None:
        """Check the CRC that RUN named against the outputs that were read."""
        names = [t.name for t in self.info.tensors if t.kind is Kind.OUTPUT]
        if not all(name in memory for name in names):
            return
        count = 0
        for name in names:
            count = zlib.crc32(memory[name], count)
        if count != crc:
            raise self._impossible(
                f"that its outputs have the CRC 0x{crc:08x}, and sends outputs of 0x{count:08x}"
            )

    def note_write(self) -> None:
        """Learned tensors are about to be written."""
        self.pending = True
        self.learned = None

    def note_refusal(self) -> None:
        """A LEARN_STATE was refused: what was learned may have been undone."""
        self.learned = self.before = None
        self.pending = False

    def check_state(
        self, reply: LearnStateReply, action: LearnAction, crc: int, steps: int, elapsed_s: float
    ) -> None:
        """Check the answer to LEARN_STATE, against the action and the answers before it."""
        before, self.before = self.before, reply
        pending = int(self.pending) if action is LearnAction.INFO else 0
        if action in (LearnAction.RESTORE, LearnAction.TO_FACTORY):
            learned: int | None = None
        else:
            fixed = {
                LearnAction.RESET: 0, LearnAction.ACCEPT: steps, LearnAction.ACCEPT_SIGNED: 0,
            }  # fmt: skip
            learned = fixed.get(action, self.learned)
        kept = action in (LearnAction.COMMIT, LearnAction.RESTORE)
        rows = [("pending", reply.pending, pending)]
        if learned is not None:
            rows.append(("learning steps", reply.steps, learned))
        if action is LearnAction.KEEP_FACTORY:
            rows.append(("factory slot", reply.factory, Stored.LOADED))
        if action is LearnAction.ACCEPT:
            rows.append(("CRC", reply.crc, crc))
        if kept:
            rows.append(("committed CRC", reply.committed_crc, reply.crc))
        if before is not None:
            more = action is LearnAction.COMMIT
            rows.append(("generation", reply.generation, (before.generation + more) & 0xFFFFFFFF))
            rows.append(("slot bytes", reply.slot_bytes, before.slot_bytes))
            rows.append(("page bytes", reply.page_bytes, before.page_bytes))
            rows.append(("self-test", reply.self_test, before.self_test))
            for name in ("written", "erased", "worn"):
                least = getattr(before, name)
                rows.append(
                    (f"bytes or pages {name}", max(least, value := getattr(reply, name)), value)
                )
        for name, actual, wanted in rows:
            if actual != wanted:
                raise self._impossible(f"after {action.name} that {name} is {actual}, not {wanted}")
        size = sum(t.bytes for t in self.info.tensors if t.kind is Kind.LEARNED)
        if reply.generation and reply.slot_bytes < STORED_HEADER + size:
            raise self._impossible(
                f"that {size} learned bytes are committed in a slot of {reply.slot_bytes}"
            )
        self.pending, self.learned = bool(reply.pending), reply.steps
        self._work(action.name, reply.ticks, 0, elapsed_s)

    def _work(self, what: str, ticks: int, stack: int, elapsed_s: float) -> None:
        most = 0 if self.info.tick_unit == NO_TICKS else TICKS_PER_S * elapsed_s
        if ticks > most:
            raise self._impossible(f"that {what} took {ticks} ticks, in {elapsed_s:.3g} s")
        ram = self.expected.ram_bytes if self.expected is not None else None
        if ram is not None and stack > ram:
            raise self._impossible(f"that {stack} bytes of stack were used, of {ram} bytes of RAM")

    def _impossible(self, what: str) -> ProtocolError:
        return impossible(self.port, what)
