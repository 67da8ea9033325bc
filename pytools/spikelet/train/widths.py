"""One store of weights for several widths: trained together, exported as one graph.

The weights are shared, each on the grid of its width, whose codes are the upper bits of those of 8
bits. Each width has its own gains, biases and ranges: what a batch normalisation a width would be
(Jin et al., "AdaBits: Neural Network Quantization with Adaptive Bit-Widths", CVPR 2020).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikelet.graph import Array, Graph, GraphError
from spikelet.graph.quantised import Quantised
from spikelet.graph.widths import at_widths
from spikelet.quantise import Network, quantise
from spikelet.train.qat import Grids, QatNetwork


class WidthsNetwork(nn.Module):
    """Networks that share their weights, one a width, the widest first.

    Args:
        network: as a frontend made it.
        feeds: calibration data by input name.
        method: of finding the first ranges.
        widths: bits.
        normalise: see `QatNetwork`; each width for itself.

    `forward` returns the scores at each width. A batch trains one that is `drawn`.
    """

    def __init__(
        self,
        network: Network,
        feeds: Mapping[str, Array],
        method: str,
        widths: Sequence[int],
        normalise: bool = False,
    ) -> None:
        super().__init__()
        self.widths = sorted(widths, reverse=True)
        first: QatNetwork | None = None
        nets = []
        for width in self.widths:
            bits = {node.name: width for node in network.nodes}
            grids = Grids(bits, nested=True, normalise=normalise)
            net = QatNetwork(network, feeds, method, grids)
            if first is None:
                first = net
            else:
                self._share(first, net)
            nets.append(net)
        self.nets = nn.ModuleList(nets)
        x = torch.from_numpy(np.ascontiguousarray(next(iter(feeds.values())), np.float32))
        for net in nets:
            net.match(x)

    @staticmethod
    def _share(first: QatNetwork, net: QatNetwork) -> None:
        """Weights are one, and so are the codes of what goes in and what comes out."""
        for name in net.weights:
            net.constants[net.keys[name]] = first.constants[first.keys[name]]
        for name in (*net.network.inputs, *net.network.outputs):
            if name in net.sites:
                at = net.index[net.sites[name]]
                net.ranges[at] = first.ranges[first.index[first.sites[name]]]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, classes) of each width."""
        return tuple(net(x) for net in self.nets)

    def parameter_groups(self, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """As of `QatNetwork`, each parameter once."""
        seen: set[int] = set()
        groups = []
        for net in self.nets:
            assert isinstance(net, QatNetwork)
            for group in net.parameter_groups(weight_decay):
                mine = [p for p in group["params"] if id(p) not in seen]
                seen |= {id(p) for p in mine}
                groups.append({**group, "params": mine})
        return [group for group in groups if group["params"]]

    def to_graph(self, name: str) -> Graph:
        """The graph with an input `effort.bits`; weights lie in flash once."""
        graphs = {}
        for width, net in zip(self.widths, self.nets, strict=True):
            assert isinstance(net, QatNetwork)
            graphs[width] = quantise(net.to_network(), None).graph
        return at_widths(share_store(graphs), name)


def drawn(nets: Sequence[nn.Module], narrowest: int | None = None) -> list[nn.Module]:
    """Those of a network's widths that a batch trains: one, the narrowest more often than others.

    It has the most to learn; and a step takes no longer than that of a network of one width.

    Args:
        nets: the widest first.
        narrowest: how many times as often as each of the others the last one is drawn; None: as
            often as all others together.
    """
    if len(nets) == 1:
        return list(nets)
    others = len(nets) - 1
    place = int(torch.randint(others + (narrowest or others), ()))
    return [nets[min(place, others)]]


def share_store(graphs: Mapping[int, Graph], planes: Sequence[int] = ()) -> dict[int, Graph]:
    """Graphs whose layers take the upper bits of the codes of the one at 8 bits.

    Args:
        graphs: by width, of the same layers; one has 8.
        planes: widths that keep packed weights of their own: faster, and so many bits a weight
            more in flash.

    Raises:
        GraphError: the codes of a width are not the upper bits of the others.
    """
    whole = {node.name: node for node in graphs[8].nodes if isinstance(node, Quantised)}
    shared = {}
    for width, graph in graphs.items():
        nodes = [
            _with_upper(node, whole[node.name], width)
            if isinstance(node, Quantised) and width < 8 and width not in planes
            else node
            for node in graph.nodes
        ]
        shared[width] = dataclasses.replace(graph, nodes=nodes)
    return shared


def _with_upper(node: Quantised, whole: Quantised, width: int) -> Quantised:
    """The same layer on the codes of 8 bits, in steps that are finer by what is left out."""
    if node.bits == 8:
        return node
    finer = 8 - width
    if not np.array_equal(whole.weight >> finer, node.weight):
        raise GraphError(f"layer {node.name}: its {width} bits are not the upper ones of 8")
    bias = node.bias.astype(np.int64) << finer
    if np.abs(bias).max() >= 1 << 31:
        raise GraphError(f"layer {node.name}: its bias at {width} bits is beyond 32 bits")
    fields: dict[str, Any] = {"upper": width, "bits": 8, "weight": whole.weight}
    return dataclasses.replace(
        node, bias=bias.astype(np.int32), shift=(node.shift - finer).astype(np.int32), **fields
    )
