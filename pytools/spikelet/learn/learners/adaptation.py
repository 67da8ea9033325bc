"""Test-time adaptation without labels: a device follows a slow drift of its input.

Mean and mean absolute deviation of the input are tracked, and the input is given those of the
source data before the frozen network sees it. Class prototypes on the features may drift, too,
towards features that are classified with a high margin. When margins collapse, all of it starts
anew from the source. A reduction of Robust Mean Teacher (Doebler et al., CVPR 2023) and of T3A
(Iwasawa and Matsuo, NeurIPS 2021) to what needs no backward pass. C twin:
firmware/learn/adaptation.h.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned, Tensor, c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Held, Natural, within
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Operator, Phase
from spikelet.learn.bases.prototypes import LinearScores, flat, largest
from spikelet.learn.choices import Within
from spikelet.learn.learner import Learner, Setting
from spikelet.learn.numbers.feature import C_TYPES, extent
from spikelet.learn.numbers.fixed import ONE, add, divide, ema, margin, mean, saturate, shift_round

UNIT = 1 << 12  # a gain of 1
LEAST, MOST = UNIT // 8, UNIT * 8  # gains
REACH = 256 * ONE  # of a mean, Q16
FAR = 2 * REACH  # of a deviation
INPUTS = 1 << 15  # elements of an input, fewer
SHARE = 6  # log2 of the samples that the share of low margins looks back
DRIFT, BACK = 6, 8  # log2 of the steps of a prototype towards a feature, and back to its source


@dataclass(kw_only=True)
class AdaptInput(Operator):
    """`y = (x - mean) * gain + source`, rounded, saturated to the input's type; by groups.

    Element i of the input, n of any shape, u8 or i8, belongs to group i modulo G: one group for
    all, one for each channel (the last axis), or one for each element. With x and the means as
    codes, `y = round((64 x - floor(64 mean)) * gain + 2^18 source) / 2^18` with a gain of 12
    fraction bits.

    Reads x and learned mean (G,) i32 Q16 and gain (G,) i32 Q12, 1/8 to 8; writes y like x.

    Attributes:
        source: (G,) int32 Q16, mean of the source data.
    """

    KIND: ClassVar[str] = "adapt_input"

    source: Annotated[Array, Held("int32", 1)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        x = ins[0]
        if x.dtype not in ("u8", "i8") or x.size >= INPUTS:
            raise self.error(
                f"input {x.name} is {x.dtype} {x.shape}, expected u8 or i8 of less than {INPUTS}"
            )
        if self.source.dtype != np.int32 or any(self.source.shape != t.shape for t in ins[1:]):
            raise self.error(f"source {self.source.shape} does not fit input {ins[1].name}")
        if x.size % len(self.source):
            raise self.error(f"{len(self.source)} groups do not fit input {x.name} of {x.shape}")
        if np.abs(self.source.astype(np.int64)).max() > REACH:
            raise self.error(f"a mean of the source is beyond +-{REACH}")
        for tensor, ends in zip(ins[1:], ((-REACH, REACH), (LEAST, MOST)), strict=True):
            self.expect_learned(tensor, bounds, "i32", self.source.shape, ends)
        bounds[self.name] = interval(x.shape, *map(int, x.limits))
        return Inferred([dataclasses.replace(x, name=self.name, kind="activation")])

    def golden(self, env: dict[str, Array], t: int) -> None:
        x, centre, gain = (env[name] for name in self.inputs)
        rows = x.reshape(-1, len(gain)).astype(np.int64)
        apart = rows * 64 - (centre.astype(np.int64) >> 10)
        wide = shift_round(apart * gain + (self.source.astype(np.int64) << 2), 18)
        info = np.iinfo(x.dtype)
        env[self.name] = np.clip(wide, info.min, info.max).astype(x.dtype).reshape(x.shape)

    def cost(self) -> Cost:
        return Cost(macs=self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/adaptation.h")
        x, centre, gain, to = map(em.tensor, (*self.inputs, self.name))
        source = em.const(f"{self.name}_source", self.source, "(groups,) mean of the source, Q16")
        n = em.bounds[self.name][0].size
        groups, dtype = len(self.source), C_TYPES[self.ins[0].dtype]
        return [c.run("spk_adapt_input", x, dtype, n, groups, centre, gain, source, to)]


@dataclass(kw_only=True)
class AdaptLearn(Operator):
    """Moves mean and deviation of each group by 2^-memory towards those of a sample.

    The deviation is the mean of |x - mean|, from the mean before it moved. Then
    `gain = (spread + floor) / (deviation + floor)`, to the nearest, within 1/8 and 8.

    Reads x (n elements, u8 or i8), and learned mean, deviation (G,) i32 Q16, gain (G,) i32 Q12.

    Attributes:
        spread: (G,) int32 Q16, mean absolute deviation of the source data.
        floor: Q16, 256 or more; keeps the gain of groups that hardly vary near 1.
        memory: 0 to 15.
    """

    KIND: ClassVar[str] = "adapt_learn"

    spread: Annotated[Array, Held("int32", 1)]
    floor: Annotated[int, within(256, 256 * ONE)]
    memory: Annotated[int, within(0, 15)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        if not 0 <= self.memory <= 15 or not 256 <= self.floor <= 256 * ONE:
            raise self.error(f"memory {self.memory} or floor {self.floor} is out of range")
        x, groups = self.ins[0], self.spread.shape
        if x.dtype not in ("u8", "i8") or x.size >= INPUTS or x.size % len(self.spread):
            raise self.error(
                f"input {x.name} is {x.dtype} {x.shape}, expected u8 or i8 of less than {INPUTS} "
                f"in {len(self.spread)} groups"
            )
        if self.spread.dtype != np.int32 or not 0 <= self.spread.min() <= self.spread.max() <= FAR:
            raise self.error(f"spread is not int32, 0 to {FAR}")
        for tensor, ends in zip(
            self.ins[1:], ((-REACH, REACH), (0, FAR), (LEAST, MOST)), strict=True
        ):
            self.expect_learned(tensor, bounds, "i32", groups, ends)
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        x, centre, deviation, gain = (env[name] for name in self.inputs)
        rows = x.reshape(-1, len(gain)).astype(np.int64)
        there = mean(rows.sum(axis=0), len(rows), 16)
        apart = np.abs(rows * 64 - (centre.astype(np.int64) >> 10)).sum(axis=0)
        spread = mean(apart, len(rows), 10)
        centre[...] = ema(centre, there, self.memory)
        deviation[...] = ema(deviation, spread, self.memory)
        above = (self.spread.astype(np.int64) + self.floor) >> 8
        below = (deviation.astype(np.int64) + self.floor) >> 8
        gain[...] = np.clip(divide(above << 12, below), LEAST, MOST)

    def cost(self) -> Cost:
        return Cost(updates=2 * self.ins[0].size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/adaptation.h")
        note = "(groups,) mean absolute deviation of the source, Q16"
        fields: Fields = {
            "type": C_TYPES[self.ins[0].dtype],
            "n": em.bounds[self.inputs[0]][0].size,
            "groups": len(self.spread),
            "spread": em.const(f"{self.name}_spread", self.spread, note),
            "floor": self.floor,
            "memory": self.memory,
        }
        config = em.config(self.name, "spk_adapt", fields)
        return [c.run("spk_adapt_learn", config, *map(em.tensor, self.inputs))]


@dataclass(kw_only=True)
class PrototypeDrift(Operator):
    """Moves the prototype of a surely classified sample to its features, and all of them back.

    Where the highest score leads by `sure` or more, the weight of its class moves by 2^-6 of
    the way to the features; then every weight moves by 2^-8 of the way to its source, and
    `bias = -|weight|^2 / 2`, so that the largest score is the nearest prototype.

    Reads features (n elements, u8, i8, i16 or i32), scores (C,) i32, and learned weight (C, n) i16
    and bias (C,) i32, both with `fraction` fraction bits.

    Attributes:
        source: (C, n) int16, the weights of the source data.
        sure: least lead.
        fraction: fraction bits, 0 to 7.
    """

    KIND: ClassVar[str] = "prototype_drift"

    source: Annotated[Array, Held("int16", 2)]
    sure: Natural
    fraction: Annotated[int, within(0, 7)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        reach = largest(self, ins[0], bounds)
        if not 0 <= self.fraction <= 7 or reach << self.fraction > np.iinfo(np.int16).max:
            raise self.error(f"features of magnitude {reach} have no 16-bit prototype")
        if self.source.dtype != np.int16 or self.source.shape != ins[2].shape:
            raise self.error(f"source {self.source.shape} does not fit {ins[2].name}")
        classes, size = self.source.shape
        if size != ins[0].size or (ins[1].dtype, ins[1].shape) != ("i32", (classes,)):
            raise self.error(
                f"source {self.source.shape} does not fit {ins[0].name}, {ins[1].name}"
            )
        self.expect_learned(ins[2], bounds, "i16", self.source.shape)
        self.expect_learned(ins[3], bounds, "i32", (classes,))
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        scores, weight, bias = (env[name] for name in self.inputs[1:])
        best, lead = margin(scores[0])
        if lead >= self.sure:
            x = flat(env, self.inputs[0])[0] << self.fraction
            weight[best] = saturate(ema(weight[best], x, DRIFT), 16)
        weight[...] = saturate(ema(weight, self.source, BACK), 16)
        bias[...] = prototype_bias(weight, self.fraction)

    def cost(self) -> Cost:
        return Cost(macs=self.source.size, updates=self.source.size)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/adaptation.h")
        features, scores, weight, bias = map(em.tensor, self.inputs)
        classes, size = self.source.shape
        note = f"({classes}, {size}) prototypes of the source"
        fields: Fields = {
            "type": C_TYPES[self.ins[0].dtype],
            "n": size,
            "classes": classes,
            "source": em.const(f"{self.name}_source", self.source.reshape(-1), note),
            "sure": self.sure,
            "fraction": self.fraction,
        }
        config = em.config(self.name, "spk_drift", fields)
        return [c.run("spk_prototype_drift", config, features, scores, weight, bias)]


def prototype_bias(weight: Array, fraction: int) -> Array:
    """(C,) int64 of weights (C, n) with fraction bits: -|weight|^2 / 2."""
    squares = (weight.astype(np.int64) ** 2).sum(axis=1)
    return saturate(-shift_round(squares, fraction + 1))


@dataclass(kw_only=True)
class MarginWatch(Operator):
    """Starts anew from the source when too many margins are low.

    `share` follows, by 2^-6 a sample, how many samples have a lead of less than `unsure`. Above
    `collapse` all learned tensors that are listed take their first values again, `share` is 0 and
    health counts a reset.

    Reads scores (C,) u8, i8, i16 or i32, share (1,) i32 Q16, health (1,) i32, then the learned
    tensors, i32 or i16.

    Attributes:
        unsure: least lead of a sample that is not unsure.
        collapse: Q16 share, above 65536 for never.
        wide: (elements,) int32, what learned tensors of that type begin with, one after the other.
        narrow: (elements,) int16, the same of the others.
    """

    KIND: ClassVar[str] = "margin_watch"

    unsure: Natural
    collapse: Natural
    wide: Annotated[Array, Held("int32", 1, empty=True)]
    narrow: Annotated[Array, Held("int16", 1, empty=True)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        extent(self, ins[0], bounds)
        self.expect_learned(ins[1], bounds, "i32", (1,), (0, ONE))
        self.expect_learned(ins[2], bounds, "i32", (1,))
        for dtype, first in (("i32", self.wide), ("i16", self.narrow)):
            size = sum(t.size for t in ins[3:] if t.dtype == dtype)
            if first.shape != (size,):
                raise self.error(f"what {dtype} tensors begin with is {first.shape}, not ({size},)")
        for tensor, first in self._firsts():
            low, high = bounds[tensor.name]
            self.expect_learned(tensor, bounds, tensor.dtype, tensor.shape)
            if (first < low.min()).any() or (first > high.max()).any():
                raise self.error(f"{tensor.name} begins with a value that it may not hold")
        return Inferred([])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        share, health = (env[name] for name in self.inputs[1:3])
        _, lead = margin(env[self.inputs[0]].reshape(1, -1)[0])
        share[...] = ema(share, np.array(ONE if lead < self.unsure else 0), SHARE)
        if share[0] <= self.collapse:
            return
        share[0] = 0
        health[0] = add(health[0], np.array(1))
        for tensor, first in self._firsts():
            env[tensor.name][...] = first.reshape(tensor.shape)

    def _firsts(self) -> list[tuple[Tensor, Array]]:
        """Each learned tensor and what it begins with."""
        firsts, at = [], {"i32": 0, "i16": 0}
        for tensor in self.ins[3:]:
            first = self.wide if tensor.dtype == "i32" else self.narrow
            begin = at[tensor.dtype]
            at[tensor.dtype] = begin + tensor.size
            firsts.append((tensor, first[begin : begin + tensor.size]))
        return firsts

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/adaptation.h")
        scores, share, health, *parts = map(em.tensor, self.inputs)
        restart = []
        for (tensor, first), name in zip(self._firsts(), parts, strict=True):
            label = tensor.name.replace(".", "__")
            from_ = em.const(f"{label}__initial", first, f"{tensor.name}, from the source")
            restart.append(c.run("spk_restart", name, from_, tensor.size, tensor.dtype == "i32"))
        given = (scores, C_TYPES[self.ins[0].dtype], self.ins[0].size, self.unsure, self.collapse)
        return [c.when(c.call("spk_margin_watch", *given, share, health), *restart)]


@dataclass(kw_only=True)
class Adaptation(Learner):
    """Follows a drift of the input without labels; starts anew when margins collapse.

    It predicts with the network's own head, or with class means of the labelled calibration data
    on the features, which drift.

    Attributes:
        statistics: one mean and deviation for all, a channel (the last axis), or an element.
        memory: a sample moves them by 2^-memory, 0 to 15.
        head: network, prototypes, or auto: the network's where it has one score a class.
        collapse: percent of low margins (below the 10th percentile of the calibration data) above
            which it starts anew; 100 for never.
    """

    NAME: ClassVar[str] = "adaptation"
    AFTER: ClassVar[str] = (
        "Robust Mean Teacher (Döbler et al., CVPR 2023), T3A (Iwasawa and Matsuo, NeurIPS 2021)"
    )
    DIFFERS: ClassVar[str] = (
        "input statistics and class means follow the drift; there is no teacher, no contrastive "
        "loss and no backward pass"
    )
    WHOLE: ClassVar[bool] = True

    statistics: Literal["all", "channel", "element"] = "all"
    memory: Annotated[int, Within(0, 15)] = 6
    head: Literal["auto", "network", "prototypes"] = "auto"
    collapse: Annotated[int, Within(20, 100)] = 90

    def begins_anew(self, backbone: Graph, setting: Setting) -> bool:
        """With prototypes it predicts by class means, whatever the network's head says."""
        anew = super().begins_anew(backbone, setting)
        return anew or self._own_head(backbone, setting) is None

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        own = self._own_head(backbone, setting)
        x = self._input(backbone, setting, own is None)
        name = self.NAME
        source, spread = statistics(setting.calibration[x.name], self._groups(x))
        floor = max(int(spread.mean()) // 4 if len(spread) > 1 else 0, 256)
        gain = np.full(len(source), UNIT, np.int32)
        moving = [
            Learned.of(f"{name}.mean", "i32", source.shape, source, low=-REACH, high=REACH),
            Learned.of(f"{name}.deviation", "i32", source.shape, spread, low=0, high=FAR),
            Learned.of(f"{name}.gain", "i32", source.shape, gain, low=LEAST, high=MOST),
        ]
        centre, deviation, gains = (k.tensor.name for k in moving)
        adapted = f"{name}_input"
        nodes: list[Operator] = [
            AdaptInput(name=adapted, inputs=(x.name, centre, gains), source=source)
        ]
        for node in backbone.nodes:
            inputs = tuple(adapted if i == x.name else i for i in node.inputs)
            nodes.append(dataclasses.replace(node, inputs=inputs))
        learning: list[Operator] = [
            AdaptLearn(
                name=f"{name}_learn",
                inputs=(x.name, centre, deviation, gains),
                spread=spread,
                floor=floor,
                memory=self.memory,
            )
        ]
        fixed: list[Learned] = []
        if own is None:
            drift, predicts, weight, bias, known, leads = self._drifting(backbone, setting)
            scores = predicts.name
            moving += [weight, bias]
            fixed.append(known)
            nodes.append(predicts)
            learning.append(drift)
        else:
            scores = own
            outputs = backbone.run(setting.calibration).outputs[own]
            leads = margin(outputs.reshape(-1, setting.classes))[1]
        fixed += [
            Learned.of(f"{name}.share", "i32", (1,), low=0, high=ONE),
            Learned.of(f"{name}.health", "i32", (1,), low=0),
        ]
        learning.append(self._watch(scores, moving, leads))
        return dataclasses.replace(
            backbone,
            nodes=[*nodes, *learning],
            learned=[*backbone.learned, *moving, *fixed],
            outputs=[scores, *(name for name in backbone.outputs if own and name != scores)],
        )

    def _drifting(
        self, backbone: Graph, setting: Setting
    ) -> tuple[PrototypeDrift, LinearScores, Learned, Learned, Learned, Array]:
        """The two operators of prototypes; weight, bias, counts; leads of the calibration data."""
        features = setting.fitting(backbone)
        weight, bias, known, fraction, leads = self._prototypes(backbone, setting, features)
        names = [k.tensor.name for k in (weight, bias, known)]
        scores = LinearScores(name=f"{self.NAME}_scores", inputs=(setting.features, *names))
        drift = PrototypeDrift(
            name=f"{self.NAME}_drift",
            inputs=(setting.features, scores.name, *names[:2]),
            source=weight.start(),
            sure=int(np.median(leads)),
            fraction=fraction,
        )
        return drift, scores, weight, bias, known, leads

    def _watch(self, scores: str, moving: list[Learned], leads: Array) -> MarginWatch:
        """What lets the learned tensors `moving` start anew, by leads of the calibration data."""
        first = [k.start().reshape(-1) for k in moving]
        wide, narrow = (
            np.concatenate([np.zeros(0, dtype), *(v for v in first if v.dtype == dtype)])
            for dtype in (np.int32, np.int16)
        )
        own = (f"{self.NAME}.share", f"{self.NAME}.health")
        return MarginWatch(
            name=f"{self.NAME}_watch",
            inputs=(scores, *own, *(k.tensor.name for k in moving)),
            unsure=int(np.quantile(leads, 0.1)),
            collapse=ONE * self.collapse // 100 if self.collapse < 100 else ONE + 1,
            wide=wide,
            narrow=narrow,
        )

    def _own_head(self, backbone: Graph, setting: Setting) -> str | None:
        """The network's own scores; None for prototypes."""
        if self.head == "prototypes":
            return None
        sizes = {name: backbone.tensors[name].size for name in backbone.outputs}
        heads = [name for name, size in sizes.items() if size == setting.classes > 1]
        if heads:
            return heads[0]
        if self.head == "auto":
            return None
        raise UsageError(
            f"learner {self.NAME} with head=network: no output of {backbone.name} has one score "
            f"for each of {setting.classes} classes",
            "the network ends in an index, in features, or in other classes",
            "use head=prototypes",
        )

    def _input(self, backbone: Graph, setting: Setting, labelled: bool) -> Tensor:
        """The one input that is adapted: the first of codes."""
        codes = [t for t in backbone.inputs if t.dtype in ("u8", "i8")]
        if not codes or len(setting.calibration.get(codes[0].name, ())) == 0:
            raise UsageError(
                f"learner {self.NAME} has no source data of an int8 or uint8 input",
                "no calibration data, or a network of other inputs",
                "give samples of what the network was trained on",
            )
        if labelled and setting.labels is None:
            raise UsageError(
                f"learner {self.NAME} has no labels to make prototypes of",
                "the calibration data are unlabelled",
                "give labels, or use the network's own head",
            )
        return codes[0]

    def _groups(self, x: Tensor) -> int:
        return {"all": 1, "channel": x.shape[-1], "element": x.size}[self.statistics]

    def _prototypes(
        self, backbone: Graph, setting: Setting, features: Array
    ) -> tuple[Learned, Learned, Learned, int, Array]:
        """Weight, bias, counts, their fraction bits, and the leads of the calibration data."""
        assert setting.labels is not None
        low, high = backbone.bounds[setting.features]
        reach = max(int(np.abs(low).max()), int(np.abs(high).max()), 1)
        rows = features.reshape(len(features), -1).astype(np.int64)
        size, classes = rows.shape[1], setting.classes
        room = ((1 << 31) - 1) // (2 * size * reach * reach)  # a score: product and bias
        fraction = min(7, max(room, 1).bit_length() - 1, (32767 // reach).bit_length() - 1)
        count = np.bincount(setting.labels, minlength=classes)[:classes].astype(np.int32)
        total = np.stack([rows[setting.labels == c].sum(axis=0) for c in range(classes)])
        weight = mean(total, np.maximum(count, 1)[:, None], fraction).astype(np.int16)
        bias = prototype_bias(weight, fraction).astype(np.int32)
        wide, name = reach << fraction, self.NAME
        deep = size * reach * wide // 2 + 1
        scores = np.where(count > 0, rows @ weight.astype(np.int64).T + bias, -(1 << 31))
        shape = (classes, size)
        return (
            Learned.of(f"{name}.weight", "i16", shape, weight, low=-wide, high=wide),
            Learned.of(f"{name}.bias", "i32", (classes,), bias, low=-deep, high=0),
            Learned.of(f"{name}.known", "i32", (classes,), count, low=0),
            fraction,
            margin(scores)[1],
        )

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        """`resets`; the `share` of low margins; the mean `gain`."""
        return {
            "skipped": 0.0,
            "resets": float(learned[f"{self.NAME}.health"][0]),
            "share": float(learned[f"{self.NAME}.share"][0]) / ONE,
            "gain": float(learned[f"{self.NAME}.gain"].mean()) / UNIT,
        }


def statistics(x: Array, groups: int) -> tuple[Array, Array]:
    """Mean and mean absolute deviation of groups of samples (N, *shape): (groups,) int32 Q16."""
    rows = x.reshape(-1, groups).astype(np.float64)
    centre = rows.mean(axis=0)
    spread = np.abs(rows - centre).mean(axis=0)
    return np.round(centre * ONE).astype(np.int32), np.round(spread * ONE).astype(np.int32)
