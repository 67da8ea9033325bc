"""Figures are of the network as it was given, and samples are kept apart.

Files are written by PyTorch's exporter and executed by onnxruntime, the module by PyTorch.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import spikelet
from float_networks import images, mobile, unequal
from spikelet.errors import UsageError
from spikelet.frontends import network_package, onnx
from spikelet.frontends.torch import from_torch
from spikelet.package import Package
from spikelet.quantise import Options, drift, fold, quantise


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(torch.sigmoid(self.first(x) * 3) - 0.5)
        return y


def write_onnx(module: nn.Module, shape: tuple[int, ...], dynamic: bool = False) -> bytes:
    """A file of a module, by PyTorch's exporter."""
    held = io.BytesIO()
    axes = {"x": {0: "batch"}} if dynamic else None
    torch.onnx.export(
        module.eval(), (torch.zeros(3 if dynamic else 1, *shape),), held, input_names=["x"],
        dynamic_axes=axes, dynamo=False, opset_version=17,
    )  # fmt: skip
    return held.getvalue()


def of_onnx(module: nn.Module, x: Tensor, labels: Tensor) -> Package:
    imported = onnx.parse(write_onnx(module, tuple(x.shape[1:])))
    samples = network_package.Samples("x.npz", {"x": x.numpy()}, labels.numpy())
    return network_package.package(imported, "file", samples)


def of_torch(module: nn.Module, x: Tensor, labels: Tensor) -> Package:
    return spikelet.export(module, x[:1], x, labels=labels)


def wrong(folding: Any, node: Any) -> bool:
    """A fold that takes one function for another."""
    return node.op == "Sigmoid" and bool(folding.replace(node, node.replace(op="Tanh")))


@pytest.mark.parametrize(
    ("make", "by"), [(of_onnx, "onnxruntime "), (of_torch, "the module itself")]
)
def test_a_fold_that_is_wrong_shows(
    make: Callable[[nn.Module, Tensor, Tensor], Package],
    by: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, x = Gated().eval(), torch.randn(200, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = module(x).argmax(1)
    good = make(module, x, labels).manifest
    rules = sys.modules[fold.__module__]
    right = vars(rules)["_simpler"]
    monkeypatch.setattr(rules, "_simpler", lambda f, node: wrong(f, node) or right(f, node))
    bad = make(module, x, labels).manifest
    assert good["float"].startswith(by) and bad["float"] == good["float"]
    assert good["float_accuracy"] == bad["float_accuracy"] == 1
    assert good["integer_accuracy"] > 0.95 > bad["integer_accuracy"]
    assert good["layer_drift"][-1]["snr_db"] > 25
    assert bad["layer_drift"][-1]["snr_db"] < 15


def test_without_onnxruntime_the_reference_evaluator_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, x = Gated().eval(), torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
    labels = module(x).argmax(1)
    one = of_onnx(module, x, labels).manifest
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    other = of_onnx(module, x, labels).manifest
    assert "reference evaluator" in other["float"]
    assert [r["layer"] for r in one["layer_drift"]] == [r["layer"] for r in other["layer_drift"]]
    for a, b in zip(one["layer_drift"], other["layer_drift"], strict=True):
        assert a["snr_db"] == pytest.approx(b["snr_db"], abs=0.05)


def test_equalised_layers_are_compared_with_the_given_ones() -> None:
    network = unequal(mobile(blocks=2), 3)
    feeds = images(network, 32)
    found = quantise(network, feeds, Options(equalise=True))
    assert found.equalised and any(np.ptp(f) > 1 for f in found.factors.values())
    rows = drift(found, feeds)
    assert len(rows) > 6 and min(row.snr for row in rows) > 12


class Call(nn.Module):
    """Layers, and any function of them."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line = nn.Linear(8, 8)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


# Of ONNX the operator, of PyTorch the call, whose name is in the error.
MIXED: dict[str, tuple[Callable[[Any, Tensor], Tensor], str, str]] = {
    "mean": (lambda s, x: s.line(x) - s.line(x).mean(0), "ReduceMean", "mean"),
    "softmax": (lambda s, x: torch.softmax(s.line(x), 0), "Softmax", "softmax"),
    "every second": (lambda s, x: s.line(x)[::2], "Slice", "slice"),
    "the first": (lambda s, x: s.line(x)[:1], "Slice", "slice"),
    "one": (lambda s, x: s.line(x)[0], "Gather", "select"),
    "reversed": (lambda s, x: s.line(x).flip(0), "Slice", "flip"),
    "rolled": (lambda s, x: s.line(x) + s.line(x).roll(1, 0), "", ""),
    "argmax": (lambda s, x: s.line(x).argmax(0), "ArgMax", "argmax"),
    "largest": (lambda s, x: s.line(x) - s.line(x).amax(0, keepdim=True), "ReduceMax", "amax"),
    "joined": (lambda s, x: torch.cat([s.line(x), x], 0), "Concat", "cat"),
    "products": (lambda s, x: torch.relu(x @ x.t()), "", ""),
    "one row": (lambda s, x: s.line(x).reshape(1, -1), "Reshape", "view"),
    "mean of all": (lambda s, x: s.line(x) - s.line(x).mean(), "ReduceMean", "mean"),
}


@pytest.mark.parametrize("kind", MIXED)
def test_what_mixes_samples_is_refused_by_name(kind: str) -> None:
    function, operator, call = MIXED[kind]
    with pytest.raises(UsageError) as torch_error:
        from_torch(Call(function), torch.zeros(1, 8))
    assert call in str(torch_error.value)
    with pytest.raises(UsageError) as onnx_error:
        onnx.parse(write_onnx(Call(function), (8,), dynamic=True))
    assert operator in str(onnx_error.value)


APART: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "plain": lambda s, x: torch.relu(s.line(x)),
    "rows": lambda s, x: torch.relu(s.line(x.reshape(-1, 2, 4).flatten(1))),
    "softmax": lambda s, x: torch.softmax(s.line(x), 1),
    "label": lambda s, x: s.line(x).argmax(1),
    "moved": lambda s, x: s.line(x.reshape(-1, 2, 4).transpose(1, 2).flatten(1)),
    "step": lambda s, x: torch.relu(s.line(x).round()),
}


@pytest.mark.parametrize("kind", APART)
def test_what_keeps_samples_apart_is_carried(kind: str) -> None:
    assert from_torch(Call(APART[kind]), torch.zeros(1, 8)).nodes
    for dynamic in (False, True):
        assert onnx.parse(write_onnx(Call(APART[kind]), (8,), dynamic)).network.nodes


class Small(nn.Module):
    """Little is left of numbers near 1: rounding, which differs between one sample and three."""

    def __init__(self, function: Callable[[Tensor], Tensor], inputs: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line, self.function = nn.Linear(inputs, 16), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.line(x))


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lambda v: functional.softplus(v * 0.01) - np.log(2), 8),
        (lambda v: torch.exp(v * 0.002) - 1, 100),
    ],
)
def test_a_difference_of_rounded_numbers_mixes_no_samples(
    function: Callable[[Tensor], Tensor], inputs: int
) -> None:
    assert from_torch(Small(function, inputs), torch.zeros(1, inputs)).nodes
    assert onnx.parse(write_onnx(Small(function, inputs), (inputs,))).network.nodes


def test_a_file_that_merges_samples_into_rows_is_refused_with_a_next_step() -> None:
    function = lambda s, x: s.line(x.view(-1, 8)).view(1, 5, 8)  # noqa: E731
    with pytest.raises(UsageError, match=r"Reshape: shape=\[5, 8\].*batch axis") as error:
        onnx.parse(write_onnx(Call(function), (5, 8)))
    assert error.value.next


RANDOM: dict[str, tuple[Callable[[Any, Tensor], Tensor], str]] = {
    "rand": (lambda s, x: s.line(x) + torch.rand(8), "aten.rand"),
    "randn": (lambda s, x: s.line(x) * torch.randn(1), "aten.randn"),
    "randint": (lambda s, x: s.line(x) + torch.randint(0, 9, (8,)), "aten.randint"),
    "rand_like": (lambda s, x: x + torch.rand_like(s.line.bias), "aten.rand"),
    "bernoulli": (lambda s, x: x * torch.bernoulli(torch.full((8,), 0.5)), "aten.bernoulli"),
    "normal": (lambda s, x: x + torch.normal(0.0, 1.0, (8,)), "aten.normal"),
    "multinomial": (lambda s, x: x + torch.multinomial(torch.ones(8), 8), "aten.multinomial"),
    "in place": (lambda s, x: s.line(x) + torch.zeros(8).uniform_(), "aten.uniform_"),
    "randperm": (lambda s, x: x + torch.randperm(8).float(), "aten.randperm"),
    "dropout": (lambda s, x: functional.dropout(s.line(x), 0.5, True), "dropout"),
    "dropout of weights": (
        lambda s, x: functional.linear(x, functional.dropout(s.line.weight)), "dropout",
    ),
    "numpy's": (lambda s, x: s.line(x) + float(np.random.rand()), "aten.add"),
}  # fmt: skip


@pytest.mark.parametrize("kind", RANDOM)
def test_random_numbers_in_forward_are_refused_by_name(kind: str) -> None:
    function, name = RANDOM[kind]
    torch.manual_seed(5)
    before = torch.random.get_rng_state().clone()
    with pytest.raises(UsageError, match=name):
        from_torch(Call(function), torch.zeros(1, 8))
    if kind in ("in place", "numpy's"):
        return
    assert before.shape == torch.random.get_rng_state().shape
    assert from_torch(Call(lambda s, x: functional.dropout(s.line(x), 0.5, s.training)),
                      torch.zeros(1, 8)).nodes  # fmt: skip
