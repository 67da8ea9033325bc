"""Rounding to integers in other ways than to the nearest, as QONNX has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelet.graph import Array
from spikelet.quantise.function import Function
from spikelet.quantise.operator import Attributes

if TYPE_CHECKING:
    from torch import Tensor


def _up(x: Array) -> Array:
    return np.asarray(np.sign(x) * np.ceil(np.abs(x)))


def _half_up(x: Array) -> Array:
    return np.asarray(np.sign(x) * np.floor(np.abs(x) + np.float32(0.5)))


def _half_down(x: Array) -> Array:
    return np.asarray(np.sign(x) * np.ceil(np.abs(x) - np.float32(0.5)))


ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "ROUND": np.rint, "HALF_EVEN": np.rint, "CEIL": np.ceil, "FLOOR": np.floor, "UP": _up,
    "DOWN": np.trunc, "HALF_UP": _half_up, "HALF_DOWN": _half_down,
}  # fmt: skip


class Trunc(Function):
    """Integers `x / scale + zero_point` over a divisor, rounded in a `mode`, times a scale.

    With a divisor they are rounded to the nearest first. Mode SIGN is -1 or 1 (of 0, too) alone.
    """

    OP = "Trunc"

    def slope(self, attributes: Attributes) -> float | None:
        steps = attributes.get("scale", 1.0) * (attributes.get("divisor") or 1)
        return float(attributes.get("output_scale", 1.0) / steps)

    def value(
        self,
        x: Array,
        mode: str = "ROUND",
        scale: float = 1.0,
        zero_point: int = 0,
        divisor: float | None = None,
        output_scale: float = 1.0,
    ) -> Array:
        step = np.float32(output_scale)
        if mode == "SIGN":
            return np.asarray(np.where(x >= 0, step, -step))
        y = x.astype(np.float32) / np.float32(scale) + np.float32(zero_point)
        if divisor is not None:
            y = np.rint(y) / np.float32(divisor)
        zero = np.float32(zero_point / (divisor or 1))
        return np.asarray((ROUNDINGS[mode](y) - zero) * step)

    def value_in_torch(self, x: Tensor, **attributes: Any) -> Tensor:
        """Its gradient is the slope (straight-through); of a sign, that of a rounded step."""
        import torch

        if attributes.get("mode") == "SIGN":
            from spikelet.quantise.sign_step import SignStep

            signs: Tensor = SignStep.apply(x)  # type: ignore[no-untyped-call]
            step = float(attributes.get("output_scale", 1.0))
            return signs if step == 1 else signs * step
        soft = x * (self.slope(attributes) or 1.0)
        made = torch.from_numpy(self.value(x.detach().numpy(), **attributes))
        return soft + (made - soft).detach()
