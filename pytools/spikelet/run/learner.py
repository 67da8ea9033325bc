"""A device that learns, with the methods of its golden twin."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.board import Board, find_board
from spikelet.errors import Disagreement, UsageError
from spikelet.graph import Array, Graph
from spikelet.learn.twin import Twin, check_state, checked_targets
from spikelet.link import Device, LearnAction, LearnResult, LearnState, RunResult
from spikelet.link.errors import impossible
from spikelet.package import Package
from spikelet.run.replay import sample_deadline
from spikelet.run.session import LEAST_MIPS
from spikelet.run.workflow import SessionTarget, connect, make

NAMED = 5  # elements that a disagreement names


class DeviceLearner:
    """A device whose model learns.

    Attributes:
        graph: what it holds.
        device: the session with it.
        facts: sizes of its image, as `Built.facts`; empty for hardware that was flashed before.
        ran: the outcome of the last run, ticks among it; None before the first.
        learned: the outcome of the last learning step; None before the first.
        deadline_s: for one sample; by default what its work may take on a slow device.
    """

    def __init__(
        self,
        graph: Graph,
        device: Device,
        facts: Mapping[str, Any] | None = None,
        deadline_s: float | None = None,
    ) -> None:
        self.graph = graph
        self.device = device
        self.facts = dict(facts or {})
        self.deadline_s = sample_deadline(graph, LEAST_MIPS) if deadline_s is None else deadline_s
        self.ran: RunResult | None = None
        self.learned: LearnResult | None = None

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, (N, *shape), of N samples; nothing is learned."""
        samples = self.graph.check_inputs(inputs)
        rows = []
        for i in range(samples):
            self.ran = self.device.run(inputs=self._bytes(inputs, i), deadline_s=self.deadline_s)
            rows.append(self.device.outputs(self.ran))
        return self._values(rows)

    def observe(
        self,
        inputs: Mapping[str, Array],
        labels: Sequence[int] | Array | None = None,
        targets: Mapping[str, Array] | None = None,
    ) -> Array:
        """Run and learn N samples, one after the other; see `Twin.observe`.

        Returns:
            (N,) uint32, the CRC-32 of each sample's outputs before it was learned: `outputs_crc`
            makes the same of the twin's.
        """
        samples = self.graph.check_inputs(inputs)
        given = checked_targets(self.graph, samples, labels, targets)
        wire = {t.name: t for t in self.graph.targets}
        digests = np.zeros(samples, np.uint32)
        for i in range(samples):
            ran, self.learned = self.device.learn(
                label=None if labels is None else int(labels[i]),
                inputs=self._bytes(inputs, i),
                targets={name: t.to_bytes(given[name][i]) for name, t in wire.items()},
                deadline_s=self.deadline_s,
            )
            assert ran is not None
            self.ran = ran
            digests[i] = ran.outputs_crc
        return digests

    def commit(self) -> LearnState:
        """Consolidate what was learned, and keep it without power."""
        return self.device.learn_state(LearnAction.COMMIT)

    def reset(self) -> LearnState:
        """Forget everything; what is committed stays committed."""
        return self.device.learn_state(LearnAction.RESET)

    def restore(self, state: Mapping[str, Array], steps: int = 0) -> LearnState:
        """Go on from a state, all of it or none.

        Args:
            state: all learned tensors by name.
            steps: samples that it was learned from.

        Raises:
            UsageError: a tensor is missing, superfluous, or of another shape.
            DeviceRefused: RANGE for a value that the model cannot hold; the last committed model is
                in use then.
        """
        check_state(self.graph, state)
        tensors = {learned.tensor.name: learned.tensor for learned in self.graph.learned}
        wire = {name: tensor.to_bytes(state[name]) for name, tensor in tensors.items()}
        return self.device.put_learned(wire, steps)

    def state(self) -> dict[str, Array]:
        """All learned tensors by name.

        Raises:
            ProtocolError: they are not those whose CRC the device names.
        """
        tensors = {learned.tensor.name: learned.tensor for learned in self.graph.learned}
        memory = self.device.get_many(tensors)
        crc = zlib.crc32(b"".join(memory[name] for name in self.device.learned_names))
        said = self.crc()
        if crc != said:
            raise impossible(
                self.device.transport.name,
                f"that what it learned has the CRC 0x{said:08x}, and sends tensors of 0x{crc:08x}",
            )
        return {name: tensor.from_bytes(memory[name]) for name, tensor in tensors.items()}

    def crc(self) -> int:
        """CRC-32 of all learned tensors in the order of the device's table, as the device says."""
        return self.device.learn_state().crc

    def compare(self, twin: Twin) -> list[str]:
        """What of the learned state differs from the twin's: the first elements, named."""
        differing = []
        for name, values in self.state().items():
            expected = twin.learned[name]
            bits = f"u{values.itemsize}"  # of floats, too: 0 is not -0
            wrong = np.flatnonzero(values.ravel().view(bits) != expected.ravel().view(bits))
            for element in wrong[:NAMED]:
                differing.append(
                    f"after {twin.steps} samples, {name}[{element}]: golden "
                    f"{expected.flat[element]}, device {values.flat[element]}"
                )
        return differing

    def agree(self, twin: Twin) -> None:
        """Raise Disagreement where the learned state is not the twin's; four bytes travel."""
        if self.crc() != twin.crc():
            differing = self.compare(twin) or ["the device's CRC is not that of what it sent"]
            raise Disagreement(
                "; ".join(differing[:NAMED]),
                "a kernel, a compiler or the memory of the device is at fault",
                "a trace build with --layers names the operator",
            )

    def _bytes(self, inputs: Mapping[str, Array], i: int) -> dict[str, bytes]:
        return {t.name: self.graph.wire(t, inputs[t.name][i]) for t in self.graph.inputs}

    def _values(self, rows: list[dict[str, bytes]]) -> dict[str, Array]:
        return {
            name: np.stack([self.graph.tensors[name].from_bytes(row[name]) for row in rows])
            for name in self.graph.outputs
        }


def outputs_crc(graph: Graph, outputs: Mapping[str, Array]) -> Array:
    """(N,) uint32: what a device says of its outputs, of outputs (N, *shape) by name."""
    in_order = [t for t in graph.tensors.values() if t.name in graph.outputs]
    samples = len(outputs[graph.outputs[0]])
    digests = np.zeros(samples, np.uint32)
    for i in range(samples):
        crc = 0
        for tensor in in_order:
            crc = zlib.crc32(tensor.to_bytes(outputs[tensor.name][i]), crc)
        digests[i] = crc
    return digests


@contextmanager
def device_learner(
    model: Package | Graph,
    board: Board | str = "native",
    *,
    folder: Path | None = None,
    toolchain: str = "auto",
    machine: str = "auto",
    port: str | None = None,
    trace: bool = False,
    sanitize: bool = False,
) -> Iterator[DeviceLearner]:
    """Build the model's image, start it, and open a session.

    Args:
        model: a package, or a graph, whose learner the device is to run.
        board: the board, or its name.
        folder: for the image; a temporary one by default.
        toolchain: one of the board's, or "auto".
        machine: one of the board's, or "auto".
        port: of hardware that was flashed before; nothing is built then.
        trace: a trace build.
        sanitize: with address and undefined-behaviour sanitisers.

    Raises:
        UsageError: the graph does not learn, or does not fit the board; see also `make`.
    """
    package = model if isinstance(model, Package) else Package(model)
    if not package.graph.learns:
        raise UsageError(
            f"graph {package.graph.name} does not learn",
            "it has no learner",
            "attach one; `spikelet learners` lists them",
        )
    on = find_board(board) if isinstance(board, str) else board
    with tempfile.TemporaryDirectory(prefix="spikelet-") as spare:
        built = None
        if port is None:
            built = make(
                package, on, folder or Path(spare),
                toolchain=toolchain, trace=trace, sanitize=sanitize,
            )  # fmt: skip
        target = SessionTarget(on, built, machine, port)
        with connect(target, package) as (device, _):
            yield DeviceLearner(package.graph, device, built.facts() if built else {})
