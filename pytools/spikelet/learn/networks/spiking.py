"""Spiking layers that learn, and the three-factor rule through them, from the end to the first one.

`SpikingNetwork` takes a spiking graph and puts learned weights into its dense layers. What a step
leaves for learning is recorded in it; once the label is known the error goes from the scores back
through the layers, as in `NetworkBuilder`, and each layer that learns gets its update.

Units: a potential counts in thresholds, so the real value of a weight is its code divided by the
threshold in codes. Descent is in these real weights. An error `delta` is the loss's derivative by a
potential, divided by the threshold in codes: that by a code.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned, Operator, Tensor
from spikelet.graph.graph import LABEL
from spikelet.graph.ops.dense import Dense
from spikelet.graph.ops.leaky_readout import LeakyReadout
from spikelet.graph.ops.lif import Lif
from spikelet.graph.ops.spike_count import SpikeCount
from spikelet.graph.varied import repeated
from spikelet.learn.layers.softmax_cross_entropy import SoftmaxCrossEntropy
from spikelet.learn.layers.spiking_dense import CODE, SpikingDense, stored
from spikelet.learn.layers.spiking_error import (
    LIMIT,
    SpikingError,
    SpikingErrorSum,
    SpikingInputError,
    SpikingScores,
)
from spikelet.learn.layers.spiking_record import PEAK, SpikeHistory, Surrogate
from spikelet.learn.layers.spiking_update import RATE_BITS, SpikeTrace, SpikingUpdate
from spikelet.learn.networks.builder import SCHEDULE, part_name
from spikelet.learn.networks.parameters import Learns
from spikelet.learn.numbers.scalar import Q15
from spikelet.learn.numbers.traces import TRACE_LIMIT, Trace

ERROR_BITS = 14  # of the fraction of the loss's error
LOGIT_BITS, LOGIT_LIMIT = 7, 4095  # logits are within +-32
SURE = 4.0  # logits that the highest score is ahead of the mean, before anything was learned
BIAS_REACH = 8  # thresholds, or sums of the largest weight, that a bias may move to
LARGEST_CODE = 128
FEEDBACK = 64  # code of a weight of direct feedback

Feedback = Literal["weights", "direct"]


@dataclass(frozen=True)
class ThreeFactor:
    """How spiking layers learn.

    Attributes:
        rate: learning rate.
        rounding: of weights: nearest or stochastic.
        width: of the surrogate derivative, in thresholds.
        feedback: what an error goes back through: the weights themselves, or random signs from the
            scores to every layer.
    """

    rate: float
    rounding: str = "stochastic"
    width: float = 1.0
    feedback: Feedback = "weights"


@dataclass(frozen=True, eq=False)
class Stage:
    """A dense layer and the neurons behind it.

    Attributes:
        dense: the layer as it was.
        neurons: that read its sums.
        learns: what of the layer.
        x: what it reads.
        most: the largest size of x: 1 for spikes.
        below: the stage whose spikes it reads, if errors go there.
    """

    dense: Dense
    neurons: Lif | LeakyReadout
    learns: Learns
    x: Tensor
    most: int
    below: Stage | None = None

    @property
    def outputs(self) -> int:
        """Neurons."""
        return len(self.dense.weight)

    @property
    def steady(self) -> bool:
        """Whether it reads the same values in every step."""
        return self.x.dtype != "bit"

    @property
    def keep(self) -> int:
        """Q15, what its neurons' membranes keep in a step, on average."""
        neurons = self.neurons
        leaks = np.array([neurons.leak]) if neurons.leaks is None else neurons.leaks
        return round(float(leaks.mean()) / 2.0 ** (neurons.leak_bits - 15))

    @property
    def threshold(self) -> Array:
        """(m,) float64, in codes of a weight; of integrators the sum of 127 spikes."""
        if isinstance(self.neurons, LeakyReadout):
            return np.full(self.outputs, 127.0)
        whole = repeated(np.maximum(self.neurons.threshold, 1), (self.outputs,))
        return whole.astype(np.float64) / 2.0**self.neurons.input_shift

    @property
    def bias_limit(self) -> int:
        """Of a learned bias, in its units."""
        start = 0 if self.dense.bias is None else int(np.abs(self.dense.bias.astype(int)).max())
        reach = max(BIAS_REACH * math.ceil(float(self.threshold.max())), 2 * start)
        return min(reach << CODE, (1 << 30) - 1)


@dataclass(frozen=True, eq=False)
class Errors:
    """Errors in a graph, (m,) or (T, m).

    Attributes:
        name: of the tensor.
        scale: real value of a unit.
        most: largest real size, about.
        kept: (T,) part of it that counts in each step; None for all.
    """

    name: str
    scale: float
    most: float
    kept: Array | None = None


Source = Callable[[Stage, str], str | None]


class SpikingNetwork:
    """A spiking graph some of whose dense layers learn.

    Attributes:
        graph: as it was; its only output are the scores.
        rule: how layers learn.
        nodes: all operators, in order.
        learned: tensors that they change.
        stages: layers that errors reach, in order.
    """

    def __init__(
        self,
        graph: Graph,
        learns: Mapping[str, Learns],
        rule: ThreeFactor,
        rng: np.random.Generator,
        *,
        scheduled: bool = False,
        trace_limit: int = TRACE_LIMIT,
    ) -> None:
        """The forward pass.

        Args:
            graph: of it all.
            learns: by the name of a dense layer, what of it learns.
            rule: how.
            rng: of seeds.
            scheduled: a tensor named `schedule` says how much of the rate to use.
            trace_limit: largest code of a presynaptic trace, at most 4095.

        Raises:
            UsageError: a layer that depends on what learns has no backward pass.
        """
        self.graph, self.rule, self.rng = graph, rule, rng
        self.nodes: list[Operator] = []
        self.learned: list[Learned] = []
        self.stages: list[Stage] = []
        self._scheduled, self._trace_limit = scheduled, trace_limit
        self._live: dict[str, Stage] = {}  # by tensor: sums, spikes, membranes and counts
        self._histories: dict[str, str] = {}
        self._gain = 1.0
        for node in graph.nodes:
            layer = learns.get(node.name, Learns())
            if layer or any(name in self._live for name in (*node.reads, node.carried)):
                self._lay(node, layer)
            else:
                self.nodes.append(node)

    def seed(self) -> int:
        """A state of xorshift32."""
        return int(self.rng.integers(1, 1 << 32))

    def live(self, name: str) -> bool:
        """Whether a tensor depends on something that learns."""
        return name in self._live

    # --- forward ---

    def _lay(self, node: Operator, learns: Learns) -> None:
        if isinstance(node, Dense) and (learns or node.ins[0].dtype == "bit"):
            self._lay_dense(node, learns)
            return
        stage = self._live.get(node.inputs[0]) if len(node.inputs) == 1 else None
        read = isinstance(node, LeakyReadout | SpikeCount) and node.name in self.graph.outputs
        if stage is None or not (read or node is stage.neurons):
            raise _no_way_back(node)
        if isinstance(node, Lif):
            node = self._lay_neurons(node)
        self.nodes.append(node)
        self._live |= {t.name: stage for t in stage.neurons.outs}
        self._live[node.name] = stage
        if isinstance(node, Lif):
            self.nodes.append(self._surrogate(node, stage))

    def _lay_dense(self, node: Dense, learns: Learns) -> None:
        readers = [n for n in self.graph.nodes if node.name in n.reads]
        if len(readers) != 1 or not isinstance(readers[0], Lif | LeakyReadout):
            raise _no_way_back(readers[0] if readers else node)
        low, high = self.graph.bounds[node.inputs[0]]
        most = max(1, int(np.abs(low).max()), int(np.abs(high).max()))
        below = self._live.get(node.inputs[0])
        stage = Stage(node, readers[0], learns, node.ins[0], most, below)
        self.stages.append(stage)
        self._live[node.name] = stage
        if not learns:
            self.nodes.append(node)
            return
        weight = np.ascontiguousarray(node.levels.T.astype(np.int8))
        inputs = [node.inputs[0]]
        if learns.channels:
            inputs.append(self._learn(f"{node.name}.weight", "i16", stored(weight)))
        if learns.bias:
            start = np.zeros(stage.outputs) if node.bias is None else node.bias
            codes = (start.astype(np.int64) << CODE).astype(np.int32)
            inputs.append(self._learn(f"{node.name}.bias", "i32", codes, stage.bias_limit))
        self.nodes.append(
            SpikingDense(
                name=node.name,
                inputs=tuple(inputs),
                outputs=stage.outputs,
                frozen=None if learns.channels else weight,
                bias=learns.bias,
            )
        )
        if not stage.steady and stage.x.name not in self._histories:
            name = part_name(stage.x.name.partition(".")[0], "history")
            self.nodes.append(SpikeHistory(name=name, inputs=(stage.x.name,)))
            self._histories[stage.x.name] = name

    def _learn(self, name: str, dtype: str, start: Array, limit: int | None = None) -> str:
        low = None if limit is None else -limit
        self.learned.append(Learned.of(name, dtype, start.shape, start, low=low, high=limit))
        return name

    def _lay_neurons(self, node: Lif) -> Lif:
        """Neurons whose stored membrane is what was compared with the threshold; same spikes."""
        if node.refractory:
            raise _no_way_back(node, f"refractory={node.refractory}")
        if node.timing != "same_step" or node.reset not in ("zero", "value"):
            return node
        start = np.array([node.initial]) if node.initials is None else node.initials
        if int(start.max()) >= int(node.threshold.min()):
            raise _no_way_back(node, "membranes that start at the threshold")
        return dataclasses.replace(node, timing="next_step")

    def _surrogate(self, node: Lif, stage: Stage) -> Surrogate:
        again = node.timing == "same_step" and node.reset == "subtract"
        threshold = repeated(node.threshold, (stage.outputs,))
        width = np.clip(np.rint(threshold * self.rule.width), 1, (1 << 31) - 1)
        return Surrogate(
            name=part_name(node.name, "slope"),
            inputs=(f"{node.name}.membrane", *([f"{node.name}.spikes"] if again else [])),
            threshold=threshold.astype(np.int32),
            width=width.astype(np.int32),
        )

    # --- backward ---

    def backward(
        self, scores: str, gain: float, source: Source = lambda stage, delta: None
    ) -> None:
        """The operators that learn, once a label is known.

        Args:
            scores: counts or membranes, the graph's output.
            gain: of a logit, for each unit of the scores.
            source: what a layer learns from in place of what it reads: an i16 tensor of one row, in
                the units of its traces or values; None for that itself. It is called with the name
                of the layer's errors.
        """
        self._gain = gain
        logits, error = (part_name(scores, part) for part in ("logits", "error"))
        self.nodes += [
            SpikingScores(
                name=logits, inputs=(scores,), gain=gain,
                output_scale=2.0**-LOGIT_BITS, output_limit=LOGIT_LIMIT,
            ),
            SoftmaxCrossEntropy(
                name=error, inputs=(logits, LABEL), precision="i16", error_bits=ERROR_BITS
            ),
        ]  # fmt: skip
        loss = Errors(error, 2.0**-ERROR_BITS, 1.0)
        above = dataclasses.replace(loss, scale=gain * loss.scale, most=gain)
        for stage in reversed(self.stages):
            delta = self._delta(stage, above)
            if stage.below is not None:
                above = self._input_error(stage, delta, loss)
            if stage.learns:
                self._update(stage, delta, source(stage, delta.name))

    def _by_code(self, stage: Stage) -> Array:
        """(m,) what a code of a weight adds to a potential, in thresholds, or to a logit."""
        if isinstance(stage.neurons, LeakyReadout):
            unit = self._gain * 2.0**stage.neurons.input_shift * stage.most
            return np.full(stage.outputs, unit)
        return stage.most / stage.threshold

    def _delta(self, stage: Stage, above: Errors) -> Errors:
        """The errors of a layer's sums, by codes."""
        by_code = self._by_code(stage)
        if isinstance(stage.neurons, LeakyReadout):
            kept = self._until_the_end(stage.keep) if stage.keep < Q15 else None
            unit = float(by_code[0]) / self._gain
            return Errors(above.name, above.scale * unit, above.most * unit, kept)
        steps, m = self.graph.steps, stage.outputs
        limit = min(LIMIT, ((1 << 31) - 1) // max(steps * TRACE_LIMIT, LARGEST_CODE * m))
        most = above.most * float(by_code.max())
        gains, shift = fixed(above.scale * by_code * limit / (PEAK * most), 15, 47)
        name = part_name(stage.neurons.name, "delta")
        self.nodes.append(
            SpikingError(
                name=name,
                inputs=(above.name, part_name(stage.neurons.name, "slope")),
                gains=gains,
                shift=shift + 15 * (above.kept is not None),
                kept=above.kept,
                limit=limit,
            )
        )
        return Errors(name, most / limit, most)

    def _until_the_end(self, keep: int) -> Array:
        """(T,) Q15, what an integrator keeps to the last step of what each step adds."""
        steps = np.arange(self.graph.steps)[::-1]
        kept: Array = np.rint(Q15 * (keep / Q15) ** steps).astype(np.int32)
        return kept

    def _input_error(self, stage: Stage, delta: Errors, loss: Errors) -> Errors:
        """The errors of the spikes that a layer reads."""
        name = part_name(stage.dense.name, "back")
        if self.rule.feedback == "direct":
            return self._direct_error(name, stage, loss)
        if isinstance(stage.neurons, LeakyReadout):
            most = 2.0 * LARGEST_CODE * delta.most  # sizes of a softmax's errors sum up to 2
        else:
            most = LARGEST_CODE / 2 * math.sqrt(stage.outputs) * delta.most
        scale = most / delta.scale / LIMIT
        learned = (f"{stage.dense.name}.weight",) if stage.learns.channels else ()
        frozen = None if learned else np.ascontiguousarray(stage.dense.levels.T.astype(np.int8))
        self.nodes.append(
            SpikingInputError(
                name=name, inputs=(delta.name, *learned), frozen=frozen, output_scale=scale
            )
        )
        return Errors(name, delta.scale * scale, most, delta.kept)

    def _direct_error(self, name: str, stage: Stage, loss: Errors) -> Errors:
        """The loss's error through random signs, of the size of the last layer's weights."""
        last = self.stages[-1]
        codes = last.dense.levels.astype(np.float64)
        size = float(np.sqrt(np.mean((codes * self._by_code(last)[:, None]) ** 2)))
        if isinstance(last.neurons, Lif):
            size *= self._gain
        signs = self.rng.integers(0, 2, (stage.x.size, last.outputs)) * 2 - 1
        most = 2 * size * loss.most
        scale = 2 * FEEDBACK * (1 << ERROR_BITS) / LIMIT
        self.nodes.append(
            SpikingInputError(
                name=name,
                inputs=(loss.name,),
                frozen=(FEEDBACK * signs).astype(np.int8),
                output_scale=scale,
            )
        )
        return Errors(name, loss.scale * size / FEEDBACK * scale, most)

    def _update(self, stage: Stage, delta: Errors, given: str | None) -> None:
        trace = self._trace(stage)
        spiking = isinstance(stage.neurons, Lif)
        one, bias_one = float(trace.one), float(trace.one)  # codes of a trace of 1
        if stage.steady:
            one, bias_one = float(stage.most), 1.0
        scale = delta.scale
        if spiking and stage.steady:
            delta, scale = self._summed(stage, delta, trace)
        elif spiking and given is not None:
            delta, scale = self._summed(stage, delta, Trace(0, 1))
        elif stage.steady:  # an integrator sums it up
            scale *= float(trace.steady(self.graph.steps)[-1]) / trace.one
        name = part_name(stage.dense.name, "update")
        step = self._step(stage, name, trace, scale / one, scale / bias_one)
        reads = {
            "delta": delta.name,
            "x": given or self._histories.get(stage.x.name, stage.x.name),
            "weight": f"{stage.dense.name}.weight",
            "bias": f"{stage.dense.name}.bias",
            "random": f"{name}.random",
            "health": f"{name}.health",
            "schedule": SCHEDULE,
        }
        step.inputs = tuple(reads[role] for role in step.roles)
        self.nodes.append(step)
        if "random" in step.roles:
            seed = np.array([self.seed()], np.uint32)
            self.learned.append(Learned.of(reads["random"], "u32", (1,), seed, low=1))
        self.learned.append(Learned.of(reads["health"], "i32", (1,), low=0))

    def _trace(self, stage: Stage) -> Trace:
        try:
            return Trace.of(stage.keep, self.graph.steps, self._trace_limit)
        except ValueError as e:
            raise UsageError(
                f"layer {stage.dense.name}: {e}",
                "its neurons forget so little that traces of 12 bits do not hold their spikes",
                "learn behind it, or on fewer time steps",
            ) from e

    def trace_row(self, stage: Stage) -> Tensor:
        """What a layer learns from, in one row: its values, or else the traces of its spikes.

        Of integrators those after the last step; of neurons that spike their mean over time.
        """
        if stage.steady:
            return stage.x
        trace, name = self._trace(stage), part_name(stage.dense.name, "trace")
        self.nodes.append(
            SpikeTrace(
                name=name,
                inputs=(self._histories[stage.x.name],),
                size=stage.x.size,
                keep=trace.keep,
                one=trace.one,
                mean=isinstance(stage.neurons, Lif),
            )
        )
        return Tensor(name, "i16", (stage.x.size,))

    def _summed(self, stage: Stage, delta: Errors, trace: Trace) -> tuple[Errors, float]:
        """Errors summed over time, weighted by a trace; the scale of the sum."""
        weights = trace.steady(self.graph.steps) / trace.one
        most = delta.most * float(weights.sum())
        name = part_name(stage.dense.name, "delta")
        unit = delta.scale / trace.one
        self.nodes.append(
            SpikingErrorSum(
                name=name,
                inputs=(delta.name,),
                keep=trace.keep,
                one=trace.one,
                output_scale=most / LIMIT / unit,
            )
        )
        return Errors(name, most / LIMIT, most), most / LIMIT

    def _step(
        self, stage: Stage, name: str, trace: Trace, scale: float, bias_scale: float
    ) -> SpikingUpdate:
        """The operator of a step, which does not read anything yet.

        Args:
            stage: of the layer.
            name: of the operator.
            trace: of its histories.
            scale: real value of a unit of a weight's gradient by its code.
            bias_scale: the same of a bias, whose code adds as much as that of x at its largest.
        """
        ratio = self.rule.rate * (1 << CODE) / self._by_code(stage) ** 2
        weights = biases = None
        shift, bias_shift = 9, 1
        try:
            if stage.learns.channels:
                weights, shift = fixed(ratio * scale, RATE_BITS, 62, 9)
            if stage.learns.bias:
                biases, bias_shift = fixed(ratio * stage.most * bias_scale, RATE_BITS, 62)
        except ValueError as e:
            raise UsageError(
                f"layer {stage.dense.name}: learning rate {self.rule.rate:g} is out of reach ({e})",
                "the layer's weights are codes of 8 bits, with 8 bits below",
                "choose another rate",
            ) from e
        return SpikingUpdate(
            name=name,
            inputs=(),
            size=stage.x.size,
            rates=None if weights is None else -weights,
            shift=shift,
            bias_rates=None if biases is None else -biases,
            bias_shift=bias_shift,
            keep=trace.keep,
            one=trace.one,
            rounding=self.rule.rounding,
            scheduled=self._scheduled,
        )


def gain_of(graph: Graph, inputs: Mapping[str, Array]) -> float:
    """The gain at which a spiking network's first scores are logits that are rather sure.

    Args:
        graph: its output are the scores.
        inputs: some, (N, *shape) by name.
    """
    scores = graph.run(inputs).outputs[graph.outputs[0]].astype(np.float64)
    scores = scores.reshape(len(scores), -1)
    ahead = float(np.mean(scores.max(axis=1) - scores.mean(axis=1)))
    return SURE / max(ahead, 1.0)


def fixed(values: Array, bits: int, most: int, least: int = 1) -> tuple[Array, int]:
    """Positive numbers as int32 of at most `bits` bits and a shift of `least` to `most`.

    Raises:
        ValueError: they are too large, or round to 0.
    """
    exponent = math.frexp(float(values.max()))[1]
    shift = min(most, bits - exponent)
    if shift < least:
        raise ValueError(f"{values.max():g} is too large")
    codes = np.minimum(np.rint(values * 2.0**shift), (1 << bits) - 1)
    if codes.max() < 1:
        raise ValueError(f"{values.max():g} is too small")
    return codes.astype(np.int32), shift


def _no_way_back(node: Operator, what: str = "") -> UsageError:
    return UsageError(
        f"layer {node.name} ({node.KIND}{', ' + what if what else ''}) depends on what learns, and "
        "has no backward pass",
        "those with one are dense layers on spikes, each with lif neurons behind that have no "
        "refractory time, and at the end a spike_count or a leaky_readout",
        "let only layers behind it learn",
    )
