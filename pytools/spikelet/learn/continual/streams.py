"""Streams: in which order, and how changed, labelled samples reach a learner.

A stream is a sequence of blocks. Each belongs to a task; every task has evaluation samples of its
own, and all tasks are evaluated before the first and after every block. One text describes a
stream, for instance `class-incremental,tasks=5`; with its seed it plays out the same everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Tensor
from spikelet.learn.choices import parse_choice


@dataclass(frozen=True)
class Pool:
    """Labelled samples in the codes of a graph's inputs.

    Attributes:
        inputs: the graph's inputs by name.
        values: by input, (N, *shape).
        labels: (N,) int64 classes.
    """

    inputs: Mapping[str, Tensor]
    values: Mapping[str, Array]
    labels: Array

    def __post_init__(self) -> None:
        for name, tensor in self.inputs.items():
            values = self.values[name]
            if values.shape != (len(self.labels), *tensor.shape) or (
                values.dtype != tensor.numpy_dtype
            ):
                raise UsageError(
                    f"samples: {name} is {values.dtype} of shape {values.shape}, expected "
                    f"{tensor.numpy_dtype} of ({len(self.labels)}, "
                    f"{', '.join(map(str, tensor.shape))})"
                )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Array) -> Pool:
        """Some of the samples, in the order of `rows`."""
        values = {name: array[rows] for name, array in self.values.items()}
        return Pool(self.inputs, values, self.labels[rows])

    def hashes(self) -> list[str]:
        """One hash a sample, of its values: the same wherever and under what label it stands."""
        values = [np.ascontiguousarray(self.values[name]) for name in sorted(self.data)]
        return [
            hashlib.sha256(b"".join(v[row].tobytes() for v in values)).hexdigest()[:16]
            for row in range(len(self))
        ]

    def with_inputs(self, change: Mapping[str, Array]) -> Pool:
        """The same samples with other values of some inputs."""
        return Pool(self.inputs, {**self.values, **change}, self.labels)

    @property
    def data(self) -> list[str]:
        """Names of the inputs that hold data: all but the seed of a random encoder."""
        return [name for name in self.inputs if name != "seed"]


@dataclass(frozen=True)
class Block:
    """Samples that are learned one after the other.

    Attributes:
        task: index of the task that they are of.
        samples: in order.
    """

    task: int
    samples: Pool


@dataclass(frozen=True)
class Course:
    """A stream, played out.

    Attributes:
        tasks: what each task is, in words.
        blocks: in order.
        evaluation: by task, samples that are predicted and never learned.
    """

    tasks: list[str]
    blocks: list[Block]
    evaluation: list[Pool]

    @property
    def samples(self) -> int:
        """That are learned, over all blocks."""
        return sum(len(block.samples) for block in self.blocks)

    def of_task(self, task: int) -> list[Block]:
        """The blocks of one task, in order: the course of its single-task expert."""
        return [block for block in self.blocks if block.task == task]

    def ends(self) -> list[int]:
        """Indices of the blocks that end a task: the next block is of another, or there is none."""
        following = [block.task for block in self.blocks[1:]] + [-1]
        return [i for i, n in enumerate(following) if n != self.blocks[i].task]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What all streams have.

    Attributes:
        NAME: in a stream's text.
        DOC: what it is, in a line.
        tasks: how many.
        blocks: that a task is cut into; all tasks are evaluated after each.
        samples: of a task, that are learned; 0 for all there are.
        evaluate: samples of each task's evaluation; 0 for all there are.
        passes: times that a task's samples come, each time in a new order.
        seed: of every choice.
    """

    NAME: ClassVar[str] = ""
    DOC: ClassVar[str] = ""

    tasks: int = 5
    blocks: int = 1
    samples: int = 0
    evaluate: int = 0
    passes: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (
            ("tasks", 1), ("blocks", 1), ("samples", 0), ("evaluate", 0), ("passes", 1),
            ("seed", 0),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= 2**31 - 1:
                raise ValueError(f"{name}={getattr(self, name)}, expected {low} to 2147483647")

    def play(self, train: Pool, test: Pool) -> Course:
        """The course of these samples.

        Args:
            train: of which the blocks are made.
            test: of which the evaluation is made.

        Raises:
            UsageError: a task would have no sample to learn or to be evaluated on.
        """
        raise NotImplementedError

    def _random(self, *of: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *of])

    def _learning_order(self, rows: Array, task: int) -> Array:
        """A task's samples in the order of learning, all passes."""
        random = self._random(1, task)
        rows = random.permutation(rows)[: self.samples or None]
        passes = [rows, *(random.permutation(rows) for _ in range(self.passes - 1))]
        return np.concatenate(passes)

    def _test_rows(self, rows: Array, task: int) -> Array:
        return np.sort(self._random(2, task).permutation(rows)[: self.evaluate or None])

    def _cut(self, task: int, samples: Pool) -> Iterator[Block]:
        if len(samples) < self.blocks:
            raise UsageError(
                f"stream {self.NAME}: task {task} has {len(samples)} samples to learn, fewer than "
                f"blocks={self.blocks}",
                "too few samples of some class",
                "fewer tasks or blocks, or more data",
            )
        for rows in np.array_split(np.arange(len(samples)), self.blocks):
            yield Block(task, samples.take(rows))

    def _course(self, names: list[str], learned: list[Pool], tested: list[Pool]) -> Course:
        for name, pool in zip(names, tested, strict=True):
            if not len(pool):
                raise UsageError(
                    f"stream {self.NAME}: no sample to evaluate {name}",
                    "the test part lacks a class",
                    "give x_test and y_test of all classes",
                )
        blocks = [b for task, pool in enumerate(learned) for b in self._cut(task, pool)]
        return Course(names, blocks, tested)


@dataclass(frozen=True, kw_only=True)
class IID(Stream):
    """All classes mixed, one task; nothing is forgotten: what a learner can reach at best."""

    NAME: ClassVar[str] = "iid"
    DOC: ClassVar[str] = "all classes mixed, one task"

    tasks: int = 1
    blocks: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tasks != 1:
            raise ValueError(f"tasks={self.tasks}, independent samples are one task")

    def play(self, train: Pool, test: Pool) -> Course:
        """See `Stream.play`."""
        learned = train.take(self._learning_order(np.arange(len(train)), 0))
        tested = test.take(self._test_rows(np.arange(len(test)), 0))
        return self._course(["all classes"], [learned], [tested])


@dataclass(frozen=True, kw_only=True)
class ClassIncremental(Stream):
    """Classes come one group after the other, and never again.

    Attributes:
        first: classes in the first task; 0 for as many as in the others.
    """

    NAME: ClassVar[str] = "class-incremental"
    DOC: ClassVar[str] = "sorted by class: each task brings new classes, old ones never come again"

    first: int = 0

    def groups(self, train: Pool) -> list[Array]:
        """The classes of each task.

        Raises:
            UsageError: there are fewer classes than tasks.
        """
        classes = np.unique(train.labels)
        rest = self.tasks - (self.first > 0)
        if not 0 <= self.first <= len(classes) - rest:
            raise UsageError(
                f"stream {self.NAME}: {len(classes)} classes for tasks={self.tasks}"
                + (f", first={self.first}" if self.first else ""),
                "each task brings at least one new class",
                "fewer tasks",
            )
        groups = np.array_split(classes[self.first :], rest) if rest else []
        return [classes[: self.first], *groups] if self.first else groups

    def play(self, train: Pool, test: Pool) -> Course:
        """See `Stream.play`."""
        groups = self.groups(train)
        names = [_classes(group) for group in groups]
        return self._course(
            names,
            [train.take(self._learning_order(_of(train, g), t)) for t, g in enumerate(groups)],
            [test.take(self._test_rows(_of(test, g), t)) for t, g in enumerate(groups)],
        )


@dataclass(frozen=True, kw_only=True)
class PowerLaw(ClassIncremental):
    """Classes come group by group; old ones come again, the rarer the longer ago.

    In phase t a sample is with probability `share` of an earlier task, and then of task k with a
    weight of (t - k)^-exponent: the statistics of re-encounter in human environments.

    Attributes:
        exponent: 0 for all old tasks alike.
        share: of a phase's samples, that are of earlier tasks.
    """

    NAME: ClassVar[str] = "power-law"
    DOC: ClassVar[str] = "as class-incremental, but old tasks come again with a power of their age"

    exponent: float = 1.0
    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share < 1:
            raise ValueError(f"share={self.share}, expected 0 to less than 1")
        if not 0 <= self.exponent <= 16:
            raise ValueError(f"exponent={self.exponent}, expected 0 to 16")

    def play(self, train: Pool, test: Pool) -> Course:
        """See `Stream.play`."""
        groups = self.groups(train)
        names = [_classes(group) for group in groups]
        own = [self._learning_order(_of(train, g), t) for t, g in enumerate(groups)]
        learned = []
        for t, rows in enumerate(own):
            random = self._random(3, t)
            weights = (t - np.arange(t, dtype=np.float64)) ** -self.exponent
            again = random.random(len(rows)) < (self.share if t else 0.0)
            rows = rows.copy()
            ages = random.choice(t, again.sum(), p=weights / weights.sum()) if t else []
            rows[again] = [random.choice(own[k]) for k in ages]
            learned.append(train.take(rows))
        tested = [test.take(self._test_rows(_of(test, g), t)) for t, g in enumerate(groups)]
        return self._course(names, learned, tested)


@dataclass(frozen=True, kw_only=True)
class Permuted(Stream):
    """All classes in each task, with the elements of the input in an order of the task's own.

    The first task has the order of the data.
    """

    NAME: ClassVar[str] = "permuted"
    DOC: ClassVar[str] = "each task permutes the elements of the input, all classes in each"

    def play(self, train: Pool, test: Pool) -> Course:
        """See `Stream.play`."""
        names = ["as it is", *(f"permutation {t}" for t in range(1, self.tasks))]
        learned, tested = [], []
        for t in range(self.tasks):
            orders = {
                name: self._random(4, t).permutation(train.inputs[name].size) if t else None
                for name in train.data
            }
            learned.append(_permute(train, self._learning_order(np.arange(len(train)), t), orders))
            tested.append(_permute(test, self._test_rows(np.arange(len(test)), t), orders))
        return self._course(names, learned, tested)


@dataclass(frozen=True, kw_only=True)
class Drifting(Stream):
    """The same classes throughout, while the input's values drift.

    With a strength p that is 0 in the first task, rises steadily through the others and is 1 at the
    end, a value v, in shares of the input's range from its zero, becomes

        (1 - (1 - contrast) p) v^gamma(p) + offset p + noise p n,   gamma(p) = 1 + (gamma - 1) p,

    with n normal; it saturates. A task is evaluated at the strength that it ends with. A gamma of
    other than 1 makes the drift one that is not affine; it is for inputs without negative values.

    Attributes:
        contrast: factor at the end.
        offset: at the end, share of the range.
        noise: standard deviation at the end, share of the range.
        gamma: exponent at the end.
    """

    NAME: ClassVar[str] = "drifting"
    DOC: ClassVar[str] = "contrast, offset, noise and gamma of the input drift from task to task"

    contrast: float = 0.4
    offset: float = 0.35
    noise: float = 0.1
    gamma: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low, high in (
            ("contrast", 0.0, 16.0), ("offset", -1.0, 1.0), ("noise", 0.0, 4.0),
            ("gamma", 0.05, 20.0),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}={getattr(self, name)}, expected {low:g} to {high:g}")

    def play(self, train: Pool, test: Pool) -> Course:
        """See `Stream.play`."""
        steps = max(self.tasks - 1, 1)
        names, learned, tested = [], [], []
        for t in range(self.tasks):
            names.append(f"drift {100 * t / steps:.0f} %")
            pool = train.take(self._learning_order(np.arange(len(train)), t))
            within = (np.arange(len(pool)) + 1) / max(len(pool), 1)
            rising = np.maximum(0.0, t - 1 + within) / steps if t else np.zeros(len(pool))
            learned.append(self._drift(pool, rising, (5, t)))
            pool = test.take(self._test_rows(np.arange(len(test)), t))
            tested.append(self._drift(pool, np.full(len(pool), t / steps), (6, t)))
        return self._course(names, learned, tested)

    def _drift(self, pool: Pool, strength: Array, seed: tuple[int, ...]) -> Pool:
        random, change = self._random(*seed), {}
        for name in pool.data:
            tensor, values = pool.inputs[name], pool.values[name]
            if tensor.dtype not in ("u8", "i8"):
                raise UsageError(
                    f"stream {self.NAME}: the model's input {name} is {tensor.dtype}",
                    "values that drift are codes of 8 bits, not spikes",
                    "choose another stream",
                )
            low, high = tensor.limits
            p = strength.reshape(-1, *(1,) * (values.ndim - 1))
            v = (values.astype(np.float64) - tensor.zero_point) / (high - low)
            v = np.where(v > 0, np.abs(v) ** (1 + (self.gamma - 1) * p), v)
            v = (1 - (1 - self.contrast) * p) * v + self.offset * p
            v = v + self.noise * p * random.standard_normal(values.shape)
            codes = np.floor(v * (high - low) + tensor.zero_point + 0.5)
            change[name] = np.clip(codes, low, high).astype(tensor.numpy_dtype)
        return pool.with_inputs(change)


def _of(pool: Pool, classes: Array) -> Array:
    return np.flatnonzero(np.isin(pool.labels, classes))


def _classes(group: Array) -> str:
    if len(group) == 1:
        return f"class {group[0]}"
    if len(group) > 2 and (np.diff(group) == 1).all():
        return f"classes {group[0]} to {group[-1]}"
    return f"classes {', '.join(map(str, group[:-1]))} and {group[-1]}"


def _permute(pool: Pool, rows: Array, orders: Mapping[str, Array | None]) -> Pool:
    part = pool.take(rows)
    return part.with_inputs(
        {
            name: values.reshape(len(part), -1)[:, order].reshape(values.shape)
            for name, order in orders.items()
            if order is not None and (values := part.values[name]) is not None
        }
    )


STREAMS: dict[str, type[Stream]] = {
    kind.NAME: kind for kind in (IID, ClassIncremental, Permuted, Drifting, PowerLaw)
}


def stream(text: str) -> Stream:
    """The stream that a text describes; raises UsageError."""
    return parse_choice(text, STREAMS, "stream")
