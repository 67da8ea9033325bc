"""Ranges of tensors on data, and their int8 codes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array
from spikelet.graph.declared import SCALE_MOST
from spikelet.graph.int8 import round_half_away
from spikelet.quantise.fuse import Group, fixed_code, groups, shared_codes
from spikelet.quantise.meaning import run
from spikelet.quantise.network import Code, Network
from spikelet.quantise.operator import operator_of

METHODS = ("mse", "percentile", "minmax")
_BINS = 2048
_SHRINKS = np.linspace(0.3, 1.0, 29)  # of a range, that `mse` tries
_SHRINKS_OF_WEIGHTS = np.linspace(0.1, 1.2, 56)  # of the largest weight, at the last level


def calibrate(
    network: Network,
    feeds: Mapping[str, Array] | None,
    method: str = "mse",
    percentile: float = 99.99,
) -> dict[str, Code]:
    """Codes of all activations that need one and have none.

    Args:
        network: folded.
        feeds: inputs by name, (N, *rest of the shape); None where no range has to be found.
        method: `minmax` takes the whole range; `percentile` leaves out the outermost
            `(100 - percentile)` percent of the values on either side; `mse` takes the range with
            the smallest mean squared error of the codes.
        percentile: for the method of that name.
    """
    if method not in METHODS:
        raise UsageError(f"method {method!r} is not one of {', '.join(METHODS)}")
    if not 50 < percentile <= 100:
        raise UsageError(f"a percentile of {percentile}, expected more than 50 and at most 100")
    values = None if feeds is None else run(network, feeds)
    last = {group.name: group for group in groups(network)}
    by_name: dict[str, Code] = {}
    for members in shared_codes(network):
        missing = [name for name in members if name not in network.codes]
        if len(missing) < len(members):  # the others have a given code
            first = next(network.codes[name] for name in members if name in network.codes)
            by_name.update(dict.fromkeys(missing, first))
            continue
        made = [name for name in members if name not in last or _makes(last[name], members)]
        codes = [
            fixed_code(last[n].nodes[-1], values is not None) if n in last else None for n in made
        ]
        code = codes[0] if codes and all(c is codes[0] for c in codes) else None
        if code is None:
            if values is None:
                raise UsageError(
                    f"network {network.name}: tensor {members[0]} has no int8 code",
                    "a float model, and no calibration data",
                    "give data to calibrate with",
                )
            every = [values[name].reshape(-1) for name in made or members]
            code = activation_code(*_range(every, method, percentile, members[0]))
        by_name.update(dict.fromkeys(missing, code))
    return by_name


def _makes(group: Group, members: list[str]) -> bool:
    """Whether a group writes values that none of the members before it has."""
    operator = operator_of(group.head)
    if not operator.keeps_code or operator.adds_values:
        return True
    limits = [operator_of(node).limits(node.attributes) or (0, 0) for node in group.nodes[1:]]
    if any((low or 0) > 0 or (high or 0) < 0 for low, high in limits):
        return True  # a clamp to where no value need be
    return any(name not in members for name in group.head.inputs)


def _range(every: list[Array], method: str, percentile: float, name: str) -> tuple[float, float]:
    values = np.concatenate(every) if len(every) > 1 else every[0]
    low, high = float(values.min()), float(values.max())
    if not (high - low) / 255 <= SCALE_MOST:  # infinite ones and what is not a number among it
        raise UsageError(
            f"tensor {name}: values from {low} to {high} on the calibration data",
            "data outside of what the network was trained on, or a logarithm or division of 0",
        )
    if method == "percentile":
        ends = np.percentile(values, [100 - percentile, percentile])
        return float(ends[0]), float(ends[1])
    return (low, high) if method == "minmax" else _least_error(values, low, high)


def _least_error(values: Array, low: float, high: float) -> tuple[float, float]:
    """The range, shrunk on either side, whose codes have the smallest squared error."""
    counts, edges = np.histogram(values, _BINS, (min(low, 0.0), max(high, 1e-30)))
    centres = (edges[1:] + edges[:-1]) / 2
    best, chosen = math.inf, (low, high)
    for below in _SHRINKS if low < 0 else [1.0]:
        for above in _SHRINKS if high > 0 else [1.0]:
            code = activation_code(low * below, high * above)
            with np.errstate(over="ignore", invalid="ignore"):  # of values near the largest float
                error = float((counts * (fake_quantise(centres, code) - centres) ** 2).sum())
            if error < best:
                best, chosen = error, (low * below, high * above)
    return chosen


def activation_code(low: float, high: float) -> Code:
    """The asymmetric int8 code of a range; it is widened to contain 0, which has a code exactly."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    scale = np.float32((high - low) / 255)
    if not scale > np.float32(2.0**-60):  # nothing but zeros
        return Code.of(1 / 255)
    zero_point = int(round_half_away(np.float64(-128 - low / float(scale))))
    return Code.of(float(scale), min(max(zero_point, -128), 127))


def weight_code(weight: Array, per_channel: bool = True, bits: int = 8, odd: bool = False) -> Code:
    """The symmetric code of weights (O, ...), a scale a channel O.

    Of 8 bits the largest magnitude is 127. Of fewer, or an odd grid, the scale is the one with the
    smallest squared error.
    """
    if bits < 8 or odd:
        return _few_levels(weight if per_channel else weight.reshape(1, -1), bits, odd, per_channel)
    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1).astype(np.float64)
    most = float(largest.max()) or 1.0
    if not per_channel:
        return Code.of(most / 127)
    # A channel of zeros takes a scale at which its bias is as fine as that of others.
    return Code((np.where(largest > 0, largest, most) / 127).astype(np.float32))


def _few_levels(weight: Array, bits: int, odd: bool, per_channel: bool) -> Code:
    rows = np.abs(weight.reshape(len(weight), -1).astype(np.float64))
    largest = rows.max(axis=1)
    largest = np.where(largest > 0, largest, float(largest.max()) or 1.0)
    half = 1 << (bits - 1)
    if bits == 1:
        scale = rows.mean(axis=1)
        chosen = np.where(scale > 0, scale, largest)
    else:
        best, chosen = np.full(len(rows), np.inf), largest
        for shrink in _SHRINKS_OF_WEIGHTS:
            scale = shrink * largest / (2 * half - 1 if odd else half - 1)
            code = Code(scale.astype(np.float32), bits=bits, odd=odd)
            error = ((reals(integers(rows, code), code) - rows) ** 2).sum(axis=1)
            better = error < best
            best, chosen = np.where(better, error, best), np.where(better, scale, chosen)
    scales = chosen.astype(np.float32)
    return Code(scales if per_channel else scales[0], bits=bits, odd=odd)


def integers(values: Array, code: Code) -> Array:
    """Codes int8 of real values."""
    half = 1 << (code.bits - 1)
    scale = np.asarray(code.scale, np.float64)
    if scale.ndim:
        scale = scale.reshape(*(1,) * code.axis, -1, *(1,) * (values.ndim - code.axis - 1))
    if code.even and not code.odd:  # in single precision, as QuantizeLinear does it
        steps = np.rint(values.astype(np.float32) / scale.astype(np.float32)).astype(np.float64)
    else:
        steps = values.astype(np.float64) / scale
    codes_ = np.floor(steps / 2) if code.odd else round_half_away(steps) + code.zero_point
    codes: Array = np.clip(codes_, -half, half - 1).astype(np.int8)
    return codes


def reals(codes: Array, code: Code) -> Array:
    """Real values, float32, of codes."""
    scale = np.asarray(code.scale, np.float32)
    if scale.ndim:
        scale = scale.reshape(*(1,) * code.axis, -1, *(1,) * (codes.ndim - code.axis - 1))
    levels = codes.astype(np.float32) - np.float32(code.zero_point)
    values: Array = (2 * levels + 1 if code.odd else levels) * scale
    return values


def fake_quantise(values: Array, code: Code) -> Array:
    """Real values as their codes hold them, of one scale."""
    scale = np.float32(code.scale)
    low, high = (-128 - code.zero_point) * scale, (127 - code.zero_point) * scale
    rounded: Array = np.rint(np.clip(values, low, high) / scale) * scale
    return rounded
