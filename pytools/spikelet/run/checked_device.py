"""A connected device that can be held to its package at any time."""

from __future__ import annotations

from pathlib import Path

from spikelet.board import Board
from spikelet.errors import Disagreement
from spikelet.link import Device as Link
from spikelet.package import Package
from spikelet.run.learner import DeviceLearner
from spikelet.run.real_device import Device
from spikelet.run.session import Outcome, Speed, compare
from spikelet.run.session_folder import Recording, SessionFolder
from spikelet.streams import package_stream

NAMED = 3  # differences in the text of an error


class CheckedDevice(Device):
    """A device as `spikelet.connect` gives it, with a name and a check.

    Args:
        package: what it holds.
        link: the connection.
        board: what it is.
        name: of the device in the roster, else of the machine.
        speed: of the device.
        folder: for what a check records.
    """

    def __init__(
        self, package: Package, link: Link, board: Board, name: str, speed: Speed, folder: Path
    ) -> None:
        super().__init__(package, DeviceLearner(package.graph, link))
        self.board, self.name = board, name
        self._speed, self._folder = speed, folder

    def check(self, limit: int | None = None) -> Outcome:
        """Run the package's own samples and compare them with golden, element by element.

        On a trace build every layer in every step is compared, otherwise outputs and final states.

        Args:
            limit: only the first samples.

        Raises:
            Disagreement: an element differs; names the first.
            LinkDead: the link died.
        """
        __tracebackhide__ = True  # pytest shows the line that called this
        outcome = compare(
            self.package, self.link, package_stream(self.package).head(limit),
            Recording(SessionFolder(self._folder), {}, resume=False),
            layers=self.link.hello.trace, speed=self._speed,
        )  # fmt: skip
        if outcome.mismatches:
            raise Disagreement(
                f"{self.name}: {outcome.mismatches} elements differ from golden"
                + "".join(f"\n    {d}" for d in outcome.differences[:NAMED]),
                "a kernel, a compiler or the memory of the device is at fault",
                f"`spikelet run PKG --board {self.board.name} --layers` compares every layer",
            )
        return outcome
