"""NeuroBench's own package on the same network: its metrics are those that a device counts.

It asks for torchaudio, tonic and numba; without its dependencies (`pip install --no-deps
neurobench`) the parts that are used here work, too. Where it is not installed, these tests are
skipped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikelet.board import find_board
from spikelet.metrics import NeuroBench
from spikelet.run.bench import effective_work
from spikelet.run.workflow import SessionTarget, connect, make

pytest.importorskip("neurobench")

STEPS, SAMPLES = 12, 10


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], NeuroBench]:
    """What the package measures, and what a device counts."""
    import snntorch as snn
    import torch
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
    from neurobench.metrics.workload import (
        ActivationSparsity,
        MembraneUpdates,
        SynapticOperations,
    )
    from neurobench.models import SNNTorchModel
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    import spikelet

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False),
        snn.Leaky(beta=0.75, init_hidden=True, reset_mechanism="zero"),
        nn.Flatten(),
        nn.Linear(64, 10, bias=False),
        snn.Leaky(beta=0.5, init_hidden=True, output=True, reset_mechanism="zero"),
    )
    for layer, most in ((net[0], 60), (net[3], 40)):
        codes = torch.randint(-most // 2, most, layer.weight.shape)
        codes.view(-1)[0] = 127  # the grid that the export chooses
        codes[torch.rand(codes.shape) < 0.3] = 0
        codes.view(len(codes), -1)[:, 0] = 127
        layer.weight.data = codes.float() / 127
    x = (np.random.default_rng(1).random((SAMPLES, STEPS, 2, 8, 8)) < 0.1).astype(np.float32)
    package = spikelet.export(
        net, x[:2], x, name="nb", options=spikelet.Spiking(steps=STEPS, encoder="events")
    )
    assert [row["differing"] for row in package.manifest["spike_agreement"]] == [0, 0]
    model = SNNTorchModel(net)
    data = DataLoader(TensorDataset(torch.from_numpy(x), torch.zeros(SAMPLES)), SAMPLES)
    static = [ConnectionSparsity, Footprint, ParameterCount]
    workload = [ActivationSparsity, MembraneUpdates, SynapticOperations]
    measured = Benchmark(model, data, [], [], [static, workload]).run(quiet=True)
    board = find_board("native")
    target = SessionTarget(board, make(package, board, tmp_path_factory.mktemp("nb"), trace=True))
    with connect(target, package) as (device, _):
        counted = effective_work(package, package.inputs, device)
    assert counted.counted_by == "device"
    return measured, counted


def test_synaptic_operations_are_the_package_s(both: tuple[dict[str, Any], NeuroBench]) -> None:
    theirs, ours = both
    operations = theirs["SynapticOperations"]
    assert ours.effective_acs == pytest.approx(operations["Effective_ACs"], rel=1e-6)
    assert ours.effective_macs == operations["Effective_MACs"] == 0
    assert ours.effective_acs > 1000


def test_activation_sparsity_is_the_package_s(both: tuple[dict[str, Any], NeuroBench]) -> None:
    theirs, ours = both
    assert ours.activation_sparsity == pytest.approx(theirs["ActivationSparsity"], abs=1e-6)
    assert 0.5 < ours.activation_sparsity < 0.99


def test_connection_sparsity_is_the_package_s(both: tuple[dict[str, Any], NeuroBench]) -> None:
    theirs, ours = both
    assert ours.connection_sparsity == pytest.approx(theirs["ConnectionSparsity"], abs=1e-4)
    assert ours.connection_sparsity > 0.2


def test_dense_operations_and_footprint_differ_as_stated(
    both: tuple[dict[str, Any], NeuroBench],
) -> None:
    """Ours count no products with padding; bytes are those that a device holds."""
    theirs, ours = both
    assert ours.dense == pytest.approx(theirs["SynapticOperations"]["Dense"], rel=0.15)
    assert ours.footprint_bytes < theirs["Footprint"]


def test_membrane_updates_are_the_package_s(both: tuple[dict[str, Any], NeuroBench]) -> None:
    """A membrane of integers comes to rest where a float one still shrinks."""
    theirs, ours = both
    assert ours.membrane_updates == pytest.approx(theirs["MembraneUpdates"], rel=0.05)
