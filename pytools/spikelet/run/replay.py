"""A sample run again to a step and an operator, and how long a run may take."""

from __future__ import annotations

from collections.abc import Mapping

from spikelet.graph import Array, Graph, Phase, Tensor
from spikelet.link import Device
from spikelet.link.errors import impossible


def replay(
    device: Device,
    inputs: Mapping[str, bytes],
    tensor: Tensor,
    stop: tuple[int, int],
    deadline_s: float,
    *,
    keep: bool = False,
) -> Array:
    """Run a sample on a trace build until an operator in a step; what a tensor holds then.

    Args:
        device: a trace build.
        inputs: of the sample, by name, in their wire layout.
        tensor: to read, which that operator wrote.
        stop: step, and number of the operator.
        deadline_s: of the run.
        keep: begin with the neurons' states as the run before left them.
    """
    result = device.run(inputs=inputs, stop=stop, keep=keep, deadline_s=deadline_s)
    if not result.stopped:
        raise impossible(
            device.transport.name, f"that it did not come to operator {stop[1]}, step {stop[0]}"
        )
    return tensor.from_bytes(device.get(tensor.name))


def sample_deadline(graph: Graph, mips: float) -> float:
    """Seconds within which a device has run a sample, without what the wire takes.

    Args:
        graph: what it runs.
        mips: lower bound of its speed, million instructions a second.
    """
    # 20 instructions a dense operation is far above any kernel's cost; a busy host that emulates
    # the device is slower than `mips` at times.
    return 10.0 + 8.0 * 20.0 * _dense_work(graph) / (mips * 1e6)


def _dense_work(graph: Graph) -> int:
    total = 0
    for node in graph.order:
        cost = node.cost()
        times = graph.steps if graph.phase(node) is Phase.STEP else 1
        total += times * (cost.macs + cost.synaptic_ops + 10 * cost.updates + 1000)
    return total
