"""Networks as both exporters of PyTorch write them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx_networks import NETWORKS, SHAPE, export_model, module, samples, save_model
from torch import nn

from spikelet.frontends.onnx import parse
from spikelet.quantise import Quantised, drift, quantise, run


def import_and_compare(
    data: bytes, network: nn.Module, shape: tuple[int, ...] = SHAPE
) -> Quantised:
    """The file's network, which must compute what the module does, quantised."""
    x = samples(40, 1, shape)
    found = parse(data).network
    with torch.no_grad():
        wanted = network(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(run(found, {"x": x})[found.outputs[0]], wanted, atol=2e-6)
    made = quantise(found, {"x": x})
    assert min(d.snr for d in drift(made, {"x": x})) > 20
    return made


@pytest.mark.parametrize("name", NETWORKS)
def test_what_the_older_exporter_writes(name: str) -> None:
    import_and_compare(export_model(name), module(name))


def test_what_the_newer_exporter_writes() -> None:
    made = import_and_compare(export_model("Residual", dynamo=True), module("Residual"))
    assert [node.KIND for node in made.graph.nodes] == [
        "conv2d", "depthwise_conv2d", "conv2d", "add", "max_pool2d", "reshape", "fully_connected"
    ]  # fmt: skip


class Shapes(nn.Module):
    """What moves and reshapes, with sizes that are asked for at run time."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.line = nn.Conv2d(3, 8, 3, padding="same"), nn.Conv1d(8, 6, 3, stride=2)
        self.last = nn.Linear(6 * 7, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.elu(self.first(x))
        left, right = torch.chunk(y, 2, dim=1)
        y = torch.cat([right, left], dim=1)
        y = nn.functional.interpolate(y[:, :, ::2, 1:5], scale_factor=2, mode="nearest")
        y = nn.functional.pad(y, (1, 1, 0, 0))
        y = y.mean(dim=2).reshape(y.size(0), 8, -1)
        y = nn.functional.silu(self.line(nn.functional.pad(y, (3, 3))))
        return self.last(y.permute(0, 2, 1).contiguous().view(y.size(0), -1))


def test_sizes_that_are_computed_are_folded() -> None:
    torch.manual_seed(0)
    network = Shapes().eval()
    made = import_and_compare(save_model(network, SHAPE), network)
    assert made.graph.tensors[made.graph.outputs[0]].shape == (5,)
