"""What the states of leaky integrate-and-fire neurons may be in any step: see `ops.lif`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikelet.graph.operator import Interval

if TYPE_CHECKING:
    from spikelet.graph.ops.lif import Lif

SETTLED = 2048  # steps, at which a membrane whose range still grows is taken to have no bound
_LOWEST, _HIGHEST = -(1 << 31), (1 << 31) - 1


@dataclass
class Reach:
    """Lowest and highest, (n,) int64 each, over all steps so far.

    Attributes:
        before: of the membrane, before it is clipped.
        membrane: as it is stored.
        far: of the adaptation, before it is clipped.
        adaptation: as it is stored.
    """

    before: Interval
    membrane: Interval
    far: Interval
    adaptation: Interval


def reach(layer: Lif, x: Interval, steps: int) -> Reach:
    """Over so many steps, of an input between the ends of x, its drift included."""
    start = layer.each(np.array([layer.initial]) if layer.initials is None else layer.initials)
    zero = np.zeros_like(start)
    found = Reach((start, start), (start, start), (zero, zero), (zero, zero))
    for t in range(SETTLED + 1 if layer.endless else steps):
        if t == SETTLED and layer.endless:  # it grows on: then it is held by its type alone
            found.membrane = np.full_like(start, _LOWEST), np.full_like(start, _HIGHEST)
            found.adaptation = found.membrane if layer.adapts != "nothing" else (zero, zero)
        (low, high), w = found.membrane, found.adaptation
        taken = (x[0] - w[1], x[1] - w[0]) if layer.adapts == "input" else x
        raised = w if layer.adapts == "threshold" else (zero, zero)
        reached, stored = _step(layer, found.membrane, taken, raised)
        found.before = _union(found.before, reached)
        # A membrane may also be held: the union over all steps.
        found.membrane = _clip(_union(found.membrane, stored))
        if layer.adapts != "nothing":
            far = _adapted(layer, found.membrane, w)
            found.far = _union(found.far, far)
            found.adaptation = _clip(_union(w, far))
        if layer.endless and _same(found.membrane, (low, high)) and _same(found.adaptation, w):
            break
    return found


def _same(one: Interval, other: Interval) -> bool:
    return bool((one[0] == other[0]).all() and (one[1] == other[1]).all())


def _union(*intervals: Interval) -> Interval:
    lows, highs = zip(*intervals, strict=True)
    low, high = lows[0], highs[0]
    for other in lows[1:]:
        low = np.minimum(low, other)
    for other in highs[1:]:
        high = np.maximum(high, other)
    return low, high


def _clip(interval: Interval) -> Interval:
    return np.clip(interval[0], _LOWEST, None), np.clip(interval[1], None, _HIGHEST)


def _step(layer: Lif, v: Interval, x: Interval, raised: Interval) -> tuple[Interval, Interval]:
    """What is reached before it is clipped, and what is stored, of a membrane within v."""
    threshold, value = layer.each(layer.threshold), layer.each(layer.reset_value)
    to_value = layer.reset in ("zero", "value")
    subtracts = layer.reset == "subtract"
    late = layer.timing != "same_step" and layer.reset != "none"
    low, high = v
    idle_high = np.minimum(high, np.maximum(threshold, low)) if late else high  # it did not fire
    calm = layer.leaked(low) + x[0], layer.leaked(idle_high) + x[1]
    if not late:
        return _now(layer, calm, raised)
    late_from = np.maximum(low, threshold), high
    if to_value and layer.timing == "next_step_input_lost":
        reset: Interval = (value, value)
    else:
        begin = (value, value) if to_value else late_from
        off = threshold if subtracts else 0
        reset = layer.leaked(begin[0]) + x[0] - off, layer.leaked(begin[1]) + x[1] - off
    if layer.timing != "both_steps":
        reached = _union(calm, reset)
        return reached, reached
    most = calm[1] if layer.inhibition else np.minimum(calm[1], threshold)
    silent = (calm[0], np.maximum(most, calm[0]))
    again = reset  # it fired in the step before: what its reset took is given back if it does not
    if subtracts:
        fired: Interval = (np.zeros_like(low), np.maximum(calm[1] - threshold, 0))
        back = reset[0] + threshold, reset[1] + threshold
    else:
        fired = (value, value)
        back = 2 * reset[0] - value, 2 * reset[1] - value
    stored = _union(silent, fired, again, back)
    return _union(calm, reset, stored), stored


def _now(layer: Lif, reached: Interval, raised: Interval) -> tuple[Interval, Interval]:
    """A membrane that is reset in its own step, or never."""
    if layer.reset == "none":
        return reached, reached
    threshold, value = layer.each(layer.threshold), layer.each(layer.reset_value)
    low, high = reached
    # What did not fire is at most the threshold; what did was reset.
    if layer.reset == "subtract":
        after: Interval = (np.minimum(raised[0], 0), np.maximum(high - threshold, 0))
    else:
        after = (value, value)
    silent = high if layer.inhibition else np.minimum(high, threshold + raised[1])
    return reached, (np.minimum(low, after[0]), np.maximum(silent, after[1]))


def _adapted(layer: Lif, v: Interval, w: Interval) -> Interval:
    """An adaptation after a step, before it is clipped."""
    jump = layer.each(layer.jump) * layer.most
    ends = layer.coupled(v[0]), layer.coupled(v[1])
    kept = layer.adaptation_kept(w[0]), layer.adaptation_kept(w[1])
    return (
        kept[0] + np.minimum(*ends) + np.minimum(jump, 0),
        kept[1] + np.maximum(*ends) + np.maximum(jump, 0),
    )
