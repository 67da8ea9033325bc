"""A device on a link: its facts, its tensors, and runs. Bytes only; values are spikelet.run's."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterable, Mapping

from spikelet.errors import LinkDead, UsageError
from spikelet.events import EventStream
from spikelet.link.connection import NO_OP
from spikelet.link.errors import (
    DeviceRefused,
    DeviceReset,
)
from spikelet.link.events import stream_of_frames
from spikelet.link.exchange import Request
from spikelet.link.facts import (
    DeviceInfo,
    EventResult,
    Kind,
    LearnAction,
    LearnResult,
    LearnState,
    RunResult,
    SelfTest,
    Source,
    Stored,
)
from spikelet.link.messages import (
    DONE_FINISHED,
    DONE_STOPPED,
    LEARN_RUN,
    NO_LABEL,
    RUN_KEEP,
    RUN_OUTPUTS,
    RUN_RESTART,
    RUN_STATES,
    RUN_STOP,
    RUN_TICKS,
    EchoRequest,
    LearnRequest,
    LearnStateRequest,
    RunRequest,
    SignedPutRequest,
    Status,
    Type,
)
from spikelet.link.replies import (
    EchoReply,
    FaultReply,
    LearnReply,
    LearnStateReply,
    RunReply,
)
from spikelet.link.tensors import Tensors, total_bytes

RUN_REPLY_BYTES = 1 + len(RunReply(0, 0, 0, 0, 0, 0, 0, 0, b"").pack())  # and the outputs
_SIGNED_HEAD = 4
# They change what is learned.
_CHANGES = (
    LearnAction.RESET, LearnAction.ACCEPT, LearnAction.TO_FACTORY, LearnAction.ACCEPT_SIGNED,
)  # fmt: skip
# What LEARN_STATE may be refused with.
_STATE_REFUSALS = {
    LearnAction.INFO: (),
    LearnAction.RESET: (),
    LearnAction.COMMIT: (Status.STORAGE, Status.NO_MEM, Status.RANGE, Status.BAD_STATE),
    LearnAction.RESTORE: (Status.MODEL_MISMATCH, Status.VERSION, Status.CHECKSUM),
    LearnAction.ACCEPT: (Status.CHECKSUM, Status.BAD_STATE),
    LearnAction.KEEP_FACTORY: (Status.STORAGE, Status.NO_MEM, Status.BAD_STATE),
    LearnAction.TO_FACTORY: (),
    LearnAction.ACCEPT_SIGNED: (Status.SIGNATURE, Status.OLD, Status.RANGE),
}
# What a device with a key refuses, too.
_KEYED_REFUSALS = {
    LearnAction.RESET: (Status.OLD,),
    LearnAction.TO_FACTORY: (Status.OLD,),
    LearnAction.ACCEPT: (Status.SIGNATURE,),
}


class Device(Tensors):
    """One device, and all that it can be asked; see `Connection` for its arguments and errors."""

    def run(
        self,
        restart: bool = True,
        steps: int = 0,
        stop: tuple[int, int] | None = None,
        timed: bool = False,
        deadline_s: float = 10.0,
        inputs: Mapping[str, bytes] | None = None,
        keep: bool = False,
    ) -> RunResult:
        """Runs time steps.

        Args:
            restart: begin at step 0.
            steps: how many; 0 = to the end.
            stop: (step, op): stop after that operator, with all tensors as it left them; trace
                builds only.
            timed: keep in the tensor `trace`, in place of each digest, the ticks that the model
                had taken when that operator was done; trace builds only.
            deadline_s: for all of it but the bytes on the wire, whose time is added.
            inputs: to write first; one of each step has the frames of all, which become events.
            keep: begin with the neurons' states as the run before left them.

        Raises:
            LinkTimeout: not done within `deadline_s`.
            DeviceReset: in the middle.
            UsageError, DeviceRefused, LinkDead.
        """
        if self.stream is not None and restart and not steps:
            return self.run_events(None, inputs, stop, timed, keep, deadline_s)
        flags = (RUN_RESTART if restart else 0) | (RUN_STOP if stop else 0)
        flags |= (RUN_TICKS if timed else 0) | (RUN_KEEP if keep else 0)
        flags |= 0 if stop or steps else RUN_OUTPUTS
        stop_step, stop_op = stop or (0, 0)
        limits = (("steps", steps, 0xFFFF), ("step", stop_step, 0xFFFF), ("op", stop_op, NO_OP - 1))
        for name, value, limit in limits:
            if not 0 <= value <= limit:
                raise UsageError(f"run: {name} {value} is not within 0..{limit}")
        return self._start(RunRequest(flags, steps, stop_step, stop_op), inputs or {}, deadline_s)()

    @property
    def runs_ahead(self) -> int:
        """How many `start_run` are worth calling before the first is finished; 1 where the outputs
        of a run must be read before the next one overwrites them."""
        outputs = sum(t.bytes for t in self.hello.tensors if t.kind is Kind.OUTPUT)
        rides = outputs <= self.hello.payload - RUN_REPLY_BYTES and self.stream is None
        return self.hello.kept + 1 if rides else 1

    def start_run(
        self, inputs: Mapping[str, bytes], keep: bool = False, deadline_s: float = 10.0
    ) -> Callable[[], RunResult]:
        """Begins a whole run, and does not wait for it: the next one's inputs may go meanwhile.

        Args:
            inputs, keep, deadline_s: see `run`.

        Returns:
            what waits for the run and gives its result, with `states_crc`; for errors see `run`.
        """
        if self.stream is not None:
            return lambda: self.run_events(None, inputs, keep=keep, deadline_s=deadline_s)
        flags = RUN_RESTART | RUN_OUTPUTS | RUN_STATES | (RUN_KEEP if keep else 0)
        return self._start(RunRequest(flags, 0, 0, 0), inputs, deadline_s)

    def _start(
        self, run: RunRequest, inputs: Mapping[str, bytes], deadline_s: float
    ) -> Callable[[], RunResult]:
        restart = bool(run.flags & RUN_RESTART)
        stop = (run.stop_step, run.stop_op) if run.flags & RUN_STOP else None
        requests = [*self._puts(inputs), Request(Type.RUN, run.pack())]
        # A run that begins is refused, too, where an input holds none of a few values.
        chosen = [n for n, t in self._by_name.items() if restart and t.kind is Kind.INPUT]
        more = bool(run.flags & (RUN_TICKS | RUN_KEEP))
        allowed = self._claims.run_refusals(restart, run.steps, stop, more)
        allowed |= self._put_refusals({*inputs, *chosen})
        sent = total_bytes(inputs.values())
        allowed_s, began = deadline_s + self._wire_s(sent), self._clock()
        batch = self._begin(requests, allowed_s, slow_last=True)

        def finish() -> RunResult:
            replies = self._finish(batch, allowed_s)
            self._all_ok(requests, replies, allowed)
            self.stats.bytes += sent
            reply = self._read(RunReply, replies[-1])
            self._same_boot(reply.boot_id)
            elapsed_s = self._clock() - began
            self._claims.check_run(reply, restart, run.steps, stop is not None, elapsed_s)
            asked = bool(run.flags & RUN_OUTPUTS)
            return RunResult(
                finished=reply.done == DONE_FINISHED,
                stopped=reply.done == DONE_STOPPED,
                step=reply.step,
                ticks=reply.ticks,
                stack=reply.stack,
                saturations=reply.saturations,
                outputs_crc=reply.outputs_crc,
                states_crc=reply.states_crc,
                outputs=self._outputs_in(reply.outputs, asked, RUN_REPLY_BYTES),
            )

        return finish

    def run_events(
        self,
        events: EventStream | None,
        inputs: Mapping[str, bytes] | None = None,
        stop: tuple[int, int] | None = None,
        timed: bool = False,
        keep: bool = False,
        deadline_s: float = 10.0,
    ) -> EventResult:
        """A whole run of a model whose input comes as events.

        Args:
            events: of the sample; None for those that the frames among `inputs` make.
            inputs, stop, timed, keep, deadline_s: see `run`.

        Raises:
            EventError: they are out of order or out of range.
            UsageError, DeviceRefused, LinkDead.
        """
        given, stream = dict(inputs or {}), self.stream
        if stream is None:
            raise UsageError(f"the device's model {self.hello.model!r} takes no events")
        frames = given.pop(stream.name, b"")
        if events is None:
            whole = stream.bytes * self.hello.steps
            if len(frames) != whole:
                raise UsageError(
                    f"tensor {stream.name!r} has {whole} bytes ({self.hello.steps} frames of "
                    f"{stream.dtype.name.lower()} {stream.shape}), not {len(frames)}",
                    "one frame, or a wrong shape or dtype",
                    "pass the frames of all steps, or events",
                )
            events = stream_of_frames(stream, frames, self.hello.steps)
        self._event_time = self._events_sent = 0
        self._check_events(events)
        begun = self._starting(self._puts(given), stop, timed, keep, deadline_s)
        sent = self._sending(events, deadline_s)
        closed = self._closing(0, False, deadline_s)
        begun()
        sent()
        return closed()

    def outputs(self, ran: RunResult, names: Iterable[str] = ()) -> dict[str, bytes]:
        """The outputs of the run that was the last, and other tensors in the same window.

        Raises:
            ProtocolError: they are not those whose CRC the run named.
        """
        memory = dict(ran.outputs or {})
        outputs = [t.name for t in self.hello.tensors if t.kind is Kind.OUTPUT]
        missing = [name for name in dict.fromkeys([*outputs, *names]) if name not in memory]
        memory |= self.get_many(missing) if missing else {}
        self._claims.check_outputs(ran.outputs_crc, memory)
        return memory

    def learn(
        self,
        label: int | None = None,
        inputs: Mapping[str, bytes] | None = None,
        targets: Mapping[str, bytes] | None = None,
        deadline_s: float = 10.0,
    ) -> tuple[RunResult | None, LearnResult]:
        """Learns from a sample, once.

        Args:
            label: its class; None where the model takes targets, or nothing.
            inputs: of a sample to run first, in the same window; None to learn from the sample
                that was run last.
            targets: to write first.
            deadline_s: for all of it but the bytes on the wire, whose time is added.

        Returns:
            what `run` returns, None without inputs; and the outcome of learning.

        Raises:
            LinkTimeout: not done within `deadline_s`.
            DeviceReset: the device was reset in the middle.
            DeviceRefused: RANGE for a label that the model does not have, BAD_STATE without a
                whole run before it.
            UsageError, LinkDead.
        """
        if label is not None and not 0 <= label < NO_LABEL:
            raise UsageError(
                f"label {label} is not within 0..{NO_LABEL - 1}",
                "a label that is not a class number",
                "pass the class's number, counted from 0",
            )
        self._learns()
        if self.stream is not None and inputs is not None:
            before = self.run(inputs=inputs, deadline_s=deadline_s)
            return before, self.learn(label, None, targets, deadline_s)[1]
        sent = {**(inputs or {}), **(targets or {})}
        requests = self._puts(sent)
        number = NO_LABEL if label is None else label
        flags = 0 if inputs is None else LEARN_RUN
        requests.append(Request(Type.LEARN, LearnRequest(number, flags, len(requests)).pack()))
        size = total_bytes(sent.values())
        allowed_s = deadline_s + self._wire_s(size)
        replies, elapsed_s = self._work(requests, allowed_s, learns=True)
        self._all_ok(requests, replies, self._learn_refusals(label, inputs, sent))
        self.stats.bytes += size
        result = self._read(LearnReply, replies[-1])
        self._same_boot(result.boot_id)
        self._claims.check_learning(result, elapsed_s)
        learned = LearnResult(result.ticks, result.stack, result.saturations)
        return None if inputs is None else RunResult.before(result, self.hello.steps), learned

    def learn_state(
        self,
        action: LearnAction = LearnAction.INFO,
        crc: int = 0,
        steps: int = 0,
        deadline_s: float = 60.0,
    ) -> LearnState:
        """Reads about what was learned, or decides what becomes of it.

        What a session has learned and not committed ends with it: the next one finds the last
        committed model.

        Args:
            action: what to do first.
            crc: ACCEPT: CRC-32 of all learned tensors, in table order.
            steps: ACCEPT: learning steps behind them.
            deadline_s: for all of it; a commit erases and writes flash.

        Raises:
            DeviceRefused: STORAGE, NO_MEM, RANGE for a commit that failed; MODEL_MISMATCH, VERSION
                or CHECKSUM where the storage holds nothing that RESTORE could load; CHECKSUM for
                an ACCEPT of other tensors than were written. In use is then what was committed
                last, but for a commit that met STORAGE or NO_MEM: it may be repeated.
            BAD_STATE: ACCEPT without a write, COMMIT before it; KEEP_FACTORY of what is not
                committed, or where the factory slot is whole: it is written once.
            DeviceReset, LinkTimeout, LinkDead, UsageError.
        """
        self._learns()
        if not (0 <= crc < 2**32 and 0 <= steps < 2**32):
            raise UsageError(f"crc {crc} or steps {steps} is not within 0..{2**32 - 1}")
        payload = LearnStateRequest(action, crc, steps).pack()
        requests = [Request(Type.LEARN_STATE, payload)]
        replies, elapsed_s = self._work(requests, deadline_s, learns=action in _CHANGES)
        refusals = (*_STATE_REFUSALS[action], *(_KEYED_REFUSALS.get(action, ()) * self.hello.keyed))
        try:
            self._all_ok(requests, replies, refusals)
        except DeviceRefused:
            self._claims.note_refusal()
            raise
        state = self._read(LearnStateReply, replies[0])
        self._same_boot(state.boot_id)
        for said, known in (
            (state.stored, Stored), (state.factory, Stored), (state.source, Source),
            (state.self_test, SelfTest),
        ):  # fmt: skip
            if said not in list(known):
                raise self._impossible(f"that its storage holds {said}, as {known.__name__}")
        self._claims.check_state(state, action, crc, steps, elapsed_s)
        if action in (LearnAction.COMMIT, LearnAction.RESTORE):
            self._uncommitted = False
        return LearnState.of(state)

    @property
    def learned_names(self) -> list[str]:
        """Names of the learned tensors, in table order."""
        return [t.name for t in self.hello.tensors if t.kind is Kind.LEARNED]

    def put_learned(self, tensors: Mapping[str, bytes], steps: int = 0) -> LearnState:
        """Replaces all learned tensors; it counts as uncommitted learning.

        Args:
            tensors: every learned tensor by name, in its wire layout.
            steps: learning steps behind them.

        Raises:
            UsageError: one is missing, unknown, or has the wrong size; or the device has a key: see
                `put_signed`.
            DeviceRefused: a value is out of range; the last committed model is in use then.
            LinkDead: nothing of it is in use.
        """
        self._learns()
        if self.hello.keyed:
            raise UsageError(
                f"{self.transport.name}: the device takes over only what the holder of its key has "
                "signed",
                "its image was built with --device-key",
                "send a delta or state that `spikelet sign` has signed; the device may learn, and "
                "a session on it is begun anew, not resumed",
            )
        missing = [name for name in self.learned_names if name not in tensors]
        if missing:
            raise UsageError(
                f"learned tensor {missing[0]} is missing",
                "what is learned is replaced as a whole",
                f"pass all of: {', '.join(self.learned_names)}",
            )
        crc = 0
        for name in self.learned_names:
            crc = zlib.crc32(tensors[name], crc)
        try:
            self.put_many(tensors)
            return self.learn_state(LearnAction.ACCEPT, crc, steps)
        except DeviceRefused:
            with contextlib.suppress(DeviceRefused):  # of a storage that holds nothing of use
                self.learn_state(LearnAction.RESTORE)
            raise

    def put_signed(self, state: bytes) -> LearnState:
        """Has a device with a key take over a signed state; it counts as uncommitted learning.

        Args:
            state: as `signed_state` of `Delta` and `LearnedState` makes it; the device verifies it,
                whole.

        Raises:
            UsageError: the device has no key.
            DeviceRefused: SIGNATURE: it is not signed by the key's holder for this package; OLD: a
                newer one was taken over; RANGE: a value is out of range. What the device had
                learned is unchanged.
            LinkDead: nothing of it is in use.
        """
        if not self.hello.keyed:
            raise UsageError(
                f"{self.transport.name}: the device has no key to verify a signed state with",
                "its image was built without --device-key",
                "build it with one; or send the delta or state as it is",
            )
        chunk = self.hello.payload - _SIGNED_HEAD
        parts = [
            SignedPutRequest(at, state[at : at + chunk]) for at in range(0, len(state), chunk)
        ] or [SignedPutRequest(0, b"")]
        requests = [Request(Type.SIGNED_PUT, part.pack()) for part in parts]
        replies = self._exchange(requests, self._allowed_s(len(state)))
        refusals = (Status.SIGNATURE, Status.BAD_STATE)  # BAD_STATE behind one that was refused
        self._all_ok(requests, replies, refusals)
        self.stats.bytes += len(state)
        return self.learn_state(LearnAction.ACCEPT_SIGNED)

    def _learns(self) -> None:
        if not self.hello.learns:
            raise UsageError(
                f"the device's model {self.hello.model!r} does not learn",
                "its package holds no learner",
                "build and flash a package with one",
            )

    def echo(self, data: bytes) -> bytes:
        """Sends bytes to the device and back.

        Raises:
            DeviceRefused: longer than a payload less one.
            LinkDead.
        """
        return self.echo_many([data])[0]

    def echo_many(self, messages: Iterable[bytes]) -> list[bytes]:
        """Several echoes in one window; measures the link."""
        messages = list(messages)
        requests = [Request(Type.ECHO, EchoRequest(data).pack()) for data in messages]
        replies = self._exchange(requests, self._allowed_s(2 * total_bytes(messages)))
        long = any(len(r.payload) > self.hello.payload - 1 for r in requests)
        self._all_ok(requests, replies, {Status.BAD_LEN} if long else ())
        return [self._read(EchoReply, reply).data for reply in replies]

    def fault(self) -> FaultReply:
        """The cause of the last reset, and the last fault."""
        requests = [Request(Type.FAULT, b"")]
        replies = self._exchange(requests, self._allowed_s())
        self._all_ok(requests, replies)
        return self._read(FaultReply, replies[0])

    def line_health(self) -> dict[str, int] | None:
        """`line_counts` by name, for a record; None where the device does not answer any more."""
        with contextlib.suppress(LinkDead):
            return self.line_counts()._asdict()
        return None

    def reset(self) -> DeviceInfo:
        """Resets the device and opens a session with it.

        Raises:
            LinkDead: it did not come back, or came back without having been reset.
        """
        before = self.hello.boot_id
        with contextlib.suppress(DeviceReset):  # its reply may be lost, its first text is not
            self._exchange([Request(Type.RESET, b"")], self._allowed_s())
        info = self.reconnect()
        if info.boot_id == before:
            raise LinkDead(
                f"{self.transport.name}: RESET was answered, but the boot id stays 0x{before:08x}",
                "the board's reset call does not reset the core",
                "press the board's reset button",
            )
        return info

    def _learn_refusals(
        self, label: int | None, inputs: Mapping[str, bytes] | None, sent: Iterable[str]
    ) -> set[Status]:
        statuses = self._put_refusals(sent)
        classes = self._expected.classes if self._expected is not None else None
        if classes is None or (label is None) != (classes == 0) or (label or 0) >= max(1, classes):
            statuses.add(Status.RANGE)
        if inputs is None or self._claims.pending:
            statuses.add(Status.BAD_STATE)
        return statuses
