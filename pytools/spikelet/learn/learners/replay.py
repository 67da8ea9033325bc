"""Replay: stored int8 features of earlier samples are learned again among the new ones.

A ring of blocks, one a task; within a block every sample is kept with the same probability
(Vitter, "Random Sampling with a Reservoir", 1985). Latent replay: Pellegrini et al., IROS 2020; in
8 bits: Ravaglia et al., 2110.10486. C twin: firmware/learn/replay.h.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned, Tensor, c
from spikelet.graph.c import Expression, Fields, Statement
from spikelet.graph.declared import AnyCode, Held, Natural, TensorScale
from spikelet.graph.fixed import mix32
from spikelet.graph.graph import LABEL
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.learn.choices import Within
from spikelet.learn.learner import Learner, Setting, extend
from spikelet.learn.networks.classifier import Perceptron, perceptron_network, root_mean_square

MOST_BLOCKS = 32
UNIT = 1024  # the weight of age 1
MEMORY = ("samples", "labels", "fill", "now", "used", "seen")  # inputs, in this order


@dataclass(kw_only=True)
class _Replay(Operator):
    """Base of what touches the memory: learned tensors in the order of `MEMORY`.

    samples (blocks, slots, n) u8 or i8, labels (blocks, slots) u8, fill (blocks,) i32: slots in
    use, then (1,) i32 each: the block that takes samples, how many blocks hold some, that one
    among them, and how many samples that one has seen.
    """

    FIRST: ClassVar[int] = 0  # the number of the memory's first tensor among its inputs

    @property
    def _samples(self) -> tuple[int, int, int]:
        """Blocks, slots of a block, elements of a sample."""
        blocks, slots, n = self.ins[self.FIRST].shape
        return blocks, slots, n

    @property
    def _blocks(self) -> int:
        return self._samples[0]

    @property
    def _slots(self) -> int:
        return self._samples[1]

    @property
    def _n(self) -> int:
        return self._samples[2]

    def _check(self, ins: Sequence[Tensor], bounds: dict[str, Interval]) -> None:
        samples, labels, fill, *places = ins[:6]
        if samples.dtype not in ("u8", "i8") or len(samples.shape) != 3:
            raise self.error(
                f"samples are {samples.dtype} {samples.shape}, expected u8 or i8 (blocks, slots, n)"
            )
        blocks, slots, _ = samples.shape
        if blocks > MOST_BLOCKS:
            raise self.error(f"{blocks} blocks, expected at most {MOST_BLOCKS}")
        if labels.dtype != "u8" or labels.shape != samples.shape[:2]:
            raise self.error(
                f"labels are {labels.dtype} {labels.shape}, expected u8 (blocks, slots)"
            )
        ranges = ((0, slots), (0, blocks - 1), (1, blocks), (0, (1 << 31) - 1))
        for tensor, (least, most) in zip((fill, *places), ranges, strict=True):
            low, high = bounds[tensor.name]
            shape = samples.shape[:1] if tensor is fill else (1,)
            if tensor.dtype != "i32" or tensor.shape != shape:
                raise self.error(f"{tensor.name} is {tensor.dtype} {tensor.shape}, not i32 {shape}")
            if int(low.min()) < least or int(high.max()) > most:
                raise self.error(
                    f"{tensor.name} may be {low.min()}..{high.max()}, not {least}..{most}"
                )

    def _close(self, memory: list[Array]) -> None:
        _, _, fill, now, used, seen = memory
        if fill[now[0]] == 0:
            return
        now[0] = (now[0] + 1) % self._blocks
        used[0] = min(used[0] + 1, self._blocks)
        fill[now[0]] = 0
        seen[0] = 0

    def _config(self, em: Emitter, length: int = 0, cumulative: Array | None = None) -> Expression:
        em.include("learn/replay.h")
        fields: Fields = {
            "bytes": self._n,
            "slots": self._slots,
            "blocks": self._blocks,
            "length": length,
        }
        if cumulative is not None:
            note = "(blocks,) weights of the ages so far"
            fields["cumulative"] = em.const("replay_cumulative", cumulative, note)
        return em.config(self.name, "spk_replay", fields)

    def _memory(self, em: Emitter, names: tuple[str, ...]) -> Expression:
        parts: Fields = dict(zip(MEMORY, map(em.tensor, names), strict=True))
        parts[MEMORY[0]] = c.cast("uint8_t *", c.cast("void *", parts[MEMORY[0]]))
        return c.compound("struct spk_replay_memory", parts)


@dataclass(kw_only=True)
class ReplayStore(_Replay):
    """Puts the sample into the block of this task.

    A free slot takes it; where none is free, the sample s of the block (from 1) takes slot
    `random * s >> 32`, if there is one of that number.

    Reads the sample, n elements, and the label; changes the memory and random (1,) u32.

    Attributes:
        length: samples after which the block is closed first; 0: by a commit only.
    """

    KIND: ClassVar[str] = "replay_store"
    FIRST: ClassVar[int] = 2

    length: Natural = 0

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self._check(ins[2:8], bounds)
        if ins[0].size != self._n or ins[0].dtype != ins[2].dtype or self.length < 0:
            raise self.error(
                f"sample {ins[0].name} is {ins[0].dtype} {ins[0].shape}, expected {self._n} "
                f"elements {ins[2].dtype}"
            )
        self.expect_label(ins[1], bounds, int(bounds[ins[3].name][1].max()) + 1)
        self.expect_learned(ins[8], bounds, "u32", (1,))
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        sample, label, *memory, random = (env[name] for name in self.inputs)
        samples, labels, fill, now, _, seen = memory
        if self.length and seen[0] >= self.length:
            self._close(memory)
        slot = int(fill[now[0]])
        seen[0] = min(int(seen[0]) + 1, (1 << 31) - 1)
        if slot < self._slots:
            fill[now[0]] += 1
        else:
            random[0] = _step(int(random[0]))
            slot = int(random[0]) * int(seen[0]) >> 32
            if slot >= self._slots:
                return
        samples[now[0], slot] = sample[0].reshape(-1)
        labels[now[0], slot] = label[0, 0]

    def emit(self, em: Emitter) -> list[Statement]:
        sample, label, *_, random = map(em.tensor, self.inputs)
        memory = self._memory(em, self.inputs[2:8])
        config = self._config(em, self.length)
        return [c.run("spk_replay_store", config, sample, label, memory, random)]


@dataclass(kw_only=True)
class ReplayDraw(_Replay):
    """Draws a stored sample: first a closed block, by the weight of its age, then one of its slots.

    The block that was closed last has age 1. As long as none is closed, the open one is drawn from.
    Each choice of one in n is `(random >> 16) * n >> 16`.

    Reads the memory and random (1,) u32, which changes; writes the sample (n,) and `name.label`
    (1,) i32.

    Attributes:
        cumulative: (blocks,) uint16, sums of the weights of the ages 1, 2, ...
        scale, zero_point: of the samples.
    """

    KIND: ClassVar[str] = "replay_draw"

    cumulative: Annotated[Array, Held("uint16", 1)]
    scale: TensorScale = 1.0
    zero_point: AnyCode = 0

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self._check(ins[:6], bounds)
        table = self.cumulative.astype(np.int64)
        rising = np.all(np.diff(table, prepend=0) > 0)
        if self.cumulative.dtype != np.uint16 or table.shape != (self._blocks,) or not rising:
            raise self.error("cumulative is not (blocks,) uint16, rising from above 0")
        self.expect_learned(ins[6], bounds, "u32", (1,))
        written = Tensor(
            self.name, ins[0].dtype, (self._n,), scale=self.scale, zero_point=self.zero_point
        )
        low, high = written.limits
        bounds[self.name] = interval(written.shape, int(low), int(high))
        bounds[f"{self.name}.label"] = tuple(  # type: ignore[assignment]
            np.broadcast_to(end.reshape(-1)[0], (1,)) for end in bounds[self.inputs[1]]
        )
        return Inferred([written, Tensor(f"{self.name}.label", "i32", (1,))])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        samples, labels, fill, now, used, _, random = (env[name] for name in self.inputs)
        block = int(now[0])
        if used[0] > 1:
            drawn = _below(random, int(self.cumulative[used[0] - 2]))
            age = 1 + int(np.argmax(self.cumulative > drawn))
            block = (block - age) % self._blocks
        slot = _below(random, int(fill[block]))
        env[self.name] = samples[block, slot][None].copy()
        env[f"{self.name}.label"] = labels[block, slot].astype(np.int32).reshape(1, 1)

    def emit(self, em: Emitter) -> list[Statement]:
        config = self._config(em, cumulative=self.cumulative)
        memory = self._memory(em, self.inputs[:6])
        random, to, label = map(em.tensor, (self.inputs[6], self.name, f"{self.name}.label"))
        return [c.run("spk_replay_draw", config, memory, random, to, label)]


@dataclass(kw_only=True)
class ReplayClose(_Replay):
    """A task ended: the next sample begins a new block, over the oldest one if need be.

    A block without samples is not closed.
    """

    KIND: ClassVar[str] = "replay_close"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        self._check(self.ins, bounds)
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.COMMIT

    def golden(self, env: dict[str, Array], t: int) -> None:
        self._close([env[name] for name in self.inputs])

    def cost(self) -> Cost:
        return Cost(updates=1)

    def emit(self, em: Emitter) -> list[Statement]:
        return [c.run("spk_replay_close", self._config(em), self._memory(em, self.inputs))]


def _step(state: int) -> int:
    state ^= (state << 13) & 0xFFFFFFFF
    state ^= state >> 17
    return state ^ ((state << 5) & 0xFFFFFFFF)


def _below(random: Array, n: int) -> int:
    random[0] = _step(int(random[0]))
    return (int(random[0]) >> 16) * n >> 16


@dataclass(kw_only=True)
class Replay(Learner):
    """Trains a small head on each sample, and again on stored features of earlier ones.

    A commit tells that a task ended, and opens the next block of the memory.

    Attributes:
        hidden: neurons of the head's hidden layer, 0 for a linear head.
        blocks: tasks that are remembered, this one among them; 1 to 32.
        slots: samples of each, 1 to 65535.
        length: samples after which a task counts as ended without a commit; 0 for never.
        replays: stored samples that are learned with each new one.
        exponent: a task that ended k tasks ago is drawn with weight k^-exponent; 0 is uniform.
        rate: learning rate for features whose mean square is 1.
        precision: of the head: i16, i8, f32 or f16.
        rounding: of integer weights: nearest or stochastic.
    """

    NAME: ClassVar[str] = "replay"
    AFTER: ClassVar[str] = (
        "latent replay (Pellegrini et al., IROS 2020), in 8 bits (Ravaglia et al., 2021)"
    )
    DIFFERS: ClassVar[str] = (
        "only a head of at most one hidden layer learns; a reservoir of equal size for each task"
    )

    hidden: Annotated[int, Within(0, 4096)] = 32
    blocks: Annotated[int, Within(1, MOST_BLOCKS)] = 5
    slots: Annotated[int, Within(1, 65535)] = 32
    length: Annotated[int, Within(0, 1 << 30)] = 0
    replays: Annotated[int, Within(0, 16)] = 2
    exponent: Annotated[float, Within(0, 8)] = 0.0
    rate: Annotated[float, Within(1e-6, 1)] = 0.02
    precision: Literal["i16", "i8", "f32", "f16"] = "i16"
    rounding: Literal["nearest", "stochastic"] = "nearest"

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        x = backbone.tensors[setting.features]
        if x.dtype not in ("u8", "i8") or not 2 <= setting.classes <= 256:
            raise UsageError(
                f"replay of {x.dtype} {x.name} in {setting.classes} classes",
                "it stores features of 8 bits, and a label in a byte",
                "take a tensor of u8 or i8 codes, and 2 to 256 classes",
            )
        sizes = [*([self.hidden] if self.hidden else []), setting.classes]
        size = root_mean_square(x, setting.fitting(backbone))
        net = perceptron_network(x, size, self.precision, self.rate, self.rounding)
        head = Perceptron(net, "replay_head", x, sizes, setting.seed)
        held = self._memory(x, setting)
        memory = tuple(k.tensor.name for k in held[:6])
        random = held[6].tensor.name
        head.forward(x.name, "head")
        head.backward("head", LABEL)
        store = ReplayStore(
            name="replay_store", inputs=(x.name, LABEL, *memory, random), length=self.length
        )
        net.nodes.append(store)
        weights = np.arange(1, self.blocks + 1) ** -float(self.exponent)
        cumulative = np.cumsum(np.maximum(1, np.rint(UNIT * weights))).astype(np.uint16)
        for number in range(1, self.replays + 1):
            own = f"replay{number}"
            draw = ReplayDraw(
                name=own,
                inputs=(*memory, random),
                cumulative=cumulative,
                scale=x.scale,
                zero_point=x.zero_point,
            )
            net.nodes.append(draw)
            head.forward(own, own)
            head.backward(own, f"{own}.label")
        net.nodes.append(ReplayClose(name="replay_close", inputs=memory))
        learned, scores = [*net.learned, *held], [f"head_{len(sizes)}"]
        return extend(backbone, net.nodes, learned, scores, setting.classes)

    def _memory(self, x: Tensor, setting: Setting) -> list[Learned]:
        shape = (self.blocks, self.slots)
        seed = mix32(np.array([setting.seed], np.uint32))
        samples = Learned.of("replay.samples", x.dtype, (*shape, x.size), scale=x.scale)
        samples = dataclasses.replace(
            samples, tensor=dataclasses.replace(samples.tensor, zero_point=x.zero_point)
        )
        return [
            samples,
            Learned.of("replay.labels", "u8", shape, low=0, high=setting.classes - 1),
            Learned.of("replay.fill", "i32", shape[:1], low=0, high=self.slots),
            Learned.of("replay.now", "i32", (1,), low=0, high=self.blocks - 1),
            Learned.of("replay.used", "i32", (1,), np.ones(1, np.int32), low=1, high=self.blocks),
            Learned.of("replay.seen", "i32", (1,), low=0),
            Learned.of("replay.random", "u32", (1,), np.where(seed == 0, 1, seed), low=1),
        ]

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        saturated = [v[0] for k, v in learned.items() if k.startswith("replay_head_") and ".h" in k]
        return {
            "stored": float(learned["replay.fill"].sum()),
            "tasks": float(learned["replay.used"][0]),
            "saturations": float(sum(saturated)),
        }
