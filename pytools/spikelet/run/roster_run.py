"""One package on every device of a roster at once, each in a session of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikelet.board.roster import Reserved, RosterDevice, reserve
from spikelet.errors import Disagreement, LinkDead, SpikeletError, UsageError
from spikelet.package import Package
from spikelet.run.session_folder import SessionFolder
from spikelet.run.watch import SampleProgress, Watch
from spikelet.run.workflow import BuiltImage, SessionTarget, run
from spikelet.streams import SampleStream

# Of `run --json`, what is told of each device; its session.json has all.
FIGURES = (
    "samples", "correct", "accuracy", "mismatches", "differences", "instructions_per_inference",
    "cycles_per_inference", "microseconds_per_inference", "flash_bytes", "ram_bytes",
    "stack_bytes", "duration_s", "link", "unique_id",
)  # fmt: skip
STATUS = {0: "good", Disagreement.exit_code: "mismatches", LinkDead.exit_code: "dead"}


class Stopped(SpikeletError):
    """The session was ended because all of them are."""


class DeviceWatch(Watch):
    """Is told of one device what `Watch` is told, and what happens before its session."""

    def doing(self, text: str) -> None:
        """What is done with the device now, or what it waits for."""


@dataclass(frozen=True)
class RosterPlan:
    """What is run, on each device alike.

    Attributes:
        package: the model.
        stream: the samples.
        place: folder of the sessions, one a device.
        images: by board, of devices that are machines or are flashed.
        layers: compare every layer in every step.
        resume: devices with a session of the same run in `place` go on with it.
        flash: flash every device first that is no machine.
        wait_s: how long to wait for another process that holds a device.
    """

    package: Package
    stream: SampleStream
    place: Path
    images: Mapping[str, BuiltImage]
    layers: bool = False
    resume: bool = False
    flash: bool = False
    wait_s: float = 60.0


@dataclass(frozen=True)
class DeviceOutcome:
    """How it ended on one device.

    Attributes:
        device: which.
        folder: its session's folder.
        samples: that were recorded.
        result: as `spikelet run --json` has it; None where the session did not end.
        error: what ended it.
    """

    device: RosterDevice
    folder: Path
    samples: int
    result: dict[str, Any] | None = None
    error: SpikeletError | None = None

    @property
    def exit_code(self) -> int:
        """That of `spikelet run` for this device alone."""
        if self.error is not None:
            return self.error.exit_code
        return Disagreement.exit_code if self.result and self.result["mismatches"] else 0

    @property
    def status(self) -> str:
        """Good, mismatches, dead or refused."""
        return STATUS.get(self.exit_code, "refused")

    def to_json(self) -> dict[str, Any]:
        """The device's entry in `spikelet run --roster --json`."""
        error = self.error
        result = self.result or {"samples": self.samples}
        return {
            "name": self.device.name,
            "board": self.device.board.name,
            "where": self.device.where,
            "status": self.status,
            "session": str(self.folder),
            **{key: result.get(key) for key in FIGURES},
            "error": error and error.to_json(),
        }


def exit_code(outcomes: Sequence[DeviceOutcome]) -> int:
    """Of all devices: 1 if one disagrees, else 3 if one died, else 2 if one was refused."""
    codes = {outcome.exit_code for outcome in outcomes}
    order = (Disagreement.exit_code, LinkDead.exit_code, UsageError.exit_code)
    return next((code for code in order if code in codes), 0)


def run_roster(
    plan: RosterPlan,
    devices: Sequence[RosterDevice],
    watch: Callable[[RosterDevice], DeviceWatch],
) -> list[DeviceOutcome]:
    """Run the plan on all devices at once; an error of one ends its own session alone.

    Args:
        plan: what is run.
        devices: of the roster.
        watch: who is told of a device; called from threads.

    Raises:
        KeyboardInterrupt: when all sessions have ended and what they obtained is recorded.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(len(devices)) as pool:
        jobs = [pool.submit(_Job(plan, d, watch(d), stop).run) for d in devices]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            stop.set()
            raise


class _Job(Watch):
    """One device's session, in a thread of its own."""

    def __init__(
        self, plan: RosterPlan, device: RosterDevice, watch: DeviceWatch, stop: threading.Event
    ) -> None:
        self.plan, self.device, self.watch, self.stop = plan, device, watch, stop
        self.folder = SessionFolder(plan.place / device.name)
        self.started = False

    def run(self) -> DeviceOutcome:
        """The session to its end, whatever that is."""
        try:
            with reserve(self.device, self.plan.wait_s, self._waiting) as reserved:
                result = self._on(reserved)
        except SpikeletError as error:
            recorded = len(self.folder.samples()) if self.started else 0
            return DeviceOutcome(self.device, self.folder.path, recorded, error=error)
        return DeviceOutcome(self.device, self.folder.path, result["samples"], result)

    def progress(self, now: SampleProgress) -> None:
        """See `Watch`; ends this session when all of them are ended."""
        self.started = True
        self.watch.progress(now)
        self._go_on()

    def log(self, text: str) -> None:
        """See `Watch`."""
        self.watch.log(text)

    def _waiting(self, holder: str) -> None:
        self.watch.doing(f"waits for {holder}")
        self._go_on()

    def _go_on(self) -> None:
        if self.stop.is_set():
            raise Stopped("stopped")

    def _on(self, reserved: Reserved) -> dict[str, Any]:
        image = self.plan.images.get(self.device.board.name)
        if self.plan.flash and self.device.machine is None and image is not None:
            self.watch.doing("flash")
            reserved = reserved.flash(image.firmware.elf)
        try:
            return self._session(reserved, image)
        except LinkDead:
            # A device that hangs from the start may only need its power switched.
            if self.started or not self.device.power_cycle:
                raise
        self.watch.doing("power cycle")
        return self._session(reserved.power_cycle(), image)

    def _session(self, reserved: Reserved, image: BuiltImage | None) -> dict[str, Any]:
        self._go_on()
        self.watch.doing("run")
        plan, device = self.plan, self.device
        target = (
            SessionTarget(device.board, port=reserved.port, baud=device.baud, reserved=True)
            if device.machine is None
            else SessionTarget(device.board, image, device.machine)
        )
        result, _ = run(
            plan.package, target, plan.stream, self.folder,
            layers=plan.layers, shown=0 if plan.layers else None, watch=self,
            resume=plan.resume and (self.folder.path / "session.json").is_file(),
        )  # fmt: skip
        return result
