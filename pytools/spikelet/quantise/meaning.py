"""What a `Network` computes, in float32, node by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array
from spikelet.quantise.network import Network, Node
from spikelet.quantise.operator import network_operators
from spikelet.refusal import refuse


def run(network: Network, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Execute a network on N samples.

    Args:
        network: what to execute; the batch axis of 1 that it was written for becomes N.
        feeds: every input by name, (N, *rest of its shape).

    Returns:
        Every tensor but the constants by name: float32 (int64 for indices), the batch axis first.

    Raises:
        UsageError: an input is missing or has another shape, a node is unknown or fails.
    """
    return execute(network, feeds)


def execute(
    network: Network,
    feeds: Mapping[str, Array],
    after: Callable[[Node | str, Array], Array] | None = None,
) -> dict[str, Array]:
    """`run`, with a say in every tensor.

    Args:
        network: what to execute.
        feeds: inputs by name.
        after: gets each input's name or node and its value, and returns the value that is used.
    """
    values: dict[str, Any] = {"": None, **network.constants}
    results: dict[str, Array] = {}
    for name, shape in network.inputs.items():
        if name not in feeds:
            raise UsageError(f"network {network.name}: no data for input {name}")
        x = np.asarray(feeds[name], np.float32)
        if x.shape[1:] != tuple(shape[1:]):
            raise UsageError(
                f"network {network.name}: input {name} has shape {x.shape}, expected "
                f"(N, {', '.join(map(str, shape[1:]))})"
            )
        results[name] = values[name] = x if after is None else after(name, x)
    for node in network.nodes:
        y = evaluate(node, [values[name] for name in node.inputs])
        results[node.name] = values[node.name] = y if after is None else after(node, y)
    return results


def evaluate(node: Node, inputs: list[Any]) -> Array:
    """What one node computes from its inputs; raises UsageError where it cannot."""
    operator = network_operators().get(node.op)
    if operator is None:
        raise refuse(
            node.source or node.name,
            node.op,
            "this operator is not supported",
            f"supported are {', '.join(sorted(network_operators()))}",
            node.attributes,
        )
    try:
        with np.errstate(all="ignore"):
            y = operator.meaning(inputs, node.attributes)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        shapes = ", ".join("none" if x is None else str(np.shape(x)) for x in inputs)
        attributes = ", ".join([node.op, *(f"{k}={v}" for k, v in node.attributes.items())])
        raise UsageError(
            f"node {node.source or node.name!r} ({attributes}) cannot be computed on inputs of "
            f"shape {shapes}: {error}"
        ) from error
    return y.astype(np.float32) if y.dtype == np.float64 else y


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor, constants included, the batch axis of 1 included."""
    zeros = {name: np.zeros(shape, np.float32) for name, shape in network.inputs.items()}
    arrays = {**network.constants, **run(network, zeros)}
    return {name: values.shape for name, values in arrays.items()}
