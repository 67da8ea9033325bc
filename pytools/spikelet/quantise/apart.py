"""Whether a network keeps samples apart: each is computed as if it were alone.

What a device computes is one sample. An operator that mixes samples, or drops some, is invisible
with one of them, so a network is executed on several at once and on each alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array
from spikelet.quantise.meaning import evaluate
from spikelet.quantise.network import Network
from spikelet.refusal import refuse

SAMPLES = 3
MIXED = "it mixes, merges or drops samples along the batch axis"
ADVICE = "leave the first axis alone: operators work on the axes behind it"
_ROUNDING = 1e-4  # relative to the largest value: sums in another order
_PIECE = 1 << 16  # elements that are compared at a time
_FLIPPED = 0.01  # of the elements may differ by more: a step function where rounding flips it


def agree(a: Array, b: Array) -> bool:
    """Whether two arrays hold the same values but for rounding."""
    if a.shape != b.shape:
        return False
    a, b = (np.asarray(v, np.result_type(v, np.float32)).reshape(-1) for v in (a, b))
    pieces = [slice(i, i + _PIECE) for i in range(0, a.size, _PIECE)]
    finite = (np.max(np.abs(b[i]), initial=0.0, where=np.isfinite(b[i])) for i in pieces)
    largest = max(finite, default=0.0)
    return sum(_differing(a[i], b[i], largest) for i in pieces) <= _FLIPPED * a.size


def _differing(a: Array, b: Array, largest: float) -> int:
    """How many elements are further apart than rounding brings them."""
    with np.errstate(all="ignore"):
        room = _ROUNDING * (np.abs(b) + largest / 10) + 1e-30
        near = (np.abs(a - b) <= room) | (a == b) | (np.isnan(a) & np.isnan(b))
    return int(np.count_nonzero(~near))


def is_batched(together: Array, alone: Sequence[Array]) -> bool:
    """Whether a tensor of several samples is the tensors of each, one behind the other."""
    if {v.shape[:1] for v in alone} != {(1,)} or together.shape[:1] != (len(alone),):
        return False
    return all(agree(together[i : i + 1], v) for i, v in enumerate(alone))


def apart(together: Array, alone: Sequence[Array]) -> bool:
    """The same along any axis, or where the samples do not matter: a step on the way."""
    if all(agree(together, v) for v in alone):
        return True
    if len({v.shape for v in alone}) != 1:
        return False
    return any(agree(together, np.concatenate(list(alone), axis)) for axis in range(alone[0].ndim))


def check_apart(network: Network) -> None:
    """Refuse, by name, the first node of a network that does not keep samples apart.

    Raises:
        ImportRefused: names it with its attributes.
    """
    if any(shape[:1] != (1,) for shape in network.inputs.values()):
        return  # refused with a text of its own
    rng = np.random.default_rng(0)
    whole: dict[str, Any] = {"": None, **network.constants}
    for name, shape in network.inputs.items():
        whole[name] = rng.standard_normal((SAMPLES, *shape[1:]), np.float32)
    each: list[dict[str, Any]] = [
        {name: v[i : i + 1] if name in network.inputs else v for name, v in whole.items()}
        for i in range(SAMPLES)
    ]
    computed = set(network.inputs)
    read = {name: number for number, node in enumerate(network.nodes) for name in node.inputs}
    for number, node in enumerate(network.nodes):
        for values in each:
            values[node.name] = evaluate(node, [values[i] for i in node.inputs])
        alone = [values[node.name] for values in each]
        if not computed.intersection(node.inputs):
            whole[node.name] = alone[0]
            continue
        computed.add(node.name)
        try:
            whole[node.name] = evaluate(node, [whole[i] for i in node.inputs])
            kept = is_batched(whole[node.name], alone)
        except UsageError:
            kept = False
        if not kept:
            raise refuse(
                node.source or node.name, node.op, f"{MIXED}, {alone[0].shape} of one sample",
                ADVICE, node.attributes,
            )  # fmt: skip
        # Each node is judged by itself: a difference would magnify the rounding of those before it.
        for i, values in enumerate(each):
            values[node.name] = whole[node.name][i : i + 1]
        del alone  # activations may be large: what no later node reads is freed
        for name in {node.name, *node.inputs} - {""}:
            if read.get(name, -1) <= number:
                for values in (whole, *each):
                    values.pop(name, None)
