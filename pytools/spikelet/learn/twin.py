"""The golden twin of a device that learns: the same samples in the same order, the same bits."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Execution, Graph, Operator, Phase
from spikelet.graph.graph import LABEL


class Twin:
    """A graph, and what it has learned so far.

    Attributes:
        graph: with learning operators.
        learned: its learned tensors by name, without a sample axis.
        steps: samples that it learned from since the start.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.learned = graph.initial()
        self.steps = 0
        self._frozen, self._live = _split(graph)
        self._learning = [n for n in graph.order if graph.phase(n) is Phase.LEARN]
        self._committing = [n for n in graph.order if graph.phase(n) is Phase.COMMIT]
        self._needed = _needed_inputs(graph, self._frozen)

    def predict(self, inputs: Mapping[str, Array]) -> Execution:
        """Execute N samples, inputs (N, *shape), with what is learned; nothing is learned."""
        return self.graph.run(inputs, learned=self.learned)

    def observe(
        self,
        inputs: Mapping[str, Array],
        labels: Sequence[int] | Array | None = None,
        targets: Mapping[str, Array] | None = None,
        watch: Callable[[int], object] | None = None,
    ) -> dict[str, Array]:
        """Predict and learn N samples, one after the other.

        Args:
            inputs: by name, (N, *shape).
            labels: (N,) of graphs that learn classes.
            targets: by name, (N, *shape).
            watch: called with the number of each sample once it is learned.

        Returns:
            the outputs by name, (N, *shape), each as it was before its sample was learned.

        Raises:
            UsageError: a label or target is missing, superfluous or out of range.
        """
        samples = self.graph.check_inputs(inputs)
        given = checked_targets(self.graph, samples, labels, targets)
        prefix = self._prefix(inputs, samples)
        outputs: dict[str, list[Array]] = {name: [] for name in self.graph.outputs}
        live = self.graph.schedule(self._live)
        for i in range(samples):
            env = {name: values[i : i + 1] for name, values in prefix.items()}
            env.update(self.learned)
            for node in self._live:
                node.start(env, 1)
            for node, t in live:
                node.golden(env, t)
            for name in outputs:
                outputs[name].append(env[name].copy())
            env.update({name: values[i : i + 1] for name, values in given.items()})
            for node in self._learning:
                node.golden(env, self.graph.steps - 1)
                if node.stops(env):
                    break
            self.steps += 1
            if watch:
                watch(i)
        return {name: np.concatenate(rows) for name, rows in outputs.items() if rows}

    def commit(self) -> None:
        """Consolidate what was learned: a task ended.

        Raises:
            UsageError: what comes out is beyond what the model can hold, as a device refuses it
                with RANGE; what was learned is as it was.
        """
        after = self.state()
        env: dict[str, Array] = dict(after)
        for node in self._committing:
            node.golden(env, self.graph.steps - 1)
        self.restore(after)

    def reset(self) -> None:
        """Forget everything."""
        self.restore(self.graph.initial())
        self.steps = 0

    def state(self) -> dict[str, Array]:
        """A copy of all learned tensors by name."""
        return {name: values.copy() for name, values in self.learned.items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from a state; raises UsageError where it is of another graph, or out of range."""
        check_state(self.graph, state)
        for name, values in state.items():
            low, high = self.graph.bounds[name]
            inside = (values >= low) & (values <= high) & np.isfinite(values)
            if not inside.all():
                at = tuple(int(i) for i in np.argwhere(~inside)[0])
                raise UsageError(
                    f"learned tensor {name}[{at}] is {values[at]}, not in {low[at]}..{high[at]}",
                    "the state is damaged, was saved from another model or learner, or diverged",
                    "restore an earlier one, or reset what was learned",
                )
        for name, values in state.items():
            self.learned[name][...] = values

    def crc(self) -> int:
        """CRC-32 of all learned tensors in the order of the device's table."""
        crc = 0
        for learned in self.graph.learned:
            crc = zlib.crc32(learned.tensor.to_bytes(self.learned[learned.tensor.name]), crc)
        return crc

    def _prefix(self, inputs: Mapping[str, Array], samples: int) -> dict[str, Array]:
        """What does not depend on what is learned, for all samples at once."""
        env: dict[str, Array] = {name: values.copy() for name, values in inputs.items()}
        for node in self._frozen:
            node.start(env, samples)
        for node, t in self.graph.schedule(self._frozen):
            node.golden(env, t)
        return {name: env[name] for name in self._needed}


def check_state(graph: Graph, state: Mapping[str, Array]) -> None:
    """Raise UsageError where a learned state has not the tensors of a graph, in their shapes."""
    expected = {k.tensor.name: k.tensor for k in graph.learned}
    if set(state) != set(expected):
        raise UsageError(
            f"a learned state with tensors {', '.join(sorted(state)) or 'none'}; the graph has "
            f"{', '.join(sorted(expected))}",
            "it was saved from another model or learner",
            "restore it where it was saved",
        )
    for name, tensor in expected.items():
        values = state[name]
        if values.shape != tensor.shape or values.dtype != tensor.numpy_dtype:
            raise UsageError(
                f"learned tensor {name}: {values.dtype} of shape {values.shape}, expected "
                f"{tensor.numpy_dtype} of shape {tensor.shape}",
                "it was saved from another model or learner",
                "restore it where it was saved",
            )


def checked_targets(
    graph: Graph,
    samples: int,
    labels: Sequence[int] | Array | None,
    targets: Mapping[str, Array] | None,
) -> dict[str, Array]:
    """Targets by name, (N, *shape), the label among them.

    Raises:
        UsageError: one is missing, superfluous, of another shape, or out of range.
    """
    given = dict(targets or {})
    if labels is not None:
        values = np.asarray(labels)
        if not graph.classes:
            raise UsageError(
                f"graph {graph.name} takes no label",
                "its learner learns without labels",
                "pass None",
            )
        wrong = np.flatnonzero((values < 0) | (values >= graph.classes))
        if len(wrong):
            raise UsageError(
                f"label {values[wrong[0]]} of sample {wrong[0]} is not within "
                f"0..{graph.classes - 1}",
                "the learner was attached for fewer classes, or the labels are of other data",
                f"attach it for {int(values.max()) + 1} classes, or check the labels",
            )
        given[LABEL] = values.astype(np.int32).reshape(-1, 1)
    expected = {t.name: t for t in graph.every_target}
    if set(given) != set(expected):
        raise UsageError(
            f"graph {graph.name} learns from {', '.join(sorted(expected)) or 'no target'}, given "
            f"are {', '.join(sorted(given)) or 'none'}",
            "a label or target is missing, or one too many",
            "pass what the learner takes",
        )
    for name, values in given.items():
        tensor = expected[name]
        if values.shape != (samples, *tensor.shape) or values.dtype != tensor.numpy_dtype:
            raise UsageError(
                f"target {name}: {values.dtype} of shape {values.shape}, expected "
                f"{tensor.numpy_dtype} of shape {(samples, *tensor.shape)}"
            )
        if not np.isfinite(values).all():
            raise UsageError(f"target {name}: holds a value that is not a finite number")
    return given


def _split(graph: Graph) -> tuple[list[Operator], list[Operator]]:
    """Predicting operators that do not depend on what is learned, and those that do."""
    touched = {learned.tensor.name for learned in graph.learned}
    predicting = [node for node in graph.order if graph.phase(node) <= Phase.END]
    live: set[str] = set()
    for node in predicting:
        if touched & set(node.inputs):
            live.add(node.name)
            touched |= {t.name for t in node.outs}
    if any(graph.phase(node) is Phase.STEP and node.name in live for node in predicting):
        # Within the time loop both kinds take turns: only what runs before it is apart.
        live |= {node.name for node in predicting if graph.phase(node) is not Phase.ONCE}
    return (
        [node for node in predicting if node.name not in live],
        [node for node in predicting if node.name in live],
    )


def _needed_inputs(graph: Graph, frozen: list[Operator]) -> set[str]:
    """What the operators that are executed sample by sample read of the inputs and of `frozen`."""
    apart = {node.name for node in frozen}
    rest = [node for node in graph.order if node.name not in apart]
    read = {name for node in rest for name in node.inputs} | set(graph.outputs)
    written = {t.name for node in frozen for t in node.outs}
    return read & (written | {t.name for t in graph.inputs})
