"""Trainable dense layer. C twin: firmware/learn/dense.h."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Expression, Fields, Statement
from spikelet.graph.declared import Natural, Size, TensorScale
from spikelet.graph.operator import Cost, Emitter, Inferred, Interval, Overlap, Phase
from spikelet.graph.target import Target
from spikelet.graph.tensor import Array, Tensor
from spikelet.learn.bases.convolution import STORED
from spikelet.learn.bases.trainable import Scaled, Trainable
from spikelet.learn.bases.weight_step import Steps, WeightStep
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.scalar import Scale


@dataclass(kw_only=True)
class DenseForward(Trainable):
    """`y[o] = bias[o] + sum over i of weight[o, i] * x[i]`, then ReLU if asked for.

    Reads x of I elements (values, or u8 or i8 codes), then, as far as they learn, weight (n, I)
    and bias (outputs,); writes (outputs,) values. A sum starts with the bias and goes through the
    inputs in their order. On integers a bias is in units of weight scale * input scale.

    Attributes:
        outputs: rows of the whole weight.
        frozen: (outputs - n, I) stored weights behind those that learn, in flash; None for none.
        frozen_bias: (outputs,) where the bias does not learn.
        relu: negative outputs become 0.
        weight_scale: of the weights, on integers.
        output_scale: of the outputs, on integers.
        output_limit: outputs saturate at +-limit, on integers.
        again: computed once more for learning, in place of being kept since the prediction.
    """

    KIND: ClassVar[str] = "dense_forward"

    outputs: Size
    frozen: Array | None = None
    frozen_bias: Array | None = None
    relu: bool = False
    weight_scale: TensorScale = 1.0
    output_scale: TensorScale = 1.0
    output_limit: Natural = 0
    again: bool = False

    facts: Scaled = field(init=False, repr=False, compare=False)

    @property
    def learning_rows(self) -> int:
        """How many rows learn."""
        return self.outputs - (0 if self.frozen is None else len(self.frozen))

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_precision()
        rows = self.learning_rows
        expected = 1 + (rows > 0) + (self.frozen_bias is None)
        if len(ins) != expected:
            raise self.error(f"reads {len(ins)} tensors, expected {expected}: x, weight, bias")
        self.expect_source(ins[0])
        inputs = ins[0].size
        check_frozen(self, self.frozen, self.outputs, inputs)
        if rows:
            self.expect_shape(ins[1], (self.precision,), (rows, inputs))
        if self.frozen_bias is None:
            self.expect_shape(ins[-1], (scalar.sum_dtype(self.precision),), (self.outputs,))
        elif self.frozen_bias.shape != (self.outputs,):
            raise self.error(f"frozen_bias has shape {self.frozen_bias.shape}, not (outputs,)")
        if not self.real:
            self._prove(bounds, rows)
        if rows and not self.real and ins[1].scale != self.weight_scale:
            raise self.error(f"weight {ins[1].name} has scale {ins[1].scale}, not weight_scale")
        ratio = self.weight_scale * self.source_scale(ins[0]) / self.output_scale
        scale = self.scale_of(ratio, self.output_limit)
        written = self.value(self.name, (self.outputs,), self.output_scale, self.output_limit)
        bounds[self.name] = self.value_bounds(written, self.output_limit, self.relu)
        return Inferred([written], Scaled(scale))

    def _prove(self, bounds: dict[str, Interval], rows: int) -> None:
        largest = self.largest(self.ins[0], bounds)
        sums = [self.ins[0].size * self.largest(self.ins[1], bounds) * largest] if rows else []
        if self.frozen is not None:
            sums.append(int(np.abs(self.frozen.astype(np.int64)).sum(axis=1).max()) * largest)
        if self.frozen_bias is None:
            bias = self.largest(self.ins[-1], bounds)
        else:
            bias = int(np.abs(self.frozen_bias.astype(np.int64)).max())
        self.prove(max(sums) + bias, "a sum")

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN if self.again else max(ins)

    def golden(self, env: dict[str, Array], t: int) -> None:
        x = self.source(self.ins[0], env[self.inputs[0]]).reshape(len(env[self.inputs[0]]), -1)
        parts = [env[self.inputs[1]]] if self.learning_rows else []
        parts += [] if self.frozen is None else [self.frozen]
        weight = scalar.widen(self.precision, np.concatenate(parts))
        stored = env[self.inputs[-1]] if self.frozen_bias is None else self.frozen_bias
        bias = scalar.widen(self.precision, stored)
        start = np.broadcast_to(bias, (len(x), self.outputs))
        if self.real:
            sums = scalar.chain(self.precision, start, x.T[:, :, None], weight.T[:, None, :])
        else:
            # Exact: no partial sum leaves 32 bits.
            sums = start + (x.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.int64)
        out = self.facts.scale.narrow(sums)
        if self.relu:
            out = np.where(out < 0, out.dtype.type(0), out)
        env[self.name] = out.astype(np.float32 if self.real else np.int16)

    def cost(self) -> Cost:
        bits = 8 * np.dtype(STORED[self.precision]).itemsize
        return Cost(macs=self.outputs * self.ins[0].size, weight_bits=bits)

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/dense.h")
        config = em.config(
            self.name,
            "spk_dense_forward",
            {
                "inputs": self.ins[0].size,
                "source": self.source_c(self.ins[0]),
                "scale": self.facts.scale.c(self.precision),
                "relu": self.relu,
            },
        )
        rows = self.learning_rows
        if self.frozen_bias is None:
            bias = em.tensor(self.inputs[-1])
        else:
            bias = em.const(f"{self.name}_bias", self.frozen_bias, f"({self.outputs},)")
        x, y = em.tensor(self.inputs[0]), em.tensor(self.name)
        call = f"spk_dense_forward_{self.source_name(self.ins[0])}"
        calls = []
        if rows:
            calls.append(c.run(call, config, rows, x, em.tensor(self.inputs[1]), bias, y))
        if self.frozen is not None:
            held = frozen_c(em, self.name, self.frozen)
            calls.append(c.run(call, config, len(self.frozen), x, held, bias + rows, y + rows))
        return calls


def check_frozen(node: Trainable, frozen: Array | None, outputs: int, inputs: int) -> None:
    """Refuse frozen weights of another type or shape."""
    if outputs < 1:
        raise node.error(f"{outputs} outputs, expected 1 or more")
    stored = STORED[node.precision]
    if frozen is not None and (
        frozen.dtype != stored
        or frozen.ndim != 2
        or frozen.shape[1] != inputs
        or not 1 <= len(frozen) <= outputs
    ):
        raise node.error(
            f"frozen is {frozen.dtype} of shape {frozen.shape}, expected {np.dtype(stored)} "
            f"(1 to {outputs}, {inputs})"
        )


def frozen_c(em: Emitter, name: str, frozen: Array) -> Expression:
    """Frozen weights in flash."""
    return em.const(f"{name}_frozen", frozen, f"{frozen.shape}, do not learn")


@dataclass(frozen=True)
class DenseSteps(Steps):
    """The steps, and how the input gradient comes to its scale, where it is computed.

    Attributes:
        scale: from the units of its sums to those of the gradient.
    """

    scale: Scale = field(default_factory=Scale)


@dataclass(kw_only=True)
class DenseUpdate(WeightStep):
    """One step of a dense layer, and the gradient of its input, in one pass over the weights.

    With the error e (outputs,), the gradient of the loss by the layer's outputs: the gradient of
    weight[o, i] is e[o] * x[i], that of bias[o] is e[o], and that of x[i] is the sum over o of
    e[o] * weight[o, i] with the weights as they were. There is no tensor of gradients. A batch is
    made of the kept inputs and errors of its samples: with the last one the weights move by the
    mean of their gradients, oldest first.

    Order: columns in groups of four (the last one shorter), in each the rows, in each the columns.
    Stochastic rounding takes one draw for a row of a group, its lowest byte for the first column.
    Without momentum, decay and batch a row whose error is 0 is left out, and draws nothing.

    Reads, in this order, those that `roles` names; writes the gradient of x (I,), if it is wanted.

    Attributes:
        outputs: rows of the whole weight; the first ones learn.
        frozen: (outputs - n, I) stored weights that do not learn; None for none.
        gradient: whether the gradient of x is wanted.
        mask: it is 0 where x is not positive: x came out of a ReLU.
        gradient_scale: of the gradient, on integers.
        gradient_limit: it saturates at +-limit, on integers.
    """

    KIND: ClassVar[str] = "dense_update"

    outputs: Size
    frozen: Array | None = None
    gradient: bool = False
    mask: bool = False
    gradient_scale: TensorScale = 1.0
    gradient_limit: Natural = 0

    facts: DenseSteps = field(init=False, repr=False, compare=False)

    @property
    def learning_rows(self) -> int:
        """How many rows learn."""
        return self.outputs - (0 if self.frozen is None else len(self.frozen))

    def learned_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.learning_rows, math.prod(shape)

    def error_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.outputs,)

    def sample_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (math.prod(shape),)

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        self.expect_precision()
        given, learned = self.expect_inputs(bounds)
        self.expect_source(ins[1])
        check_frozen(self, self.frozen, self.outputs, ins[1].size)
        if not self.gradient:
            return Inferred([], DenseSteps(learned.weight, learned.bias))
        if not self.real:
            self._prove(given, bounds)
        ratio = given["error"].scale * self.weight_scale / self.gradient_scale
        scale = self.scale_of(ratio, self.gradient_limit)
        written = self.value(self.name, ins[1].shape, self.gradient_scale, self.gradient_limit)
        bounds[self.name] = self.value_bounds(written, self.gradient_limit)
        return Inferred([written], DenseSteps(learned.weight, learned.bias, scale))

    def _prove(self, given: dict[str, Tensor], bounds: dict[str, Interval]) -> None:
        largest = self.largest(given["error"], bounds)
        total = 0
        if "weight" in given:
            total += self.learning_rows * self.largest(given["weight"], bounds)
        if self.frozen is not None:
            total += int(np.abs(self.frozen.astype(np.int64)).sum(axis=0).max())
        self.prove(total * largest, "the sum of an input gradient")

    def golden(self, env: dict[str, Array], t: int) -> None:
        at = dict(zip(self.roles(self.ins[1].shape), self.inputs, strict=True))
        wanted = self._input_gradient(env, at) if self.gradient else None  # of weights as they were
        self.learn(env, at)
        if wanted is not None:
            env[self.name] = wanted.reshape(1, *self.ins[1].shape)

    def _active(self, error: Array) -> Array:
        """Indices of the rows that learn and that this step does not leave out."""
        error = error[: self.learning_rows]
        return np.flatnonzero(error != 0) if self._plain else np.arange(len(error))

    @property
    def _plain(self) -> bool:
        """Whether an error of 0 changes nothing."""
        return self.facts.weight is not None and self.facts.weight.resting and self.batch == 1

    def _input_gradient(self, env: dict[str, Array], at: dict[str, str]) -> Array:
        error = scalar.widen(self.precision, env[at["error"]][0])
        x = self.source(self.ins[1], env[at["x"]][0].reshape(-1))
        weight = scalar.widen(self.precision, env[at["weight"]]) if "weight" in at else None
        rows = self._active(error) if weight is not None else np.arange(0)
        parts = [] if weight is None else [weight[rows]]
        errors = [error[rows]]
        if self.frozen is not None:
            parts.append(scalar.widen(self.precision, self.frozen))
            errors.append(error[self.learning_rows :])
        start = np.zeros(len(x), np.float32 if self.real else np.int64)
        each = np.concatenate(errors)
        sums = scalar.chain(self.precision, start, each[:, None], np.concatenate(parts))
        out = self.facts.scale.narrow(sums)
        if self.mask:
            out = np.where(x <= 0, out.dtype.type(0), out)
        return out.astype(np.float32 if self.real else np.int16)

    def step_weights(
        self, env: dict[str, Array], at: dict[str, str], xs: list[Array], errors: list[Array]
    ) -> int:
        sgd, rows = self.step_now(env, at, self.facts.weight), self._active(errors[-1])
        w = scalar.widen(self.precision, env[at["weight"]])[rows]
        u = None
        if "velocity" in at:
            u = scalar.widen(self.precision, env[at["velocity"]])[rows]
        number = np.float32(sgd.rate) if self.real else np.int64(sgd.rate)
        rated, values = np.stack(errors)[:, rows] * number, np.stack(xs)
        d = scalar.chain(self.precision, sgd.begin(w, u), rated[:, :, None], values[:, None, :])
        byte = self._bytes(env, at, len(rows), self.ins[1].size)
        moved, held, saturated = sgd.end(w, u, d, byte)
        env[at["weight"]][rows] = moved.astype(STORED[self.precision])
        if "velocity" in at:
            env[at["velocity"]][rows] = held.astype(env[at["velocity"]].dtype)
        return saturated

    def _bytes(self, env: dict[str, Array], at: dict[str, str], rows: int, inputs: int) -> Array:
        """The random byte of each weight, (rows, I)."""
        if "random" not in at:
            return np.zeros((1, 1), np.uint8)
        groups = -(-inputs // 4)
        drawn, state = scalar.draws(int(env[at["random"]][0]), groups * rows)
        env[at["random"]][0] = state
        spread = scalar.random_bytes(drawn).reshape(groups, rows, 4).swapaxes(0, 1)
        return spread.reshape(rows, groups * 4)[:, :inputs]

    def bias_gradient(self, errors: list[Array]) -> Array:
        total = errors[0]
        for error in errors[1:]:
            total = total + error
        return total

    def cost(self) -> Cost:
        size = self.ins[1].size
        macs = self.learning_rows * size + (self.outputs * size if self.gradient else 0)
        bits = 8 * np.dtype(STORED[self.precision]).itemsize
        return Cost(macs=macs, weight_bits=bits)

    def overlaps(self, target: Target) -> tuple[Overlap | None, ...]:
        # A group of columns is read before its gradients are written.
        same = self.ins[1].dtype == scalar.value_dtype(self.precision)
        over = Overlap() if self.gradient and same else None
        return tuple(over if role == "x" else None for role in self.roles(self.ins[1].shape))

    def emit(self, em: Emitter) -> list[Statement]:
        self.select(em, "learn/dense.h")
        given = self.parts_c(em)
        rows = self.learning_rows
        fields: Fields = {
            "inputs": self.ins[1].size,
            "rows": rows,
            "frozen": self.outputs - rows,
            "source": self.source_c(self.ins[1]),
            "mask": self.mask,
            "biased": self.bias,
            "batch": self.batch if "count" in given else 1,
        }
        if self.gradient:
            fields["scale"] = self.facts.scale.c(self.precision)
        if self.facts.weight is not None:
            fields["sgd"] = self.facts.weight.c()
        if self.facts.bias is not None:
            fields["bias"] = self.facts.bias.c()
        config = em.config(self.name, "spk_dense_update", fields)
        parts: Fields = {role: given.pop(role) for role in ("error", "x")}
        if self.gradient:
            parts["to"] = em.tensor(self.name)
            if self.frozen is not None:
                parts["held"] = frozen_c(em, self.name, self.frozen)
        parts |= given
        kind = [
            "inner" if self.gradient else "first",
            "plain" if self._plain else "any",
            "stochastic" if "random" in parts else "nearest",
        ]
        call = f"spk_dense_learn_{'_'.join(kind)}"
        return [c.run(call, config, c.compound("struct spk_dense_step", parts))]
