"""The step of a convolution's weights and biases by gradient descent.

C twin: firmware/learn/convolution.h. In a batch the inputs and errors of all samples but the last
are kept; a gradient's sum goes through the samples from the oldest on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from spikelet.graph import c
from spikelet.graph.c import Fields, Statement
from spikelet.graph.declared import Margin, one_of, within
from spikelet.graph.operator import Cost, Emitter, Interval
from spikelet.graph.tensor import Array, Learned, Tensor
from spikelet.learn.bases.convolution import Weighted, macs
from spikelet.learn.bases.trainable import Learning, kept
from spikelet.learn.numbers import scalar
from spikelet.learn.numbers.fixed import add_up
from spikelet.learn.numbers.scalar import Descent, Sgd


@dataclass(kw_only=True)
class Update(Weighted, Learning):
    """Base of the steps of weights and biases by stochastic gradient descent.

    The gradient of a weight is summed over all pixels and applied at once; there is no tensor of
    gradients. The gradient of a bias is the sum of its errors over all pixels.

    Reads, in this order, those that `roles` names.

    Attributes:
        frozen_outputs: outputs whose weights do not learn, the last ones.
        bias: whether the bias learns.
        rate: learning rate.
        momentum: 0 for none.
        decay: weight decay.
        batch: samples a step.
        rounding: of integer weights: nearest or stochastic.
        fraction: bits that an integer velocity has beyond a weight's step.
        scheduled: a last input (1,) i32 says how much of the rate to use: 2^15 for all.
    """

    frozen_outputs: Margin = 0
    bias: bool = True
    rate: Annotated[float, within(1e-12, 1e6)]
    momentum: Annotated[float, within(0, 1)] = 0.0
    decay: Annotated[float, within(0, 1)] = 0.0
    batch: Annotated[int, within(1, 64)] = 1
    rounding: Annotated[str, one_of("nearest", "stochastic")] = "nearest"
    fraction: Annotated[int, within(1, 8)] = 4
    scheduled: bool = False

    _x: Tensor = field(init=False, repr=False)
    _learning: int = field(init=False, repr=False, default=0)
    _sgd: Sgd | None = field(init=False, repr=False, default=None)
    _bias_sgd: Sgd | None = field(init=False, repr=False, default=None)

    @property
    def descent(self) -> Descent:
        """The step in real numbers."""
        return Descent(self.rate, self.momentum, self.decay, self.batch, self.rounding)

    def learning(self, channels: int) -> int:
        """How many outputs learn, of an x with so many channels."""
        return self.channels_out(channels) - self.frozen_outputs

    def roles(self, channels: int) -> tuple[str, ...]:
        """What its inputs are, in order, for an x with so many channels."""
        weight = self.learning(channels) > 0
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
        value, total = scalar.value_dtype(self.precision), scalar.sum_dtype(self.precision)
        channels = x.shape[2]
        weights = (*self.lead(channels), self.learning(channels))
        outputs = (self.channels_out(channels),)
        before = self.batch - 1
        step = 1.0 if self.real else self.weight_scale * 2.0**-self.fraction

        x_limit, error_limit = limits or (None, None)
        made = {
            "velocity": lambda n: Learned.of(n, value, weights, scale=step),
            "bias_velocity": lambda n: Learned.of(n, total, outputs, scale=bias_scale),
            "kept_x": lambda n: kept(n, x, (before, *x.shape), x_limit),
            "kept_error": lambda n: kept(n, error, (before, *error.shape), error_limit),
            "count": lambda n: Learned.of(n, "i32", (1,), low=0, high=before),
            "random": lambda n: Learned.of(n, "u32", (1,), np.array([seed], np.uint32), low=1),
            "health": lambda n: Learned.of(n, "i32", (1,)),
        }
        return [made[role](f"{self.name}.{role}") for role in self.roles(channels) if role in made]

    def infer(self, ins: list[Tensor], bounds: dict[str, Interval], steps: int) -> list[Tensor]:
        self.expect_precision()
        if len(ins) < 2:
            raise self.error("reads fewer than 2 tensors, expected error, x, ...")
        error, x = ins[0], ins[1]
        self._x = x
        out = self.out_image(x.shape)
        channels = x.shape[2]
        outputs = self.channels_out(channels)
        learning = self._learning = self.learning(channels)
        if not 0 <= learning <= outputs:
            raise self.error(f"{self.frozen_outputs} of {outputs} outputs do not learn")
        roles = self.roles(channels)
        if len(ins) != len(roles):
            raise self.error(f"reads {len(ins)} tensors, expected {', '.join(roles)}")
        if not (learning or self.bias):
            raise self.error("nothing of it learns")
        given = dict(zip(roles, ins, strict=True))
        value, total = scalar.value_dtype(self.precision), scalar.sum_dtype(self.precision)
        if x.dtype not in (value, "i8"):
            raise self.error(f"input {x.name} is {x.dtype}, expected {value} or i8")
        weights, before = (*self.lead(channels), learning), self.batch - 1
        shapes = {
            "error": (value, (*out, outputs)),
            "weight": (self.precision, weights),
            "bias": (total, (outputs,)),
            "velocity": (value, weights),
            "bias_velocity": (total, (outputs,)),
            "kept_x": (x.dtype, (before, *x.shape)),
            "kept_error": (value, (before, *error.shape)),
            "count": ("i32", (1,)),
            "random": ("u32", (1,)),
            "health": ("i32", (1,)),
            "schedule": ("i32", (1,)),
        }
        for role, tensor in given.items():
            if role in shapes:
                self.expect_shape(tensor, (shapes[role][0],), shapes[role][1])
        self.expect_ranges(given, bounds, before)
        try:
            self._steps(given, bounds, out[0] * out[1])
        except ValueError as e:
            raise self.error(str(e)) from e
        return []

    def _steps(self, given: dict[str, Tensor], bounds: dict[str, Interval], pixels: int) -> None:
        """The steps of weights and biases, in their formats."""
        self.descent.check()
        if not 1 <= self.fraction <= 8:
            raise self.error(f"fraction {self.fraction} is not 1 to 8")
        if self.real:
            self._sgd = self._bias_sgd = Sgd.of(self.precision, self.descent)
            return
        error, x = given["error"], given["x"]
        size = self.largest_kept("error", given, bounds) * self.batch * pixels
        if "weight" in given:
            weight = given["weight"]
            self.check_weight(weight, self._learning, x.shape[2])
            largest = size * self.largest_kept("x", given, bounds)
            self.prove(largest, "the gradient of a weight")
            self._sgd = Sgd.of(
                self.precision,
                self.descent,
                (error.scale * x.scale, largest),
                (weight.scale, self.reach(weight, bounds)),
                self.fraction,
                bits=62,
            )
        if "bias" in given:
            self.prove(size, "the gradient of a bias")
            self._bias_sgd = Sgd.of(
                self.precision,
                Descent(self.rate, self.momentum, 0.0, self.batch),
                (error.scale, size),
                (self.weight_scale * x.scale, self.reach(given["bias"], bounds)),
                bits=62,
            )

    def gradient(self, x: Array, error: Array, start: Array) -> Array:
        """`start` and the gradient of one sample: x (H, W, C), error (out H, out W, n)."""
        raise NotImplementedError

    def random_bytes(self, drawn: Array, channels: int) -> Array:
        """The random byte of each weight, of `draws_needed` draws."""
        raise NotImplementedError

    def draws_needed(self, channels: int) -> int:
        """Draws of one step."""
        raise NotImplementedError

    def golden(self, env: dict[str, Array], t: int) -> None:
        at = dict(zip(self.roles(self._x.shape[2]), self.inputs, strict=True))
        x, error = env[at["x"]][0], env[at["error"]][0]
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
            saturated += self._step_weights(env, at, [self.source(self._x, v) for v in xs], errors)
        if "bias" in at:
            saturated += self._step_biases(env, at, errors)
        if "health" in at:
            add_up(env[at["health"]], saturated)

    def _now(self, env: dict[str, Array], at: dict[str, str], step: Sgd | None) -> Sgd:
        if step is None:
            raise self.error("nothing of it learns")
        return step.scheduled(int(env[at["schedule"]].flat[0])) if "schedule" in at else step

    def _step_weights(
        self, env: dict[str, Array], at: dict[str, str], xs: list[Array], errors: list[Array]
    ) -> int:
        sgd = self._now(env, at, self._sgd)
        stored = env[at["weight"]]
        total = np.zeros(stored.shape, np.float32 if self.real else np.int64)
        for x, error in zip(xs, errors, strict=True):
            total = self.gradient(x, error[..., : self._learning], total)
        u = scalar.widen(self.precision, env[at["velocity"]]) if "velocity" in at else None
        byte: Array = np.zeros((), np.uint8)
        if "random" in at:
            channels = self._x.shape[2]
            drawn, state = scalar.draws(int(env[at["random"]][0]), self.draws_needed(channels))
            env[at["random"]][0] = state
            byte = self.random_bytes(drawn, channels)
        w = scalar.widen(self.precision, stored)
        moved, held, saturated = sgd.learn(w, u, total, byte)
        stored[...] = moved.astype(stored.dtype)
        if u is not None:
            env[at["velocity"]][...] = held.astype(env[at["velocity"]].dtype)
        return saturated

    def _step_biases(self, env: dict[str, Array], at: dict[str, str], errors: list[Array]) -> int:
        step = self._now(env, at, self._bias_sgd)
        rows = np.concatenate([e.reshape(-1, e.shape[-1]) for e in errors])
        rows = np.concatenate([np.zeros_like(rows[:1]), rows])
        total = np.add.accumulate(rows, axis=0)[-1]
        u = None
        if "bias_velocity" in at:
            u = scalar.widen(self.precision, env[at["bias_velocity"]])
        b = scalar.widen(self.precision, env[at["bias"]])
        moved, held, saturated = step.learn_bias(b, u, total)
        env[at["bias"]][...] = moved.astype(env[at["bias"]].dtype)
        if held is not None and u is not None:
            env[at["bias_velocity"]][...] = held.astype(env[at["bias_velocity"]].dtype)
        return saturated

    def cost(self, ins: list[Tensor]) -> Cost:
        return Cost(macs=macs(self, ins[1].shape, self._learning), weight_bits=self.weight_bits)

    def emit_call(self, em: Emitter, struct: str, call: str) -> list[Statement]:
        """The call of the kernel, whose configuration is a `struct`."""
        height, width, channels = self.image(self._x.shape)
        if self._x.dtype == "i8":
            em.define("SPK_CONV_CODES")
        fields: Fields = {
            **self.window_fields((height, width, channels), "window."),
            "outputs": self.channels_out(channels),
            "learned": self._learning,
            "source": self.source_c(self._x),
            "batch": self.batch,
        }
        if self._sgd is not None:
            fields["sgd"] = self._sgd.c()
        if self._bias_sgd is not None:
            fields["bias_sgd"] = self._bias_sgd.c()
        config = em.config(self.name, struct, fields)
        roles = self.roles(channels)
        parts: Fields = {}
        for role, name in zip(roles, self.inputs, strict=True):
            at = em.tensor(name)
            parts[role] = c.cast("uint32_t *", at) if role in ("health", "count") else at
        return [c.run(call, config, c.compound("struct spk_conv_step", parts))]


def groups(channels: int) -> int:
    """Channels in groups of four, and of one at the end: how many groups."""
    return channels // 4 + channels % 4


def places(channels: int) -> tuple[Array, Array]:
    """Of each channel its group, and its place there."""
    at = np.arange(channels)
    whole = channels // 4 * 4
    return np.where(at < whole, at // 4, whole // 4 + at - whole), np.where(at < whole, at % 4, 0)
