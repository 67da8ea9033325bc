"""A session: stream samples to a device, compare every result with golden, record it all."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from spikelet.codegen import DIGESTS
from spikelet.errors import UsageError
from spikelet.graph import Array, Execution, Graph, Phase, Tensor
from spikelet.link import EventResult, Kind, ProtocolError, RunResult
from spikelet.link.device import Device
from spikelet.link.errors import impossible
from spikelet.package import Package, PackageError
from spikelet.run.compared_events import ComparedEvents
from spikelet.run.exercised import Exercised
from spikelet.run.replay import replay, sample_deadline
from spikelet.run.session_folder import Difference, Recording, Sample, sample_error
from spikelet.run.watch import SampleProgress, Watch
from spikelet.streams import SampleStream

REPLAYS = 3  # disagreeing samples that are replayed step by step, element by element
NAMED = 5  # disagreeing elements that are named for each replayed sample
NOTED_S = 5.0  # seconds between two notes of what stack and link measured so far
LEAST_MIPS = 1.0  # million instructions a second of the slowest device
TICKS = ("none", "instruction", "cycle", "us")


@dataclass(frozen=True)
class Speed:
    """How fast a device is, and what its ticks are.

    Attributes:
        mips: lower bound, million instructions a second; deadlines are made of it.
        instructions_per_tick: of an emulator that counts time in instructions; None where a tick
            is what the device says.
        counts: whether ticks mean anything.
    """

    mips: float = LEAST_MIPS
    instructions_per_tick: float | None = None
    counts: bool = True

    def unit(self, tick_unit: int) -> tuple[str, float]:
        """What is counted, of `TICKS`, and how much of it a tick of the device is."""
        said = TICKS[tick_unit] if self.counts and tick_unit < len(TICKS) else "none"
        if said != "none" and self.instructions_per_tick is not None:
            return "instruction", self.instructions_per_tick
        return said, 1.0


@dataclass
class Outcome:
    """What a session found.

    Attributes:
        samples: one outcome a sample, in order; `add` appends to them.
        mismatches: elements that differ from golden.
        differences: the first elements that differ, in order of execution.
        ticks: mean a sample in `tick_unit`, None where the device has no tick.
        tick_unit: none, instruction, cycle or us.
        per_tick: what one tick of the device is in `tick_unit`; figures come in steps of it.
        stack_bytes: high-water mark of the device over all parts, 0 where unknown.
        exercised: weights whose input differed from rest in some sample.
        weights: all constant weights.
        events: of a network that takes events: how many there were, how many came after the last
            step, how many met a bit that was set or a full count; None of others.
        device: what the device says of itself.
        link: frames, bad_frames, retries of all parts, goodput_bytes_per_s of the last one,
            `parts`: what each part of the session measured, and of which samples; and `line`: what
            the device counted on its line since its boot.
    """

    samples: list[Sample] = field(default_factory=list)
    mismatches: int = 0
    differences: list[Difference] = field(default_factory=list)
    ticks: float | None = None
    tick_unit: str = "none"
    per_tick: float = 1.0
    stack_bytes: int = 0
    exercised: int = 0
    weights: int = 0
    events: dict[str, Any] | None = None
    device: dict[str, Any] = field(default_factory=dict)
    link: dict[str, Any] = field(default_factory=dict)

    def add(self, samples: Iterable[Sample]) -> None:
        """Append outcomes."""
        for sample in samples:
            self.samples.append(sample)
            self.mismatches += sample.mismatches

    @property
    def labelled(self) -> int:
        """Samples with a known class."""
        return sum(s.label >= 0 for s in self.samples)

    @property
    def correct(self) -> int:
        """Samples whose class the device names."""
        return sum(s.label >= 0 and s.device == s.label for s in self.samples)

    @property
    def accuracy(self) -> float | None:
        """Share of labelled samples, None without labels."""
        return self.correct / self.labelled if self.labelled else None

    @property
    def mean_steps(self) -> float | None:
        """Steps that samples took, where they may take fewer than all; None of other models."""
        steps = [s.steps for s in self.samples if s.steps is not None]
        return float(np.mean(steps)) if steps else None

    @property
    def error(self) -> dict[str, float] | None:
        """`mae` and `rmse` of a regression's device, None without targets."""
        return sample_error(self.samples)


def compare(
    package: Package,
    device: Device,
    stream: SampleStream,
    recording: Recording,
    *,
    layers: bool = False,
    shown: int | None = None,
    speed: Speed = Speed(),
    watch: Watch | None = None,
) -> Outcome:
    """Run every sample of the stream on the device and compare it with golden.

    The outputs are compared element by element, the neuron states after the last step by a CRC-32;
    on a trace build what every layer wrote in every step. Where one differs, the sample is run
    again if the next one has begun, and the elements are counted and named.

    Args:
        package: what the device runs.
        device: connected.
        stream: the samples.
        recording: where outcomes go, one by one; it begins with the first one.
        layers: compare every layer and step.
        shown: with `layers`, a sample to record element by element for the report; the first one
            that disagrees takes its place.
        speed: of the device.
        watch: told after every sample.

    Raises:
        UsageError: `layers` on a device without a trace build.
        PackageError: golden is not what the package says it was.
        LinkDead: the link died; outcomes so far are in the folder.
    """
    comparison = _Comparison(package, device, stream, recording, layers, speed)
    return comparison.run(shown, watch or Watch())


class _Comparison:
    def __init__(
        self,
        package: Package,
        device: Device,
        stream: SampleStream,
        recording: Recording,
        layers: bool,
        speed: Speed,
    ) -> None:
        self.graph: Graph = package.graph
        self.device, self.stream, self.layers = device, stream, layers
        self.traced = device.hello.trace
        self.recording, self.folder, self.speed = recording, recording.folder, speed
        self.outcome = Outcome()
        self.exercised = Exercised(self.graph)
        self.events = ComparedEvents(self.graph, stream)
        self.first = len(recording.kept)
        self.stack_bytes = 0
        self.replayed = 0
        self.named: list[Difference] = []  # of the sample under way
        self.deadline_s = sample_deadline(self.graph, speed.mips)
        values = sum(t.size for node in self.graph.order for t in node.outs)
        self.most_saturations = 4 * values * self.graph.steps
        if self.graph.keeps_state and self.first:
            raise UsageError(
                f"--resume at sample {self.first} of a session whose neurons keep their states",
                "the device was started anew, and its neurons with it",
                "run the session again from the first sample",
            )
        if layers and not device.hello.trace:
            raise UsageError(
                "--layers: the device does not list its layers",
                "its firmware is not a trace build",
                "flash the one that `spikelet build --layers` makes",
            )
        self.outputs = [self.graph.tensors[name] for name in self.graph.outputs]
        states = [t.name for t in device.hello.tensors if t.kind is Kind.STATE]
        self.states = [self.graph.tensors[name] for name in states]
        ahead = stream.events is None and not self.graph.keeps_state
        self.ahead = device.runs_ahead if ahead else 1
        self.started: dict[int, Callable[[], RunResult]] = {}  # by index, in order

    def run(self, shown: int | None, watch: Watch) -> Outcome:
        outcome = self.outcome
        outcome.add(self.recording.kept)
        if self.recording.kept:
            outcome.differences.extend(self.folder.differences())
        total = len(self.stream)
        wrong_shown = outcome.mismatches > 0
        started, noted = False, time.monotonic()
        try:
            for index, execution, row in self._golden(self.first, total):
                self.named = []
                sample = self._sample(index, execution, row)
                if not started:
                    # Only now: a run without a sample must not cost an earlier session its own.
                    self.recording.begin()
                    started = True
                outcome.add([sample])
                outcome.differences.extend(self.named)
                self.folder.add(sample, self.named)
                first_wrong = sample.mismatches > 0 and not wrong_shown
                showable = shown is not None and self.layers and not self.graph.keeps_state
                if showable and (index == shown or first_wrong):
                    self._show(index, execution, row)
                wrong_shown |= first_wrong
                retries = self.device.stats.retries
                watch.progress(SampleProgress(index + 1, total, retries, outcome.mismatches))
                if time.monotonic() - noted > NOTED_S:
                    self._note()
                    noted = time.monotonic()
        except BaseException:
            if started:
                self._note()
            raise
        if not started:
            self.recording.begin()  # a resumed session that was complete
        return self._close()

    def _golden(self, first: int, total: int) -> Iterator[tuple[int, Execution, int]]:
        if self.graph.keeps_state:
            yield from self._golden_in_turn(first, total)
            return
        for part in self.graph.parts(total - first, trace=True):
            start, stop = first + part.start, first + part.stop
            inputs = {name: values[start:stop] for name, values in self.stream.inputs.items()}
            execution = self.graph.run(inputs, trace=True)
            self._check_golden(start, stop, execution)
            self.exercised.add(execution, inputs)
            for row in range(stop - start):
                yield start + row, execution, row

    def _golden_in_turn(self, first: int, total: int) -> Iterator[tuple[int, Execution, int]]:
        """Where neurons keep their states, each sample begins as the one before it ended."""
        states: dict[str, Array] = {}
        for index in range(total):
            inputs = {name: v[index : index + 1] for name, v in self.stream.inputs.items()}
            execution = self.graph.run(inputs, trace=True, states=states)
            states = execution.states
            if index >= first:
                self.exercised.add(execution, inputs)
                yield index, execution, 0

    def _exercise_kept(self) -> None:
        """The samples of earlier parts of a session count as well."""
        for part in self.graph.parts(self.first, trace=True):
            inputs = {n: v[part.start : part.stop] for n, v in self.stream.inputs.items()}
            self.exercised.add(self.graph.run(inputs, trace=True), inputs)

    def _check_golden(self, start: int, stop: int, execution: Execution) -> None:
        """Golden of today must be what it was when the package was made."""
        for name, values in self.stream.golden.items():
            now, then = execution.outputs[name], values[start:stop]
            if now.shape != then.shape or (now != then).any():
                first = start
                if now.shape == then.shape:
                    first += int(np.argwhere(now != then)[0][0])
                raise PackageError(
                    f"package {self.graph.name}: golden's {name} of sample {first} is not what "
                    "the package holds",
                    "the package was made by another version, in which an operator meant "
                    "something else",
                    "make it again with `spikelet train`",
                )

    def _inputs(self, index: int) -> dict[str, bytes]:
        graph, given = self.graph, self.stream.inputs
        return {t.name: graph.wire(t, given[t.name][index]) for t in graph.inputs}

    def _run(self, index: int) -> RunResult:
        """Where nothing of a sample has to be read behind its run, the next ones begin already."""
        if self.stream.events is not None:
            return self._run_events(index)
        for other in range(index, min(index + self.ahead, len(self.stream))):
            if other not in self.started:
                keep = self.graph.keeps_state and other > 0
                self.started[other] = self.device.start_run(
                    self._inputs(other), keep, self.deadline_s
                )
        return self.started.pop(index)()

    def _run_events(self, index: int) -> EventResult:
        assert self.stream.events is not None
        inputs, keep = self._inputs(index), self.graph.keeps_state and index > 0
        events, started = self.stream.events[index], time.monotonic()
        result = self.device.run_events(events, inputs, keep=keep, deadline_s=self.deadline_s)
        self.events.timed(index, time.monotonic() - started)
        return result

    def _sample(self, index: int, execution: Execution, row: int) -> Sample:
        result = self._run(index)
        self.stack_bytes = max(self.stack_bytes, result.stack)
        received = self.device.outputs(result)
        mismatches, step = 0, int(execution.steps[row]) - 1
        if not self.traced:  # whose digests have the outputs in them
            for tensor in self.outputs:
                device = tensor.from_bytes(received[tensor.name])
                mismatches += self._compared(index, tensor, step, execution, row, device)
        mismatches += self._behind(index, execution, row, result)
        if result.saturations > self.most_saturations:
            raise impossible(
                self.device.transport.name,
                f"that {result.saturations} values saturated; all together can only "
                f"{self.most_saturations} times",
            )
        saturated = int(execution.saturations[row])
        mismatches += abs(result.saturations - saturated)
        if isinstance(result, EventResult):
            mismatches += self.events.compare(result, index, int(execution.steps[row]))
        mismatches += int(result.step != execution.steps[row])
        first = self.graph.tensors[self.graph.outputs[0]]
        golden = execution.outputs[first.name][row]
        device = first.from_bytes(received[first.name])
        predicted = self.graph.predicted(np.stack([golden, device]))
        label = -1 if self.stream.labels is None else int(self.stream.labels[index])
        absolute = squared = None
        if self.stream.targets is not None:
            error = first.real(device).reshape(-1) - self.stream.targets[index]
            absolute, squared = float(np.mean(np.abs(error))), float(np.mean(error**2))
        return Sample(
            index=index,
            label=label,
            golden=int(predicted[0]),
            device=int(predicted[1]),
            mismatches=mismatches,
            ticks=result.ticks,
            saturations=result.saturations,
            steps=result.step if self.graph.exit else None,
            absolute=absolute,
            squared=squared,
        )

    def _behind(self, index: int, execution: Execution, row: int, result: RunResult) -> int:
        """Elements that differ of what is not sent: neuron states, of a trace build all layers."""
        step = int(execution.steps[row]) - 1
        if self.traced:
            table = self.graph.digests(execution, row)
            names, crc = [DIGESTS], zlib.crc32(table.astype("<u4").tobytes())
        else:
            crc, names = 0, [tensor.name for tensor in self.states]
            for tensor in self.states:
                values = execution.trace[tensor.name][self._row(tensor, step)][row]
                crc = zlib.crc32(tensor.to_bytes(values), crc)
        if crc == result.states_crc:
            return 0
        if self.started:
            result = self.device.start_run(self._inputs(index), deadline_s=self.deadline_s)()
        memory = self.device.outputs(result, names)
        if self.traced:
            count = self._digests(index, execution, row, memory[DIGESTS])
        else:
            count = sum(
                self._compared(index, t, step, execution, row, t.from_bytes(memory[t.name]))
                for t in self.states
            )
        if not count:
            raise self._not_repeatable(index)
        return count

    def _not_repeatable(self, index: int) -> ProtocolError:
        return impossible(
            self.device.transport.name,
            f"for sample {index} digests that are not golden's, and the elements behind them "
            "are: it is not repeatable, or does not tell the truth",
        )

    def _digests(self, index: int, execution: Execution, row: int, received: bytes) -> int:
        golden = self.graph.digests(execution, row)
        device = np.frombuffer(received, "<u4").reshape(golden.shape)
        wrong = np.argwhere(golden != device)
        if not len(wrong):
            return 0
        keeps = self.graph.keeps_state
        if self.replayed >= (1 if keeps else REPLAYS):
            return len(wrong)  # at least one element each
        self.replayed += 1
        count = 0
        # To begin as this sample did, all before it are run again: once, for the first difference.
        for step, column in wrong[:1] if keeps else wrong:
            tensor = self.graph.traced_tensors[column]
            values = self._replay(index, int(step), tensor)
            expected = execution.trace[tensor.name][self._row(tensor, int(step))][row]
            count += self._differences(index, tensor, int(step), expected, values)
        if not count:
            raise self._not_repeatable(index)
        if keeps:
            self._again(index + 1)  # the next sample goes on from here
            return max(count, len(wrong))
        return count

    def _row(self, tensor: Tensor, step: int) -> int:
        node = self._writer(tensor)
        return step if self.graph.phase(node) is Phase.STEP else 0

    def _writer(self, tensor: Tensor) -> Any:
        return next(n for n in self.graph.order if tensor in n.outs)

    def _replay(self, index: int, step: int, tensor: Tensor) -> Array:
        stop = step, self.graph.order.index(self._writer(tensor))
        keep = self.graph.keeps_state and index > 0
        if keep:
            self._again(index)
        return replay(self.device, self._inputs(index), tensor, stop, self.deadline_s, keep=keep)

    def _again(self, stop: int) -> None:
        """Run the first samples once more, each with the states that the one before it left."""
        for index in range(stop):
            self.device.run(inputs=self._inputs(index), keep=index > 0, deadline_s=self.deadline_s)

    def _compared(
        self, index: int, tensor: Tensor, step: int, execution: Execution, row: int, device: Array
    ) -> int:
        golden = execution.trace[tensor.name][self._row(tensor, step)][row]
        return self._differences(index, tensor, step, golden, device)

    def _differences(
        self, index: int, tensor: Tensor, step: int, golden: Array, device: Array
    ) -> int:
        wrong = np.flatnonzero(golden != device)
        for element in wrong[: max(0, NAMED - len(self.named))]:
            self.named.append(
                Difference(
                    sample=index,
                    layer=self._writer(tensor).name,
                    tensor=tensor.name,
                    step=step,
                    index=int(element),
                    golden=int(golden.flat[element]),
                    device=int(device.flat[element]),
                )
            )
        return len(wrong)

    def _show(self, index: int, execution: Execution, row: int) -> None:
        arrays: dict[str, Array] = {"index": np.array(index)}
        for tensor in self.graph.traced_tensors:
            golden = execution.trace[tensor.name][: execution.steps[row], row]
            device = [
                self._replay(index, self.graph.row(tensor.name, i), tensor)
                for i in range(len(golden))
            ]
            threshold = self._writer(tensor).arrays().get("threshold")
            if threshold is not None and tensor.kind == "state":
                arrays[f"threshold.{tensor.name}"] = threshold
            arrays[f"golden.{tensor.name}"] = golden
            arrays[f"device.{tensor.name}"] = np.stack(device)
        for tensor in self.graph.inputs:
            arrays[f"input.{tensor.name}"] = self.stream.inputs[tensor.name][index]
        self.folder.show(arrays)

    def _measure(self) -> None:
        """Stack and link of all parts so far, this one included."""
        stats = self.device.stats
        parts = list(self.recording.parts)
        if len(self.outcome.samples) > self.first or not parts:
            parts.append(
                {
                    "first": self.first,
                    "samples": len(self.outcome.samples) - self.first,
                    "stack_bytes": self.stack_bytes,
                    "frames": stats.frames,
                    "bad_frames": stats.bad_frames,
                    "retries": stats.retries,
                }
            )
        self.outcome.stack_bytes = max(part["stack_bytes"] for part in parts)
        self.outcome.link = {
            **{key: sum(p[key] for p in parts) for key in ("frames", "bad_frames", "retries")},
            "goodput_bytes_per_s": round(stats.goodput, 1),
            "parts": parts,
        }

    def _note(self) -> None:
        self._measure()
        self.folder.note(
            {"stack_bytes": self.outcome.stack_bytes or None, "link": self.outcome.link}
        )

    def _close(self) -> Outcome:
        outcome, hello = self.outcome, self.device.hello
        self._measure()
        outcome.link["line"] = self.device.line_health()
        self._exercise_kept()
        outcome.exercised, outcome.weights = self.exercised.count()
        said = TICKS[hello.tick_unit] if hello.tick_unit < len(TICKS) else "none"
        outcome.tick_unit, outcome.per_tick = self.speed.unit(hello.tick_unit)
        outcome.events = self.events.totals(outcome.per_tick)
        # A trace build computes digests between the layers: its ticks are not the model's.
        if outcome.tick_unit != "none" and not hello.trace and outcome.samples:
            outcome.ticks = outcome.per_tick * float(np.mean([s.ticks for s in outcome.samples]))
        outcome.device = {
            "isa": hello.isa,
            "firmware": hello.firmware,
            "boot_id": hello.boot_id,
            "self_test": hello.self_test.name.lower(),
            "unique_id": hello.unique_id.hex(),
            "tick": said,
        }
        return outcome


def summary(
    package: Package, outcome: Outcome, build: dict[str, Any], head: dict[str, Any]
) -> dict[str, Any]:
    """The object that `spikelet run --json` prints.

    Args:
        package: what was run.
        outcome: what was found.
        build: flash_bytes and ram_bytes of the image, empty where it was not built here.
        head: what was run: board, data, layers and what else the session's head holds.
    """
    per = {unit: outcome.ticks if outcome.tick_unit == unit else None for unit in TICKS}
    golden = [s.golden == s.label for s in outcome.samples if s.label >= 0]
    return {
        **head,
        "package_sha256": package.sha256,
        "samples": len(outcome.samples),
        "correct": outcome.correct if outcome.labelled else None,
        "accuracy": outcome.accuracy,
        "golden_accuracy": float(np.mean(golden)) if golden else None,
        "error": outcome.error,
        "mismatches": outcome.mismatches,
        "weights_exercised": outcome.exercised / outcome.weights if outcome.weights else None,
        "weights": outcome.weights,
        "differences": [{**asdict(d), "text": str(d)} for d in outcome.differences],
        "events": outcome.events,
        "mean_steps": outcome.mean_steps,
        "saturations": sum(s.saturations for s in outcome.samples),
        "instructions_per_inference": per["instruction"],
        "instructions_per_tick": outcome.per_tick if outcome.tick_unit == "instruction" else None,
        "cycles_per_inference": per["cycle"],
        "microseconds_per_inference": per["us"],
        "flash_bytes": build.get("flash_bytes"),
        "ram_bytes": build.get("ram_bytes"),
        "stack_bytes": outcome.stack_bytes or None,
        "link": outcome.link,
        "device": outcome.device,
        "complete": True,
    }
