"""A device in real numbers: samples as arrays, results in the units of the model's source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping

import numpy as np
import numpy.typing as npt

from spikelet.errors import UsageError
from spikelet.graph import Array
from spikelet.learn.delta import Delta
from spikelet.learn.twin import check_state
from spikelet.link import DeviceInfo, LearnAction
from spikelet.package import Package
from spikelet.run.learner import DeviceLearner
from spikelet.run.reals import Given, Prediction, prediction, real_values, samples_of
from spikelet.run.replay import replay
from spikelet.run.workflow import send_delta


class State(MutableMapping[str, Array]):
    """The learned tensors of a device, by name: read, and written all or none.

    Values have the type and shape of the graph's tensors. Writing one reads the others and replaces
    all; `update` replaces several at once. What was not committed ends with the session.
    """

    def __init__(self, learner: DeviceLearner) -> None:
        self._learner = learner

    def __repr__(self) -> str:
        held = ", ".join(str(learned.tensor) for learned in self._learner.graph.learned)
        return f"<State {held or 'of a model that does not learn'}>"

    def __getitem__(self, name: str) -> Array:
        return self.read()[name]

    def __setitem__(self, name: str, values: Array) -> None:
        self.update({name: values})

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{name} is a part of the model; `device.reset()` forgets what was learned")

    def __iter__(self) -> Iterator[str]:
        return iter([learned.tensor.name for learned in self._learner.graph.learned])

    def __len__(self) -> int:
        return len(self._learner.graph.learned)

    def read(self) -> dict[str, Array]:
        """All of them, read once."""
        return self._learner.state() if len(self) else {}

    def update(  # type: ignore[override]
        self, values: Mapping[str, Array] | Iterable[tuple[str, Array]] = (), **more: Array
    ) -> None:
        """Replace some; the others stay.

        Raises:
            UsageError: a name, a type or a shape that the graph does not have.
            DeviceRefused: RANGE for a value that the model cannot hold.
        """
        after = {**self.read(), **dict(values), **more}
        check_state(self._learner.graph, after)
        self._learner.restore(after, self._learner.device.learn_state().steps)


class Device:
    """A device that holds a package; `spikelet.connect` makes one.

    Attributes:
        package: what it holds.
        state: its learned tensors.
        link: the session below, in bytes; for what is not here.
    """

    def __init__(self, package: Package, learner: DeviceLearner) -> None:
        self.package = package
        self.link = learner.device
        self.state = State(learner)
        self._learner = learner

    def __repr__(self) -> str:
        where = f"{self.info.isa} at {self.link.transport.name}"
        return f"<Device {where}: {self.package.graph.title()}>"

    @property
    def info(self) -> DeviceInfo:
        """What the device says of itself: instruction set, firmware, unique id, sizes."""
        return self.link.hello

    @property
    def ticks(self) -> int | None:
        """Of the last sample that was run, in the device's own unit; None before the first."""
        return None if self._learner.ran is None else self._learner.ran.ticks

    def infer(self, x: Given) -> Prediction:
        """Run samples on the device; nothing is learned.

        Args:
            x: (N, *shape) real values in the units of the source, or codes in the input's own
                type; by input where there are several.

        Raises:
            UsageError: a shape, a type or a value that the model does not take.
            LinkDead: the device is gone.

        >>> with spikelet.connect("native", package) as device:
        ...     on_device = device.infer(x)
        >>> bool((on_device.outputs["linear_2"] == package.predict(x).outputs["linear_2"]).all())
        True
        """
        stream = samples_of(self.package, x)
        return prediction(self.package, self._learner.predict(stream.inputs))

    def learn(self, x: Given, y: npt.ArrayLike | None = None) -> None:
        """Let the device learn samples, one after the other.

        Args:
            x: as of `infer`.
            y: (N,) classes, as integers or names; None where the learner takes no label.

        Raises:
            UsageError: the package has no learner (see `Package.with_learner`), or a label that it
                does not know.

        >>> with spikelet.connect("native", learner) as device:
        ...     device.learn(x, y)
        ...     taught = device.infer(x)
        >>> bool((taught.label == y).mean() > 0.9)
        True
        """
        graph = self.package.graph
        if not graph.learns:
            raise UsageError(
                f"package {graph.name} does not learn",
                "it has no learner",
                "package.with_learner(...) puts one in; `spikelet learners` lists them",
            )
        highest = max(graph.classes - 1, 0)
        stream = samples_of(self.package, x, y, highest)
        self._learner.observe(stream.inputs, stream.labels)

    def put(self, delta: Delta) -> None:
        """Send the values of an adapter; they count from the next inference on.

        Nothing is written to flash: `reset` brings the base back, and so does the next session.

        Args:
            delta: for the package that the device holds.

        Raises:
            StateError: it is for another base or has another form; nothing is sent.
            SignatureError: the device has a key, and no signed state, NAME.spkd.state, lay beside
                the delta when it was loaded.
            DeviceRefused: SIGNATURE or OLD from a device with a key; nothing has changed.
        """
        send_delta(self.link, delta, self.package)

    def commit(self) -> None:
        """Keep what was learned without power; what is not committed ends with the session."""
        self._learner.commit()

    def reset(self) -> None:
        """Forget what was learned; what is committed comes back with the next session."""
        self._learner.reset()

    def keep_factory(self) -> None:
        """Make what is committed the factory's: what the device goes back to by itself where no
        commit is fit for use. It is written once.

        Raises:
            DeviceRefused: BAD_STATE where something is not committed, or the slot was written
                before; NO_MEM where the board's storage has no room for three slots.

        >>> with spikelet.connect("native", learner) as device:
        ...     device.learn(x, y)
        ...     device.commit()
        ...     device.keep_factory()
        ...     device.reset()
        ...     device.to_factory()
        ...     bool((device.infer(x).label == y).mean() > 0.9)
        True
        """
        self.link.learn_state(LearnAction.KEEP_FACTORY)

    def to_factory(self) -> None:
        """Go on from the factory's values, or from those of the image where none were kept; what is
        committed comes back with the next session."""
        self.link.learn_state(LearnAction.TO_FACTORY)

    def layers(self, x: Given) -> dict[str, Array]:
        """What every operator writes, in every step, as the device has it.

        Args:
            x: as of `infer`. Each tensor and step is a run of its own: few samples.

        Returns:
            By tensor, (rows, N, *shape) real values in the graph's order of axes: a row a step, one
            row of what runs once. `Package.layers` gives golden's.

        Raises:
            UsageError: the image is no trace build.

        >>> with spikelet.connect("native", package, layers=True) as device:
        ...     relu = device.layers(x[:2])["linear_0"]
        >>> bool((relu == package.layers(x[:2])["linear_0"]).all())
        True
        """
        if not self.info.trace:
            raise UsageError(
                "layers: the device does not list its layers",
                "its firmware is not a trace build",
                "connect(..., layers=True) builds one; hardware is flashed with that of "
                "`spikelet build --layers`",
            )
        graph, stream = self.package.graph, samples_of(self.package, x)
        made: dict[str, Array] = {}
        for number, node in enumerate(graph.order):
            for tensor in node.outs:
                rows = [
                    [self._value(stream.inputs, i, tensor.name, (step, number))
                     for i in range(len(stream))]
                    for step in graph.steps_of(node)
                ]  # fmt: skip
                made[tensor.name] = real_values(tensor, np.array(rows))
        return made

    def _value(
        self, inputs: Mapping[str, Array], i: int, name: str, stop: tuple[int, int]
    ) -> Array:
        graph, learner = self.package.graph, self._learner
        wire = {t.name: graph.wire(t, inputs[t.name][i]) for t in graph.inputs}
        return replay(self.link, wire, graph.tensors[name], stop, learner.deadline_s)
