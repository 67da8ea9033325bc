"""Bits a layer under a budget: measured costs, measured errors, and random widths beside them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from spikelet.board import Board
from spikelet.codegen import generate
from spikelet.codegen.plan import Plan, plan
from spikelet.errors import UsageError
from spikelet.graph import Array, Graph
from spikelet.graph.target import ANY
from spikelet.package import Package
from spikelet.quantise.allocate import (
    Choice,
    least_error,
    lost_information,
    measured_errors,
    noise,
    output,
    random_widths,
)
from spikelet.quantise.narrow import input_means, narrow, narrowable
from spikelet.run.asked import bench_asked
from spikelet.run.learning.data import learning_data
from spikelet.run.session_options import RunOptions
from spikelet.run.watch import Watch
from spikelet.streams import SampleStream, package_stream

WIDTHS = (8, 4, 2, 1)
KINDS = ("flash", "ram", "instructions")
CRITERIA = ("error", "hessian", "information")
SAMPLES = 256  # that errors are measured on, and as many others that ways are compared on
RANDOM = 5  # draws of the control
TRIES = 6  # until what was measured is within the budget, too
COUNTED = 2  # samples whose instructions are counted

Errors = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Budget:
    """What a package may take.

    Attributes:
        kind: flash: bytes of constants; ram: bytes of the arena; instructions: of an inference.
        amount: of it; or a share of what the package takes as it is.
    """

    kind: Literal["flash", "ram", "instructions"]
    amount: float
    relative: bool = False

    @classmethod
    def of(cls, text: str) -> Self:
        """`flash=24k`, `ram=8000`, `instructions=2.5M`, `flash=60%`; raises UsageError."""
        kind, _, amount = text.partition("=")
        unit = {"k": 1e3, "M": 1e6, "%": 0.01}.get(amount[-1:], 1)
        digits = amount if unit == 1 else amount[:-1]
        try:
            value = float(digits) * unit
        except ValueError:
            value = 0.0
        if kind not in KINDS or not 0 < value < 1e12:
            raise UsageError(
                f"--budget {text}: expected flash, ram or instructions, and how much",
                next="for instance --budget flash=24k, or --budget instructions=60%",
            )
        return cls(kind, value, unit == 0.01)  # type: ignore[arg-type]

    def within(self, whole: int) -> int:
        """The whole number that must not be exceeded, of a package that takes `whole`."""
        return int(whole * self.amount if self.relative else self.amount)


@dataclass(frozen=True)
class Way:
    """Widths of all layers that can be narrowed.

    Attributes:
        criterion: that chose them; "as it is", or "random".
        bits: by layer.
        weight_bits: of all weights, those of other layers included.
        cost: in units of the budget, as the layers' add up.
        noise: of the outputs, squared, over their variance, on samples that no criterion saw.
        agreement: share of these samples that are labelled as with int8 weights.
        accuracy: on them; None without labels.
    """

    criterion: str
    bits: dict[str, int]
    weight_bits: int
    cost: int
    noise: float
    agreement: float
    accuracy: float | None


@dataclass(frozen=True)
class Allocation:
    """What was found.

    Attributes:
        package: with the chosen widths.
        budget: its kind.
        limit: of the budget.
        layers: a row each: name, weights, and by width cost and error.
        ways: the package as it is, one of each criterion, the mean of the random ones.
        chosen: one of them.
        measured: what the package takes, of the budget's kind.
        accuracy: on the test part, before and after.
        skipped: criteria that could not be computed, and why.
    """

    package: Package
    budget: str
    limit: int
    layers: list[dict[str, Any]]
    ways: list[Way]
    chosen: Way
    measured: int
    accuracy: tuple[float, float] | None = None
    skipped: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "budget": self.budget,
            "limit": self.limit,
            "measured": self.measured,
            "layers": self.layers,
            "ways": [vars(way) for way in self.ways],
            "chosen": self.chosen.criterion,
            "accuracy": self.accuracy,
            "skipped": self.skipped,
        }


class _Costs:
    """What layers take at each width."""

    def __init__(self, package: Package, kind: str, board: Board | None, watch: Watch) -> None:
        self.package, self.kind, self.board, self.watch = package, kind, board, watch
        if kind == "instructions" and board is None:
            raise UsageError(
                "a budget of instructions without a board", next="name one that counts them"
            )
        self.target = ANY if board is None else board.target

    def join(self, a: int, b: int) -> int:
        """Of two layers."""
        return max(a, b) if self.kind == "ram" else a + b

    def whole(self, graph: Graph) -> int:
        """Of a graph, measured."""
        if self.kind == "ram":
            return plan(graph, self.target).size
        if self.kind == "instructions":
            counted: float = self._bench(graph)["instructions_per_inference"]
            return round(counted)
        with tempfile.TemporaryDirectory(prefix="spikelet-") as folder:
            return generate(graph, "0" * 64, Path(folder), target=self.target).const_bytes

    def by_layer(self, graph: Graph) -> dict[str, int]:
        """Of each layer of a graph, measured."""
        if self.kind == "ram":
            return _in_use(graph, plan(graph, self.target))
        if self.kind == "instructions":
            return {row["name"]: round(row["ticks"]) for row in self._bench(graph)["layers"]}
        with tempfile.TemporaryDirectory(prefix="spikelet-") as folder:
            made = generate(graph, "0" * 64, Path(folder), target=self.target)
        return {layer.name: layer.flash_bytes for layer in made.layers}

    def _bench(self, graph: Graph) -> dict[str, Any]:
        assert self.board is not None
        few = {name: values[:COUNTED] for name, values in self.package.inputs.items()}
        package = Package(graph, few, {}).with_golden()
        with tempfile.TemporaryDirectory(prefix="spikelet-") as folder:
            options = RunOptions(board=self.board, session=Path(folder) / "bench")
            result = bench_asked(package, options, None, self.watch)[1]
        if result["instructions_per_inference"] is None:
            raise UsageError(
                f"board {self.board.name} counts no instructions", next="virt-rv32 does"
            )
        return result


def _in_use(graph: Graph, made: Plan) -> dict[str, int]:
    """Bytes of the arena that are in use while each operator runs."""
    found = {}
    for number, node in enumerate(graph.order):
        spans = [
            (slot.offset, slot.offset + slot.size)
            for slot in made.slots.values()
            if slot.first <= number <= slot.last
        ]
        if node.name in made.scratch:
            own = made.scratch[node.name]
            spans.append((own.offset, own.offset + own.size))
        used, end = 0, 0
        for first, last in sorted(spans):
            used += max(0, last - max(first, end))
            end = max(end, last)
        found[node.name] = used
    return found


def allocate(
    package: Package,
    budget: Budget,
    samples: SampleStream,
    board: Board | None = None,
    criterion: str | None = None,
    test: SampleStream | None = None,
    watch: Watch | None = None,
) -> Allocation:
    """Choose the width of each layer's weights.

    Args:
        package: with int8 weights.
        budget: that the package is to keep.
        samples: real ones, with labels where they are known: half of them measure errors, the other
            half says which criterion chose best.
        board: whose kernels are counted; it must count instructions for a budget of them.
        criterion: one of `CRITERIA`; None for the one with the least noise.
        test: with labels, on which the chosen widths are tested.
        watch: told what happens.

    Raises:
        UsageError: nothing can be narrowed, or no widths are within the budget.
    """
    graph, watch = package.graph, watch or Watch()
    costs = _Costs(package, budget.kind, board, watch)
    half = min(SAMPLES, len(samples) // 2)
    first, second = samples.head(half), samples.rest(half).head(half)
    means = input_means(graph, first.inputs)
    with watch.step("measuring costs"):
        search = _Search(graph, means, costs, budget, second)
    with watch.step("measuring errors"):
        found, skipped = _errors(graph, first, means, criterion)
    ways = [search.way("as it is", [8] * len(search.layers))]
    ways += [search.way(name, search.least(errors)) for name, errors in found.items()]
    control = search.control(next(iter(found.values())))
    chosen = min(ways[1:], key=lambda way: way.noise)
    made = narrow(graph, chosen.bits, means)
    accuracy = None if test is None else (_accuracy(graph, test), _accuracy(made, test))
    return Allocation(
        _package(package, made, chosen, accuracy and accuracy[1]),
        budget.kind, search.limit, search.rows(found, chosen), [*ways, control], chosen,
        costs.whole(made), accuracy, skipped,
    )  # fmt: skip


class _Search:
    """For widths within a budget."""

    def __init__(
        self,
        graph: Graph,
        means: Mapping[str, Array],
        costs: _Costs,
        budget: Budget,
        judge: SampleStream,
    ) -> None:
        self.graph, self.means, self.costs, self.kind = graph, means, costs, budget.kind
        self.nodes = narrowable(graph)
        self.layers = [node.name for node in self.nodes]
        if not self.layers:
            raise UsageError(
                f"model {graph.name}: no layer whose weights can have fewer bits",
                "they have few already, or they are of another kind",
                "dense layers and two-dimensional convolutions with int8 weights have",
            )
        self.takes = {w: costs.by_layer(self._narrow([w] * len(self.layers))) for w in WIDTHS}
        self.all = costs.whole(graph)
        self.limit = budget.within(self.all)
        own = self.takes[8]
        if self.kind == "ram":
            self.beside = max((c for n, c in own.items() if n not in self.layers), default=0)
        else:
            self.beside = self.all - sum(own[name] for name in self.layers)
        self.judge, self.whole = judge, output(graph, judge.inputs)

    def _narrow(self, bits: Sequence[int]) -> Graph:
        return narrow(self.graph, dict(zip(self.layers, bits, strict=True)), self.means)

    def _cost(self, bits: Sequence[int]) -> int:
        total = self.beside
        for name, width in zip(self.layers, bits, strict=True):
            total = self.costs.join(total, self.takes[width][name])
        return total

    def _choices(self, errors: Errors) -> list[list[Choice]]:
        return [
            [Choice(w, self.takes[w][name], errors[name][w]) for w in WIDTHS]
            for name in self.layers
        ]

    @property
    def _allowed(self) -> int:
        """What the layers may take together."""
        return self.limit if self.kind == "ram" else self.limit - self.beside

    def least(self, errors: Errors) -> tuple[int, ...]:
        """The least error whose measured cost is within the limit; raises UsageError."""
        allowed = 0 if self.beside > self.limit else self._allowed
        for _ in range(TRIES):
            bits = allowed > 0 and least_error(self._choices(errors), allowed, self.costs.join)
            if not bits:
                break
            over = self.costs.whole(self._narrow(bits)) - self.limit
            if over <= 0:
                return bits
            allowed -= over
        least = self._cost([min(WIDTHS, key=lambda w: self.takes[w][n]) for n in self.layers])
        raise UsageError(
            f"model {self.graph.name}: no widths take {self.limit} {UNITS[self.kind]} or less",
            f"the least is about {least}, now it takes {self.all}",
            "give a larger budget",
        )

    def way(self, criterion: str, bits: Sequence[int]) -> Way:
        """What widths do to outputs, on samples that no criterion saw."""
        made, labels = output(self._narrow(bits), self.judge.inputs), self.judge.labels
        said, by_layer = made.argmax(axis=1), dict(zip(self.layers, bits, strict=True))
        return Way(
            criterion,
            by_layer,
            sum(size * by_layer.get(name, 8) for name, size in _sizes(self.graph).items()),
            self._cost(bits),
            noise(self.whole, made),
            float((said == self.whole.argmax(axis=1)).mean()),
            None if labels is None else float((said == labels).mean()),
        )

    def control(self, errors: Errors) -> Way:
        """The mean of random widths within the budget; `bits` are those of the first draw."""
        rng, choices = np.random.default_rng(0), self._choices(errors)
        ways = [
            self.way("random", random_widths(choices, self._allowed, self.costs.join, rng))
            for _ in range(RANDOM)
        ]
        known = [way.accuracy for way in ways if way.accuracy is not None]
        return Way(
            f"random, mean of {RANDOM}",
            ways[0].bits,
            round(_mean([way.weight_bits for way in ways])),
            round(_mean([way.cost for way in ways])),
            _mean([way.noise for way in ways]),
            _mean([way.agreement for way in ways]),
            _mean(known) if known else None,
        )

    def rows(self, found: Mapping[str, Errors], chosen: Way) -> list[dict[str, Any]]:
        """The layers."""
        return [
            {
                "name": name,
                "weights": _sizes(self.graph)[name],
                "bits": chosen.bits[name],
                "cost": {w: self.takes[w][name] for w in WIDTHS},
                "error": {c: {w: errors[name][w] for w in WIDTHS} for c, errors in found.items()},
            }
            for name in self.layers
        ]


def _sizes(graph: Graph) -> dict[str, int]:
    """How many weights a layer has."""
    weights = {node.name: node.arrays().get("weight") for node in graph.nodes}
    return {name: int(values.size) for name, values in weights.items() if values is not None}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


UNITS = {"flash": "bytes of constants", "ram": "bytes of arena", "instructions": "instructions"}


def _errors(
    graph: Graph, samples: SampleStream, means: Mapping[str, Array], criterion: str | None
) -> tuple[dict[str, Errors], dict[str, str]]:
    """By criterion; and those that were asked for but cannot be had, and why."""

    def hessian() -> Errors:
        from spikelet.train.curvature import hessian_errors

        return hessian_errors(graph, samples.inputs, samples.labels, WIDTHS)

    known: dict[str, Callable[[], Errors]] = {
        "error": lambda: measured_errors(graph, samples.inputs, means, WIDTHS),
        "hessian": hessian,
        "information": lambda: lost_information(graph, WIDTHS),
    }
    found: dict[str, Errors] = {}
    skipped: dict[str, str] = {}
    for name in CRITERIA if criterion is None else (criterion,):
        try:
            found[name] = known[name]()
        except (UsageError, ImportError) as error:
            if criterion is not None:
                raise
            skipped[name] = str(error)
    return found, skipped


def parts(package: Package, given: str | None = None) -> tuple[SampleStream, SampleStream | None]:
    """Samples to choose widths on, drawn from a training part, and a test part where there is one.

    Args:
        package: that they are for.
        given: an .npz file with x and y, or a data set; None for what the package was trained on,
            or else its own vectors.

    Raises:
        UsageError: the samples are not there or do not fit.
    """
    if given is None and (package.labels is None or "data" not in package.manifest):
        return package_stream(package), None
    data = learning_data(package, given)
    at = np.random.default_rng(0).permutation(len(data.train))[: 2 * SAMPLES]
    some = data.train.take(at)
    source = f"{len(some)} training samples of {data.source}"
    test = SampleStream(data.source, dict(data.test.values), data.test.labels)
    return SampleStream(source, dict(some.values), some.labels), test


def _accuracy(graph: Graph, test: SampleStream) -> float:
    """Share of a test part with labels that is labelled right."""
    return float((output(graph, test.inputs).argmax(axis=1) == test.labels).mean())


def _package(package: Package, graph: Graph, way: Way, accuracy: float | None) -> Package:
    """The package; what was measured of the one before is not said of this one."""
    measured = ("integer_accuracy", "drift", "macro_f1", "recall", "layer_drift", "integer_error")
    kept = {key: value for key, value in package.manifest.items() if key not in measured}
    if accuracy is not None:
        kept["integer_accuracy"] = accuracy
    noted = {**kept, "allocation": {"criterion": way.criterion, "bits": way.bits}}
    truth = {} if package.labels is None else {"y": package.labels}
    return Package(graph, {**package.inputs, **truth}, noted).with_golden()
