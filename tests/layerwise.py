"""Each layer of an int8 graph against the float meaning of its nodes on the codes it really got."""

from __future__ import annotations

import numpy as np

from spikelet.graph import Array
from spikelet.quantise import Quantised, decode, encode, groups
from spikelet.quantise.meaning import evaluate


def differences(quantised: Quantised, feeds: dict[str, Array]) -> dict[str, int]:
    """By layer, the largest difference in codes."""
    network, graph = quantised.network, quantised.graph
    codes = {quantised.names[n]: encode(quantised, feeds[n], n) for n in network.inputs}
    trace = {name: rows[0] for name, rows in graph.run(codes, trace=True).trace.items()}
    trace.update(codes)
    env: dict[str, Array] = {"": None}  # type: ignore[dict-item]
    for name, values in network.constants.items():
        code = network.codes.get(name)
        if code is None:
            env[name] = values
        else:
            scale = np.reshape(code.scale, (-1,) + (1,) * (values.ndim - 1)) if values.ndim else 1.0
            env[name] = (np.rint(values / scale) * scale).astype(np.float32)
    for name in network.inputs:
        env[name] = decode(quantised, codes[quantised.names[name]], name)
    found = {}
    for group in groups(network):
        for node in group.nodes:
            env[node.name] = evaluate(node, [env[name] for name in node.inputs])
        if group.name not in quantised.names:
            continue  # a flat tensor in another order: its readers tell
        held = trace[quantised.names[group.name]]
        real = decode(quantised, held, group.name)
        tensor = graph.tensors[quantised.names[group.name]]
        if tensor.dtype == "i8":
            wanted = np.clip(
                env[group.name].astype(np.float64) / tensor.scale + tensor.zero_point, -128, 127
            )
            off = np.abs(np.rint(wanted) - (real / tensor.scale + tensor.zero_point))
        else:
            off = np.abs(env[group.name] - real)
        found[f"{group.name}:{group.head.op}"] = round(float(off.max()))
        env[group.name] = real
    return found
