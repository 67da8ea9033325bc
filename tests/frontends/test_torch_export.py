"""`spikelet.export`: a trained module and some data become a package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import spikelet
from spikelet.errors import UsageError
from spikelet.frontends.torch import from_torch
from spikelet.package import Package
from spikelet.quantise import Options
from torch_modules import IMAGE, Call, ds_cnn, with_random_statistics

SAMPLES = 160


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.fc(torch.cat([left, right], dim=1))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return with_random_statistics(ds_cnn())


@pytest.fixture(scope="module")
def x() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(SAMPLES, *IMAGE)


def test_a_module_becomes_a_package(net: nn.Module, x: Tensor, tmp_path: Path) -> None:
    with torch.no_grad():
        labels = net(x).argmax(dim=1)
    path = tmp_path / "kws.spk"
    package = spikelet.export(net, x[:1], x, name="kws", labels=labels, out=path)
    assert Package.load(path).sha256 == package.sha256
    assert package.graph.name == "kws"
    assert [t.shape for t in package.graph.inputs] == [(9, 12, 4)]  # channels last
    assert package.vectors["x"].shape == (SAMPLES, 9, 12, 4)
    np.testing.assert_array_equal(package.vectors["y"], labels.numpy())
    manifest = package.manifest
    assert manifest["float_accuracy"] == 1.0
    golden = package.graph.predicted(package.vectors[f"golden.{package.graph.outputs[0]}"])
    assert manifest["integer_accuracy"] == np.mean(golden == labels.numpy())
    assert manifest["integer_accuracy"] >= 0.95
    assert manifest["drift"] == pytest.approx(manifest["integer_accuracy"] - 1)
    assert min(row["snr_db"] for row in manifest["layer_drift"]) > 20
    assert set(manifest["versions"]) == {"torch", "numpy", "spikelet"}
    assert manifest["calibration"].endswith(" samples")
    assert set(manifest["quantisation"]) == {"ranges", "equalised", "bias_correction"}


@pytest.fixture(scope="module")
def small() -> nn.Module:
    """For tests of what becomes of samples, whatever the network."""
    torch.manual_seed(0)
    channels, height, width = IMAGE
    size = 4 * (height - 2) * (width - 2)
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(size, 5))


def test_calibration_may_come_in_batches(small: nn.Module, x: Tensor) -> None:
    whole = spikelet.export(small, x, x.numpy())
    with_labels = DataLoader(TensorDataset(x, torch.zeros(len(x))), batch_size=32)
    loader: Any = DataLoader(x, batch_size=64)  # type: ignore[arg-type]
    for batches in (loader, with_labels, [x[:100], x[100:]], iter(x.split(50))):
        assert spikelet.export(small, x, batches).sha256 == whole.sha256
    assert spikelet.export(small, x, x, options=Options(method="minmax")).sha256 != whole.sha256


def test_test_samples_become_the_vectors(small: nn.Module, x: Tensor) -> None:
    package = spikelet.export(small, x, x, test=x[:7], labels=np.zeros(7, np.int64))
    assert package.vectors["x"].shape[0] == package.manifest["samples"] == 7
    assert package.manifest["vectors"] == "7 samples of test"
    many = spikelet.export(small, x, torch.cat([x, x]))
    assert len(many.vectors["x"]) == 200


@pytest.mark.quick
def test_a_network_of_two_inputs(x: Tensor) -> None:
    torch.manual_seed(0)
    left, right = torch.randn(2, 64, 3)
    package = spikelet.export(Two(), (left, right), {"left": left, "right": right})
    assert {t.name for t in package.graph.inputs} == {"left", "right"}
    assert package.manifest["layer_drift"][-1]["snr_db"] > 25


@pytest.mark.parametrize(
    "drop",
    [
        lambda y: y.squeeze(-1),
        lambda y: y[:, 0],
        lambda y: y.flatten(),
        lambda y: y.reshape(len(y)),
        lambda y: torch.sigmoid(2 * y.squeeze(1) - y[:, 0]),
        lambda y: y.view(-1).unsqueeze(1),
        lambda y: torch.cat([y, -y], dim=1).sum(1) + y.mean(-1),
    ],
)
def test_axes_of_one_behind_the_batch_axis_may_go(drop: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 1)), torch.randn(64, 3)
    package = spikelet.export(nn.Sequential(net, Call(drop)), x[:1], x)
    wanted = drop(net(x)).detach().numpy()
    (found,) = package.predict(x).outputs.values()
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()


def test_a_squeeze_that_would_drop_the_batch_axis_says_what_to_write() -> None:
    with pytest.raises(UsageError, match=r"squeeze\(-1\)"):
        from_torch(Call(lambda x: x.squeeze()), torch.zeros(2, 1))


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda net, x: spikelet.export(net, x, x[:, :2]), "expected (N, 4, 9, 12)"),
        (lambda net, x: spikelet.export(net, x, x[:0]), "x has shape (0, 4, 9, 12)"),
        (lambda net, x: spikelet.export(net, x, []), "calibration holds no sample"),
        (lambda net, x: spikelet.export(net, x, [{"image": x}]), "samples are a dict, expected"),
        (lambda net, x: spikelet.export(net, x, x * np.nan), "x holds NaN or infinity"),
        (lambda net, x: spikelet.export(net, x, {"y": x}), "holds y, expected x"),
        (lambda net, x: spikelet.export(net, x, x, labels=np.arange(3)), "labels holds 3 values"),
        (lambda net, x: spikelet.export(net, x, x, labels=x[:, 0]), "labels are float32"),
        (
            lambda net, x: spikelet.export(Two(), (x[:, 0, 0, :3], x[:, 0, 0, :3]), x),
            "the module has the inputs left, right",
        ),
        (lambda net, x: spikelet.export(net, x, x, name="9 lives"), "name is '9 lives'"),
    ],
)
def test_data_that_does_not_fit_is_refused(
    net: nn.Module, x: Tensor, call: Callable[[nn.Module, Tensor], Package], what: str
) -> None:
    with pytest.raises(UsageError) as caught:
        call(net, x)
    assert what in caught.value.what
