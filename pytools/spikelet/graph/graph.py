"""The integer graph: the model, in an order of execution, and its golden execution."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from spikelet.graph import form
from spikelet.graph.declared import NAME_LENGTH, check_fields, is_identifier, quote_name
from spikelet.graph.form import FORMAT, INITIAL, Head
from spikelet.graph.operator import Interval, Operator, Phase
from spikelet.graph.running import Execution, Running
from spikelet.graph.tensor import FLOATS, Array, GraphError, Learned, Tensor

LABEL = "label"  # the target of a graph that learns classes
MAX_OPERATORS = 0xFFFE
PART_BYTES = 128 << 20  # of memory that golden may take at a time
NAME_BYTES = NAME_LENGTH


def _describe(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "scale": tensor.scale,
        "zero_point": tensor.zero_point,
        **({"choices": list(tensor.choices)} if tensor.choices else {}),
        **({"per_step": True} if tensor.per_step else {}),
    }


@dataclass
class Graph:
    """A deployable network: operators in order, with T time steps an inference.

    Attributes:
        name: a C identifier.
        steps: time steps T of one inference; 1 for a network without time.
        inputs: the tensors that a host writes; at most one of them anew for each step.
        nodes: the operators, each after those that it reads.
        outputs: names of the tensors that are the result; the first one is the prediction.
        learned: what its learning operators change; none in a graph that does not learn.
        classes: of the labels that it learns from: 0 to classes - 1; 0 = it takes no label.
        targets: other tensors that a host writes for the learning operators to read.
        keeps_state: neurons' states may stay from one inference to the next, so that no number of
            steps bounds them.
        exit: a u8 (1,) that each step writes: 0 ends the inference behind that step; "" for none.
        bounds: by tensor, the interval of every element for any input in range.

    Raises GraphError when it is not well formed or not provably free of overflow.
    """

    name: str
    steps: int
    inputs: list[Tensor]
    nodes: list[Operator]
    outputs: list[str]
    learned: list[Learned] = field(default_factory=list)
    classes: int = 0
    targets: list[Tensor] = field(default_factory=list)
    exit: str = ""
    keeps_state: bool = False
    bounds: dict[str, Interval] = field(init=False, repr=False, default_factory=dict)
    _phases: dict[str, Phase] = field(init=False, repr=False, default_factory=dict)
    _when: dict[str, tuple[str, int]] = field(init=False, repr=False, default_factory=dict)

    def __repr__(self) -> str:
        return f"<Graph {self.title()}>"

    def title(self) -> str:
        """The graph in a line: name, what goes in, what comes out, operators, time steps."""
        ways = (self.inputs, (self.tensors[name] for name in self.outputs))
        took, gives = (", ".join(map(str, tensors)) for tensors in ways)
        steps = f", {self.steps} time steps" if self.steps > 1 else ""
        learned = f", learns {len(self.learned)} tensors" if self.learned else ""
        return f"{self.name}: {took} -> {gives}; {len(self.nodes)} operators{steps}{learned}"

    def __post_init__(self) -> None:
        self.nodes = list(self.nodes)
        head = {f.name: getattr(self, f.name) for f in dataclasses.fields(Head)}
        check_fields(Head, f"graph {quote_name(self.name)}", head)
        if not 1 <= len(self.nodes) <= MAX_OPERATORS:
            raise GraphError(
                f"graph {self.name}: {len(self.nodes)} operators, expected 1 to {MAX_OPERATORS}: "
                "the number of an operator is 16 bits on the wire"
            )
        self._infer()

    def _infer(self) -> None:
        known: dict[str, Tensor] = {}
        ready: dict[str, Phase] = {}
        for tensor in self.inputs:
            if tensor.name in known:
                raise GraphError(f"graph {self.name}: two tensors are named {tensor.name}")
            if tensor.name.partition(".")[0] in {node.name for node in self.nodes}:
                raise GraphError(f"graph {self.name}: input {tensor.name} is a part of another")
            self.bounds[tensor.name] = tensor.interval()
            if tensor.kind != "input":
                raise GraphError(f"graph {self.name}: input {tensor.name} has kind {tensor.kind}")
            known[tensor.name] = tensor
            ready[tensor.name] = Phase.STEP if tensor.per_step else Phase.ONCE
        if sum(tensor.per_step for tensor in self.inputs) > 1:
            raise GraphError(f"graph {self.name}: two inputs of each step, expected one at most")
        self._infer_learned(known, ready)
        for number, node in enumerate(self.nodes):
            node.check()
            for name in node.reads:
                if name not in known:
                    raise node.error(f"reads {name}, which nothing before it writes")
            if not node.inputs and not node.carried:
                raise node.error("it reads nothing")
            phase = node.phase([ready[name] for name in node.inputs])
            late = [name for name in node.reads if ready[name] > phase]
            if late:
                raise node.error(
                    f"runs in phase {phase.name} but reads {late[0]}, which is known in phase "
                    f"{ready[late[0]].name}"
                )
            if phase is Phase.COMMIT:
                kept = {learned.tensor.name for learned in self.learned}
                sample = [n for n in node.inputs if n not in kept and ready[n] < phase]
                if sample:
                    raise node.error(f"reads {sample[0]} of a sample, and a commit has none")
            self._check_condition(node, phase, known)
            self.nodes[number] = placed = self._place(node, [known[n] for n in node.inputs])
            for tensor in placed.outs:
                if tensor.name in known:
                    raise node.error(f"a second tensor named {tensor.name}")
                known[tensor.name], ready[tensor.name] = tensor, phase
                if node.when is not None:
                    self._when[tensor.name] = node.when
                self.bounds.setdefault(tensor.name, tensor.interval())
            self._phases[node.name] = phase
        self._check_carried(known)
        if self.exit:
            self._check_exit(known, ready)
        if not self.outputs:
            raise GraphError(f"graph {self.name}: no output is named")
        for name in self.outputs:
            if name not in known or known[name].kind != "output":
                raise GraphError(f"graph {self.name}: output {name} is written by no operator")
            if ready[name] > Phase.END:
                raise GraphError(f"graph {self.name}: output {name} is known after learning only")

    def _place(self, node: Operator, ins: list[Tensor]) -> Operator:
        """A node with what it infers; what it does not foresee in its fields is an error, too."""
        try:
            placed = node.place(ins, self.bounds, self.steps, self.keeps_state)
        except GraphError as e:
            raise e if node.name in str(e) else node.error(str(e)) from e
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as e:
            reads = ", ".join(f"{t.name} {t.dtype} {t.shape}" for t in ins)
            raise node.error(f"its fields do not fit what it reads, {reads} ({e})") from e
        kept = {n.carried for n in self.nodes}
        if own := [t.name for t in placed.outs if t.persistent and t.name in kept]:
            raise node.error(f"{own[0]} is a state with a start of its own, expected an activation")
        placed.outs = tuple(
            dataclasses.replace(
                t,
                kind="output" if t.name in self.outputs else "state" if t.name in kept else t.kind,
                persistent=t.persistent or t.name in kept,
            )
            for t in placed.outs
        )
        return placed

    def _check_carried(self, known: Mapping[str, Tensor]) -> None:
        """Refuse a recurrence that is none, or whose range is not what was said: see `carried`."""
        place = {t.name: number for number, n in enumerate(self.nodes) for t in n.outs}
        for number, node in enumerate(self.nodes):
            if not (name := node.carried):
                continue
            if place.get(name, -1) < number:
                where = "by none" if name not in place else "by one in front: read that"
                raise node.error(f"{name} is written {where}, expected a later operator")
            writer = self.nodes[place[name]]
            if self._phases[writer.name] is not Phase.STEP or writer.when is not None:
                raise node.error(f"{name} is not written in every step")
            out, was = node.outs[0], known[name]
            if (out.dtype, out.shape) != (was.dtype, was.shape):
                raise node.error(
                    f"{name} is {was.dtype} {was.shape}, expected {out.dtype} {out.shape}"
                )
            (low, high), (least, most) = self.bounds[name], self.bounds[out.name]
            if (low < least).any() or (high > most).any():
                raise node.error(
                    f"{name} may be {low.min()} to {high.max()}, expected {least.min()} to "
                    f"{most.max()}"
                )

    def _check_exit(self, known: Mapping[str, Tensor], ready: Mapping[str, Phase]) -> None:
        """Refuse to end an inference by what is no yes or no of each step."""
        tensor = known.get(self.exit)
        ok = tensor is not None and (tensor.dtype, tensor.size) == ("u8", 1)
        if not ok or ready[self.exit] is not Phase.STEP or self.exit in self._when:
            raise GraphError(
                f"graph {self.name}: exit {self.exit!a:.60} is {tensor}, expected u8 (1,) that "
                "each step writes"
            )

    def _check_condition(self, node: Operator, phase: Phase, known: Mapping[str, Tensor]) -> None:
        """Refuse to read what may have been left out; see `Operator.when`."""
        if node.when is not None:
            deciding = known[node.when[0]]
            if deciding.size != 1 or deciding.dtype not in ("u8", "i32") or phase > Phase.END:
                raise node.error(
                    f"its condition is {deciding.dtype} {deciding.name} of shape {deciding.shape} "
                    f"in phase {phase.name}; expected one u8 or i32, and a predicting operator"
                )
            if deciding.choices and node.when[1] not in deciding.choices:
                raise node.error(f"runs at {node.when[1]}, which {deciding.name} does not hold")
        chosen = node.chosen()
        for name in node.inputs:
            condition = self._when.get(name)
            if condition in (None, node.when):
                continue
            if (node.inputs[0], chosen.get(name)) != condition:
                raise node.error(
                    f"reads {name}, which is written when {condition[0]} is {condition[1]} only"
                )
            low, high = (int(end.reshape(-1)[0]) for end in self.bounds[condition[0]])
            held = known[condition[0]].choices or range(low, min(high, low + 256) + 1)
            if missing := set(held) - set(chosen.values()):
                raise node.error(f"{condition[0]} may be {min(missing)}, at which no layer runs")

    def _infer_learned(self, known: dict[str, Tensor], ready: dict[str, Phase]) -> None:
        """What does not belong to a sample's prediction: learned tensors and targets."""
        for learned in self.learned:
            tensor = learned.tensor
            if tensor.name in known:
                raise GraphError(
                    f"graph {self.name}: learned tensor {tensor.name!r} is there already"
                )
            self.bounds[tensor.name] = learned.interval
            known[tensor.name], ready[tensor.name] = tensor, Phase.ONCE
        for tensor in self.every_target:
            if tensor.kind != "target" or not is_identifier(tensor.name) or tensor.name in known:
                raise GraphError(
                    f"graph {self.name}: target {tensor.name!r} has kind {tensor.kind}, is there "
                    "already, or is a part of another"
                )
            ends = (0, self.classes - 1) if tensor.name == LABEL else (None, None)
            self.bounds[tensor.name] = tensor.interval(*ends)
            known[tensor.name], ready[tensor.name] = tensor, Phase.LEARN

    @property
    def every_target(self) -> list[Tensor]:
        """What a host writes before learning: the label, if there are classes, and the targets."""
        label = [Tensor(LABEL, "i32", (1,), kind="target")] if self.classes else []
        return [*label, *self.targets]

    @property
    def has_choices(self) -> bool:
        """Whether some input may hold certain values only."""
        return any(tensor.choices for tensor in self.inputs)

    @property
    def stream(self) -> Tensor | None:
        """The input that has other values in each step; None where inputs are constant."""
        return next((tensor for tensor in self.inputs if tensor.per_step), None)

    def sample_tensor(self, tensor: Tensor) -> Tensor:
        """An input as a sample has it on the host: with an axis of steps where it needs one."""
        if not tensor.per_step:
            return tensor
        return dataclasses.replace(tensor, shape=(self.steps, *tensor.shape), per_step=False)

    def wire(self, tensor: Tensor, values: Array) -> bytes:
        """An input of one sample for a device: of an input of each step the frames of all steps."""
        if not tensor.per_step:
            return tensor.to_bytes(values)
        return b"".join(tensor.to_bytes(frame) for frame in values)

    @property
    def learns(self) -> bool:
        """Whether it has learning operators."""
        return bool(self.learned)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name: inputs, learned, targets, then what each operator writes."""
        every = [
            *self.inputs,
            *(learned.tensor for learned in self.learned),
            *self.every_target,
            *(t for node in self.nodes for t in node.outs),
        ]
        return {t.name: t for t in every}

    def admitted_range(self, tensor: Tensor) -> tuple[float, float]:
        """Lowest and highest value that a host may write: what all behind it is proved from."""
        low, high = self.bounds[tensor.name]
        return low.min().item(), high.max().item()

    def phase(self, node: Operator) -> Phase:
        """When an operator runs."""
        return self._phases[node.name]

    @cached_property
    def order(self) -> list[Operator]:
        """The operators as they execute, phase by phase. Their index is the operator's number."""
        return sorted(self.nodes, key=self.phase)

    def check_inputs(self, inputs: Mapping[str, Array]) -> int:
        """The number of samples; raises GraphError on a wrong name, shape or dtype."""
        wanted = {t.name: self.sample_tensor(t) for t in self.inputs}
        if set(inputs) != set(wanted):
            raise GraphError(
                f"graph {self.name}: inputs {sorted(inputs)}, expected {sorted(wanted)}"
            )
        samples = -1
        for name, tensor in wanted.items():
            values = inputs[name]
            if tensor.dtype == "bit" and values.size and values.max() > 1:
                raise GraphError(f"input {name}: {values.max()} where a spike is 0 or 1")
            if values.dtype != tensor.numpy_dtype or values.shape[1:] != tensor.shape:
                raise GraphError(
                    f"input {name}: {values.dtype} of shape {values.shape}, expected "
                    f"{tensor.numpy_dtype} of shape (N, {', '.join(map(str, tensor.shape))})"
                )
            if tensor.choices and not np.isin(values, tensor.choices).all():
                choices = ", ".join(map(str, tensor.choices))
                raise GraphError(f"input {name}: a value that is none of {choices}")
            if tensor.dtype in FLOATS and not np.isfinite(values).all():
                raise GraphError(f"input {name}: holds a value that is not a finite number")
            if samples not in (-1, len(values)):
                raise GraphError(f"input {name}: {len(values)} samples, expected {samples}")
            samples = len(values)
        return samples

    def run(
        self,
        inputs: Mapping[str, Array],
        trace: bool = False,
        learned: Mapping[str, Array] | None = None,
        states: Mapping[str, Array] | None = None,
    ) -> Execution:
        """Execute the graph on N samples, without learning.

        Args:
            inputs: by name, each (N, *shape), of an input of each step (N, T, *shape).
            trace: keep what every operator wrote in every step.
            learned: by name, the tensors' shapes; None for the initial values.
            states: of another execution of N samples, which is gone on with; None to start anew.
        """
        samples = self.check_inputs(inputs)
        env: dict[str, Array] = {name: values.copy() for name, values in inputs.items()}
        env.update(self.initial() if learned is None else learned)
        for node in self.order:
            node.start(env, samples)
        env.update(states or {})
        return Running(self, inputs, env, samples, trace).execution()

    def parts(self, samples: int, trace: bool = False, most: int = 64) -> Iterator[slice]:
        """Pieces of N samples, each of which `run` executes in some 128 MB.

        Args:
            samples: N, at least 1.
            trace: as `run` is given it.
            most: samples in a piece.
        """
        # Golden's sums are int64, and an operator holds a few arrays of its size at a time.
        sample = 10 * sum(t.nbytes for t in self.tensors.values())
        if trace:
            sample += self.steps * sum(t.size * t.numpy_dtype.itemsize for t in self.traced_tensors)
        size = max(1, min(most, PART_BYTES // sample))
        return (slice(at, min(at + size, samples)) for at in range(0, samples, size))

    def schedule(self, nodes: Iterable[Operator]) -> list[tuple[Operator, int]]:
        """The executions of a prediction, operator and step, of those of its nodes that are given.

        Args:
            nodes: in their order.
        """
        chosen = list(nodes)
        times = {Phase.ONCE: 1, Phase.STEP: self.steps, Phase.END: 1}
        return [
            (node, t)
            for phase, count in times.items()
            for t in range(count)
            for node in chosen
            if self.phase(node) is phase
        ]

    def initial(self) -> dict[str, Array]:
        """The learned tensors before anything was learned, by name."""
        return {learned.tensor.name: learned.start() for learned in self.learned}

    def predicted(self, values: Array) -> Array:
        """(N,) int64 from the first output (N, *shape): its element, or where its largest lies."""
        flat = values.reshape(len(values), -1)
        classes: Array = flat[:, 0] if flat.shape[1] == 1 else np.argmax(flat, axis=1)
        return classes.astype(np.int64)

    @property
    def names_classes(self) -> bool:
        """Whether the first output names a class; one real number is a regression's."""
        first = self.tensors[self.outputs[0]]
        return first.size > 1 or first.is_count

    @property
    def highest_prediction(self) -> int:
        """The highest value of `predicted`."""
        first = self.outputs[0]
        size = self.tensors[first].size
        return int(self.bounds[first][1].max()) if size == 1 else size - 1

    @cached_property
    def traced_tensors(self) -> list[Tensor]:
        """The tensors that a trace digests, in the order of its columns."""
        return [t for node in self.order for t in node.outs]

    def steps_of(self, node: Operator) -> range:
        """The steps in which an operator runs: of one that runs once, the first or the last."""
        first = self.steps - 1 if self.phase(node) >= Phase.END else 0
        return range(self.steps) if self.phase(node) is Phase.STEP else range(first, first + 1)

    def row(self, name: str, row: int) -> int:
        """The step that row `row` of the trace of `name` belongs to."""
        writer = self._writers.get(name)
        if writer is None:
            raise GraphError(f"graph {self.name}: no operator writes {name}")
        return self.steps - 1 if self.phase(writer) >= Phase.END else row

    @cached_property
    def _writers(self) -> dict[str, Operator]:
        """The operator that writes a tensor, by its name."""
        return {tensor.name: node for node in self.order for tensor in node.outs}

    def digests(self, execution: Execution, sample: int) -> Array:
        """CRC-32 of every traced tensor in every step, (T, columns) uint32; 0 where none ran."""
        table = np.zeros((self.steps, len(self.traced_tensors)), np.uint32)
        for column, tensor in enumerate(self.traced_tensors):
            for row, values in enumerate(execution.trace.get(tensor.name, ())):
                if self.row(tensor.name, row) >= execution.steps[sample] and row:
                    break
                digest = zlib.crc32(tensor.to_bytes(values[sample]))
                table[self.row(tensor.name, row), column] = digest
        return table

    def seen(self, name: str, execution: Execution, inputs: Mapping[str, Array]) -> Array:
        """What a tensor held, (rows, N, *shape): a row a step where it changes.

        Args:
            name: of a tensor that an operator writes, or of an input.
            execution: with its trace.
            inputs: what was executed.
        """
        if name in execution.trace:
            return execution.trace[name]
        values = inputs[name]
        return np.moveaxis(values, 1, 0) if self.tensors[name].per_step else values[None]

    def to_json(self) -> dict[str, Any]:
        """The graph without its constants."""
        learning = {
            "learned": [
                {**_describe(k.tensor), "low": k.low, "high": k.high} for k in self.learned
            ],
            "classes": self.classes,
            "targets": [_describe(t) for t in self.targets],
        }
        return {
            "format": FORMAT,
            "name": self.name,
            "steps": self.steps,
            "inputs": [_describe(t) for t in self.inputs],
            "nodes": [
                {
                    "op": n.KIND,
                    "name": n.name,
                    "inputs": list(n.inputs),
                    "attributes": n.attributes(),
                    "constants": sorted(n.arrays()),
                    **({} if n.when is None else {"when": list(n.when)}),
                }
                for n in self.nodes
            ],
            "outputs": list(self.outputs),
            **({"exit": self.exit} if self.exit else {}),
            **({"keeps_state": True} if self.keeps_state else {}),
            **{name: value for name, value in learning.items() if value},
        }

    def constants(self) -> dict[str, Array]:
        """All constants, by `layer.field`, and by `learned/tensor` the initial values."""
        constants = {f"{n.name}.{k}": v for n in self.nodes for k, v in n.arrays().items()}
        initial = {k.tensor.name: k.initial for k in self.learned}
        constants.update({INITIAL + name: v for name, v in initial.items() if v is not None})
        return constants

    @classmethod
    def from_json(cls, data: Mapping[str, Any], constants: Mapping[str, Array]) -> Graph:
        """The inverse of `to_json` and `constants`; raises GraphError on anything unexpected."""
        if data.get("format") != FORMAT:
            raise GraphError(
                f"graph format {data.get('format')!a:.60}, this version reads {FORMAT}"
            )
        read = form.form(form.GraphForm, "graph", data)
        graph = cls(
            read.name,
            read.steps,
            form.tensors("input", read.inputs),
            form.nodes(read.nodes, constants),
            list(read.outputs),
            form.read_learned(read.learned, constants),
            read.classes,
            form.tensors("target", read.targets),
            read.exit,
            read.keeps_state,
        )
        if more := sorted(set(constants) - set(graph.constants())):
            raise GraphError(f"graph {graph.name}: {more[0]!a:.60} is no constant of it")
        return graph
