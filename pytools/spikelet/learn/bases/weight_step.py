"""The step of weights and biases by gradient descent, of dense layers and of convolutions.

In a batch the inputs and errors of all samples but the last are kept; with the last one the weights
move, and a gradient's sum goes through the samples from the oldest on. C twins:
firmware/learn/dense.h and firmware/learn/convolution.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields
from spikelet.graph.declared import TensorScale, one_of, within
from spikelet.graph.operator import Emitter, Interval
from spikelet.graph.tensor import Array, Learned, Tensor
from spikelet.learn.bases.trainable import NOTHING, LearningOperator, kept_samples
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.fixed import add_up
from spikelet.learn.numbers.scalar import Descent, Sgd


@dataclass(frozen=True)
class Steps:
    """The steps of a layer in the numbers of its precision.

    Attributes:
        weight: None where no weight learns.
        bias: None where no bias learns.
    """

    weight: Sgd | None
    bias: Sgd | None


@dataclass(kw_only=True)
class WeightStep(LearningOperator):
    """Base of the steps of weights and biases by stochastic gradient descent.

    Reads, in this order, those that `roles` names.

    Attributes:
        weight_scale: of the weights, on integers.
        bias: whether the bias learns.
        rate: learning rate.
        momentum: 0 for none.
        decay: weight decay.
        batch: samples a step.
        rounding: of integer weights: nearest or stochastic.
        fraction: bits that an integer velocity has beyond a weight's step.
        scheduled: a last input (1,) i32 says how much of the rate to use: 2^15 for all.
    """

    # Whether a gradient is summed before it is multiplied with the rate; else product by product.
    SUMS_FIRST: ClassVar[bool] = False

    weight_scale: TensorScale = 1.0
    bias: bool = True
    rate: Annotated[float, within(1e-12, 1e6)]
    momentum: Annotated[float, within(0, 1)] = 0.0
    decay: Annotated[float, within(0, 1)] = 0.0
    batch: Annotated[int, within(1, 64)] = 1
    rounding: Annotated[str, one_of("nearest", "stochastic")] = "nearest"
    fraction: Annotated[int, within(1, 8)] = 4
    scheduled: bool = False

    facts: Steps = field(init=False, repr=False, compare=False)

    @property
    def descent(self) -> Descent:
        """The step in real numbers."""
        return Descent(self.rate, self.momentum, self.decay, self.batch, self.rounding)

    def learned_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the weights that learn, for an x of a shape; a 0 in it where none does."""
        raise NotImplementedError

    def error_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the error, (..., outputs), for an x of a shape."""
        raise NotImplementedError

    def sample_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape in which an x of a shape is kept for a batch."""
        return shape

    def roles(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """What its inputs are, in order, for an x of a shape."""
        weight = 0 not in self.learned_shape(shape)
        learns = weight or self.bias
        integer = not self.real
        wanted = {
            "error": True,
            "x": True,
            "weight": weight,
            "bias": self.bias,
            "velocity": weight and self.momentum != 0,
            "bias_velocity": self.bias and self.momentum != 0,
            "kept_x": weight and self.batch > 1,
            "kept_error": learns and self.batch > 1,
            "count": learns and self.batch > 1,
            "random": weight and integer and self.rounding == "stochastic",
            "health": learns and integer,
            "schedule": learns and self.scheduled,
        }
        return tuple(role for role, is_in in wanted.items() if is_in)

    def state(
        self,
        x: Tensor,
        error: Tensor,
        bias_scale: float,
        seed: int = 1,
        limits: tuple[int, int] | None = None,
    ) -> list[Learned]:
        """The learned tensors that it needs beside weight, bias and schedule: `name.role`.

        Args:
            x: its input.
            error: the error that it reads.
            bias_scale: of the bias, on integers.
            seed: of stochastic rounding, not 0.
            limits: largest size of values of x, and of the error, on integers, for a batch.
        """
        shapes = self._shapes(x, error)
        x_limit, error_limit = limits or (None, None)
        step = 1.0 if self.real else self.weight_scale * 2.0**-self.fraction
        count, state = self.batch - 1, np.array([seed], np.uint32)

        def learned_tensor(role: str) -> Learned:
            name, (dtype, shape) = f"{self.name}.{role}", shapes[role]
            match role:
                case "kept_x":
                    return kept_samples(name, x, shape, x_limit)
                case "kept_error":
                    return kept_samples(name, error, shape, error_limit)
                case "count":
                    return Learned.of(name, dtype, shape, low=0, high=count)
                case "random":
                    return Learned.of(name, dtype, shape, state, low=1)
            scale = {"velocity": step, "bias_velocity": bias_scale}.get(role, 1.0)
            return Learned.of(name, dtype, shape, scale=scale)

        given = ("error", "x", "weight", "bias", "schedule")
        return [learned_tensor(role) for role in self.roles(x.shape) if role not in given]

    def _shapes(self, x: Tensor, error: Tensor) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Type and shape of each input but x."""
        value, total = scalar.value_dtype(self.precision), scalar.sum_dtype(self.precision)
        weights, errors = self.learned_shape(x.shape), self.error_shape(x.shape)
        before = self.batch - 1
        return {
            "error": (value, errors),
            "weight": (self.precision, weights),
            "bias": (total, errors[-1:]),
            "velocity": (value, weights),
            "bias_velocity": (total, errors[-1:]),
            "kept_x": (x.dtype, (before, *self.sample_shape(x.shape))),
            "kept_error": (value, (before, *errors)),
            "count": ("i32", (1,)),
            "random": ("u32", (1,)),
            "health": ("i32", (1,)),
            "schedule": ("i32", (1,)),
        }

    def expect_inputs(self, bounds: dict[str, Interval]) -> tuple[dict[str, Tensor], Steps]:
        """The inputs by their roles, and the steps; refuses numbers that no format holds."""
        x = self.ins[1] if len(self.ins) > 1 else NOTHING
        roles = self.roles(x.shape)
        if len(self.ins) != len(roles):
            raise self.error(f"reads {len(self.ins)} tensors, expected {', '.join(roles)}")
        given = dict(zip(roles, self.ins, strict=True))
        shapes = self._shapes(x, given["error"])
        for role, tensor in given.items():
            if role in shapes:
                self.expect_shape(tensor, (shapes[role][0],), shapes[role][1])
        self.expect_ranges(given, bounds, self.batch - 1)
        try:
            return given, self._steps(given, bounds)
        except ValueError as e:
            raise self.error(str(e)) from e

    def _steps(self, given: dict[str, Tensor], bounds: dict[str, Interval]) -> Steps:
        """The steps of weights and biases, in their formats."""
        self.descent.check()
        if not 1 <= self.fraction <= 8:
            raise self.error(f"fraction {self.fraction} is not 1 to 8")
        if self.real:
            step = Sgd.of(self.precision, self.descent)
            return Steps(step, step)
        weight_step = bias_step = None
        error, x = given["error"], given["x"]
        places = error.size // error.shape[-1]  # that share a weight
        size = self.largest_kept("error", given, bounds) * self.batch * places
        if "weight" in given:
            weight, largest = given["weight"], size * self.largest_kept("x", given, bounds)
            if weight.scale != self.weight_scale:
                raise self.error(
                    f"weight {weight.name} has scale {weight.scale}, not weight_scale "
                    f"{self.weight_scale}"
                )
            if self.SUMS_FIRST:
                self.prove(largest, "the gradient of a weight")
            weight_step = Sgd.of(
                self.precision,
                self.descent,
                (error.scale * x.scale, largest),
                (weight.scale, self.reach(weight, bounds)),
                self.fraction,
                bits=62 if self.SUMS_FIRST else 30,
            )
        if "bias" in given:
            if self.SUMS_FIRST:
                self.prove(size, "the gradient of a bias")
            bias_step = Sgd.of(
                self.precision,
                Descent(self.rate, self.momentum, 0.0, self.batch),
                (error.scale, size),
                (self.weight_scale * x.scale, self.reach(given["bias"], bounds)),
                bits=62,
            )
        return Steps(weight_step, bias_step)

    def learn(self, env: dict[str, Array], at: dict[str, str]) -> None:
        """Keep a sample, or, with the last one of a batch, move weights and biases.

        Args:
            env: all tensors.
            at: names of its inputs by role.
        """
        x, error = (
            env[at["x"]][0].reshape(self.sample_shape(self.ins[1].shape)),
            env[at["error"]][0],
        )
        if "count" in at:
            n = int(env[at["count"]][0])
            if n < self.batch - 1:
                env[at["kept_error"]][n] = error
                if "kept_x" in at:
                    env[at["kept_x"]][n] = x
                env[at["count"]][0] = n + 1
                return
            env[at["count"]][0] = 0
        errors = [*env[at["kept_error"]], error] if "kept_error" in at else [error]
        errors = [scalar.widen(self.precision, e) for e in errors]
        saturated = 0
        if "weight" in at:
            xs = [*env[at["kept_x"]], x] if "kept_x" in at else [x]
            saturated += self.step_weights(
                env, at, [self.source(self.ins[1], v) for v in xs], errors
            )
        if "bias" in at:
            saturated += self._step_biases(env, at, errors)
        if "health" in at:
            add_up(env[at["health"]], saturated)

    def step_weights(
        self, env: dict[str, Array], at: dict[str, str], xs: list[Array], errors: list[Array]
    ) -> int:
        """Move the weights by the widened inputs and errors of a batch; how many saturated."""
        raise NotImplementedError

    def bias_gradient(self, errors: list[Array]) -> Array:
        """The sum of the errors of a batch over all places, (outputs,)."""
        raise NotImplementedError

    def step_now(self, env: dict[str, Array], at: dict[str, str], step: Sgd | None) -> Sgd:
        """A step at the rate that the schedule leaves of it."""
        if step is None:
            raise self.error("nothing of it learns")
        return step.at_rate(int(env[at["schedule"]].flat[0])) if "schedule" in at else step

    def _step_biases(self, env: dict[str, Array], at: dict[str, str], errors: list[Array]) -> int:
        step, b = self.step_now(env, at, self.facts.bias), env[at["bias"]]
        u = env[at["bias_velocity"]] if "bias_velocity" in at else None
        moved, held, saturated = step.learn_bias(
            scalar.widen(self.precision, b),
            None if u is None else scalar.widen(self.precision, u),
            self.bias_gradient(errors),
        )
        b[...] = moved.astype(b.dtype)
        if u is not None and held is not None:
            u[...] = held.astype(u.dtype)
        return saturated

    def parts_c(self, em: Emitter) -> Fields:
        """The addresses of its inputs by role, as fields of the kernel's step."""
        parts: Fields = {}
        for role, name in zip(self.roles(self.ins[1].shape), self.inputs, strict=True):
            at = em.tensor(name)
            parts[role] = c.cast("uint32_t *", at) if role in ("health", "count") else at
        return parts
